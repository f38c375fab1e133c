"""From a recording or an archive to one Arrow table, column by column; no Python object outlives its piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.columns import tables
from cortex_jupyter.archive.extra import library
from cortex_jupyter.archive.order import ascending, in_order, ordered
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.frames.derive import cut
from cortex_jupyter.frames.places import places
from cortex_jupyter.frames.schema import schema
from cortex_jupyter.frames.select import select
from cortex_jupyter.frames.statement import Completeness
from cortex_jupyter.recording.budget import NOT_HELD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.archive.held import Held
    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.store import Readable


def read(store: Readable, recording: int, query: LogQuery, progress: Callable[[int], object] | None = None) -> Any:
    """Read a recording, as it is now, into a table.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its window and its filter hold; what concerns pages does not.
    progress : callable, optional
        Called with the number of records of each piece.

    Returns
    -------
    pyarrow.Table
        The columns of `schema`, ordered by time and within one source as in its file. The schema's metadata holds
        the completeness statement of the whole recording, the query and the number of rows.

    Raises
    ------
    MissingExtra
        There is no pyarrow.
    StoreError
    """
    statement = Completeness.of(store, recording)
    rows = stored(store, recording, query, progress)
    metadata = {layout.STATEMENT: statement.as_json(query=dict(query.raw), rows=len(rows))}
    return frame(rows).replace_schema_metadata(metadata)


def frame(rows: Any) -> Any:
    """Give the columns of a frame from those of an archive's file."""
    pa = library("pyarrow")
    found = cut(rows["text"], rows["message_at"], rows["message_len"], rows["fields_at"])
    target = schema()
    return pa.table(
        [found.get(name, rows[name] if name not in found else None) for name in target.names], schema=target
    )


def stored(store: Readable, recording: int, query: LogQuery, progress: Callable[[int], object] | None = None) -> Any:
    """Give the rows that a query wants, in the order of reading, as the columns of an archive's file."""
    pa = library("pyarrow")
    if isinstance(store, ArchiveStore):
        rows = _archived(store.held(recording), query)
        if progress is not None:
            progress(len(rows))
    else:
        found = []
        for piece, _ in pieces(store, recording, query):
            found.append(piece)
            if progress is not None:
                progress(len(piece))
        rows = in_order(pa.concat_tables(found) if found else layout.schema().empty_table())
        if store.info(recording) is None:  # it left while it was read
            raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    return rows if query.tail is None else rows.slice(max(0, len(rows) - query.tail))


def stored_pieces(
    store: Readable, recording: int, query: LogQuery, stop: int | None = None
) -> Iterator[tuple[Any, bool]]:
    """Give the same by and by, of numbers those below `stop`, for what does not fit into memory; and whether its order is certain."""
    if query.tail is not None:
        yield stored(store, recording, query), True
    elif isinstance(store, ArchiveStore):
        held = store.held(recording)
        for piece in held.file.pieces(held.groups(query.since, query.until), layout.schema().names):
            yield select(piece, query), held.ordered
    else:
        yield from ordered(pieces(store, recording, query, stop))


def pieces(store: Readable, recording: int, query: LogQuery, stop: int | None = None) -> Iterator[tuple[Any, int]]:
    """Give the rows of a recording that a query wants in order of number; and the earliest time in what follows."""
    info = store.info(recording)
    if info is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    key = (info.ref.namespace, info.ref.key)
    for raw, floor in tables(store, recording, query.since, query.until, stop):
        # Read anew: a source may have begun since.
        sources = {sid: source.public for sid, (source, _) in store.sources(recording).items()}
        yield select(layout.dress(raw, key, sources, places(raw["text"])), query), floor


def _archived(held: Held, query: LogQuery) -> Any:
    groups = None if query.since is None and query.until is None else held.groups(query.since, query.until)
    rows = select(held.file.read(groups, layout.schema().names), query)
    whole = len(rows) == held.complete.records
    if (whole and held.ordered) or ascending(rows["time"]):
        return rows
    # Where times run backwards, the place of a line depends on which others are there.
    return in_order(rows.sort_by("seq"))
