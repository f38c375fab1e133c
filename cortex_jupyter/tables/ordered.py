"""All records of a recording in the order in which people read, one after the other and without Arrow.

The same order as `archive.order.sort_records` gives a table and `reader.pages` a page, but with only those lines in memory whose
place is not certain yet: a line may go out when no entry to come reaches back to its time.
"""

from __future__ import annotations

import heapq
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import Batch
from cortex_jupyter.reader.snapshot import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once.
_PIECE: Final = 4 << 20


def ordered(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """Give the records of a query's window, filtered, ordered by time, within one source as in its file.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its window, filter and `tail` hold.
    start, stop : int, optional
        Only records with `start <= seq < stop`.

    Yields
    ------
    Record
        As in `reader.pages`.
    """
    found = None if start or stop is not None else _archived(store, recording, query)
    found = found or _sorted(store, recording, query, start, stop)
    if query.tail is None:
        yield from found
    elif query.tail:
        # A tail of n holds n records in memory, and no more.
        yield from deque(found, query.tail)


def _archived(store: Readable, recording: int, query: LogQuery) -> Iterator[Record] | None:
    """Give them from an archive on this machine whose lines all stand in the order of time, where that is one."""
    if not isinstance(store, ArchiveStore) or (held := store.archived(recording)).file.objects.folder is None:
        return None
    from cortex_jupyter.tables.archived import in_time, records  # noqa: PLC0415 - needs pyarrow, as any archive does

    return records(held, query) if in_time(held) else None


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


def batches(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Iterator[Batch]:
    """Give the batches that hold records of a query's window, filtered, in the order of recording.

    A batch on the window's edge may hold records outside of it; of numbers, only `start <= seq < stop`.
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
    # The next piece is read and unpacked while this one is decoded: zstd and SQLite release the interpreter.
    with ThreadPoolExecutor(1, "cortex-frames") as pool:
        ahead = pool.submit(store.entries, recording, at, _PIECE)
        while entries := ahead.result():
            if entries[-1].last < end:
                ahead = pool.submit(store.entries, recording, entries[-1].last, _PIECE)
            for entry in entries:
                if (
                    entry.last > at
                    and entry.event == "log"
                    and _overlaps((0, 0, "", entry.t_min, entry.t_max), low, high)
                ):
                    batch = Batch.decode(entry.data)
                    if entry.seq <= at or entry.last > end:  # batches are merged at any time
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
