"""`cortex-jupyter archive`: write completed recordings to the archive."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from cortex_jupyter.archive.archiver import archive_recording
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore, select_archive
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery, CortexError, CursorNotHeld
from cortex_jupyter.notebook.recording_reader import progress
from cortex_jupyter.store import absolute_archive, is_shared
from cortex_jupyter.store.open import open_store
from cortex_jupyter.tables.statement import format_count
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    import argparse

    from cortex_jupyter.store import Store


def run(options: argparse.Namespace) -> int:
    """Archive every completed recording that is not archived yet. Return 1 if one of them fails."""
    tracing.begin("cortex-jupyter-archive")
    store = open_store(options.store)
    try:
        archive = ArchiveStore(absolute_archive(options.to)) if options.to else select_archive(store, options.to)
        if archive is None:
            raise BadQuery("no archive is set", "give --to or set CORTEX_ARCHIVE: a folder, s3://, gs:// or az://")
        catalog = Catalog(ObjectStore(archive.url))
        recordings = [i.id for i in store.recordings() if i.done] if options.again else store.unarchived(archive.url)
        # In random order: otherwise this process and those of collectors would all begin with the same recording.
        random.shuffle(recordings)
        code = 0
        for recording in recordings:  # one failure must not stop the others
            failed = _archive(store, catalog, recording, archive.url, repeat=options.again)
            code = max(code, failed)
            if not failed and not is_shared(store.url):
                select_archive(store, archive.url)  # remember it in the store, now that the address has worked
        return code
    finally:
        store.close()


def _archive(store: Store, catalog: Catalog, recording: int, url: str, *, repeat: bool) -> int:
    """Archive a recording and return the exit code. An attempt by hand neither waits for others nor delays them."""
    info = store.info(recording)
    if info is None:
        return 0
    try:
        with progress(f"archiving {info.ref.key}", store.complete(recording).records) as bar:
            archived, _ = archive_recording(store, catalog, info, url, progress=bar.update, overwrite=repeat)
    except CursorNotHeld:
        return 0  # the recording has left the store meanwhile
    except CortexError as error:
        print(f"{info.ref.key}: {error}", file=sys.stderr)
        return 1
    print_status(f"{info.ref.key}: {archived.file.path}, {format_count(archived.file.size, 'byte')}")
    return 0
