"""Write a log as a Parquet file in the layout of an archive, row group by row group."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.archive.write import FileMetadata, write_file
from cortex_jupyter.tables.convert import whole
from cortex_jupyter.tables.read import stored_pieces

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable

#: Query parameters that change neither the rows nor their order.
_HARMLESS = frozenset({"timestamps", "pretty"})


def to_parquet(
    store: Readable,
    recording: int,
    query: LogQuery,
    path: str | os.PathLike[str],
    progress: Callable[[int], object] = int,
    *,
    with_events: bool = True,
) -> None:
    """Write the records that a query wants to a Parquet file.

    The file has the columns of `to_arrow` without `message` and `fields`: they would double its size, and
    `cortex_jupyter.open` cuts them out of `text` again. The file appears under its name when it is complete; an older
    file of that name stays until then.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
    path : path
    progress : callable, optional
        Called with the number of records of each piece, before the query's filter.
    with_events : bool, optional
        Whether the file's metadata holds the events of Kubernetes, like an archive's.

    Raises
    ------
    BadQuery
        The file cannot be written.
    MissingExtra, StoreError, ArchiveError
    """

    def write_export(temporary: Path) -> None:
        archived = file_of(store, recording, query) if with_events else None
        if archived is not None:
            shutil.copyfile(archived, temporary)
            return
        about = FileMetadata.from_store(store, recording)
        about.more = {"query": query.stated()}
        if not with_events:
            about.notices = [entry for entry in about.notices if not entry.is_kubernetes_event]
        write_file(temporary, stored_pieces(store, recording, query, about.info.last_seq + 1, progress), about)

    whole(path, write_export)


def everything(query: LogQuery) -> bool:
    """Return whether a query wants all lines."""
    raw = query.raw.keys() - _HARMLESS
    return raw <= {"since"} and query.since is None and query.numbers is None


def file_of(store: Readable, recording: int, query: LogQuery) -> Path | None:
    """Return the file on this machine that holds exactly what a query wants, or None."""
    if not isinstance(store, ArchiveStore) or not everything(query):
        return None
    file = store.archived(recording).file
    return None if file.objects.folder is None else file.objects.folder / file.name
