"""Read a recording or an archive into one Arrow table, column by column; Python objects live for one piece only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.columns import read_rows
from cortex_jupyter.archive.file import RowSelector
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.order import is_ascending, sort_pieces, sort_records
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import MEMBERSHIP
from cortex_jupyter.query.required_literals import literals_of_each
from cortex_jupyter.store.scan import require_info
from cortex_jupyter.tables.derive import cut
from cortex_jupyter.tables.schema import COLUMNS, schema
from cortex_jupyter.tables.select import select
from cortex_jupyter.tables.statement import Completeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable

#: Columns of a frame that a file does not have. They are cut out of `text`.
_CUT: Final = frozenset({"message", "fields"})
#: Columns of a file that determine the order of rows.
_ORDER: Final = frozenset({"time", "seq", "source"})


def read(
    store: Readable,
    recording: int,
    query: LogQuery,
    progress: Callable[[int], object] | None = None,
    columns: Sequence[str] = COLUMNS,
    start: int = 0,
    *,
    shared: bool = False,
) -> pa.Table:
    """Read a recording, as it is now, into a table.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its window and filter apply; its parameters for pages do not.
    progress : callable, optional
        Called with the number of records of each piece, before the query's filter.
    columns : sequence of str, optional
        Only these columns, in the order of `schema`; other columns are neither read nor computed.
    start : int, optional
        Only records with `seq` from this number on.
    shared : bool, optional
        Return `message`, `text` and `fields` as `string_view` of the same bytes: less memory, if the library can read
        it.

    Returns
    -------
    pyarrow.Table
        The columns of `schema`, ordered by time, and within one source in file order. The schema's metadata holds
        the completeness statement of the whole recording, the query and the number of rows.

    Raises
    ------
    MissingExtra
        pyarrow is not installed.
    StoreError
    """
    statement = Completeness.of(store, recording)
    # With `tail`, cut only the rows that are left; else each piece at once, while its text is in the processor's cache.
    each = None if query.tail is not None else partial(_cut_columns, columns, shared=shared)
    rows = stored(store, recording, query, progress, columns, start, each)
    if not statement.done and statement.gaps != (now := Completeness.of(store, recording)).gaps:
        statement = now  # the oldest lines were trimmed while it was read
    metadata = {layout.STATEMENT: statement.as_json(query=query.stated(), rows=len(rows))}
    return frame(rows, columns, shared=shared).replace_schema_metadata(metadata)


def frame(rows: pa.Table, columns: Sequence[str] = COLUMNS, *, shared: bool = False) -> pa.Table:
    """Convert the columns of an archive's file to the columns of a frame."""
    pa = import_optional("pyarrow")
    if not _CUT & set(columns) <= set(rows.column_names):
        rows = _cut_columns(columns, rows, shared=shared)
    target = [field for field in schema() if field.name in columns]
    if shared:
        target = [f.with_type(rows[f.name].type) if pa.types.is_large_string(f.type) else f for f in target]
    return pa.table([rows[field.name] for field in target], schema=pa.schema(target))


def _cut_columns(columns: Sequence[str], rows: pa.Table, *, shared: bool) -> pa.Table:
    """Cut message and fields out of the text, if asked for, and drop the columns that only help to cut."""
    result = {name: rows[name] for name in rows.column_names if name in columns or name in _ORDER}
    if _CUT & set(columns):
        result |= cut(rows["text"], *(rows[name] for name in layout.SPAN_COLUMNS), shared=shared)
    return import_optional("pyarrow").table(result)


def _examined_columns(query: LogQuery) -> list[str]:
    """Return the columns of a file that `select` examines."""
    examined = {name for name in ("pod", "container", "role", "rank", "stream", "level") if getattr(query, name)}
    examined |= {"pod", "container", "run"} if query.run else set()
    examined |= {*MEMBERSHIP} if query.attempt else set()
    examined |= {"text"} if query.grep or query.exclude or query.where else set()
    examined |= {"seq"} if query.numbers is not None or query.tracebacks is not None else set()
    examined |= {"time"} if query.since is not None or query.until is not None else set()
    return [name for name in layout.schema().names if name in examined]


