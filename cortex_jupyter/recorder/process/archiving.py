"""Completed recordings go to the archive, in a process of its own: it compresses for seconds, and needs pyarrow."""

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

#: How often, seconds, it is looked whether the process has ended.
_LOOK_S: Final = 0.2


async def archive_completed(store: Store) -> None:
    """Archive what is complete, where an archive is set, and wait for it.

    What goes wrong is in our own log, where the process writes too; recordings stay until they are archived, and each
    that could not be is tried again later each time (see `archive_attempts`). The process outlives us: should it be begun
    twice, both write the same.

    Raises
    ------
    StoreError
    """
    url = await asyncio.to_thread(store.setting, "archive")
    if not url or not await asyncio.to_thread(lambda: due_recordings(store, store.unarchived(url), url)):
        return
    # In a process of its own: it takes memory and seconds. Its command stands above this room. -P: see `launch.ensure_recorder`.
    command = [sys.executable, "-P", "-m", "cortex_jupyter.cli", "archive", "--store", store.url, "--to", url]
    begun = time.monotonic()
    with tracing.span("cortex.archive.step") as span:
        pid = spawn([*command, "--log"], None, tracing.carried())
        while (code := exit_code(pid)) is None:  # noqa: ASYNC110 - a process that outlives us tells nobody of its end
            await asyncio.sleep(_LOOK_S)
        if code:
            span.fail("ArchiveError")
            seconds = {"seconds": time.monotonic() - begun}
            _log.warning(
                "not everything could be archived to %s; it is tried again, later each time", url, extra=seconds
            )
