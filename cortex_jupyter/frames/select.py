"""Which rows of a table a query wants: the answers of `parsing.keep.Filter`, by columns.

Source, stream and level are columns with few values; only patterns look at texts, and only at those that are left.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.extra import library
from cortex_jupyter.frames.search import found
from cortex_jupyter.frames.templates import coded
from cortex_jupyter.parsing.keep import Filter
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.parsing.sources import named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.parsing.sources import Runs


def select(table: Any, query: LogQuery) -> Any:
    """Give the rows of a query's window and filter.

    Parameters
    ----------
    table : pyarrow.Table
        The columns of an archive's file.
    query : LogQuery
    """
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    time = pc.field("time")
    for bound, test in ((query.since, time.__ge__), (query.until, time.__le__)):
        if bound is not None:
            table = table.filter(test(pa.scalar(bound, pa.timestamp("ns", "UTC"))))
    keep = query.keep()
    if not isinstance(keep, Filter):
        return table
    for column, wanted in (("pod", keep.pod), ("container", keep.container)):
        if wanted:
            table = _few(table, column, partial(_named, wanted))
    if keep.run:
        table = _ran(table, keep.run)
    if keep.stream:
        table = _few(table, "stream", lambda name: name == keep.stream)
    if keep.level:
        levels: set[str | None] = set(LEVELS[LEVELS.index(keep.level) :])
        table = _few(table, "level", lambda name: name in levels or (name is None and "info" in levels))
    for pattern, find in zip(query.grep, keep.grep, strict=True):
        table = _texts(table, pattern, find, wanted=True)
    for find in keep.where:
        table = _texts(table, "", find, wanted=True)
    for pattern, find in zip(query.exclude, keep.exclude, strict=True):
        table = _texts(table, pattern, find, wanted=False)
    return table


def _named(wanted: str, name: str | None) -> bool:
    return named(name or "", wanted)


def _ran(table: Any, wanted: Runs) -> Any:
    """Keep the rows of the runs that are wanted."""
    if not len(table):
        return table
    np = library("numpy")
    (pods, pod_names), (containers, container_names) = coded(table["pod"]), coded(table["container"])
    runs = table["run"].to_numpy()
    found, each = np.unique(np.stack((pods, containers, runs)), axis=1, return_inverse=True)
    good = [wanted.wants(pod_names[p] or "", container_names[c] or "", run) for p, c, run in found.T.tolist()]
    return table.filter(library("pyarrow").array(np.asarray(good, bool)[each.reshape(-1)]))


def levels_of(least: str) -> Sequence[str]:
    """Give the names that a manifest counts lines under for `level=` something: "" where a line says none."""
    names = LEVELS[LEVELS.index(least) :]
    return (*names, "") if "info" in names else names


def _few(table: Any, column: str, wanted: Callable[[str | None], bool]) -> Any:
    """Keep the rows whose value of a column with few values is wanted."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    masks = []
    for chunk in table[column].chunks:
        good = [wanted(value) for value in chunk.dictionary.to_pylist()]
        mask = pa.array(good, pa.bool_()).take(chunk.indices)
        masks.append(pc.fill_null(mask, fill_value=wanted(None)))
    return table.filter(pa.chunked_array(masks, pa.bool_()))


def _texts(table: Any, pattern: str, find: Callable[[str], object], *, wanted: bool) -> Any:
    """Keep the rows whose text is found, or is not."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    masks = [found(chunk, pattern, find) for chunk in table["text"].chunks]
    masks = masks if wanted else [pc.invert(mask) for mask in masks]
    return table.filter(pa.chunked_array(masks, pa.bool_()))