def _file_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns of a file that are needed for these columns of a frame."""
    needed = {*_ORDER, *columns}
    needed |= {"text", *layout.SPAN_COLUMNS} if _CUT & needed else set()
    return [name for name in layout.schema().names if name in needed]


def stored(
    store: Readable,
    recording: int,
    query: LogQuery,
    progress: Callable[[int], object] | None = None,
    columns: Sequence[str] = COLUMNS,
    start: int = 0,
    each: Callable[[pa.Table], pa.Table] | None = None,
) -> pa.Table:
    """Return the wanted rows in the order of reading, as columns of an archive's file or as `each` converts them."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if isinstance(store, ArchiveStore):
        rows = _archived(store.archived(recording), query, _file_columns(columns), each, progress or int)
        rows = rows.filter(pc.field("seq") >= start) if start else rows
    else:
        tables = []
        for piece, _ in pieces(store, recording, query, start, progress=progress or int):
            tables.append(piece if each is None else each(piece))
        rows = pa.concat_tables(tables) if tables else layout.schema().empty_table()
        rows = rows if is_ascending(rows["time"]) else sort_records(_owned(rows))
        require_info(store, recording)  # it may have left the store while it was read
    return rows if query.tail is None else rows.slice(max(0, len(rows) - query.tail))


def count(store: ArchiveStore, recording: int, query: LogQuery) -> int:
    """Count the rows of an archive that a query wants, and read only what is necessary for that."""
    archived = store.archived(recording)
    n = len(read_wanted(archived, query, [])) if _examined_columns(query) else archived.complete.records
    return n if query.tail is None else min(n, query.tail)


def stored_pieces(
    store: Readable,
    recording: int,
    query: LogQuery,
    stop: int | None = None,
    progress: Callable[[int], object] = int,
) -> Iterator[tuple[pa.Table, bool]]:
    """Yield the wanted rows with numbers below `stop` in pieces, for logs larger than memory.

    With each piece comes whether its order is certain.
    """
    if query.tail is not None:
        yield stored(store, recording, query, progress), True
    elif isinstance(store, ArchiveStore):
        archived = store.archived(recording)
        for piece in archived.file.iter_groups(row_groups(archived, query), layout.schema().names):
            progress(len(piece))
            yield select(piece, query), archived.is_ordered
    else:
        yield from sort_pieces(pieces(store, recording, query, stop=stop, progress=progress))


def pieces(
    store: Readable,
    recording: int,
    query: LogQuery,
    start: int = 0,
    stop: int | None = None,
    progress: Callable[[int], object] = int,
) -> Iterator[tuple[pa.Table, int]]:
    """Yield the wanted rows of a recording by number, with the earliest time of all that follow."""
    start, stop = query.narrowed(start, stop)
    return read_rows(
        store,
        recording,
        query.since,
        query.until,
        start,
        stop,
        progress=progress,
        select=partial(select, query=query),
    )


def _archived(
    archived: ArchivedRecording,
    query: LogQuery,
    columns: list[str],
    each: Callable[[pa.Table], pa.Table] | None,
    progress: Callable[[int], object],
) -> pa.Table:
    if not _examined_columns(query) and archived.is_ordered:
        # The lines are in order, and nothing that is made of them here needs the source's number.
        columns = columns if each is None else [name for name in columns if name != "source"]
        return read_wanted(archived, query, columns, each, progress)
    rows = read_wanted(archived, query, columns, each, progress)
    if is_ascending(rows["time"]):
        return rows
    # If times go back, the place of a line depends on which other lines are there.
    return sort_records(_owned(rows).sort_by("seq"))


def row_groups(archived: ArchivedRecording, query: LogQuery) -> list[int]:
    """Return the row groups that may hold lines that a query's window and patterns want."""
    return archived.groups(query.since, query.until, literals_of_each(query.grep))


def read_wanted(
    archived: ArchivedRecording,
    query: LogQuery,
    columns: list[str],
    each: Callable[[pa.Table], pa.Table] | None = None,
    progress: Callable[[int], object] = int,
    groups: Sequence[int] | None = None,
) -> pa.Table:
    """Return the wanted rows in the order of a file, from all row groups or some."""
    groups = row_groups(archived, query) if groups is None else groups
    examined = _examined_columns(query)
    choice = RowSelector(examined, lambda rows, names: select(rows, query, names)) if examined else None
    return archived.file.read(groups, columns, each, progress, choice)


def _owned(rows: pa.Table) -> pa.Table:
    """Return rows whose text columns can be gathered by index: pyarrow (26) cannot do that with views."""
    pa = import_optional("pyarrow")
    fields = [f.with_type(pa.large_string()) if pa.types.is_string_view(f.type) else f for f in rows.schema]
    return rows.cast(pa.schema(fields))
