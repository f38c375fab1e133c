"""`cortex-jupyter archive`."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import Objects
from cortex_jupyter.archive.store import archive_of
from cortex_jupyter.cli.terminal import say
from cortex_jupyter.errors import BadQuery, CortexError, CursorNotHeld
from cortex_jupyter.frames.read import stored_pieces
from cortex_jupyter.notebook.snapshot import progress
from cortex_jupyter.parsing.query import LogQuery
from cortex_jupyter.recording.stores import open_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cortex_jupyter.recording.store import Readable, Store


def run(options: argparse.Namespace) -> int:
    """Archive every completed recording that is not archived yet; gives 1 where one could not be."""
    store = open_store(options.store)
    try:
        archive = archive_of(store, options.to)
        if archive is None:
            raise BadQuery("no archive is set", "give --to, or set CORTEX_ARCHIVE, to a folder, s3://, gs:// or az://")
        catalog = Catalog(Objects(archive.url))
        wanted = [i.id for i in store.recordings() if i.done] if options.again else store.unarchived(archive.url)
        # In an order of our own: those of other collectors are at it too, and each would begin with the same.
        random.shuffle(wanted)
        # One after the other: what fails must not keep the next from being tried.
        return max(
            [_one(store, catalog, recording, archive.url, again=options.again) for recording in wanted], default=0
        )
    finally:
        store.close()


def _one(store: Store, catalog: Catalog, recording: int, url: str, *, again: bool) -> int:
    info = store.info(recording)
    if info is None:
        return 0
    try:
        with progress(f"archiving {info.ref.key}", store.complete(recording).records) as bar:
            held = catalog.put(store, recording, _rows, bar.update, again=again)
        store.archived(recording, url)
    except CursorNotHeld:
        return 0  # it has left meanwhile
    except CortexError as error:
        print(f"{info.ref.key}: {error}", file=sys.stderr)
        return 1
    say(f"{info.ref.key}: {held.file.path}, {held.file.size:,} bytes")
    return 0


def _rows(store: Readable, recording: int) -> Iterable[tuple[Any, bool]]:
    return stored_pieces(store, recording, LogQuery.parse({}))
