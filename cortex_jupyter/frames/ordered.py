"""All records of a recording in the order in which people read, one after the other and without Arrow.

The same order as `in_order` gives a table and `recording.pages` a page, but with only those lines in memory whose
place is not certain yet: a line may go out when no entry to come reaches back to its time.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from cortex_jupyter.frames.read import batches
from cortex_jupyter.recording.pages import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.store import Store
    from cortex_jupyter.records import Batch


def ordered(store: Store, recording: int, query: LogQuery, start: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Give the records of a query's window, filtered, ordered by time, within one source as in its file.

    Parameters
    ----------
    store : Store
    recording : int
    query : LogQuery
        Its window, filter and `tail` hold.
    start, stop : int, optional
        Only records with `start <= seq < stop`.

    Yields
    ------
    Record
        As in `recording.pages`.
    """
    found = _sorted(store, recording, query, start, stop)
    if query.tail is None:
        yield from found
    elif query.tail:
        # A tail of n holds n records in memory, and no more.
        yield from deque(found, query.tail)


def _sorted(store: Store, recording: int, query: LogQuery, start: int, stop: int | None) -> Iterator[Record]:
    floors = _floors(store, recording)
    low = query.since if query.since is not None else -1
    high = query.until if query.until is not None else 1 << 63
    waiting: list[tuple[int, int, Record]] = []
    reached: dict[int, int] = {}
    for batch in batches(store, recording, query, start, stop):
        for record in _records(batch):
            at = reached[record.sid] = max(record.time, reached.get(record.sid, record.time))
            if low <= record.time <= high:
                heapq.heappush(waiting, (at, record.seq, record))
        while floors and floors[0][0] <= batch.seqs[-1]:
            floors.popleft()
        floor = floors[0][1] if floors else 1 << 63
        while waiting and waiting[0][0] < floor:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _floors(store: Store, recording: int) -> deque[tuple[int, int]]:
    """Give for each entry its number and the earliest time in it and in all that follow it."""
    floor, floors = 1 << 63, []
    for seq, _, event, t_min, _ in reversed(store.index(recording)):
        if event == "log":
            floor = min(floor, t_min)
            floors.append((seq, floor))
    return deque(reversed(floors))


def _records(batch: Batch) -> Iterator[Record]:
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return (Record(seq, at, sid, batch.sources[sid], stream, text) for seq, at, sid, stream, text in rows)
