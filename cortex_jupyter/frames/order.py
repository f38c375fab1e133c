"""The order in which people read: by time, and within one source always as in its file."""

from __future__ import annotations

from typing import Any

from cortex_jupyter.frames.extras import library


def in_order(table: Any) -> Any:
    """Order a table of records that is ordered by `seq`.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns `time` (int64), `seq` and `sid`.

    Returns
    -------
    pyarrow.Table
        The same rows. A line stands at the latest time its source had reached, as in `recording.pages.in_order`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"time": [5, 9, 3, 7], "seq": [1, 2, 3, 4], "sid": [1, 1, 1, 2]})
    >>> in_order(rows)["seq"].to_pylist()  # the third line of source 1 says 3, but comes after the second
    [1, 4, 2, 3]
    """
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    if len(table) < 2 or _ascending(table["time"]):  # noqa: PLR2004
        return table
    table = table.combine_chunks()
    reached = table["time"]
    for sid in pc.unique(table["sid"]):
        own = pc.equal(table["sid"], sid)
        times = pc.filter(table["time"], own)
        if not _ascending(times):
            highest = pc.cumulative_max(times).combine_chunks()
            reached = pc.replace_with_mask(reached.combine_chunks(), own.combine_chunks(), highest)
            reached = pa.chunked_array([reached])
    if _ascending(reached):
        return table
    keys = pa.table({"reached": reached, "seq": table["seq"]})
    return table.take(pc.sort_indices(keys, [("reached", "ascending"), ("seq", "ascending")]))


def _ascending(values: Any) -> bool:
    pc = library("pyarrow.compute")
    return len(values) == 0 or bool(pc.all(pc.less_equal(values[:-1], values[1:]), min_count=0).as_py())
