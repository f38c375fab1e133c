"""Everything after a cursor, exactly once, as it comes: what SSE, the widget and the CLI read.

A `Feed` serves all readers of one recording in this process: new entries are read and unpacked once, in a thread, and
the same bytes go to everyone who keeps up. Whoever does not keep up reads on from the store at its own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Self

from cortex_jupyter.errors import CortexError, CursorNotHeld, StoreBusy
from cortex_jupyter.recording.reading.away import Away
from cortex_jupyter.recording.reading.filtering import in_turn
from cortex_jupyter.recording.store.budget import NOT_HELD
from cortex_jupyter.records import Batch, Cursor, Entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from cortex_jupyter.recording.store import Readable

    #: Gives the positions of a batch's records that are wanted.
    Keep = Callable[[Batch], Sequence[int]]

#: Bytes read from the store at once, and kept for readers that keep up.
PIECE, RECENT = 1 << 20, 2 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One event on its way to a reader.

    Parameters
    ----------
    recording : int
    last : int
        Number of its last record: the cursor after it.
    event : str
    body : bytes
        `event:` and `data:` lines and the empty line: all of an SSE event but its `id:`.
    entry : Entry
    """

    recording: int
    last: int
    event: str
    body: bytes
    entry: Entry

    @classmethod
    def of(cls, recording: int, entry: Entry) -> Self:
        """Make the frame of an entry."""
        body = b"event: " + entry.event.encode() + b"\ndata: " + entry.data + b"\n\n"
        return cls(recording, entry.last, entry.event, body, entry)

    @property
    def cursor(self) -> str:
        """What to give back to go on after this event."""
        return str(Cursor(self.recording, self.last))


