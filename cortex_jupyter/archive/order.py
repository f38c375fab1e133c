"""The order in which people read: by time, and within one source always as in its file."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Rows that may wait for older ones to come. A clock that was set back by hours would else hold everything in memory.
MOST: Final = 4_000_000


def sort_records(table: Any) -> Any:
    """Order a table of records that is ordered by `seq`.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns `time`, `seq` and `source`.

    Returns
    -------
    pyarrow.Table
        The same rows. A line stands at the latest time its source had reached, as in `reader.pages.in_order`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"time": [5, 9, 3, 7], "seq": [1, 2, 3, 4], "source": [1, 1, 1, 2]})
    >>> sort_records(rows)["seq"].to_pylist()  # the third line of source 1 says 3, but comes after the second
    [1, 4, 2, 3]
    """
    if len(table) < 2 or is_ascending(table["time"]):  # noqa: PLR2004
        return table
    return _sorted(table, reached(table, {}))


def sort_pieces(pieces: Iterable[tuple[Any, int]], most: int = MOST) -> Iterator[tuple[Any, bool]]:
    """Order what comes in pieces, with no more in memory than what older rows may still come before.

    Parameters
    ----------
    pieces : iterable of (pyarrow.Table, int)
        In order of `seq`; and the earliest time in all pieces that follow.
    most : int, optional
        Rows that may wait.

    Yields
    ------
    tuple of (pyarrow.Table, bool)
        And whether it is certain that no row belongs before it.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    highest: dict[int, int] = {}
    waiting: deque[Any] = deque()
    for table, floor in pieces:
        if not waiting and _plain(table, highest) and (not len(table) or pc.max(_ns(table)).as_py() < floor):
            yield table, True  # nothing to order: the usual case of one source
            continue
        at = reached(table, highest)
        waiting.append(table.append_column("reached", at))
        rows = pa.concat_tables(waiting)
        rows = _sorted(rows, rows["reached"])
        # What has the floor's own time waits too: of equal times the lower number comes first.
        ready = int(pc.sum(pc.less(rows["reached"], floor), min_count=0).as_py())
        sure = True
        if len(rows) - ready > most:
            ready, sure = len(rows) - most // 2, False
        if ready:
            yield rows.slice(0, ready).drop_columns(["reached"]), sure
        waiting = deque([rows.slice(ready)] if ready < len(rows) else [])
    for rest in waiting:
        yield rest.drop_columns(["reached"]), True


def _plain(table: Any, highest: dict[int, int]) -> bool:
    """Tell whether rows stand in order already, also after those before them; notes how far each source has come."""
    np = import_optional("numpy")
    times = _ns(table)
    if not len(table) or not is_ascending(times):
        return False
    sources, at = table["source"].combine_chunks().dictionary_encode(), times.to_numpy()
    codes, known = sources.indices.to_numpy(), sources.dictionary.to_pylist()
    # Of what is put into one place the last stays: of each source its latest time, and backwards its earliest.
    low, high = np.empty(len(known), np.int64), np.empty(len(known), np.int64)
    low[codes[::-1]], high[codes] = at[::-1], at
    if any(first < highest.get(source, first) for source, first in zip(known, low.tolist(), strict=True)):
        return False
    if any(top > at[0] for top in highest.values()):
        return False
    highest.update(zip(known, high.tolist(), strict=True))
    return True


def reached(table: Any, highest: dict[int, int]) -> Any:
    """Give for each row the latest time its source had reached; `highest` says how far each had come before."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    times, sources = _ns(table).combine_chunks(), table["source"].combine_chunks()
    found = times
    for source in pc.unique(sources).to_pylist():
        own = pc.equal(sources, source)
        mine = pc.filter(times, own)
        top = highest.get(source)
        if not is_ascending(mine) or (top is not None and mine[0].as_py() < top):
            mine = pc.cumulative_max(mine if top is None else pc.max_element_wise(mine, pa.scalar(top, mine.type)))
            found = pc.replace_with_mask(found, own, mine)
        highest[source] = mine[-1].as_py()
    return pa.chunked_array([found])


def _sorted(table: Any, at: Any) -> Any:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if is_ascending(at):
        return table
    keys = pa.table({"reached": at, "seq": table["seq"]})
    return table.take(pc.sort_indices(keys, [("reached", "ascending"), ("seq", "ascending")]))


def _ns(table: Any) -> Any:
    return table["time"].cast(import_optional("pyarrow").int64())


def is_ascending(values: Any) -> bool:
    """Tell whether no value is less than the one before."""
    pc = import_optional("pyarrow.compute")
    return len(values) == 0 or bool(pc.all(pc.less_equal(values[:-1], values[1:]), min_count=0).as_py())
