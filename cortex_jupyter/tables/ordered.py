"""Yield all records of a recording in the order of reading, one by one and without Arrow.

The order is that of `archive.order.in_order` for tables and `reader.pages` for pages. Only lines whose place is still
uncertain are in memory: a line is yielded once no later entry reaches back to its time.
"""

from __future__ import annotations

import heapq
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import Batch
from cortex_jupyter.store.scan import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once.
_PIECE: Final = 4 << 20


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
        As in `reader.pages`.
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
    from cortex_jupyter.tables.archived import in_time, records  # noqa: PLC0415 - needs pyarrow, as any archive does

    return records(archived, query) if in_time(archived) else None


def _sorted(store: Readable, recording: int, query: LogQuery, start: int, stop: int | None) -> Iterator[Record]:
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


def _floors(store: Readable, recording: int) -> deque[tuple[int, int]]:
    """Return for each entry its number, and the earliest time in it and all later entries."""
    floor, floors = 1 << 63, []
    for seq, _, event, t_min, _ in reversed(store.index(recording)):
        if event == "log":
            floor = min(floor, t_min)
            floors.append((seq, floor))
    return deque(reversed(floors))


def _records(batch: Batch) -> Iterator[Record]:
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return (Record(seq, at, sid, batch.sources[sid], stream, text) for seq, at, sid, stream, text in rows)


def batches(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Iterator[Batch]:
    """Yield the batches that hold records of a query's window, filtered, in the order of recording.

    A batch at the window's edge may hold records outside of it, but none outside of `start <= seq < stop`.
    """
    keep = query.keep()
    low, high = query.since, query.until
    index = [row for row in store.index(recording) if row[2] == "log" and _overlaps(row, low, high)]
    if not index:
        return
    at, end = max(start, index[0][0]) - 1, index[-1][0] + index[-1][1] - 1
    end = end if stop is None else min(end, stop - 1)
    if at >= end:
        return
    # Read and unpack the next piece while this one is decoded: zstd and SQLite release the interpreter lock.
    with ThreadPoolExecutor(1, "cortex-frames") as pool:
        next_entries = pool.submit(store.entries, recording, at, _PIECE)
        while entries := next_entries.result():
            if entries[-1].last < end:
                next_entries = pool.submit(store.entries, recording, entries[-1].last, _PIECE)
            for entry in entries:
                if (
                    entry.last > at
                    and entry.event == "log"
                    and _overlaps((0, 0, "", entry.t_min, entry.t_max), low, high)
                ):
                    batch = Batch.decode(entry.data)
                    if entry.seq <= at or entry.last > end:  # batches can be merged at any time
                        batch = batch.take([i for i, seq in enumerate(batch.seqs) if at < seq <= end])
                    if keep is not None:
                        batch = batch.take(list(keep(batch)))
                    if len(batch):
                        yield batch
                at = max(at, entry.last)
            if at >= end:
                return


def _overlaps(row: tuple[int, int, str, int, int], low: int | None, high: int | None) -> bool:
    return (low is None or row[4] >= low) and (high is None or row[3] <= high)
