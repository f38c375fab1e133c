"""Yield all records of a recording in the order of reading, one by one and without Arrow.

`archive.order` does the same for tables. Only lines whose place is still uncertain are in memory: a line is yielded
once no later entry reaches back to its time.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import UNBOUNDED
from cortex_jupyter.store.scan import LaterTimes, Record, Scan, records_of, with_reading_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable


def ordered(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """Yield the records of a query's window, filtered, ordered by time, and within one source in file order.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its window, filter and `tail` apply.
    start, stop : int, optional
        Only records with `start <= seq < stop`.

    Yields
    ------
    Record
    """
    records_in_order = None if start or stop is not None else _archived(store, recording, query)
    records_in_order = records_in_order or _sorted(store, recording, query, start, stop)
    if query.tail is None:
        yield from records_in_order
    elif query.tail:
        # A tail of n holds n records in memory, and no more.
        yield from deque(records_in_order, query.tail)


def _archived(store: Readable, recording: int, query: LogQuery) -> Iterator[Record] | None:
    """Yield them from an archive on this machine, if all its lines are in the order of time; else return None."""
    if not isinstance(store, ArchiveStore) or (archived := store.archived(recording)).file.objects.folder is None:
        return None
    from cortex_jupyter.tables.archived import in_time, records  # needs pyarrow, as any archive does

    return records(archived, query) if in_time(archived) else None


def _sorted(store: Readable, recording: int, query: LogQuery, start: int, stop: int | None) -> Iterator[Record]:
    index = store.index(recording)
    later = LaterTimes(index)
    reached: dict[int, int] = {}
    scan = Scan(store, recording, after=start - 1, upto=UNBOUNDED if stop is None else stop - 1, keep=query.keep())
    waiting: list[tuple[int, int, Record]] = []
    for batch in scan.within(query.since, query.until).narrowed(index).batches():
        for row in with_reading_time(records_of(batch), reached):
            heapq.heappush(waiting, row)
        floor = later.after(batch.seqs[-1])
        while waiting and waiting[0][0] < floor:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
