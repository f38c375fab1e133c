"""Pages around a moment: how a reader gets to any place of a recording, and on from there in both directions.

Both directions go by time, within what was recorded when the place was first looked for: that is how people read, and
how `pages.newest` goes back. (`pages.following` goes forward in the order of recording, for who wants all of it once.)
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.query.bounds import NO_DEADLINE, Bound
from cortex_jupyter.reader.pages import Page, in_order, newest
from cortex_jupyter.reader.snapshot import Record, Snapshot, held

if TYPE_CHECKING:
    from cortex_jupyter.model import Cursor
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.store import Readable

#: Behind every record.
_LAST: Final = (1 << 63, (1 << 63) - 1)


def around(
    store: Readable, recording: int, *, at: int, limit: int, keep: RowFilter | None = None, bound: Bound = NO_DEADLINE
) -> Page:
    """Give the records on both sides of a moment.

    Parameters
    ----------
    store : Readable
    recording : int
    at : int
        ns since the epoch.
    limit : int
        Of all; half of them lie before the moment where there are so many.
    keep : callable, optional
        A filter, as in `Feed.frames`.
    bound : Bound, optional

    Returns
    -------
    Page
        Its `older` goes on back with `newest`, its `newer` forward with `onward`.

    Raises
    ------
    CursorNotHeld
        The recording has left the store.
    """
    index = store.index(recording)
    snapshot = index[-1][0] + index[-1][1] - 1 if index else 0
    place = held(store, recording).cursor(snapshot, (at, 0))
    before = newest(store, recording, limit=limit // 2, before=place, keep=keep, bound=bound)
    after = onward(store, recording, after=place, limit=limit - len(before.records), keep=keep, bound=bound)
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
    """Give the oldest records that lie after a place, by time.

    Parameters
    ----------
    store : Readable
    recording : int
    after : Cursor
        `newer` of `around`: with a (time, seq) of its own, up to which the reader has everything.
    limit : int
    keep : callable, optional
        A filter, as in `Feed.frames`.
    bound : Bound, optional

    Raises
    ------
    CursorNotHeld
        The recording has left the store.
    """
    assert after.before is not None
    place, snapshot = after.before, after.seq
    best: list[tuple[int, int, Record]] = []  # ascending; the `limit` oldest so far, and one more
    seen = Snapshot(store, recording, snapshot, keep)
    size, full, edge = 0, False, _LAST
    # Entries overlap in time where several pods write, so those with the earliest lines come first.
    for seq, n, _, t_min, t_max in sorted(store.index(recording), key=lambda row: row[3]):
        if seq > snapshot or t_max < place[0]:
            continue
        if full and t_min > best[-1][0]:
            break
        if seen.looked and bound.over and place < (t_min - 1, _LAST[1]):
            edge = (t_min - 1, _LAST[1])  # everything earlier has been looked at
            break
        for record in seen.records(seq, n):
            key = (record.time, record.seq)
            if key > place and (not full or key < best[-1][:2]):
                insort(best, (*key, record))
                size += len(record.text)
                full = full or len(best) > limit
                while len(best) > limit + 1 or (size > bound.size and len(best) > 1):
                    full = True
                    size -= len(best[-1][2].text)
                    del best[-1]
    held(store, recording)
    best = best[:limit]
    if edge < _LAST:  # what lies behind it is looked for once more, from there
        full = full and best[-1][:2] < edge
        best = [row for row in best if row[:2] <= edge]
    high = (best[-1][:2] if best else place) if full else edge
    more = full or edge < _LAST
    newer = replace(after, before=high) if more else None
    between = seen.notices(lambda at: at > place and (not more or at <= high))
    return Page(in_order(r for _, _, r in best), between, None, newer, more and len(best) < limit)
