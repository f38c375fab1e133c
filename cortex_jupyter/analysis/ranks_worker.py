"""A process that compares the ranks of a recording: `python -m cortex_jupyter.analysis.ranks_worker`.

It reads one line of JSON from its input and writes server-sent events: `progress`; then `ranks` with a strip of each rank's
progress over time, and the message of a hang; at the end `done` or `error`.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.ranks import compare_ranks_of
from cortex_jupyter.analysis.steps import COLUMNS
from cortex_jupyter.analysis.worker import read_newest, run
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.reader.process import event
from cortex_jupyter.store.scan import require_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.analysis.ranks import Strip
    from cortex_jupyter.store import Readable

#: Maximum number of ranks that are sent; those with a note come first.
_RANKS: Final = 1024


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
    table, progress, total = read_newest(store, recording, query_s, emit, "ranks", (*COLUMNS, "stream", "message"))
    emit(event("ranks", **_compared(store, recording, table, progress.tick)))
    emit(event("done", looked=len(table), lines=total))


def _compared(store: Readable, recording: int, table: Any, tick: Callable[[], object]) -> dict[str, Any]:
    info, pc = require_info(store, recording), import_optional("pyarrow.compute")
    end = pc.max(table["time"].cast("int64")).as_py() or 0
    if not info.done:
        end = max(end, time.time_ns() + info.clock_ms * 10**6)
    elif info.finished:
        end = max(end, parse_rfc3339(info.finished))
    compared, hang = compare_ranks_of(
        store,
        recording,
        table,
        end,
        succeeded=info.state == "succeeded",
        is_over=info.done,
        steps_only=not ends_by_itself(info.ref.kind),
        tick=tick,
    )
    listed = list(zip(compared.strips, compared.table.to_pylist(), strict=True))
    if len(listed) > _RANKS:
        listed.sort(key=lambda rank: not rank[0].note)
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


if __name__ == "__main__":
    run(compare)
