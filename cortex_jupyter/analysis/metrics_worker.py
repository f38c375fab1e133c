"""A process that finds the numbers in a recording's lines: `python -m cortex_jupyter.analysis.metrics_worker`.

It reads one line of JSON from its input and writes server-sent events, from the beginning of the recording on: `points`
with rows of `log.metrics()`, downsampled so that a chart of them looks the same; `progress`; at the end `done` or
`error`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.downsample import downsample
from cortex_jupyter.analysis.metrics import Carried, metrics
from cortex_jupyter.analysis.worker import run
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import TooMany
from cortex_jupyter.query.bounds import Bound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.process import event
from cortex_jupyter.tables.read import stored_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.store import Readable

#: Number of time intervals. In each, up to six points of each curve are kept (see `downsample`). A chart beside the
#: lines is about this many pixels wide, so more points would not be seen.
_INTERVALS: Final = 400
_HINT: Final = (
    "call metrics() of the log in a kernel to read all lines, or raise CortexJupyter.max_query_s on this server"
)
#: Maximum number of metric names that are sent. A log that uses ids as JSON keys has as many names as lines.
_NAMES: Final = 100


def measure(store: Readable, recording: int, query_s: float) -> Iterator[bytes]:
    """Find the numbers in a recording's lines, oldest first, and yield them as events.

    Parameters
    ----------
    store : Readable
    recording : int
    query_s : float
        Time limit (seconds); at least one piece is always read.

    Yields
    ------
    bytes
        Whole events. `points` has `series`: for each `name`, `pod` and `container`, as lists, `time` (ns), `step`,
        `value`, `seq`. `progress` and `done` hold the numbers of lines searched, of all lines, and of names `left_out`.

    Raises
    ------
    TooMany
        The time was over before all lines were searched.
    """
    bound = Bound(end=time.monotonic() + query_s)
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    rows = [row for row in store.index(recording) if row.event == "log"]
    total, lines_read = sum(row.n for row in rows), 0
    start = min((row.t_min for row in rows), default=0)
    width = (max((row.t_max for row in rows), default=0) - start) // _INTERVALS + 1
    names: dict[str, bool] = {}
    carried = Carried()
    for piece, _ in stored_pieces(store, recording, LogQuery.parse({"since": "all"})):
        values = metrics(piece, carried=carried)
        for name in pc.unique(values["name"]).to_pylist():
            names.setdefault(name, len(names) < _NAMES)
        # The table of metrics has no container, so find it by `seq`, which is not always ascending within a piece.
        at = pc.index_in(values["seq"], piece["seq"])
        source_keys = pc.binary_join_element_wise(
            *(piece[c].cast(pa.string()).take(at) for c in ("pod", "container")), "\0"
        )
        series = []
        for series_points in downsample(values, source_keys.combine_chunks().dictionary_encode(), start, width):
            if names[series_points["name"]]:
                pod, container = series_points.pop("source").split("\0")
                series.append(series_points | {"pod": pod, "container": container})
        if series:
            yield event("points", series=series)
        lines_read += len(piece)
        yield event("progress", looked=lines_read, lines=total, left_out=list(names.values()).count(False))
        if lines_read < total and bound.over:
            raise TooMany(
                f"only {lines_read} of {total} lines could be searched for numbers within {query_s:g} s", _HINT
            )
    yield event("done", looked=lines_read, lines=total, left_out=list(names.values()).count(False))


def _measure(store: Readable, recording: int, query_s: float, emit: Callable[[bytes], object]) -> None:
    for piece in measure(store, recording, query_s):
        emit(piece)


if __name__ == "__main__":
    run(_measure)
