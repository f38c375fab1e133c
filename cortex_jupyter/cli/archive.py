"""`cortex-jupyter archive`: write completed recordings to the archive."""

from __future__ import annotations

import logging
import random
import sys
import time
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore, select_archive
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery, CortexError, CursorNotHeld
from cortex_jupyter.notebook.snapshot import progress
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.store import absolute_archive, is_shared
from cortex_jupyter.store.archive_attempts import due_recordings, note_attempt
from cortex_jupyter.store.open import open_store
from cortex_jupyter.tables.read import stored_pieces
from cortex_jupyter.tables.statement import format_count
from cortex_jupyter.telemetry import logs, tracing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cortex_jupyter.store import Readable, Store
    from cortex_jupyter.telemetry.tracing import Attributes

_log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    """Archive every completed recording that is not archived yet. Return 1 if one of them fails."""
    if options.log:  # a recorder has started this process
        logs.begin()
    tracing.begin("cortex-jupyter-archive")
    store = open_store(options.store)
    try:
        archive = ArchiveStore(absolute_archive(options.to)) if options.to else select_archive(store, options.to)
        if archive is None:
            raise BadQuery("no archive is set", "give --to or set CORTEX_ARCHIVE: a folder, s3://, gs:// or az://")
        catalog = Catalog(ObjectStore(archive.url))
        wanted = [i.id for i in store.recordings() if i.done] if options.again else store.unarchived(archive.url)
        if options.log:
            wanted = due_recordings(store, wanted, archive.url)
        # In random order: otherwise the archiving processes of several collectors would all begin with the same recording.
        random.shuffle(wanted)
        code = 0
        for recording in wanted:  # one failure must not stop the others
            failed = _archive(store, catalog, recording, archive.url, again=options.again, log=options.log)
            code = max(code, failed)
            if not failed and not is_shared(store.url):
                select_archive(store, archive.url)  # remember it in the store, now that the address has worked
        return code
    finally:
        store.close()


def _archive(store: Store, catalog: Catalog, recording: int, url: str, *, again: bool, log: bool) -> int:
    info = store.info(recording)
    if info is None:
        return 0
    started, lines = time.monotonic(), store.complete(recording).records
    attributes: Attributes = {
        "cortex.task": info.ref.key,
        "k8s.namespace.name": info.ref.namespace,
        "cortex.archive.lines": lines,
    }
    try:
        if log:  # an attempt by hand neither waits nor delays others
            note_attempt(store, recording, url)
        with tracing.span("cortex.archive.task", attributes, carrier=tracing.carrier()) as span:
            with progress(f"archiving {info.ref.key}", lines) as bar:
                archived = catalog.put(store, recording, _pieces, bar.update, overwrite=again)
            span.set({"cortex.archive.bytes": archived.file.size})
            store.mark_archived(recording, url)
    except CursorNotHeld:
        return 0  # the recording has left the store meanwhile
    except CortexError as error:
        if log:
            _log.warning("%s: %s", info.ref.key, error, extra={"task": info.ref.key})
        else:
            print(f"{info.ref.key}: {error}", file=sys.stderr)
        return 1
    if log:
        extra = {"task": info.ref.key, "seconds": time.monotonic() - started}
        _log.info("archived in %s, %d bytes", archived.file.path, archived.file.size, extra=extra)
    else:
        print_status(f"{info.ref.key}: {archived.file.path}, {format_count(archived.file.size, 'byte')}")
    return 0


def _pieces(store: Readable, recording: int) -> Iterable[tuple[Any, bool]]:
    return stored_pieces(store, recording, LogQuery.parse({}))
