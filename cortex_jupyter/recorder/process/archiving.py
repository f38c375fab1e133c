"""Archive completed recordings in a process of its own: it compresses for seconds, and needs pyarrow."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recorder.process.launch import exit_code, spawn
from cortex_jupyter.store.archive_attempts import due_recordings
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from cortex_jupyter.store import Store

_log = logging.getLogger(__name__)

#: How often the end of the process is checked (seconds).
_CHECK_S: Final = 0.2


async def archive_completed(store: Store) -> None:
    """Archive the completed recordings, if an archive is set, and wait for the end.

    Failures are in our own log, to which the process writes too. A recording stays in the store until it is archived;
    after each failure the next attempt is later (`store.archive_attempts`). The process outlives the recorder. If it is started
    twice, both processes write the same.

    Raises
    ------
    StoreError
    """
    url = await asyncio.to_thread(store.setting, "archive")
    if not url or not await asyncio.to_thread(lambda: due_recordings(store, store.unarchived(url), url)):
        return
    # -P: see `launch.ensure_recorder`.
    command = [sys.executable, "-P", "-m", "cortex_jupyter.archive.archiver", store.url, url]
    started_at = time.monotonic()
    with tracing.span("cortex.archive.step") as span:
        pid = spawn(command, None, tracing.propagation_env())
        while (code := exit_code(pid)) is None:  # noqa: ASYNC110 - a detached process reports its end to no event
            await asyncio.sleep(_CHECK_S)
        if code:
            span.fail("ArchiveError")
            seconds = {"seconds": time.monotonic() - started_at}
            _log.warning(
                "not everything could be archived to %s; it is tried again, later each time", url, extra=seconds
            )
