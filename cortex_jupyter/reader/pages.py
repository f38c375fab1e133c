"""Read pages of a recording: the newest records of a window, those around a moment, and on from there.

Going back, and on from a moment, is by time, because people read by time. Going forward from a cursor without a time is
in the order of recording, because only that returns everything exactly once while lines still arrive. All cursors carry
the last number that the reader's first page knew of.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.model import AFTER_ALL, UNBOUNDED
from cortex_jupyter.query.bounds import NO_DEADLINE, Bound
from cortex_jupyter.store.scan import Record, Scan, in_order, last_number, records_of, require_info

if TYPE_CHECKING:
    from cortex_jupyter.model import Cursor, Entry, IndexEntry, Place
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Readable


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a recording, ordered by time, and within one source in file order.

    Parameters
    ----------
    records : list of Record
    notices : list of dict
        The data of the status and gap events between them.
    older, newer : Cursor or None
        None if nothing is left in that direction.
    stopped : bool
        The page ended at a limit of time or size; its cursors lead to the rest.
    """

    records: list[Record]
    notices: list[dict[str, Any]]
    older: Cursor | None
    newer: Cursor | None
    stopped: bool = False


def newest(
    store: Readable,
    recording: int,
    *,
    limit: int,
    before: Cursor | None = None,
    since: int | None = None,
    until: int | None = None,
    keep: RowFilter | None = None,
    bound: Bound = NO_DEADLINE,
) -> Page:
    """Return the newest records of a window, or those before a cursor.

    Parameters
    ----------
    store : Readable
    recording : int
    limit : int
    before : Cursor, optional
        `older` of another page.
    since, until : int, optional
        ns since the Unix epoch, both inclusive.
    keep : callable, optional
        A filter, as in `Scan`.
    bound : Bound, optional

    Raises
    ------
    CursorNotHeld
        The recording has left the store.
    """
    index = store.index(recording)
    snapshot = before.seq if before else last_number(index)
    high = (before and before.before) or AFTER_ALL
    scan = Scan(store, recording, upto=snapshot, high=high, keep=keep).within(since, until)
    content = _first_by_time(scan, index, limit, bound, newest_first=True)
    info = require_info(store, recording)
    newer = replace(before, before=None) if before else info.cursor(snapshot)
    rest = content.reached
    # Before the window's start there may be records that another page with the same window would not return.
    if rest is None and since is not None and scan.low < scan.high and begins_before(index, scan.low):
        rest = scan.low
    older = None if rest is None else replace(newer, before=rest)
    return Page(in_order(content.records), content.notices, older, newer, content.stopped)


def begins_before(index: list[IndexEntry], start: Place) -> bool:
    """Return whether a recording has records before a place."""
    return any(row.event == "log" and (row.t_min, row.seq) < start for row in index)


