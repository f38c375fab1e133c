"""Yield all records of a recording in the order of reading, one by one and without Arrow.

`archive.order` does the same for tables. Only lines whose place is still uncertain are in memory: a line is yielded
once no later entry reaches back to its time.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.order import is_ascending
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.model import STREAMS, UNBOUNDED
from cortex_jupyter.store.scan import Record, Scan, reading_order

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import Future

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable


#: Number of an archive's last records that are searched one by one for the last matches.
_LAST_BY_ROW: Final = 100_000


def ordered(
    store: Readable, recording: int, query: LogQuery, start: int = 0, stop: int | None = None
) -> Generator[Record, None, None]:
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
    start, stop = query.narrowed(start, stop)
    if query.tail is not None and (last := _last(store, recording, query, start, stop)) is not None:
        yield from last
        return
    records_in_order = None if start or stop is not None else _archived(store, recording, query)
    if records_in_order is None:
        records_in_order = (record for _, _, record in _sorted(store, recording, query, start, stop))
    # A tail of n holds n records in memory, and no more.
    yield from records_in_order if query.tail is None else deque(records_in_order, query.tail)


def _archived(store: Readable, recording: int, query: LogQuery) -> Iterator[Record] | None:
    """Yield them from an archive on this machine, if all its lines are in the order of time; else return None."""
    if not isinstance(store, ArchiveStore) or (archived := store.archived(recording)).file.objects.folder is None:
        return None
    return _archived_records(archived, query) if is_time_ordered(archived) else None


def is_time_ordered(archived: ArchivedRecording) -> bool:
    """Return whether the lines are in the order of time, so that any selection of them is in the order of reading."""
    return is_ascending(archived.file.read(columns=["time"])["time"])


def _archived_records(archived: ArchivedRecording, query: LogQuery) -> Iterator[Record]:
    """Yield the records that a query wants of an archive that is time-ordered; `tail` is ignored.

    Only these records become Python objects.
    """
    from cortex_jupyter.tables.read import read_wanted, row_groups  # 30 ms, which only archives need

    pa = import_optional("pyarrow")
    columns = ["time", "seq", "source", "stream", "text"]
    sources = {sid: source.public for sid, source in archived.sources.items()}
    groups = iter(row_groups(archived, query))
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-archived") as pool:

        def submit(count: int) -> list[Future[Any]]:
            return [
                pool.submit(read_wanted, archived, query, columns, groups=[group]) for group in islice(groups, count)
            ]

        futures = submit(pa.cpu_count())
        while futures:
            rows = futures.pop(0).result()
            futures += submit(1)
            times = rows["time"].cast(pa.int64()).to_pylist()
            other_columns = (rows[name].to_pylist() for name in columns[1:])
            for time, seq, sid, stream, text in zip(times, *other_columns, strict=True):
                yield Record(seq, time, sid, sources[sid], STREAMS.index(stream), text)


def _last(store: Readable, recording: int, query: LogQuery, start: int, stop: int | None) -> Iterable[Record] | None:
    """Return the last records, `query.tail` of them, without reading more of the recording than necessary.

    Batch after batch is added at the front until enough records have a later time than all batches before. No earlier
    record can be among them then, and none can change their order. The index alone shows while they
    cannot be enough, so one early line of a clock that is ahead costs one pass. Return None if an archive's columns are
    the quicker way: if matches are rare, or if the batches overlap.
    """
    is_archive = isinstance(store, ArchiveStore)
    count = query.tail or 0
    scan = Scan(store, recording, after=start - 1, upto=UNBOUNDED if stop is None else stop - 1)
    rows = scan.within(query.since, query.until).by_number(store.index(recording)) if count else []
    latest_before = [-1, *accumulate((row.t_max for row in rows), max)]
    first, room = len(rows), 2 * count
    while first:
        while first and room > 0:
            first -= 1
            room -= rows[first].n
        before = latest_before[first]
        if min(row.t_min for row in rows[first:]) >= before:
            before -= 1  # of equal times, the one with the higher number comes later
        size = room = sum(row.n for row in rows[first:])
        if first and sum(row.n for row in rows[first:] if row.t_max > before) < count:
            continue
        if is_archive and size > _LAST_BY_ROW + 4 * count:
            return None
        begin = rows[first].seq if first else start
        candidates = (row for row in _sorted(store, recording, query, begin, stop) if row[0] > before or not first)
        last = deque(candidates, count)
        if len(last) == count or not first:
            return [record for _, _, record in last]
        if is_archive and query.keep() is None:
            return None
        room = 4 * size
    return []


def _sorted(
    store: Readable, recording: int, query: LogQuery, start: int, stop: int | None
) -> Iterator[tuple[int, int, Record]]:
    """Yield the records with what sorts them (`with_reading_time`)."""
    index = store.index(recording)
    scan = Scan(store, recording, after=start - 1, upto=UNBOUNDED if stop is None else stop - 1, keep=query.keep())
    yield from reading_order(scan.within(query.since, query.until).narrowed(index).batches(), index)