class Feed:
    """The entries of one recording, for any number of readers on one event loop.

    Parameters
    ----------
    store : Readable
    recording : int
    """

    def __init__(self, store: Readable, recording: int) -> None:
        self._store = store
        self.recording = recording
        self._recent: deque[Frame] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._readers = 0
        self._filling: asyncio.Task[None] | None = None
        self._dirty = False
        self._failure: CortexError | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()

    async def frames(
        self, after: int = 0, *, since: int | None = None, until: int | None = None, keep: Keep | None = None
    ) -> AsyncIterator[Frame]:
        """Give every event with a number above `after`, then those to come, to the end of the recording.

        Parameters
        ----------
        after : int, optional
            The last number the reader has.
        since, until : int, optional
            ns since the epoch: records before or after it are left out. Notices are not.
        keep : callable, optional
            A filter. Given a batch, the positions that are wanted. Runs in a thread.

        Yields
        ------
        Frame
            In order of number. A batch that is cut keeps its numbers in the column `q`.

        Raises
        ------
        CursorNotHeld
            The recording has left the store.
        CortexError
            Nobody can record it, as `fail` was told.
        """
        self._enter()
        at = after
        away = Away()
        try:
            while True:
                changed = self._changed
                try:
                    frames = await self._after(at)
                    away.over()
                except StoreBusy as error:
                    await away.wait(error)
                    continue
                if frames is None:
                    return
                for frame in frames:
                    part = await _cut(frame, at, since, until, keep)
                    at = frame.last
                    if part is not None:
                        yield part
                    if frame.event == "end":
                        return
                # Only who has found nothing waits: a piece of a backlog is followed by the next.
                if not frames and changed is self._changed:
                    if self._failure is not None:
                        raise self._failure
                    await changed.wait()
        finally:
            self._leave()

    def fail(self, error: CortexError | None) -> None:
        """Tell readers that have all there is why nothing more will come; None when it will again."""
        self._failure = error
        if error is not None:
            self._notify()

    def _enter(self) -> None:
        self._readers += 1
        if self._readers == 1:
            self._unsubscribe = self._store.subscribe(self._signal, self.recording)

    def _leave(self) -> None:
        self._readers -= 1
        if self._readers == 0:
            self._unsubscribe()
            self._forget()

    def _signal(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to wake
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._dirty = True
        if self._filling is None or self._filling.done():
            self._filling = self._loop.create_task(self._fill())

    async def _fill(self) -> None:
        """Read what is new once for all who keep up, then wake them."""
        while self._dirty:
            self._dirty = False
            try:
                while self._recent:
                    last = self._recent[-1].last
                    new = await asyncio.to_thread(self._news, last)
                    if not self._recent or self._recent[-1].last != last:
                        break  # the last reader left meanwhile, and perhaps another came
                    if new is None:
                        self._forget()
                        break
                    self._recent.extend(new)
                    size = sum(len(f.body) for f in new)
                    self._size += size
                    while self._size > RECENT and len(self._recent) > 1:
                        self._size -= len(self._recent.popleft().body)
                    self._notify()
                    if size < PIECE // 8:  # a store may give less than a piece, for it measures what is packed
                        break  # that was all; what has come since then has been noticed
            except CortexError:
                self._forget()
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
                return  # the program ends: there are no more threads, and nobody is left to wake
            self._notify()

    def _forget(self) -> None:
        """Have every reader ask the store itself: it tells each of them what is wrong."""
        self._recent.clear()
        self._size = 0

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _news(self, after: int) -> list[Frame] | None:
        """Give what there is after a number, None where the recording is not held any more."""
        return self._read(after) or (None if self._store.info(self.recording) is None else [])

    def _read(self, after: int) -> list[Frame]:
        entries = self._store.entries(self.recording, after, PIECE)
        return [Frame.of(self.recording, e) for e in entries]

    async def _after(self, at: int) -> list[Frame] | None:
        """Give what there is after a number; None where nothing will come any more."""
        if self._recent and self._recent[0].entry.seq <= at + 1 <= self._recent[-1].last + 1:
            # From the end: a reader that keeps up lacks one frame of hundreds.
            frames = [*takewhile(lambda f: f.last > at, reversed(self._recent))][::-1]
            return None if not frames and self._recent[-1].event == "end" else frames
        frames = await asyncio.to_thread(self._read, at)
        if not frames:
            info = await asyncio.to_thread(self._store.info, self.recording)
            if info is None:
                raise CursorNotHeld("this recording is no longer held", NOT_HELD)
            return None if info.done and at >= info.last_seq else []
        if not self._recent and self._readers and sum(len(f.body) for f in frames) < PIECE:
            # The first reader to reach the end of the recording: from here on the feed reads for all. What was
            # committed since this one read has been noticed already, so look at once.
            self._recent.append(frames[-1])
            self._size = len(frames[-1].body)
            self._wake()
        return frames


async def _cut(frame: Frame, at: int, since: int | None, until: int | None, keep: Keep | None) -> Frame | None:
    """Leave out of a batch what the reader has or does not want; None where nothing is left."""
    entry = frame.entry
    if frame.event != "log":
        return frame
    whole = entry.seq > at and (since is None or entry.t_min >= since) and (until is None or entry.t_max <= until)
    if whole and keep is None:
        return frame
    if (since is not None and entry.t_max < since) or (until is not None and entry.t_min > until):
        return None
    return await in_turn(keep, _filtered, frame, at, since, until, keep)


def _filtered(frame: Frame, at: int, since: int | None, until: int | None, keep: Keep | None) -> Frame | None:
    batch = Batch.decode(frame.entry.data)
    low, high = since or 0, 1 << 63 if until is None else until
    wanted = [i for i, (s, t) in enumerate(zip(batch.seqs, batch.times, strict=True)) if s > at and low <= t <= high]
    if len(wanted) < len(batch):
        batch = batch.take(wanted)
    if keep is not None and wanted:
        batch = batch.take(list(keep(batch)))
    if not batch.seqs:
        return None
    entry = frame.entry
    return Frame.of(
        frame.recording,
        Entry(entry.seq, entry.n, "log", min(batch.times), max(batch.times), batch.encode()),
    )
