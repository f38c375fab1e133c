"""A process that compares the ranks of a recording: `python -m cortex_jupyter.analysis.ranks_worker`.

It reads one line of JSON from its input and writes server-sent events: `progress`; then `ranks` with a strip of each rank's
progress over time, and the message of a hang; at the end `done` or `error`.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.diagnosis import diagnose
from cortex_jupyter.analysis.hangs import hangs
from cortex_jupyter.analysis.ranks import compare_ranks
from cortex_jupyter.analysis.steps import COLUMNS, read_progress
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import open_readable
from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.errors import CortexError, TooMany
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.query.bounds import Bound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.process import event
from cortex_jupyter.store.scan import require_info
from cortex_jupyter.tables.read import read
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.analysis.ranks import Strip
    from cortex_jupyter.store import Readable

#: Maximum number of lines, the newest ones.
_LINES: Final = 1_000_000
#: Maximum number of ranks that are sent; those with a note come first.
_RANKS: Final = 1024
_PROGRESS_S: Final = 0.2
_HINT: Final = (
    "call ranks() of the log in a kernel to read all lines, or raise CortexJupyter.max_query_s on this server"
)


def compare(store: Readable, recording: int, query_s: float, emit: Callable[[bytes], object]) -> None:
    """Compare the ranks of a recording by its newest lines, and pass the result on as events.

    Parameters
    ----------
    store : Readable
    recording : int
    query_s : float
        Time limit of reading (seconds).
    emit : callable
        Gets whole events. `progress` holds the numbers of lines read (`looked`) and to be read (`lines`). `ranks` holds
        `ranks`: the fields of `ranks.Strip`, with `pod`, `container` and `seq` (of the rank's first error or last line); `left_out`,
        how many more there are; `from` and `to` (ns), the time of the strips; and `hang`, the message of a hang that no step
        ended.

    Raises
    ------
    TooMany
        The time was over before the lines were read.
    """
    rows = [row for row in store.index(recording) if row.event == "log"]
    total, start, wanted = sum(row.n for row in rows), 0, 0
    for row in reversed(rows):
        if wanted + row.n > _LINES and wanted:
            break
        start, wanted = row.seq, wanted + row.n
    bound, looked, last = Bound(end=time.monotonic() + query_s), 0, time.monotonic()

    def progress(n: int) -> None:
        nonlocal looked, last
        looked += n
        if (now := time.monotonic()) > last + _PROGRESS_S:
            last = now
            emit(event("progress", looked=looked, lines=wanted))
        if looked < wanted and bound.over:
            raise TooMany(f"only {looked} of {wanted} lines could be read within {query_s:g} s", _HINT)

    columns = (*COLUMNS, "stream", "message")
    first = start if wanted < total else 0
    table = read(store, recording, LogQuery.parse({"since": "all"}), progress, columns, first)
    emit(event("progress", looked=len(table), lines=len(table)))
    emit(event("ranks", **_compared(store, recording, table)))
    emit(event("done", looked=len(table), lines=total))


def _compared(store: Readable, recording: int, table: Any) -> dict[str, Any]:
    info, pc = require_info(store, recording), import_optional("pyarrow.compute")
    end = pc.max(table["time"].cast("int64")).as_py() or 0
    if not info.done:
        end = max(end, time.time_ns() + info.clock_ms * 10**6)
    elif info.finished:
        end = max(end, parse_rfc3339(info.finished))
    found = read_progress(table)
    hang = hangs(table, found, end, is_over=info.done, steps_only=not ends_by_itself(info.ref.kind)).last
    diagnosis = diagnose(store, recording, table, succeeded=info.state == "succeeded")
    containers = {(c.pod, c.container, c.run): c for c in diagnosis.containers}
    compared = compare_ranks(
        table,
        found,
        containers,
        diagnosis.errors,
        end,
        culprit=None if info.state == "succeeded" else diagnosis.culprit,
        behind=hang["behind"] if hang else (),
        is_over=info.done,
    )
    listed = list(zip(compared.strips, compared.table.to_pylist(), strict=True))
    if len(listed) > _RANKS:
        listed.sort(key=lambda one: not one[0].note)
    ranks = [
        _plain(strip) | {"pod": row["pod"], "container": row["container"], "seq": row["error_seq"] or row["seq"]}
        for strip, row in listed[:_RANKS]
    ]
    return {
        "ranks": ranks,
        "left_out": len(listed) - len(ranks),
        "from": compared.start,
        "to": compared.end,
        "hang": hang["message"] if hang else "",
    }


def _plain(strip: Strip) -> dict[str, Any]:
    """Return a strip for JSON, which has no NaN."""
    return {
        "name": strip.name,
        "note": strip.note,
        "label": strip.label,
        "start": strip.start,
        "end": strip.end,
        "pace": [None if math.isnan(x) else round(x, 2) for x in strip.pace],
        "lag": [round(x, 2) for x in strip.lag],
        "last_step": strip.last_step,
        "error": strip.error,
        "ended": strip.ended,
    }


def main() -> None:
    """Read a request from standard input, and write the comparison to standard output."""
    logs.begin()  # an error goes to the server's log, without the log line that caused it
    os.nice(10)  # kernels, the server and searches come first
    request: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())

    def emit(piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    try:
        with open_readable(request["store"]) as store:
            compare(store, request["recording"], request["query_s"], emit)
    except CortexError as error:
        emit(event("error", **error.as_dict()))
    except BrokenPipeError:  # the reader has left
        os._exit(0)


if __name__ == "__main__":
    main()
