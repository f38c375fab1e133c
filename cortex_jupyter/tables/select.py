"""Select the rows of a table that a query wants; the result equals `query.filter.Filter`, computed by columns.

Source, stream and level are columns with few values. Only patterns read texts, and only of the rows that are left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import MEMBERSHIP
from cortex_jupyter.parsing.level import higher_level, levels_of
from cortex_jupyter.query.filter import Filter
from cortex_jupyter.query.sources import matches_name
from cortex_jupyter.query.tracebacks import KnownTracebacks
from cortex_jupyter.tables.schema import coded
from cortex_jupyter.tables.search import match_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Mask
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.query.sources import Attempts, Runs
    from cortex_jupyter.query.tracebacks import Tracebacks


def select(table: pa.Table, query: LogQuery, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a query's window and filter.

    Parameters
    ----------
    table : pyarrow.Table
        The columns of an archive's file that the query examines, and any others.
    query : LogQuery
    columns : sequence of str, optional
        Only these are returned. A column that is examined but not returned is not copied for the last test.
    """
    tests = list(_tests(query))
    for i, test in enumerate(tests):
        mask = test(table)
        table = table if columns is None or i < len(tests) - 1 else table.select(columns)
        table = table.filter(mask)
    return table if columns is None else table.select(columns)


def _tests(query: LogQuery) -> Iterator[Callable[[pa.Table], Mask]]:
    """Yield the tests of a query, cheap ones first: each is a function that returns a mask of wanted rows."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if query.numbers is not None:
        yield partial(_in_numbers, query.numbers)
    for bound, compare in ((query.since, pc.greater_equal), (query.until, pc.less_equal)):
        if bound is not None:
            yield partial(_in_window, compare, pa.scalar(bound, pa.timestamp("ns", "UTC")))
    keep = query.keep()
    if not isinstance(keep, Filter):
        return
    yield from _tests_of_sources(keep)
    if keep.stream:
        yield partial(_by_value, "stream", lambda name: name == keep.stream)
    if keep.level:
        yield partial(_in_levels, {*levels_of(keep.level)}, query.tracebacks)
    for pattern, find in zip(query.grep, keep.grep, strict=True):
        yield partial(_by_text, pattern, find, matching=True)
    for test in keep.where:
        yield partial(_by_text, "", test, matching=True)
    for pattern, find in zip(query.exclude, keep.exclude, strict=True):
        yield partial(_by_text, pattern, find, matching=False)


def _tests_of_sources(keep: Filter) -> Iterator[Callable[[pa.Table], Mask]]:
    for column, pattern in (("pod", keep.pod), ("container", keep.container), ("role", keep.role)):
        if pattern:
            yield partial(_by_value, column, partial(_named, pattern))
    if (rank := keep.rank) is not None:
        yield partial(_by_value, "rank", lambda value: rank.wants(value or ""))
    if keep.run:
        yield partial(_in_runs, keep.run)
    if keep.attempt:
        yield partial(_in_attempts, keep.attempt)


def _in_numbers(numbers: Sequence[int], table: pa.Table) -> Mask:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    seq = table["seq"]
    if isinstance(numbers, range) and numbers.step == 1:
        return pc.and_(pc.greater_equal(seq, numbers.start), pc.less(seq, numbers.stop))
    if len(seq):  # compare only with the numbers that a piece may hold
        ends = pc.min_max(seq)
        numbers = numbers[bisect_left(numbers, ends["min"].as_py()) : bisect_right(numbers, ends["max"].as_py())]
    return pc.is_in(seq, value_set=pa.array(numbers, seq.type))


def _in_window(compare: Callable[[Any, Any], Mask], bound: pa.TimestampScalar[Any, Any], table: pa.Table) -> Mask:
    return compare(table["time"], bound)


def _named(pattern: str, name: str | None) -> bool:
    return matches_name(name or "", pattern)


def _in_runs(selected: Runs, table: pa.Table) -> Mask:
    """Return which rows belong to the wanted runs."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    if not len(table):
        return pa.array([], pa.bool_())
    (pods, pod_names), (containers, container_names) = coded(table["pod"]), coded(table["container"])
    runs = table["run"].to_numpy()
    distinct, each = np.unique(np.stack((pods, containers, runs)), axis=1, return_inverse=True)
    good = [selected.wants(pod_names[p] or "", container_names[c] or "", run) for p, c, run in distinct.T.tolist()]
    return pa.array(np.asarray(good, bool)[each.reshape(-1)])


def _in_attempts(selected: Attempts, table: pa.Table) -> Mask:
    """Return which rows belong to the wanted attempts."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    if not len(table):
        return pa.array([], pa.bool_())
    (roles, role_names), (ranks, rank_names), (attempts, attempt_names) = (coded(table[name]) for name in MEMBERSHIP)
    distinct, each = np.unique(np.stack((roles, ranks, attempts)), axis=1, return_inverse=True)
    good = [
        selected.wants(role_names[r] or "", rank_names[n] or "", attempt_names[a] or "")
        for r, n, a in distinct.T.tolist()
    ]
    return pa.array(np.asarray(good, bool)[each.reshape(-1)])


def _by_value(column: str, is_wanted: Callable[[str | None], bool], table: pa.Table) -> Mask:
    """Return which rows have a wanted value, for a column with few values."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    masks = []
    for chunk in table[column].chunks:
        good = [is_wanted(value) for value in chunk.dictionary.to_pylist()]
        mask = pa.array(good, pa.bool_()).take(chunk.indices)
        masks.append(pc.fill_null(mask, fill_value=is_wanted(None)))
    return pa.chunked_array(masks, pa.bool_())


def _in_levels(levels: set[str], tracebacks: Tracebacks | None, table: pa.Table) -> Mask:
    """Return which rows have one of the levels. A line of a traceback has the traceback's level, if it has no higher one."""
    pc = import_optional("pyarrow.compute")
    mask = _by_value("level", partial(_is_in_levels, levels, None), table)
    if isinstance(tracebacks, KnownTracebacks):
        for at_least, numbers in (("warning", tracebacks.warnings), ("error", tracebacks.errors)):
            if len(numbers):
                raised = _by_value("level", partial(_is_in_levels, levels, at_least), table)
                mask = pc.if_else(_in_numbers(numbers, table), raised, mask)
    return mask


def _is_in_levels(levels: set[str], at_least: str | None, name: str | None) -> bool:
    return (higher_level(name, at_least) or "") in levels


def _by_text(pattern: str, find: Callable[[str], object], table: pa.Table, *, matching: bool) -> Mask:
    """Return a mask of the rows that contain the text, or of the rows that do not."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    masks = [match_mask(chunk, pattern, find) for chunk in table["text"].chunks]
    return pa.chunked_array(masks if matching else [pc.invert(mask) for mask in masks], pa.bool_())
