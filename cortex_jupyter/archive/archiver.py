"""Archive completed recordings: a single one, or for a recorder all that may be tried now.

A recorder runs this module in a process of its own: compressing takes seconds and pyarrow takes memory.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from typing import TYPE_CHECKING

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.errors import CortexError, CursorNotHeld
from cortex_jupyter.store.archive_attempts import due_recordings, is_archived, note_attempt
from cortex_jupyter.store.open import open_store
from cortex_jupyter.telemetry import logs, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.store import RecordingInfo, Store
    from cortex_jupyter.telemetry.tracing import Attributes

_log = logging.getLogger("cortex_jupyter.archive")  # named explicitly: run as a program this module is `__main__`


def archive_recording(
    store: Store,
    catalog: Catalog,
    info: RecordingInfo,
    url: str,
    *,
    progress: Callable[[int], object] = int,
    overwrite: bool = False,
) -> tuple[ArchivedRecording, bool]:
    """Archive a completed recording and mark it as archived.

    Parameters
    ----------
    store : Store
    catalog : Catalog
    info : RecordingInfo
    url : str
        URL of the archive. The store notes it as the place where the recording is archived.
    progress, overwrite
        As for `Catalog.put`.

    Returns
    -------
    ArchivedRecording, bool
        The result, and whether this call was the first to archive the recording there.

    Raises
    ------
    ArchiveError
        Archiving failed; the recording stays in the store.
    CursorNotHeld
        The recording has left the store.
    StoreError, MissingExtra
    """
    attributes: Attributes = {
        "cortex.task": info.ref.key,
        "k8s.namespace.name": info.ref.namespace,
        "cortex.archive.lines": store.complete(info.id).records,
    }
    with tracing.span("cortex.archive.task", attributes, carrier=tracing.carrier()) as span:
        archived = catalog.put(store, info.id, progress, overwrite=overwrite)
        deletion = store.deletion(info.id)
        if deletion and (deletion.archive or not overwrite):  # meanwhile; it did not see these objects
            for name in archived.objects:
                catalog.remove(name)
            raise deletion.error("this recording")
        span.set({"cortex.archive.bytes": archived.file.size})
        is_first = store.mark_archived(info.id, url)
    return archived, is_first


def archive_due(store: Store, url: str) -> bool:
    """Archive the completed recordings that may be tried now. Return False if one of them failed; our log says which.

    Raises
    ------
    ArchiveError, MissingExtra
        The archive cannot be used at all.
    StoreError
    """
    due = due_recordings(store, store.unarchived(url), url)
    try:
        catalog = Catalog(ObjectStore(url))
    except CortexError:
        for recording in due:  # else each collector would try, and log, once a minute
            note_attempt(store, recording, url)
        raise
    # In random order: otherwise the archiving processes of several collectors would all begin with the same recording.
    random.shuffle(due)
    outcomes = [_archive_logged(store, catalog, recording, url) for recording in due]
    return all(outcomes)


def _archive_logged(store: Store, catalog: Catalog, recording: int, url: str) -> bool:
    """Archive a recording; return False if that failed, since one failure must not stop the others."""
    info = store.info(recording)
    if info is None or not due_recordings(store, [recording], url) or is_archived(store, recording, url):
        return True  # it has left, or another collector archives it, or has archived it
    started_at, key = time.monotonic(), info.ref.key
    try:
        note_attempt(store, recording, url)
        archived, is_first = archive_recording(store, catalog, info, url)
    except CursorNotHeld:
        return True  # the recording has left the store meanwhile
    except CortexError as error:
        _log.warning("%s: %s", key, error, extra={"task": key})
        return False
    if not is_first:
        return True  # another collector did the same at the same time, and has logged it
    extra = {"task": key, "seconds": time.monotonic() - started_at}
    _log.info("archived in %s, %d bytes", archived.file.path, archived.file.size, extra=extra)
    return True


def main(store_url: str, archive_url: str) -> int:
    """Archive what is due, as a process. Return the exit code: 0, or 1 after messages in our log."""
    logs.begin()
    tracing.begin("cortex-jupyter-archive")
    try:
        store = open_store(store_url)
        try:
            return 0 if archive_due(store, archive_url) else 1
        finally:
            store.close()
    except CortexError as error:
        _log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
