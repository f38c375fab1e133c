"""Read pages of a recording: the newest records of a window, older ones by time, newer ones by number.

Going back is by time, because people read by time. Going forward is in the order of recording, because only that
returns everything exactly once while lines still arrive. Both cursors carry the last number the reader's page knew of.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.query.bounds import NO_DEADLINE, Bound
from cortex_jupyter.reader.snapshot import Record, Snapshot, records_of, require_info

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.model import Cursor, IndexEntry
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.store import Readable

_AFTER_ALL = (1 << 63, 0)


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
        ns since the epoch, both inclusive.
    keep : callable, optional
        A filter, as in `Feed.frames`.
    bound : Bound, optional
    """
    index = store.index(recording)
    snapshot = before.seq if before else (index[-1][0] + index[-1][1] - 1 if index else 0)
    top = before.before if before and before.before else ((until, 1 << 63) if until is not None else _AFTER_ALL)
    floor = (since if since is not None else -1, 0)
    best: list[tuple[int, int, Record]] = []  # ascending; the `limit` newest so far, and one more
    snapshot_reader = Snapshot(store, recording, snapshot, keep)
    size, full, edge = 0, False, floor
    # Entries overlap in time if several pods write, so the entries with the latest lines come first.
    for seq, n, _, t_min, t_max in sorted(index, key=lambda row: -row[4]):
        if seq > snapshot or t_min > top[0] or t_max < floor[0]:
            continue
        if full and t_max < best[0][0]:
            break
        if snapshot_reader.looked and bound.over and floor < (t_max + 1, 0) < top:
            edge = (t_max + 1, 0)  # everything later has been read
            break
        for record in snapshot_reader.records(seq, n):
            key = (record.time, record.seq)
            if floor <= key < top and (not full or key > best[0][:2]):
                insort(best, (*key, record))
                size += len(record.text)
                full = full or len(best) > limit
                while len(best) > limit + 1 or (size > bound.size and len(best) > 1):
                    full = True
                    size -= len(best[0][2].text)
                    del best[0]
    info = require_info(store, recording)
    best = best[-limit:] if limit else []
    if edge > floor:  # the next page continues from here
        full = full and bool(best) and best[0][:2] > edge
        best = [row for row in best if row[:2] >= edge]
    # A page that is not full has reached the window's start. Before that there may be records that another page
    # with the
    # same window would not return.
    low = (best[0][:2] if best else top) if full else edge
    more = full or edge > floor
    beyond = since is not None and top > floor and _anything_before(index, floor)
    newer = replace(before, before=None) if before else info.cursor(snapshot)
    older = replace(newer, before=low) if more or beyond else None
    between = snapshot_reader.notices(lambda at: at < top and (not more or at >= low))
    stopped = more and len(best) < limit
    return Page(in_order(r for _, _, r in best), between, older, newer, stopped)


def _anything_before(index: list[IndexEntry], low: tuple[int, int]) -> bool:
    return any(event == "log" and (t_min, seq) < low for seq, _, event, t_min, _ in index)


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
    """
    records: list[Record] = []
    notices: list[dict[str, Any]] = []
    at, more, size = after.seq, False, 0
    low, high = since if since is not None else -1, until if until is not None else 1 << 63
    while not more and (entries := store.entries(recording, at, 1 << 20)):
        for entry in entries:
            if len(records) >= limit or (at > after.seq and bound.over):
                more = True
                break
            if entry.event != "log":
                if entry.event != "end":
                    notices.append(orjson.loads(entry.data))
                at = entry.last
                continue
            wanted = [r for r in records_of(entry, keep) if r.seq > at and low <= r.time <= high]
            for record in wanted:
                size += len(record.text)
                if len(records) == limit or (records and size > bound.size):
                    more = True
                    break
                records.append(record)
            at = records[-1].seq if more else entry.last
            if more:
                break
    info = require_info(store, recording)
    reached = info.cursor(at) if at > after.seq else replace(after, recording=recording)
    newer = None if info.done and not more else reached
    older = replace(after, recording=recording, before=_AFTER_ALL) if after.seq else None
    return Page(in_order(records), notices, older, newer, more and len(records) < limit)


def tail_start(
    store: Readable,
    recording: int,
    count: int,
    *,
    since: int | None,
    until: int | None,
    keep: RowFilter | None,
    bound: Bound,
) -> tuple[tuple[int, int] | None, int, bool]:
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
        before all were found. Then records before that place have not been read.
    """
    index = store.index(recording)
    low, high = (since if since is not None else -1), (until if until is not None else 1 << 63)
    best: list[tuple[int, int]] = []  # a heap
    snapshot, stopped = index[-1][0] + index[-1][1] - 1 if index else 0, False
    has_read = False
    for seq, n, event, t_min, t_max in sorted(index, key=lambda row: -row[4]) if count else ():
        if event != "log" or t_min > high or t_max < low:
            continue
        if len(best) == count and t_max < best[0][0]:
            break
        if bound.over and has_read:
            best, stopped = [key for key in best if key[0] > t_max] or [(t_max + 1, 0)], True
            break
        has_read = True
        entry = store.entry(recording, seq)
        for record in records_of(entry, keep) if entry and entry.event == "log" else ():
            if seq <= record.seq < seq + n and low <= record.time <= high:
                (heappush if len(best) < count else heappushpop)(best, (record.time, record.seq))
    return min(best, default=None), snapshot, stopped


def in_order(records: Iterable[Record]) -> list[Record]:
    """Order records by time, and the records of one source in file order, whatever their times say.

    Two writers (stdout, stderr) gave 835 timestamps out of order in 100 000 lines. So a line is placed at the latest
    time that its source had reached.
    """
    reached: dict[int, int] = {}
    keyed: list[tuple[int, int, Record]] = []
    for record in sorted(records, key=lambda r: r.seq):
        time = reached[record.sid] = max(record.time, reached.get(record.sid, record.time))
        keyed.append((time, record.seq, record))
    return [record for _, _, record in sorted(keyed, key=lambda k: k[:2])]
