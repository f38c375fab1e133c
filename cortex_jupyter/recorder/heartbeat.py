"""What shows others that this recorder lives."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec

from cortex_jupyter.errors import CortexError, StoreBusy, StoreError, StoreFull, StoreTooNew
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.store import HEARTBEAT_S
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.recorder.process.health import Pulse
    from cortex_jupyter.store import RecorderInfo, Store

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")

#: How long, seconds, it tries to write its first heartbeat into a store that is full or busy.
_APPEAR_S: Final = 60.0
BEAT_S: Final = 1.0
#: A heartbeat that took so long, seconds, has waited for a store that was away: those of others may have run out meanwhile.
_AWAY_S: Final = HEARTBEAT_S - 2 * BEAT_S


class Heart:
    """The heartbeats of one recorder.

    They have a thread of their own: in the common ones each call to the store may wait for a server that hangs, or for its
    replicas, and a heartbeat that stands behind some of those comes too late.

    Parameters
    ----------
    store : Store
    me : RecorderInfo
    pulse : Pulse
        Is told of each.

    Attributes
    ----------
    me : RecorderInfo
        As it presents itself from the next heartbeat on.
    """

    def __init__(self, store: Store, me: RecorderInfo, pulse: Pulse) -> None:
        self._store, self.me, self._pulse = store, me, pulse
        self._thread = ThreadPoolExecutor(1, "cortex-heartbeat")
        # Of the thread, all monotonic: since when it waits for an answer, since when the store is back.
        self._asked, self._back = math.inf, -math.inf
        self._failed = pulse.waited

    @property
    def patient(self) -> bool:
        """Whether recorders that live may not have said so yet, since the store was away for all of them.

        Their tasks are theirs in the store, where each of them goes on and knows how far it had come. Whoever is first to
        find the store back waits as long as a heartbeat holds; those of which nothing is heard by then have died.
        """
        now = time.monotonic()
        return self._failed or now - self._asked > _AWAY_S or now - self._back < HEARTBEAT_S

    async def appear(self, *, patient: bool = False) -> None:
        """Be seen by who looks for a recorder, as soon as the store takes it.

        Parameters
        ----------
        patient : bool, optional
            Wait for the store for as long as it takes: nobody waits for us.

        Raises
        ------
        StoreError
        """
        end = time.monotonic() + (math.inf if patient else _APPEAR_S)
        while True:
            try:
                await self._beat()
            except (StoreFull, StoreBusy):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def beat(self) -> StoreTooNew:
        """Be seen for ever after; gives why it cannot go on."""
        said = ""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
                said = ""
            except StoreTooNew as error:
                return error
            except CortexError as error:
                if error.message != said:  # not every second: our log may be on the same full disk
                    _log.warning("%s", error)
                said = error.message
            except Exception:  # noqa: BLE001 - others take over what we record where none comes
                _log.exception("A heartbeat failed")

    async def change(self, me: RecorderInfo) -> None:
        """Present itself otherwise, and now.

        Raises
        ------
        StoreError
        """
        self.me = me
        await self._beat()

    async def leave(self) -> None:
        """Give up all leases, behind a heartbeat that is under way: it must not be the last that is heard of us.

        Raises
        ------
        StoreError
        """
        try:
            await self._do(self._store.leave, self.me.id)
        finally:
            self._thread.shutdown(wait=False)

    async def _beat(self) -> None:
        await self._do(self._store.beat, self.me)
        self._pulse.taken()
        recorder_metrics.BEAT.set_to_current_time()

    async def _do(self, what: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        context = contextvars.copy_context()

        def run() -> None:
            self._asked = time.monotonic()
            try:
                context.run(what, *args, **kwargs)
            except StoreError:
                self._failed = True
                raise
            else:
                if self._failed or time.monotonic() - self._asked > _AWAY_S:
                    self._back, self._failed = time.monotonic(), False
            finally:
                self._asked = math.inf

        asked = asyncio.get_running_loop().run_in_executor(self._thread, run)
        try:
            while True:
                # From here, however long the store takes: only a loop that stands still is mended by another start.
                self._pulse.turned()
                if (await asyncio.wait([asked], timeout=BEAT_S))[0]:
                    break
        except asyncio.CancelledError:
            asked.cancel()
            raise
        asked.result()
