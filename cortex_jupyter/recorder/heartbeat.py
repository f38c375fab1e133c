"""The heartbeats that show other processes that this recorder lives."""

from __future__ import annotations

import asyncio
import contextvars
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

    from cortex_jupyter.recorder.process.health import Health
    from cortex_jupyter.store import LeaseStore, RecorderInfo

_P = ParamSpec("_P")

_FAILED: Final = "a heartbeat failed"
#: How long the first heartbeat is tried while the store is full or busy (seconds).
_FIRST_HEARTBEAT_S: Final = 60.0
BEAT_S: Final = 1.0
#: A heartbeat that took this long (seconds) has waited for a store that was away; the heartbeats of other recorders may
#: have expired meanwhile.
_AWAY_S: Final = HEARTBEAT_S - 2 * BEAT_S


class Heartbeat:
    """The heartbeats of one recorder.

    They have a thread of their own. On a shared thread each call to the store may wait for a server that hangs, or for
    its replicas, and a heartbeat queued behind such calls arrives too late.

    Parameters
    ----------
    store : LeaseStore
    me : RecorderInfo
    health : Health
        Notified of each heartbeat.

    Attributes
    ----------
    me : RecorderInfo
        What the next heartbeat says of this recorder.
    health : Health
    """

    def __init__(self, store: LeaseStore, me: RecorderInfo, health: Health) -> None:
        self._store, self.me, self.health = store, me, health
        self._thread = ThreadPoolExecutor(1, "cortex-heartbeat")
        # Set by the thread (monotonic): since when it waits for an answer; since when the store is back.
        self._waiting_since, self._store_back_at = math.inf, -math.inf
        self._has_failed = health.waited_for_store

    @property
    def waits_for_others(self) -> bool:
        """Whether living recorders may not have sent a heartbeat yet, since the store was away for all of them.

        Their tasks are still theirs: each goes on there and knows how far it had come. The first recorder that finds
        the store again waits as long as a heartbeat holds; recorders that are silent until then have died.
        """
        now = time.monotonic()
        return self._has_failed or now - self._waiting_since > _AWAY_S or now - self._store_back_at < HEARTBEAT_S

    async def first(self, *, patient: bool = False) -> None:
        """Send the first heartbeat, as soon as the store takes it.

        Parameters
        ----------
        patient : bool, optional
            Whether to wait for the store without a limit: no reader waits for us.

        Raises
        ------
        StoreError
        """
        deadline = time.monotonic() + (math.inf if patient else _FIRST_HEARTBEAT_S)
        while True:
            try:
                await self._beat()
            except (StoreFull, StoreBusy) as error:
                self.health.store_log.failed("heartbeat", error)
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def run(self) -> StoreTooNew:
        """Send heartbeats for ever; return why this recorder must end."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
            except StoreTooNew as error:
                return error
            except Exception as error:  # noqa: BLE001 - without heartbeats other recorders take over our tasks
                # Not logged each second: our log may be on the same full disk.
                self.health.store_log.failed("heartbeat", error, "" if isinstance(error, CortexError) else _FAILED)

    async def change(self, me: RecorderInfo) -> None:
        """Change what the heartbeats say of this recorder, and send one now.

        Raises
        ------
        StoreError
        """
        self.me = me
        await self._beat()

    async def leave(self) -> None:
        """Give up all leases, after a heartbeat in progress: it must not be the last sign of us.

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
        self.health.store_log.worked("heartbeat")
        self.health.heartbeat_taken()
        recorder_metrics.BEAT.set_to_current_time()

    async def _do(self, function: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        context = contextvars.copy_context()

        def run() -> None:
            self._waiting_since = time.monotonic()
            try:
                context.run(function, *args, **kwargs)
            except StoreError:
                self._has_failed = True
                raise
            else:
                if self._has_failed or time.monotonic() - self._waiting_since > _AWAY_S:
                    self._store_back_at, self._has_failed = time.monotonic(), False
            finally:
                self._waiting_since = math.inf

        result = asyncio.get_running_loop().run_in_executor(self._thread, run)
        try:
            while True:
                # Report from the event loop, however long the store takes: a restart mends only an event loop that
                # stands still.
                self.health.heartbeat_tried()
                if (await asyncio.wait([result], timeout=BEAT_S))[0]:
                    break
        except asyncio.CancelledError:
            result.cancel()
            raise
        result.result()
