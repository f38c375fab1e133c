"""What had been written when a reader came, in the order in which people read.

A backlog is recorded block by block, one container after the other: in that order its lines would jump back and forth
by minutes. Live lines need none of this: the recorder merges what comes within one batch, and three pods with a hundred
lines a second each gave not one line too late of 2 650 (`tests/bench/order.py`).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import Entry, encode_batch
from cortex_jupyter.reader.frame import Frame
from cortex_jupyter.reader.stored import in_thread
from cortex_jupyter.reader.window import caught_up
from cortex_jupyter.tables.ordered import ordered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.reader.snapshot import Record
    from cortex_jupyter.reader.window import Window
    from cortex_jupyter.store import RecordingInfo

#: Lines of one event.
_LINES: Final = 1000
#: Lines are given as they come once a recorder has brought nothing new for this long, seconds, or has taken so much
#: time for what is there.
_QUIET_S, _LONGEST_S = 2.0, 20.0


async def held(window: Window) -> AsyncGenerator[Frame]:
    """Give the events that a window holds now, ordered by time; its own `bursts` then goes on from there."""
    window.info = await _taken_in(window.recording)
    async for frame in in_thread(_frames(window, window.info.last_seq)):
        yield frame
    window.resumed, window.after = True, window.info.last_seq


async def _taken_in(recording: Recording) -> RecordingInfo:
    """Wait until what had been written is recorded, or no longer comes."""
    until, before = time.monotonic() + _LONGEST_S, -1
    while True:
        info = await caught_up(recording, _QUIET_S)
        if info.done or info.caught_up or info.last_seq == before or time.monotonic() > until:
            return info
        before = info.last_seq


def _frames(window: Window, upto: int) -> Iterator[Frame]:
    store, id_, task = window.recording.store, window.recording.id, window.recording.ref.key
    places = (seq for seq, _, event, _, _ in store.index(id_) if event not in ("log", "end"))
    found = (store.entry(id_, seq) for seq in places if window.after < seq <= upto)
    # By number: one may have come to stand for several since the index was read.
    notices = deque(sorted({n.seq: n for n in found if n is not None}.values(), key=lambda n: (n.t_min, n.seq)))
    query = replace(window.query, since=window.since)
    rows: list[Record] = []
    for record in ordered(store, id_, query, window.after + 1, upto + 1):
        due = bool(notices) and notices[0].t_min <= record.time
        if rows and (due or len(rows) == _LINES):
            yield Frame.of(id_, _entry(task, rows))
            rows = []
        while notices and notices[0].t_min <= record.time:
            yield Frame.of(id_, notices.popleft())
        rows.append(record)
    if rows:
        yield Frame.of(id_, _entry(task, rows))
    for notice in notices:
        yield Frame.of(id_, notice)


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
