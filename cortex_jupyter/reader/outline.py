"""Count the lines of a recording over time, without reading them.

The store's index has each batch's count and its earliest and latest time, so ten million lines are a few thousand rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.store.scan import last_number, read_notices

if TYPE_CHECKING:
    from cortex_jupyter.store import Readable

#: Notices included at most, the newest ones: each costs a read.
_NOTICES: Final = 500
#: Width of the finest bins (ns); bins are this wide, times a power of two.
_FINEST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Outline:
    """How the lines of a recording are spread over time.

    Parameters
    ----------
    records : int
    first, last : int or None
        Earliest and latest time of a record, ns since the Unix epoch.
    upto : int
        Number of the last record counted.
    start, width : int
        Where the first bin begins (ns since the Unix epoch), and the width of each (ns).
    lines : list of int
        Records in each bin; the records of a batch count as spread evenly over its time.
    notices : list of dict
        The data of the status, gap and end events, in order of number.
    """

    records: int
    first: int | None
    last: int | None
    upto: int
    start: int
    width: int
    lines: list[int]
    notices: list[dict[str, Any]]


def outline(store: Readable, recording: int, bins: int) -> Outline:
    """Count the lines of a recording over time; it blocks.

    Parameters
    ----------
    store : Readable
    recording : int
    bins : int
        Number of bins at most. A recording longer than `bins` milliseconds gets more than half as many.

    Examples
    --------
    >>> spread([(10, 10, 4), (10, 19, 10)], start=10, width=5, count=2)
    [9, 5]
    """
    index = store.index(recording)
    logs = [row for row in index if row.event == "log"]
    newest_notices = [row for row in index if row.event != "log"][-_NOTICES:]
    notices = [
        orjson.loads(entry.data) | {"event": entry.event} for entry in read_notices(store, recording, newest_notices)
    ]
    upto = last_number(index)
    if not logs:
        return Outline(0, None, None, upto, 0, _FINEST, [], notices)
    first, last = min(row.t_min for row in logs), max(row.t_max for row in logs)
    width = _FINEST
    while last // width - first // width >= bins:
        width *= 2
    # Start at a multiple of the width. So as the recording grows, bins keep their edges, or pairs of them become one.
    start = first // width * width
    lines = spread([(row.t_min, row.t_max, row.n) for row in logs], start, width, (last - start) // width + 1)
    return Outline(sum(row.n for row in logs), first, last, upto, start, width, lines, notices)


def spread(batches: list[tuple[int, int, int]], start: int, width: int, count: int) -> list[int]:
    """Return how many lines lie in each bin; the sum is exact.

    Parameters
    ----------
    batches : list of tuple
        Earliest time (ns), latest time (ns) and lines of each.
    start, width, count : int
        Start and width of the bins (ns), and their number.
    """
    bins = [0] * count
    for t_min, t_max, n in batches:
        low, high = (t_min - start) // width, (t_max - start) // width
        if low == high:
            bins[low] += n
            continue
        span, assigned = t_max - t_min + 1, 0
        for i in range(low, high + 1):
            upto = n if i == high else n * (start + (i + 1) * width - t_min) // span
            bins[i] += upto - assigned
            assigned = upto
    return bins
