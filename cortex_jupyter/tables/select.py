"""Which rows of a table a query wants: the answers of `query.filter.Filter`, by columns.

Source, stream and level are columns with few values; only patterns look at texts, and only at those that are left.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.query.filter import Filter
from cortex_jupyter.query.sources import named
from cortex_jupyter.tables.schema import coded
from cortex_jupyter.tables.search import found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.query.sources import Runs


def select(table: Any, query: LogQuery, columns: Sequence[str] | None = None) -> Any:
    """Give the rows of a query's window and filter.

    Parameters
    ----------
    table : pyarrow.Table
        The columns of an archive's file that are looked at, and any others.
    query : LogQuery
    columns : sequence of str, optional
        Only these are given: of what is only looked at nothing is copied for the last test.
    """
    tests = list(_tests(query))
    for i, test in enumerate(tests):
        mask = test(table)
        table = table if columns is None or i < len(tests) - 1 else table.select(columns)
        table = table.filter(mask)
    return table if columns is None else table.select(columns)


def _tests(query: LogQuery) -> Iterator[Callable[[Any], Any]]:
    """Give what tells which rows of a table are wanted, cheap tests first: each as a function that gives a mask."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    for bound, compare in ((query.since, pc.greater_equal), (query.until, pc.less_equal)):
        if bound is not None:
            yield partial(_timed, compare, pa.scalar(bound, pa.timestamp("ns", "UTC")))
    keep = query.keep()
    if not isinstance(keep, Filter):
        return
    for column, wanted in (("pod", keep.pod), ("container", keep.container)):
        if wanted:
            yield partial(_few, column, partial(_named, wanted))
    if keep.run:
        yield partial(_ran, keep.run)
    if keep.stream:
        yield partial(_few, "stream", lambda name: name == keep.stream)
    if keep.level:
        levels: set[str | None] = set(levels_of(keep.level))
        yield partial(_few, "level", lambda name: (name or "") in levels)
    for pattern, find in zip(query.grep, keep.grep, strict=True):
        yield partial(_texts, pattern, find, wanted=True)
    for test in keep.where:
        yield partial(_texts, "", test, wanted=True)
    for pattern, find in zip(query.exclude, keep.exclude, strict=True):
        yield partial(_texts, pattern, find, wanted=False)


def _timed(compare: Callable[[Any, Any], Any], bound: Any, table: Any) -> Any:
    return compare(table["time"], bound)


def _named(wanted: str, name: str | None) -> bool:
    return named(name or "", wanted)


def _ran(wanted: Runs, table: Any) -> Any:
    """Tell which rows are of the runs that are wanted."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    if not len(table):
        return pa.array([], pa.bool_())
    (pods, pod_names), (containers, container_names) = coded(table["pod"]), coded(table["container"])
    runs = table["run"].to_numpy()
    distinct, each = np.unique(np.stack((pods, containers, runs)), axis=1, return_inverse=True)
    good = [wanted.wants(pod_names[p] or "", container_names[c] or "", run) for p, c, run in distinct.T.tolist()]
    return pa.array(np.asarray(good, bool)[each.reshape(-1)])


def levels_of(least: str) -> Sequence[str]:
    """Give the names that a manifest counts lines under for `level=` something: "" where a line says none."""
    names = LEVELS[LEVELS.index(least) :]
    return (*names, "") if "info" in names else names


def _few(column: str, wanted: Callable[[str | None], bool], table: Any) -> Any:
    """Tell which rows have a value of a column with few values that is wanted."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    masks = []
    for chunk in table[column].chunks:
        good = [wanted(value) for value in chunk.dictionary.to_pylist()]
        mask = pa.array(good, pa.bool_()).take(chunk.indices)
        masks.append(pc.fill_null(mask, fill_value=wanted(None)))
    return pa.chunked_array(masks, pa.bool_())


def _texts(pattern: str, find: Callable[[str], object], table: Any, *, wanted: bool) -> Any:
    """Tell in which rows the text is found, or is not."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    masks = [found(chunk, pattern, find) for chunk in table["text"].chunks]
    return pa.chunked_array(masks if wanted else [pc.invert(mask) for mask in masks], pa.bool_())
