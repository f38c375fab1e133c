"""Whether somebody who reads may go on: asked again with each heartbeat, for what lasts must not outlive the right to it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ClusterUnreachable, CortexError, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.server.response import Response

_log = logging.getLogger(__name__)

#: So long, seconds, may nobody say whether a task may be read; then reading ends, and whoever comes back is asked about anew.
_UNSAID_S: Final = 600.0


class Rights:
    """Those of one reader, who may have read when this was made.

    Parameters
    ----------
    handler : Response
        Over which they read.
    """

    def __init__(self, handler: Response) -> None:
        self._handler = handler
        self._begun = time.monotonic()
        self._said: dict[TaskRef, float] = {}  # when it was last said that a task may be read, monotonic

    async def lost(self, tasks: Sequence[TaskRef]) -> list[CortexError | None]:
        """Give for each task why it may not be read any more, None where it may.

        Kubernetes is asked about who it was last, and then the Hub who it is: a Hub that is away takes nobody's right away,
        and keeps nobody's.
        """
        found = [await self._ask(ref) for ref in tasks]
        service = self._handler.service
        try:
            if await service.renewed(self._handler):  # they are somebody else now, or have other groups
                found = [error or await self._ask(ref) for ref, error in zip(tasks, found, strict=True)]
        except NotAllowed as error:
            return [error] * len(tasks)
        except Exception:  # noqa: BLE001 - a stream lives for days: what passes must not end it
            _log.exception("Who reads cannot be asked; it is tried again")
        return found

    async def hidden(self, ref: TaskRef) -> dict[str, str] | None:
        """Return what may not be seen beside a task's lines; None where that cannot be asked just now."""
        try:
            return await self._handler.service.hidden(ref, self._handler)
        except CortexError:
            return None
        except Exception:  # noqa: BLE001 - as above
            _log.exception("The rights of a reader cannot be checked; they are looked at again")
            return None

    async def _ask(self, ref: TaskRef) -> CortexError | None:
        why: CortexError
        try:
            await self._handler.service.check(ref, self._handler)
        except NotAllowed as error:
            return error
        except CortexError as error:
            why = error
        except Exception:  # noqa: BLE001 - as above
            _log.exception("The rights of a reader cannot be checked; they are looked at again")
            why = ClusterUnreachable("nobody says whether this task may still be read")
        else:
            self._said[ref] = time.monotonic()
            return None
        return why if time.monotonic() - self._said.get(ref, self._begun) > _UNSAID_S else None
