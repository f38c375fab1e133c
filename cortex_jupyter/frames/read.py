"""From a recording or an archive to one Arrow table, column by column; no Python object outlives its piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.columns import tables
from cortex_jupyter.archive.extra import library
from cortex_jupyter.archive.order import ascending, in_order, ordered
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.frames.derive import cut
from cortex_jupyter.frames.places import places
from cortex_jupyter.frames.schema import COLUMNS, schema
from cortex_jupyter.frames.select import select
from cortex_jupyter.frames.statement import Completeness
from cortex_jupyter.recording.budget import NOT_HELD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cortex_jupyter.archive.held import Held
    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.store import Readable

#: Columns of a frame that a file has not.
_CUT: Final = frozenset({"message", "fields"})


def read(
    store: Readable,
    recording: int,
    query: LogQuery,
    progress: Callable[[int], object] | None = None,
    columns: Sequence[str] = COLUMNS,
    start: int = 0,
) -> Any:
    """Read a recording, as it is now, into a table.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its window and its filter hold; what concerns pages does not.
    progress : callable, optional
        Called with the number of records of each piece.
    columns : sequence of str, optional
        Only these, in the order of `schema`: what is not asked for is neither read nor computed.
    start : int, optional
        Only records with `seq` from here on.

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
    rows = stored(store, recording, query, progress, columns, start)
    metadata = {layout.STATEMENT: statement.as_json(query=dict(query.raw), rows=len(rows))}
    return frame(rows, columns).replace_schema_metadata(metadata)


def frame(rows: Any, columns: Sequence[str] = COLUMNS) -> Any:
    """Give columns of a frame from those of an archive's file."""
    pa = library("pyarrow")
    target = pa.schema([field for field in schema() if field.name in columns])
    found: dict[str, Any] = {}
    if _CUT & set(columns):
        found = cut(rows["text"], *(rows[name] for name in layout.PLACES))
    return pa.table([found.get(name, None) if name in _CUT else rows[name] for name in target.names], schema=target)


def _needed(query: LogQuery, columns: Sequence[str]) -> list[str]:
    """Give the columns of a file that a query and these columns of a frame need."""
    wanted = {"time", "seq", "source", *columns}
    wanted |= {name for name in ("pod", "container", "stream", "level") if getattr(query, name)}
    wanted |= {"text"} if query.grep or query.exclude or query.where else set()
    wanted |= {"text", *layout.PLACES} if _CUT & wanted else set()
    return [name for name in layout.schema().names if name in wanted]


def stored(
    store: Readable,
    recording: int,
    query: LogQuery,
    progress: Callable[[int], object] | None = None,
    columns: Sequence[str] = COLUMNS,
    start: int = 0,
) -> Any:
    """Give the rows that a query wants, in the order of reading, as the columns of an archive's file."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    if isinstance(store, ArchiveStore):
        rows = _archived(store.held(recording), query, _needed(query, columns))
        rows = rows.filter(pc.field("seq") >= start) if start else rows
        if progress is not None:
            progress(len(rows))
    else:
        found = []
        for piece, _ in pieces(store, recording, query, start):
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
        yield from ordered(pieces(store, recording, query, stop=stop))


def pieces(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Iterator[tuple[Any, int]]:
    """Give the rows of a recording that a query wants in order of number; and the earliest time in what follows."""
    info = store.info(recording)
    if info is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    key = (info.ref.namespace, info.ref.key)
    for raw, floor in tables(store, recording, query.since, query.until, start, stop):
        # Read anew: a source may have begun since.
        sources = {sid: source.public for sid, (source, _) in store.sources(recording).items()}
        yield select(layout.dress(raw, key, sources, places(raw["text"])), query), floor


def _archived(held: Held, query: LogQuery, columns: list[str]) -> Any:
    groups = None if query.since is None and query.until is None else held.groups(query.since, query.until)
    rows = select(held.file.read(groups, columns), query)
    whole = len(rows) == held.complete.records
    if (whole and held.ordered) or ascending(rows["time"]):
        return rows
    # Where times run backwards, the place of a line depends on which others are there.
    return in_order(rows.sort_by("seq"))
