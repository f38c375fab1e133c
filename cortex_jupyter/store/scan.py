"""Read a recording, in a store or an archive: forwards by number, or by time from its newest or its oldest line.

Entries change while they are read: neighbours are merged into one, and the oldest are trimmed to one notice. So a scan
counts numbers, not entries, and yields each number once.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from cortex_jupyter.model import AFTER_ALL, UNBOUNDED, Batch, Entry
from cortex_jupyter.query.tracebacks import find_tracebacks
from cortex_jupyter.store.deletion import not_held

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cortex_jupyter.model import IndexEntry, Place, PublicSource
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.query.tracebacks import KnownTracebacks
    from cortex_jupyter.store.protocol import Readable
    from cortex_jupyter.store.types import RecordingInfo

#: Bytes read from the store at once.
_PIECE: Final = 1 << 20
#: Bytes that a waiting record takes beside its text.
_RECORD_SIZE: Final = 256
_BEFORE_ALL: Final[Place] = (-UNBOUNDED, 0)


class EntryPart(NamedTuple):
    """An entry, and the first and the last of its numbers that a scan wants."""

    entry: Entry
    first: int
    last: int

    @property
    def is_whole(self) -> bool:
        """Whether the scan wants all numbers of the entry."""
        return self.first <= self.entry.seq and self.entry.last <= self.last


@dataclass(frozen=True, slots=True)
class Scan:
    """Which records of a recording to read.

    Parameters
    ----------
    store : Readable
    recording : int
    after, upto : int, optional
        Only numbers above `after`, up to and including `upto`.
    low, high : tuple of (int, int), optional
        Only records with `low <= (time, number) < high`.
    keep : callable, optional
        A filter: takes a batch and returns the positions of the wanted records.
    """

    store: Readable
    recording: int
    _: KW_ONLY
    after: int = 0
    upto: int = UNBOUNDED
    low: Place = _BEFORE_ALL
    high: Place = AFTER_ALL
    keep: RowFilter | None = None

    def within(self, since: int | None, until: int | None) -> Self:
        """Return a scan of only the records in a window of time (ns since the Unix epoch, both inclusive)."""
        low = self.low if since is None else max(self.low, (since, 0))
        high = self.high if until is None else min(self.high, (until, UNBOUNDED))
        return replace(self, low=low, high=high)

    def overlaps(self, entry: Entry | IndexEntry) -> bool:
        """Return whether an entry may hold records with a wanted time."""
        return entry.t_max >= self.low[0] and entry.t_min <= self.high[0]

    def by_time(self, index: list[IndexEntry], *, newest_first: bool) -> list[IndexEntry]:
        """Return the rows of the index that hold wanted numbers and times, by their latest or by their earliest time.

        Entries overlap in time if several pods write. So a reader has all newest (oldest) lines up to a time once the
        latest (earliest) time of the next row is beyond it.
        """
        rows = [row for row in index if row.seq <= self.upto and row.last > self.after and self.overlaps(row)]
        rows.sort(key=attrgetter("t_max" if newest_first else "t_min"), reverse=newest_first)
        return rows

    def by_number(self, index: list[IndexEntry]) -> list[IndexEntry]:
        """Return the rows of the index that may hold wanted records."""
        wanted = (row for row in index if row.seq <= self.upto and row.last > self.after)
        return [row for row in wanted if row.event == "log" and self.overlaps(row)]

    def narrowed(self, index: list[IndexEntry]) -> Self:
        """Return a scan by number that begins and ends with batches that may hold wanted times."""
        rows = self.by_number(index)
        if not rows:
            return replace(self, upto=self.after)
        return replace(self, after=max(self.after, rows[0].seq - 1), upto=min(self.upto, rows[-1].last))

    def read(self, row: IndexEntry) -> EntryPart | None:
        """Read the entry that holds the numbers of a row of the index now; None if it has left the store."""
        entry = self.store.entry(self.recording, row.seq)
        return None if entry is None else EntryPart(entry, max(row.seq, self.after + 1), min(row.last, self.upto))

    def read_batch(self, row: IndexEntry) -> Batch | None:
        """Read the wanted records that a row of the index stands for; None if there are none, and for a notice."""
        part = self.read(row) if row.event == "log" and self.overlaps(row) else None
        return None if part is None else self.batch(part)

    def parts(self) -> Iterator[EntryPart]:
        """Yield all entries that hold wanted numbers, of any time, by number.

        If the scan has an end, the next entries are read while the caller works on these: zstd and SQLite release the
        interpreter lock.

        Raises
        ------
        CursorNotHeld
            The recording has left the store.
        """
        position, read = max(self.after, 0), partial(self.store.entries, self.recording)
        if position >= self.upto:
            return
        has_end = self.upto < UNBOUNDED
        pool = ThreadPoolExecutor(1, "cortex-scan")
        try:
            entries = read(position, _PIECE)
            while entries:
                last = entries[-1].last
                next_read = pool.submit(read, last, _PIECE) if has_end and last < self.upto else None
                for entry in entries:
                    if entry.seq > self.upto:
                        return
                    if entry.last > position:
                        yield EntryPart(entry, max(entry.seq, position + 1), min(entry.last, self.upto))
                        position = entry.last
                if position >= self.upto:
                    return
                entries = next_read.result() if next_read else read(position, _PIECE)
        finally:
            pool.shutdown(wait=False)  # a reader that leaves may do so on an event loop
        if has_end:
            require_info(self.store, self.recording)

    def batch(self, part: EntryPart) -> Batch | None:
        """Return the wanted records of a batch; None if there are none, and for a notice."""
        entry = part.entry
        if entry.event != "log" or not self.overlaps(entry):
            return None
        batch = Batch.decode(entry.data)
        positions = range(len(batch)) if self.keep is None else self.keep(batch)
        if not (part.is_whole and (entry.t_min, 0) >= self.low and (entry.t_max, UNBOUNDED) <= self.high):
            seqs, times, low, high = batch.seqs, batch.times, self.low, self.high
            positions = [
                i for i in positions if part.first <= seqs[i] <= part.last and low <= (times[i], seqs[i]) < high
            ]
        selected = batch if len(positions) == len(batch) else batch.take(list(positions))
        return selected if selected.seqs else None

    def batches(self) -> Iterator[Batch]:
        """Yield the wanted records batch by batch, by number."""
        for part in self.parts():
            if (batch := self.batch(part)) is not None:
                yield batch


def scan_tracebacks(store: Readable, recording: int, query: LogQuery, upto: int = UNBOUNDED) -> KnownTracebacks:
    """Find the tracebacks in the window and the sources of a query. A traceback that another filter cuts is found whole.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
    upto : int, optional
        The last number that is read.
    """
    of_sources = replace(query, level=None, stream=None, grep=(), exclude=(), where=(), numbers=None).keep()
    scan = Scan(store, recording, upto=upto, keep=of_sources).within(query.since, query.until)
    return find_tracebacks(scan.batches())


def last_number(index: list[IndexEntry]) -> int:
    """Return the last number of a recording; 0 if it is empty."""
    return index[-1].last if index else 0


def read_notices(store: Readable, recording: int, rows: Iterable[IndexEntry]) -> list[Entry]:
    """Return the notices among these rows of the index, by number.

    Each comes once: since the index was read, several may have been trimmed to one.
    """
    entries = (store.entry(recording, row.seq) for row in rows if row.event != "log")
    return list({entry.seq: entry for entry in entries if entry is not None and entry.event != "log"}.values())


def require_info(store: Readable, recording: int) -> RecordingInfo:
    """Return a recording's state, or raise: it may have left while it was read.

    Raises
    ------
    CursorNotHeld
    """
    info = store.info(recording)
    if info is None:
        raise not_held(store, recording)
    return info


class LaterTimes:
    """The earliest time in all batches after a number: no line of those comes before it in the order of reading.

    Parameters
    ----------
    index : list of IndexEntry

    Examples
    --------
    >>> from cortex_jupyter.model import IndexEntry
    >>> later = LaterTimes([IndexEntry(1, 2, "log", 5, 6), IndexEntry(3, 1, "log", 4, 7)])
    >>> later.after(0), later.after(2), later.after(3) == UNBOUNDED
    (4, 4, True)
    """

    def __init__(self, index: list[IndexEntry]) -> None:
        rows = [row for row in index if row.event == "log"]
        self._seqs = [row.seq for row in rows]
        self._times = list(accumulate((row.t_min for row in reversed(rows)), min))[::-1]

    def after(self, number: int) -> int:
        """Return that time (ns), `UNBOUNDED` if no batch follows."""
        position = bisect_right(self._seqs, number)
        return self._times[position] if position < len(self._times) else UNBOUNDED


@dataclass(frozen=True, slots=True)
class Record:
    """One line.

    Parameters
    ----------
    seq : int
    time : int
        ns since the Unix epoch.
    sid : int
        Id of its source within the recording.
    source : dict
        As `Source.public` returns it.
    stream : int
        Index in `STREAMS`.
    text : str
    """

    seq: int
    time: int
    sid: int
    source: PublicSource
    stream: int
    text: str


def records_of(batch: Batch) -> list[Record]:
    """Return the records of a batch."""
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return [Record(seq, time, sid, batch.sources[sid], stream, text) for seq, time, sid, stream, text in rows]


def with_reading_time(records: Iterable[Record], reached: dict[int, int]) -> Iterator[tuple[int, int, Record]]:
    """Yield for records by number what sorts them into the order of reading: a time, the number, and the record.

    That order is by time, and within one source the order of its file, whatever its times say. Two writers (stdout,
    stderr) gave 835 timestamps out of order in 100 000 lines. So a line is placed at the latest time that its source
    has reached.

    Parameters
    ----------
    records : iterable of Record
    reached : dict
        The latest time of each source; it is updated.
    """
    for record in records:
        time = reached[record.sid] = max(record.time, reached.get(record.sid, record.time))
        yield time, record.seq, record


def reading_order(
    batches: Iterable[Batch], index: list[IndexEntry], max_size: int | None = None
) -> Iterator[tuple[int, int, Record]]:
    """Yield the records of batches in the order of reading, with what sorts them (`with_reading_time`).

    Only lines whose place is still uncertain are in memory.

    Parameters
    ----------
    batches : iterable of Batch
        In the order of recording.
    index : list of IndexEntry
        Of the recording; it shows when no later batch reaches back to the time of a line.
    max_size : int, optional
        Limit on the lines that wait for older ones: their characters, and 256 for each line. Without a limit, the lines of
        a container that is recorded long after the others keep everything in memory.
    """
    later = LaterTimes(index)
    reached: dict[int, int] = {}
    waiting: list[tuple[int, int, Record]] = []
    waiting_size = 0
    for batch in batches:
        for row in with_reading_time(records_of(batch), reached):
            heapq.heappush(waiting, row)
            waiting_size += len(row[2].text) + _RECORD_SIZE
        floor = later.after(batch.seqs[-1])
        while waiting and (waiting[0][0] < floor or (max_size is not None and waiting_size > max_size)):
            row = heapq.heappop(waiting)
            waiting_size -= len(row[2].text) + _RECORD_SIZE
            yield row
    while waiting:
        yield heapq.heappop(waiting)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Sort records into the order of reading."""
    by_number = sorted(records, key=attrgetter("seq"))
    return [record for _, _, record in sorted(with_reading_time(by_number, {}))]