def around(
    store: Readable, recording: int, *, at: int, limit: int, keep: RowFilter | None = None, bound: Bound = NO_DEADLINE
) -> Page:
    """Return the records on both sides of a moment. `newest` continues from its `older`, `onward` from its `newer`.

    Parameters
    ----------
    store, recording, keep, bound
        As in `newest`.
    at : int
        ns since the Unix epoch.
    limit : int
        Records of the page; half of them lie before the moment, if there are enough.

    Raises
    ------
    CursorNotHeld
    """
    position = require_info(store, recording).cursor(last_number(store.index(recording)), (at, 0))
    before = newest(store, recording, limit=limit // 2, before=position, keep=keep, bound=bound)
    after = onward(store, recording, after=position, limit=limit - len(before.records), keep=keep, bound=bound)
    records = in_order([*before.records, *after.records])
    notices, stopped = [*before.notices, *after.notices], before.stopped or after.stopped
    return Page(records, notices, before.older, after.newer, stopped)


def onward(
    store: Readable,
    recording: int,
    *,
    after: Cursor,
    limit: int,
    keep: RowFilter | None = None,
    bound: Bound = NO_DEADLINE,
) -> Page:
    """Return the oldest records after a place, by time.

    Parameters
    ----------
    store, recording, limit, keep, bound
        As in `newest`.
    after : Cursor
        `newer` of `around`. Its (time, seq) says up to where the reader has everything.

    Raises
    ------
    CursorNotHeld
    """
    assert after.before is not None
    time, seq = after.before
    scan = Scan(store, recording, upto=after.seq, low=(time, seq + 1), keep=keep)
    content = _first_by_time(scan, store.index(recording), limit, bound, newest_first=False)
    require_info(store, recording)
    newer = None if content.reached is None else replace(after, before=content.reached)
    return Page(in_order(content.records), content.notices, None, newer, content.stopped)


@dataclass(frozen=True, slots=True)
class _PageContent:
    """The first records of a scan by time, and the notices between them; None for `reached` if these are all."""

    records: list[Record]
    notices: list[dict[str, Any]]
    reached: Place | None
    stopped: bool


def _first_by_time(
    scan: Scan, index: list[IndexEntry], limit: int, bound: Bound, *, newest_first: bool
) -> _PageContent:
    """Find the first `limit` records of a scan by time, from its newest or from its oldest record on."""
    start = scan.high if newest_first else scan.low
    # The first records that were found: at most one more than `limit`, and no more text than `bound` allows.
    rows: list[tuple[int, int, Record]] = []
    size, is_full, has_read = 0, False, False
    edge: Place | None = None
    notices: dict[int, Entry] = {}
    for row in scan.by_time(index, newest_first=newest_first):
        if is_full and not scan.overlaps(row):
            break
        boundary = (row.t_max + 1, 0) if newest_first else (row.t_min - 1, UNBOUNDED)
        if has_read and bound.over and scan.low < boundary < scan.high:
            edge = boundary  # everything up to there has been read
            break
        part = scan.read(row)
        if part is None:
            continue
        if part.entry.event != "log":  # also if the row was a batch that has been trimmed since
            notices[part.entry.seq] = part.entry
            continue
        has_read = True
        if (batch := scan.batch(part)) is None:
            continue
        rows += [(record.time, record.seq, record) for record in records_of(batch)]
        rows.sort(reverse=newest_first)
        size += sum(map(len, batch.texts))
        if len(rows) > limit or size > bound.size:
            sizes = list(accumulate(len(record.text) for _, _, record in rows[: limit + 1]))
            count = max(1, bisect_right(sizes, bound.size))
            size, is_full = sizes[count - 1], is_full or len(rows) > limit or len(rows) > count
            del rows[count:]
        if is_full:  # only records before the last of these are wanted now
            scan = replace(scan, low=rows[-1][:2]) if newest_first else replace(scan, high=rows[-1][:2])
    reached = (rows[:limit][-1][:2] if limit and rows else start) if is_full else None
    if edge is not None and (reached is None or (reached < edge if newest_first else reached > edge)):
        reached = edge

    def is_reached(place: Place) -> bool:
        return reached is None or (place >= reached if newest_first else place <= reached)

    records = [record for time, seq, record in rows[:limit] if is_reached((time, seq))]
    documents = []
    for entry in sorted(notices.values(), key=attrgetter("t_min", "seq")):
        place = (entry.t_min, entry.seq)
        is_behind_start = place < start if newest_first else place >= start
        if entry.event != "end" and is_behind_start and is_reached(place):
            documents.append(orjson.loads(entry.data))
    return _PageContent(records, documents, reached, reached is not None and len(records) < limit)


def following(
    store: Readable,
    recording: int,
    *,
    after: Cursor,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    keep: RowFilter | None = None,
    bound: Bound = NO_DEADLINE,
) -> Page:
    """Return the records recorded after a cursor; over all pages, each exactly once.

    Parameters
    ----------
    store, recording, limit, since, until, keep, bound
        As in `newest`.
    after : Cursor
        `newer` of another page, an event's `id:`, or 0.

    Raises
    ------
    CursorNotHeld
    """
    records: list[Record] = []
    notices: list[dict[str, Any]] = []
    at, more, size = after.seq, False, 0
    scan = Scan(store, recording, after=after.seq, keep=keep).within(since, until)
    for part in scan.parts():
        if len(records) >= limit or (at > after.seq and bound.over):
            more = True
            break
        batch = scan.batch(part)
        if part.entry.event not in ("log", "end"):
            notices.append(orjson.loads(part.entry.data))
        for record in records_of(batch) if batch else ():
            size += len(record.text)
            if len(records) == limit or (records and size > bound.size):
                more = True
                break
            records.append(record)
        if more:
            at = records[-1].seq
            break
        at = part.last
    info = require_info(store, recording)
    reached = info.cursor(at) if at > after.seq else replace(after, recording=recording)
    newer = None if info.done and not more else reached
    older = replace(after, recording=recording, before=AFTER_ALL) if after.seq else None
    return Page(in_order(records), notices, older, newer, more and len(records) < limit)


def tail_of(store: Readable, recording: int, query: LogQuery) -> tuple[Place | None, int, bool]:
    """Find where the `tail` of a query begins; see `tail_start`."""
    assert query.tail is not None
    window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": query.keep()}
    return tail_start(store, recording, query.tail, **window, bound=query.bound())


def tail_start(
    store: Readable,
    recording: int,
    count: int,
    *,
    since: int | None,
    until: int | None,
    keep: RowFilter | None,
    bound: Bound,
) -> tuple[Place | None, int, bool]:
    """Find where the newest records of a window begin; only their places are kept in memory.

    Parameters
    ----------
    store, recording, since, until, keep, bound
        As in `newest`, but the bound's size is not used.
    count : int

    Returns
    -------
    tuple
        (time, seq) of the oldest of them, or None; the last number that was considered; and whether the time ran out
        before all were content. Then records before that place have not been read.
    """
    index = store.index(recording)
    scan = Scan(store, recording, upto=last_number(index), keep=keep).within(since, until)
    best: list[Place] = []  # a heap
    is_stopped = has_read = False
    for row in scan.by_time(index, newest_first=True) if count else ():
        if row.event != "log":
            continue
        if len(best) == count and row.t_max < best[0][0]:
            break
        if bound.over and has_read:
            best, is_stopped = [place for place in best if place[0] > row.t_max] or [(row.t_max + 1, 0)], True
            break
        has_read, batch = True, scan.read_batch(row)
        for place in zip(batch.times, batch.seqs, strict=True) if batch else ():
            (heappush if len(best) < count else heappushpop)(best, place)
    return min(best, default=None), scan.upto, is_stopped
