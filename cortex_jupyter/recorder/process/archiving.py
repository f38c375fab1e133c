"""Archive completed recordings in a process of its own: it compresses for seconds, and needs pyarrow."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.process.launch import exit_code, spawn
from cortex_jupyter.store.archive_attempts import due_recordings
from cortex_jupyter.telemetry import recorder_metrics, tracing
from cortex_jupyter.telemetry.logs import duration_text

if TYPE_CHECKING:
    from cortex_jupyter.store import Store

_log = logging.getLogger(__name__)

#: How often the end of the process is checked (seconds).
_CHECK_S: Final = 0.2


class Archiving:
    """Archives the completed recordings of a store, if an archive is set.

    The reason for each failure is in our own log, to which the process writes too. A recording stays in the store until it
    is archived; after each failure the next attempt is later (`store.archive_attempts`). The process outlives the recorder.
    If it is started twice, both processes write the same.

    Parameters
    ----------
    store : Store
    health : Health, optional
        Notified of what waits to be archived.
    """

    def __init__(self, store: Store, health: Health | None = None) -> None:
        self._store, self._health = store, health or Health()
        self._failing_since: float | None = None  # monotonic

    async def archive_completed(self) -> None:
        """Archive what may be tried now, and wait for the end.

        Raises
        ------
        StoreError
        """
        url = await asyncio.to_thread(self._store.setting, "archive")
        if not url:
            self._health.archive_checked(0, None, is_failing=False)
            return
        store = self._store
        due = await asyncio.to_thread(lambda: due_recordings(store, store.unarchived(url), url))
        if due:
            await self._report_backlog(url)
            await self._run(url, due)
        await self._report_backlog(url)

    async def _run(self, url: str, due: list[int]) -> None:
        # -P: see `launch.ensure_recorder`.
        command = [sys.executable, "-P", "-m", "cortex_jupyter.archive.archiver", self._store.url, url]
        with tracing.span("cortex.archive.step") as span:
            pid = spawn(command, None, tracing.propagation_env())
            while (code := exit_code(pid)) is None:  # noqa: ASYNC110 - a detached process reports its end to no event
                await asyncio.sleep(_CHECK_S)
            if code:
                span.fail("ArchiveError")
        if code:
            waiting = set(await asyncio.to_thread(self._store.unarchived, url))
            recorder_metrics.ARCHIVE_FAILURES.inc(max(1, len(waiting.intersection(due))))
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                _log.warning("not everything could be archived to %s; it is tried again, later each time", url)

    async def _report_backlog(self, url: str) -> None:
        count, oldest = await asyncio.to_thread(self._store.archive_backlog, url)
        if not count and self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            self._failing_since = None
            _log.info("everything is archived again, after %s", duration_text(seconds), extra={"seconds": seconds})
        self._health.archive_checked(count, oldest, is_failing=self._failing_since is not None)
