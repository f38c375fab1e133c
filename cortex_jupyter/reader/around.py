"""Read pages around a moment, and on from there in both directions.

Both directions go by time, within what was recorded when the place was first looked for: people read so, and
`pages.newest` goes back so. (`pages.following` goes forward in the order of recording, for a reader that wants all.)
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.query.bounds import PATIENT, Bound
from cortex_jupyter.reader.pages import Page, in_order, newest
from cortex_jupyter.reader.snapshot import Record, Snapshot, require_info

if TYPE_CHECKING:
    from cortex_jupyter.model import Cursor
    from cortex_jupyter.query.filter import Keep
    from cortex_jupyter.store import Readable

#: A place after every record.
_AFTER_ALL: Final = (1 << 63, (1 << 63) - 1)


def around(
    store: Readable, recording: int, *, at: int, limit: int, keep: Keep | None = None, bound: Bound = PATIENT
) -> Page:
    """Return the records on both sides of a moment.

    Parameters
    ----------
    store : Readable
    recording : int
    at : int
        ns since the epoch.
    limit : int
        Records of the page; half of them lie before the moment, if there are enough.
    keep : callable, optional
        A filter, as in `Feed.frames`.
    bound : Bound, optional

    Returns
    -------
    Page
        `newest` continues from its `older`, `onward` from its `newer`.

    Raises
    ------
    CursorNotHeld
        The recording has left the store.
    """
    index = store.index(recording)
    snapshot = index[-1][0] + index[-1][1] - 1 if index else 0
    position = require_info(store, recording).cursor(snapshot, (at, 0))
    before = newest(store, recording, limit=limit // 2, before=position, keep=keep, bound=bound)
    after = onward(store, recording, after=position, limit=limit - len(before.records), keep=keep, bound=bound)
    records = in_order([*before.records, *after.records])
    notices, stopped = [*before.notices, *after.notices], before.stopped or after.stopped
    return Page(records, notices, before.older, after.newer, stopped)


def onward(
    store: Readable, recording: int, *, after: Cursor, limit: int, keep: Keep | None = None, bound: Bound = PATIENT
) -> Page:
    """Return the oldest records after a place, by time.

    Parameters
    ----------
    store : Readable
    recording : int
    after : Cursor
        `newer` of `around`. Its (time, seq) says up to where the reader has everything.
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
    position, snapshot = after.before, after.seq
    best: list[tuple[int, int, Record]] = []  # ascending; the `limit` oldest so far, and one more
    snapshot_reader = Snapshot(store, recording, snapshot, keep)
    size, full, edge = 0, False, _AFTER_ALL
    # Entries overlap in time if several pods write, so the entries with the earliest lines come first.
    for seq, n, _, t_min, t_max in sorted(store.index(recording), key=lambda row: row[3]):
        if seq > snapshot or t_max < position[0]:
            continue
        if full and t_min > best[-1][0]:
            break
        if snapshot_reader.looked and bound.over and position < (t_min - 1, _AFTER_ALL[1]):
            edge = (t_min - 1, _AFTER_ALL[1])  # everything earlier has been read
            break
        for record in snapshot_reader.records(seq, n):
            key = (record.time, record.seq)
            if key > position and (not full or key < best[-1][:2]):
                insort(best, (*key, record))
                size += len(record.text)
                full = full or len(best) > limit
                while len(best) > limit + 1 or (size > bound.size and len(best) > 1):
                    full = True
                    size -= len(best[-1][2].text)
                    del best[-1]
    require_info(store, recording)
    best = best[:limit]
    if edge < _AFTER_ALL:  # the next page continues from here
        full = full and best[-1][:2] < edge
        best = [row for row in best if row[:2] <= edge]
    high = (best[-1][:2] if best else position) if full else edge
    more = full or edge < _AFTER_ALL
    newer = replace(after, before=high) if more else None
    between = snapshot_reader.notices(lambda at: at > position and (not more or at <= high))
    return Page(in_order(r for _, _, r in best), between, None, newer, more and len(best) < limit)
