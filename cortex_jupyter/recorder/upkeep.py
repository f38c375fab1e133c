"""The store's upkeep beside recording: merge batches, archive completed recordings, make room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import LeaseLost, StoreBusy, StoreFull
from cortex_jupyter.recorder.losses import Losses
from cortex_jupyter.recorder.process.archiving import Archiving
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.quotas import namespace_bytes
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.trimming import trim
from cortex_jupyter.telemetry import recorder_metrics
from cortex_jupyter.telemetry.logs import OutageLog, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cortex_jupyter.recorder.task import RunningTask
    from cortex_jupyter.store import Store

_log = logging.getLogger(__name__)

#: Small batches are merged this often (seconds).
_COMPACT_S: Final = 10.0
#: The budget is checked this often (seconds).
_RETAIN_S: Final = 60.0
#: How often the store is asked whether it is short of room (seconds).
_SHORT_S: Final = 5.0


class Upkeep:
    """The upkeep of one store. Each public coroutine runs until it is cancelled.

    Parameters
    ----------
    store : Store
    running : mapping
        The tasks being recorded, by recording.
    health : Health, optional

    Attributes
    ----------
    completed : asyncio.Event
        Set when a recording is complete.
    """

    def __init__(self, store: Store, running: Mapping[int, RunningTask], health: Health | None = None) -> None:
        self._store, self._running = store, running
        self._health = health or Health()
        self._archiving = Archiving(store, self._health)
        self._outages: dict[str, OutageLog] = {}
        self._over_budget: set[int] = set()  # recordings with a notice that they are over the budget
        self._losses = Losses()
        self._trimmed: set[int] = set()  # recordings with a notice that their oldest lines leave
        self.completed = asyncio.Event()

    @contextlib.contextmanager
    def _logging_failures(self, part: str, failure: str) -> Iterator[None]:
        """Log the first of several failures of the block; the next pass tries again, whatever it was."""
        outage = self._outages.setdefault(part, OutageLog(_log, f"{part} works again"))
        store_log = self._health.store_log
        try:
            yield
        except (StoreBusy, StoreFull) as error:
            store_log.failed(part, error)
        except Exception as error:  # noqa: BLE001 - else this part of the upkeep would end unnoticed
            outage.failed(part, error, failure)
        else:
            store_log.worked(part)
            outage.worked(part)

    async def compact(self) -> None:
        """Merge the small batches of the recordings in progress."""
        while True:
            await asyncio.sleep(_COMPACT_S)
            with self._logging_failures("merging batches", "the batches of recordings cannot be merged"):
                for task in list(self._running.values()):
                    with contextlib.suppress(LeaseLost):  # its next commit fails in the same way, and is logged
                        task.merged = await asyncio.to_thread(compact, self._store, task.lease, task.merged)

    async def archive(self) -> None:
        """Archive each recording when it is complete. Recordings that an earlier recorder left unarchived count too."""
        while True:
            self.completed.clear()
            with self._logging_failures("archiving", "completed recordings cannot be archived"):
                await self._archiving.archive_completed()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it drops a cancellation that comes together with the event.
                async with asyncio.timeout(_RETAIN_S):
                    await self.completed.wait()

    async def retain(self) -> None:
        """Keep the store within its budget."""
        ended, last = threading.Event(), float("-inf")
        try:
            while True:
                with self._logging_failures("making room", "the store cannot be kept within its budget"):
                    if time.monotonic() - last >= _RETAIN_S or await asyncio.to_thread(self._store.bytes_to_free) > 0:
                        last = time.monotonic()
                        await self._make_room(ended)
                await asyncio.sleep(min(_RETAIN_S, _SHORT_S))
        finally:
            ended.set()

    async def _make_room(self, ended: threading.Event) -> None:
        await asyncio.to_thread(self._store.keep_reserve)
        retention = await asyncio.to_thread(enforce_retention, self._store, ended.is_set)
        await self._trim(ended)
        recorder_metrics.STORE.set(await asyncio.to_thread(self._store.used_bytes))
        recorder_metrics.BUDGET.set((await asyncio.to_thread(self._store.budget)).max_bytes or 0)
        recorder_metrics.set_namespace_bytes(namespace_bytes(retention.usage, retention.quotas))
        for reason, count in retention.removed.items():
            recorder_metrics.REMOVED.labels(reason).inc(count)
        for text in retention.in_words():
            _log.info("%s", text)
        if retention.over:
            await self.report_over_budget(retention.budget.max_bytes or 0)

    async def _trim(self, ended: threading.Event) -> None:
        """Trim the oldest lines of recordings that are too large, and write so into each, once."""
        running = dict(self._running)
        leases = {id_: (task.lease, task.info.ref.key) for id_, task in running.items()}
        for id_, result in (await asyncio.to_thread(trim, self._store, leases, ended.is_set)).items():
            self._losses.add(running[id_].info.ref.key, result.limit.reason, result.lines)
            if id_ not in self._trimmed:
                self._trimmed.add(id_)
                running[id_].recorder.put_status(
                    f"From now on older lines are missing: {result.limit.why}",
                    notice="retention",
                    hint=result.limit.hint,
                )

    async def report_over_budget(self, budget: int) -> None:
        """Write into each recording that is larger than the whole budget that it is; it goes on."""
        for id_, task in list(self._running.items()):
            if id_ in self._over_budget or await asyncio.to_thread(self._store.recording_bytes, id_) <= budget:
                continue
            self._over_budget.add(id_)
            task.recorder.put_status(
                f"This recording is larger than the store's budget of {size_text(budget)}; it goes on",
                notice="retention",
                hint="raise store_max_bytes (CORTEX_STORE_MAX_BYTES), let the oldest lines leave (CORTEX_STORE_MAX_TASK_BYTES), or make the task write less",
            )
