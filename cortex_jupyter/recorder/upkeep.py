"""What a recorder does for the store beside recording: batches are merged, what has ended is archived, room is made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.recorder.process.archiving import archive_completed
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.trimming import trim
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cortex_jupyter.recorder.running import Running
    from cortex_jupyter.store import Store

_log = logging.getLogger(__name__)

_COMPACT_S: Final = 10.0
_RETAIN_S: Final = 60.0
#: And whether the store is short of room.
_SHORT_S: Final = 5.0


@contextlib.contextmanager
def _tried(failed: str) -> Iterator[None]:
    """Say what went wrong; it is tried again with the next pass, whatever it was."""
    try:
        yield
    except CortexError as error:
        _log.warning("%s: %s", failed, error)
    except Exception:  # noqa: BLE001 - else this part of the upkeep would end, and nobody would notice
        _log.exception("%s", failed)


class Upkeep:
    """The upkeep of one store; each method goes on until it is cancelled.

    Parameters
    ----------
    store : Store
    running : mapping
        What is being recorded, by recording.

    Attributes
    ----------
    completed : asyncio.Event
        Set when a recording is complete.
    """

    def __init__(self, store: Store, running: Mapping[int, Running]) -> None:
        self._store, self._running = store, running
        self._large: set[int] = set()  # recordings that have said that they are over the budget
        self._trimmed: set[int] = set()  # and those that have said that their oldest lines leave
        self.completed = asyncio.Event()

    async def compact(self) -> None:
        """Merge the small batches of what is being recorded."""
        while True:
            await asyncio.sleep(_COMPACT_S)
            for id_, one in list(self._running.items()):
                with _tried(f"recording {id_} cannot be compacted"):
                    one.merged = await asyncio.to_thread(compact, self._store, one.lease, one.merged)

    async def archive(self) -> None:
        """Archive each recording when it is complete, and what an earlier recorder has left."""
        while True:
            self.completed.clear()
            with _tried("What is complete cannot be archived"):
                await archive_completed(self._store)
            with contextlib.suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the event.
                async with asyncio.timeout(_RETAIN_S):
                    await self.completed.wait()

    async def retain(self) -> None:
        """Keep the store within its budget."""
        ended, last = threading.Event(), float("-inf")
        try:
            while True:
                with _tried("The store cannot be kept within its budget"):
                    if time.monotonic() - last >= _RETAIN_S or await asyncio.to_thread(self._store.bytes_to_free) > 0:
                        last = time.monotonic()
                        await self._let_go(ended)
                await asyncio.sleep(min(_RETAIN_S, _SHORT_S))
        finally:
            ended.set()

    async def _let_go(self, ended: threading.Event) -> None:
        await asyncio.to_thread(self._store.keep_reserve)
        kept = await asyncio.to_thread(enforce_retention, self._store, ended.is_set)
        await self._trim(ended)
        recorder_metrics.STORE.set(await asyncio.to_thread(self._store.used_bytes))
        recorder_metrics.BUDGET.set((await asyncio.to_thread(self._store.budget)).max_bytes or 0)
        if kept.removed:
            _log.info("%d recordings have left: the store was over its budget", kept.removed)
        if kept.over:
            await self.say_over(kept.budget)

    async def _trim(self, ended: threading.Event) -> None:
        """Let the oldest lines go of what has become too large, and say so in it, once."""
        running = dict(self._running)
        leases = {id_: (one.lease, one.info.ref.key) for id_, one in running.items()}
        for id_, (why, hint) in (await asyncio.to_thread(trim, self._store, leases, ended.is_set)).items():
            if id_ not in self._trimmed:
                self._trimmed.add(id_)
                running[id_].recorder.say(f"From now on older lines are missing: {why}", notice="retention", hint=hint)

    async def say_over(self, budget: int) -> None:
        """Say it in a recording that is larger than the whole budget; it goes on."""
        for id_, one in list(self._running.items()):
            if id_ in self._large or await asyncio.to_thread(self._store.recording_bytes, id_) <= budget:
                continue
            self._large.add(id_)
            one.recorder.say(
                f"This recording is larger than the store's budget of {budget / 1e6:.0f} MB; it goes on",
                notice="retention", hint="raise store_max_bytes (CORTEX_STORE_MAX_BYTES), let the oldest lines leave (CORTEX_STORE_MAX_TASK_BYTES), or make the task write less",
            )  # fmt: skip
