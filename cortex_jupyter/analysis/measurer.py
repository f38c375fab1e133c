"""A process that finds the numbers that a recording's lines report: `python -m cortex_jupyter.analysis.measurer`.

It reads one line of JSON from its input and writes Server-Sent Events, from the beginning of the recording on: `points`
with rows of `log.metrics()`, thinned out so that a picture of all of it looks the same; `progress`; at the end `done`, or
`error`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.metrics import Carried, metrics
from cortex_jupyter.analysis.thinned import thinned
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import open_readable
from cortex_jupyter.errors import CortexError, TooMany
from cortex_jupyter.query.bounds import Bound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.process import event
from cortex_jupyter.tables.read import stored_pieces
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.store import Readable

#: Stretches of time of which four points are kept: more than a chart beside lines has pixels.
_STRETCHES: Final = 400
_HINT: Final = (
    "metrics() of the log in a kernel reads all; whoever runs this server may raise CortexJupyter.max_query_s"
)
#: Different names that are told: where keys of JSON are ids there are as many as lines.
_NAMES: Final = 100


def measure(store: Readable, recording: int, query_s: float) -> Iterator[bytes]:
    """Give what a recording's lines report as events, oldest first.

    Parameters
    ----------
    store : Readable
    recording : int
    query_s : float
        Seconds after which it ends with what was found; it goes on until at least something has been looked at.

    Yields
    ------
    bytes
        Whole events. `points` has `series`: for each `name`, `pod` and `container` its `rank` and, as lists, `time` (ns),
        `step`, `value`, `seq`. `progress` and `done` say how many lines were looked at, how many there are and how many
        names were `left_out`.

    Raises
    ------
    TooMany
        The time was over before all was looked at.
    """
    bound = Bound(end=time.monotonic() + query_s)
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    rows = [row for row in store.index(recording) if row[2] == "log"]
    total, looked = sum(row[1] for row in rows), 0
    start = min((row[3] for row in rows), default=0)
    width = (max((row[4] for row in rows), default=0) - start) // _STRETCHES + 1
    names: dict[str, bool] = {}
    carried = Carried()
    for piece, _ in stored_pieces(store, recording, LogQuery.parse({"since": "all"})):
        found = metrics(piece, carried=carried)
        for name in pc.unique(found["name"]).to_pylist():
            names.setdefault(name, len(names) < _NAMES)
        # The container, which a frame of metrics has not: by number, of which those of a piece are not always in order.
        at = pc.index_in(found["seq"], piece["seq"])
        who = pc.binary_join_element_wise(*(piece[c].cast(pa.string()).take(at) for c in ("pod", "container")), "\0")
        ranks = dict(zip(who.to_pylist(), found["rank"].to_pylist(), strict=True))
        series = []
        for one in thinned(found, who.combine_chunks().dictionary_encode(), start, width):
            if names[one["name"]]:
                pod, container = (source := one.pop("source")).split("\0")
                series.append(one | {"pod": pod, "container": container, "rank": ranks[source]})
        if series:
            yield event("points", series=series)
        looked += len(piece)
        yield event("progress", looked=looked, lines=total, left_out=list(names.values()).count(False))
        if looked < total and bound.over:
            raise TooMany(f"the numbers of {looked} of {total} lines were found within {query_s:g} s", _HINT)
    yield event("done", looked=looked, lines=total, left_out=list(names.values()).count(False))


def main() -> None:
    """Do what the input asks for."""
    logs.begin()  # what fails here is in the server's log, without the line at which it did
    os.nice(10)  # kernels, the server and searches come first
    asked: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    try:
        with open_readable(asked["store"]) as store:
            for told in measure(store, asked["recording"], asked["query_s"]):
                sys.stdout.buffer.write(told)
                sys.stdout.buffer.flush()
    except CortexError as error:
        sys.stdout.buffer.write(event("error", **error.as_dict()))
    except BrokenPipeError:  # nobody wants to know any more
        os._exit(0)


if __name__ == "__main__":
    main()
