"""The backlog of a task, ordered by time.

A recorder reads a backlog in blocks, one container after the other. In that order, times would jump back and forth by
minutes. Live lines need no sorting, because the recorder merges the lines of a batch by time: with three pods and 100
lines per second each, 0 of 2 650 lines came too late (`tests/bench/order.py`).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import Entry, encode_batch
from cortex_jupyter.reader.events import StreamEvent
from cortex_jupyter.reader.filtering import in_thread
from cortex_jupyter.reader.window import wait_caught_up
from cortex_jupyter.store.scan import read_notices
from cortex_jupyter.tables.ordered import ordered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.reader.window import Window
    from cortex_jupyter.store import RecordingInfo
    from cortex_jupyter.store.scan import Record

#: Lines per event.
_LINES: Final = 1000
#: The backlog counts as recorded when nothing new was recorded for this long (seconds).
_QUIET_S = 2.0
#: The backlog counts as recorded after this time (seconds), whatever is still being recorded.
_MAX_WAIT_S = 20.0


async def backlog(window: Window) -> AsyncGenerator[StreamEvent]:
    """Yield the recorded events of a window, ordered by time. The window's own `bursts` then continues after them."""
    window.info = await _backlog_recorded(window.recording)
    async for event in in_thread(_events(window, window.info.last_seq)):
        yield event
    window.resumed, window.after = True, window.info.last_seq


async def _backlog_recorded(recording: Recording) -> RecordingInfo:
    """Wait until all lines that the task has written are recorded, or no more arrive."""
    end, last_seq = time.monotonic() + _MAX_WAIT_S, -1
    while True:
        info = await wait_caught_up(recording, _QUIET_S)
        if info.done or info.caught_up or info.last_seq == last_seq or time.monotonic() > end:
            return info
        last_seq = info.last_seq


def _events(window: Window, upto: int) -> Iterator[StreamEvent]:
    store, id_, task = window.recording.store, window.recording.id, window.recording.ref.key
    rows_wanted = [row for row in store.index(id_) if row.event != "end" and window.after < row.seq <= upto]
    notices = deque(sorted(read_notices(store, id_, rows_wanted), key=attrgetter("t_min", "seq")))
    query = replace(window.query, since=window.since)
    rows: list[Record] = []
    for record in ordered(store, id_, query, window.after + 1, upto + 1):
        notice_is_due = bool(notices) and notices[0].t_min <= record.time
        if rows and (notice_is_due or len(rows) == _LINES):
            yield StreamEvent.of(id_, _entry(task, rows))
            rows = []
        while notices and notices[0].t_min <= record.time:
            yield StreamEvent.of(id_, notices.popleft())
        rows.append(record)
    if rows:
        yield StreamEvent.of(id_, _entry(task, rows))
    for notice in notices:
        yield StreamEvent.of(id_, notice)


def _entry(task: str, rows: list[Record]) -> Entry:
    seq, times = rows[0].seq, [r.time for r in rows]
    data = encode_batch(
        task,
        seq,
        times,
        [r.sid for r in rows],
        [r.stream for r in rows],
        [r.text for r in rows],
        {r.sid: r.source for r in rows},
        [r.seq - seq for r in rows],
    )
    return Entry(seq, len(rows), "log", min(times), max(times), data)
