"""Reading order: by time, and within one source always in file order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from cortex_jupyter.archive.optional import IntColumn

#: Maximum rows that wait for older ones. Without it, a clock set back by hours would keep everything in memory.
MAX_WAITING: Final = 4_000_000


def sort_records(table: pa.Table) -> pa.Table:
    """Sort a table of records, which is ordered by `seq`, into reading order.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns `time`, `seq` and `source`.

    Returns
    -------
    pyarrow.Table
        The same rows. A line counts as written at the latest time that its source had reached, as in
        `store.scan.with_reading_time`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"time": [5, 9, 3, 7], "seq": [1, 2, 3, 4], "source": [1, 1, 1, 2]})
    >>> sort_records(rows)["seq"].to_pylist()  # the third line of source 1 says 3, but comes after the second
    [1, 4, 2, 3]
    """
    if len(table) < 2 or is_ascending(table["time"]):
        return table
    return _sorted(table, reached_times(table, {}))


def sort_pieces(pieces: Iterable[tuple[pa.Table, int]], limit: int = MAX_WAITING) -> Iterator[tuple[pa.Table, bool]]:
    """Sort a recording that arrives in pieces. Only rows that an older row may still precede are kept in memory.

    Parameters
    ----------
    pieces : iterable of (pyarrow.Table, int)
        Tables ordered by `seq`, each with the earliest time in all following tables.
    limit : int, optional
        Maximum rows that wait.

    Yields
    ------
    tuple of (pyarrow.Table, bool)
        A sorted table, and whether it is certain that no later row belongs before its end.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    highest: dict[int, int] = {}
    waiting: deque[Any] = deque()
    for table, floor in pieces:
        if not waiting and _is_sorted(table, highest) and (not len(table) or pc.max(_ns(table)).as_py() < floor):
            yield table, True  # nothing to order: the usual case of one source
            continue
        at = reached_times(table, highest)
        waiting.append(table.append_column("reached", at))
        rows = pa.concat_tables(waiting)
        rows = _sorted(rows, rows["reached"])
        # `floor` is the earliest time that may still come. Rows with this very time wait too, so that rows of equal
        # time are sorted together, by number.
        ready = int(pc.sum(pc.less(rows["reached"], floor), min_count=0).as_py())
        is_certain = True
        if len(rows) - ready > limit:
            ready, is_certain = len(rows) - limit // 2, False
        if ready:
            yield rows.slice(0, ready).drop_columns(["reached"]), is_certain
        waiting = deque([rows.slice(ready)] if ready < len(rows) else [])
    for rest in waiting:
        yield rest.drop_columns(["reached"]), True


def _is_sorted(table: pa.Table, highest: dict[int, int]) -> bool:
    """Return whether the rows are sorted, and none is older than a row of an earlier piece. If so, update `highest`."""
    np = import_optional("numpy")
    times = _ns(table)
    if not len(table) or not is_ascending(times):
        return False
    sources, at = table["source"].combine_chunks().dictionary_encode(), times.to_numpy()
    codes, source_ids = sources.indices.to_numpy(), sources.dictionary.to_pylist()
    # If an index occurs several times, numpy keeps the last value assigned: forwards that is a source's latest time,
    # backwards its earliest.
    low, high = np.empty(len(source_ids), np.int64), np.empty(len(source_ids), np.int64)
    low[codes[::-1]], high[codes] = at[::-1], at
    if any(first < highest.get(source, first) for source, first in zip(source_ids, low.tolist(), strict=True)):
        return False
    if any(top > at[0] for top in highest.values()):
        return False
    highest.update(zip(source_ids, high.tolist(), strict=True))
    return True


def reached_times(table: pa.Table, highest: dict[int, int]) -> IntColumn:
    """Return for each row the latest time that its source had reached.

    `highest` maps each source to its latest time in earlier pieces, and is updated.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    times, sources = _ns(table).combine_chunks(), table["source"].combine_chunks()
    reached = times
    for source in pc.unique(sources).to_pylist():
        mask = pc.equal(sources, source)
        own_times = pc.filter(times, mask)
        top = highest.get(source)
        if not is_ascending(own_times) or (top is not None and own_times[0].as_py() < top):
            own_times = pc.cumulative_max(
                own_times if top is None else pc.max_element_wise(own_times, pa.scalar(top, own_times.type))
            )
            reached = pc.replace_with_mask(reached, mask, own_times)
        highest[source] = own_times[-1].as_py()
    return pa.chunked_array([reached])


def _sorted(table: pa.Table, at: IntColumn) -> pa.Table:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if is_ascending(at):
        return table
    keys = pa.table({"reached": at, "seq": table["seq"]})
    return table.take(pc.sort_indices(keys, [("reached", "ascending"), ("seq", "ascending")]))


def _ns(table: pa.Table) -> IntColumn:
    return table["time"].cast(import_optional("pyarrow").int64())


def is_ascending(values: Any) -> bool:
    """Return whether no value is less than the one before."""
    pc = import_optional("pyarrow.compute")
    return len(values) == 0 or bool(pc.all(pc.less_equal(values[:-1], values[1:]), min_count=0).as_py())
