"""Check whether a reader may still read its tasks. A stream can be open for days, and must not outlive the permission."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from cortex_jupyter.errors import ClusterUnreachable, CortexError, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.model import TaskRef

_log = logging.getLogger(__name__)

#: Reading ends when a permission could not be confirmed for this long (seconds). A reader that returns is checked again.
_UNCONFIRMED_S: Final = 600.0


class Permissions(Protocol):
    """The permissions of one reader. The server and the kernel each have their own."""

    async def check(self, ref: TaskRef, /) -> None:
        """Check that the reader may read a task.

        Raises
        ------
        NotAllowed
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """

    async def hidden(self, ref: TaskRef, /) -> dict[str, str]:
        """Return what the reader may not see beside a task's lines, and why; see `Connection.hidden`.

        Raises
        ------
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """

    async def renew(self) -> bool:
        """Ask who the reader is. Return whether their name or groups have changed.

        Raises
        ------
        NotAllowed
            The reader has signed out.
        """


class PermissionWatch:
    """Checks again and again whether a reader may go on. The reader had the permission when the watch was made.

    Parameters
    ----------
    permissions : Permissions
    """

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._started = time.monotonic()
        self._confirmed: dict[TaskRef, float] = {}  # the monotonic time of each task's last successful check

    async def revoked(self, tasks: Sequence[TaskRef]) -> list[CortexError | None]:
        """Return for each task why the reader may not read it any more, or None.

        First ask Kubernetes about the reader as last known, then ask the Hub who the reader is. So a Hub that does not answer
        neither ends a permission nor prolongs one.
        """
        errors = [await self._check(ref) for ref in tasks]
        try:
            if await self._permissions.renew():
                errors = [error or await self._check(ref) for ref, error in zip(tasks, errors, strict=True)]
        except NotAllowed as error:
            return [error] * len(tasks)
        except Exception:  # noqa: BLE001 - a passing failure must not end a stream that lives for days
            _log.exception("cannot ask who the reader is; the next check tries again")
        return errors

    async def hidden(self, ref: TaskRef) -> dict[str, str] | None:
        """Return what the reader may not see beside a task's lines; None if that cannot be asked now."""
        try:
            return await self._permissions.hidden(ref)
        except CortexError:
            return None
        except Exception:  # noqa: BLE001 - as above
            _log.exception("cannot check a reader's permissions; the next check tries again")
            return None

    async def _check(self, ref: TaskRef) -> CortexError | None:
        reason: CortexError
        try:
            await self._permissions.check(ref)
        except NotAllowed as error:
            return error
        except CortexError as error:
            reason = error
        except Exception:  # noqa: BLE001 - as above
            _log.exception("cannot check a reader's permissions; the next check tries again")
            reason = ClusterUnreachable("cannot check whether you may still read this task")
        else:
            self._confirmed[ref] = time.monotonic()
            return None
        last_confirmed = self._confirmed.get(ref, self._started)
        return reason if time.monotonic() - last_confirmed > _UNCONFIRMED_S else None
