"""Pages of a recording: the newest records of a window, older ones by time, newer ones by number.

Going back is by time, because that is how people read; going forward is in the order of recording, because only that
gives everything exactly once while lines still arrive. Both cursors carry how far the recording had come.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.recording.store.budget import NOT_HELD
from cortex_jupyter.records import Batch, Cursor, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.recording.reading.feed import Keep
    from cortex_jupyter.recording.store import Readable

_FOREVER = (1 << 63, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One line, as a page gives it.

    Parameters
    ----------
    seq : int
    time : int
        ns since the epoch.
    sid : int
        Id of its source within the recording.
    source : dict
        What `Source.public` gives.
    stream : int
        Index in `STREAMS`.
    text : str
    """

    seq: int
    time: int
    sid: int
    source: dict[str, Any]
    stream: int
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a recording, ordered by time, within one source as in its file.

    Parameters
    ----------
    records : list of Record
    notices : list of dict
        The data of status and gap events between them.
    older, newer : Cursor or None
        None where nothing is left.
    """

    records: list[Record]
    notices: list[dict[str, Any]]
    older: Cursor | None
    newer: Cursor | None


def newest(
    store: Readable,
    recording: int,
    *,
    limit: int,
    before: Cursor | None = None,
    since: int | None = None,
    until: int | None = None,
    keep: Keep | None = None,
) -> Page:
    """Give the newest records of a window, or those before a cursor.

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
    """
    index = store.index(recording)
    snapshot = before.seq if before else (index[-1][0] + index[-1][1] - 1 if index else 0)
    top = before.before if before and before.before else ((until, 1 << 63) if until is not None else _FOREVER)
    floor = (since if since is not None else -1, 0)
    best: list[tuple[int, int, Record]] = []  # ascending; the `limit` newest so far, and one more
    notices: dict[int, tuple[int, dict[str, Any]]] = {}
    # Entries overlap in time where several pods write, so those with the latest lines come first.
    for seq, n, _, t_min, t_max in sorted(index, key=lambda row: -row[4]):
        if seq > snapshot or t_min > top[0] or t_max < floor[0]:
            continue
        if len(best) > limit and t_max < best[0][0]:
            break
        entry = store.entry(recording, seq)
        if entry is None:
            continue
        if entry.event != "log":  # also of what was a batch when the index was read, and has left since
            if entry.event != "end" and (entry.t_min, entry.seq) < top:
                notices[entry.seq] = entry.t_min, orjson.loads(entry.data)
            continue
        for record in records_of(entry, keep):
            key = (record.time, record.seq)
            # Within the row's own numbers: idle entries are merged at any time, also since the index was read. And
            # within what the cursor saw: it may point into an entry, and what comes after it comes with `newer`.
            if (
                seq <= record.seq < min(seq + n, snapshot + 1)
                and floor <= key < top
                and (len(best) <= limit or key > best[0][:2])
            ):
                insort(best, (*key, record))
                if len(best) > limit + 1:
                    del best[0]
    if store.info(recording) is None:  # it may have left while it was read
        raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    more = len(best) > limit
    best = best[-limit:] if limit else []
    # A page that is not full has come to the window's edge; before that there may be more, which another page with the
    # same window does not give.
    low = (best[0][:2] if best else top) if more else floor
    beyond = since is not None and top > floor and _anything_before(index, floor)
    older = Cursor(recording, snapshot, low) if more or beyond else None
    told = sorted((time, number) for number, (time, _) in notices.items())
    between = [notices[number][1] for time, number in told if not more or (time, number) >= low]
    return Page(in_order(r for _, _, r in best), between, older, Cursor(recording, snapshot))


def _anything_before(index: list[tuple[int, int, str, int, int]], low: tuple[int, int]) -> bool:
    return any(event == "log" and (t_min, seq) < low for seq, _, event, t_min, _ in index)


def following(
    store: Readable,
    recording: int,
    *,
    after: Cursor,
    limit: int,
    since: int | None = None,
    until: int | None = None,
    keep: Keep | None = None,
) -> Page:
    """Give the records recorded after a cursor, each exactly once over all pages.

    Parameters
    ----------
    store, recording, limit, since, until, keep
        As in `newest`.
    after : Cursor
        `newer` of another page, an event's `id:`, or 0.
    """
    found: list[Record] = []
    notices: list[dict[str, Any]] = []
    at, more = after.seq, False
    low, high = since if since is not None else -1, until if until is not None else 1 << 63
    while not more and (entries := store.entries(recording, at, 1 << 20)):
        for entry in entries:
            if len(found) >= limit:
                more = True
                break
            if entry.event != "log":
                if entry.event != "end":
                    notices.append(orjson.loads(entry.data))
                at = entry.last
                continue
            wanted = [r for r in records_of(entry, keep) if r.seq > at and low <= r.time <= high]
            room = limit - len(found)
            found += wanted[:room]
            at = entry.last if len(wanted) <= room else found[-1].seq
            if len(wanted) > room:
                more = True
                break
    info = store.info(recording)
    if info is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    done = info.done and not more
    newer = None if done else Cursor(recording, at)
    older = Cursor(recording, after.seq, _FOREVER) if after.seq else None
    return Page(in_order(found), notices, older, newer)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Order records by time, but those of one source as in its file, whatever their times say.

    Two writers (stdout, stderr) gave 835 timestamps out of order in 100 000 lines: a line is shown at the latest time
    its source had reached.
    """
    reached: dict[int, int] = {}
    keyed: list[tuple[int, int, Record]] = []
    for record in sorted(records, key=lambda r: r.seq):
        time = reached[record.sid] = max(record.time, reached.get(record.sid, record.time))
        keyed.append((time, record.seq, record))
    return [record for _, _, record in sorted(keyed, key=lambda k: k[:2])]


def records_of(entry: Entry, keep: Keep | None) -> list[Record]:
    """Give the records of a batch that a filter wants."""
    batch = Batch.decode(entry.data)
    if keep is not None:
        batch = batch.take(list(keep(batch)))
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return [Record(q, t, s, batch.sources[s], o, m) for q, t, s, o, m in rows]
