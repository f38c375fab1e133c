"""Everything after a cursor, exactly once, as it comes: what SSE, the widget and the CLI read.

A `Feed` serves all readers of one recording in this process: new entries are read and unpacked once, in a thread, and
the same bytes go to everyone who keeps up. Whoever does not keep up reads on from the store at its own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextlib import aclosing
from itertools import takewhile
from typing import TYPE_CHECKING

from cortex_jupyter.errors import CortexError, CursorNotHeld, StoreBusy
from cortex_jupyter.model import check_epoch, epoch_at
from cortex_jupyter.reader.frame import BURST, Burst, Frame, cut, gathered
from cortex_jupyter.reader.retry_deadline import Away
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from cortex_jupyter.query.filter import Keep
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once, and kept for readers that keep up.
PIECE, RECENT = 1 << 20, 2 << 20
#: What comes within a moment goes out together, seconds: for each reader but the first, and at most.
_EACH_S, _MOMENT_S = 0.0005, 0.05


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
        self._burst: Burst | None = None
        self._woken = float("-inf")
        self._waking: asyncio.TimerHandle | None = None
        self._unsaid = 0  # bytes of which readers have not been told
        self._readers = 0
        self._filling: asyncio.Task[None] | None = None
        self._dirty = False
        self._failure: CortexError | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()

    async def bursts(
        self,
        after: int = 0,
        *,
        since: int | None = None,
        until: int | None = None,
        keep: Keep | None = None,
        epoch: int | None = None,
    ) -> AsyncGenerator[Burst]:
        """Give every event with a number above `after`, then those to come, to the end of the recording.

        Parameters
        ----------
        after : int, optional
            The last number the reader has.
        since, until : int, optional
            ns since the epoch: records before or after it are left out. Notices are not.
        keep : callable, optional
            A filter. Given a batch, the positions that are wanted. Runs in a thread.
        epoch : int, optional
            The epoch of `after`, where the reader knows it.

        Yields
        ------
        Burst
            In order of number. A batch that is cut keeps its numbers in the column `q`.

        Raises
        ------
        CursorNotHeld
            The recording has left the store, or the store has lost what the reader has.
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
                    frames = await self._after(at, epoch)
                    away.over()
                except StoreBusy as error:
                    await away.wait(error)
                    continue
                if frames is None:
                    return
                # What a filter has found does not wait for what else it may find.
                for some in gathered(frames, BURST if keep is None else 0):
                    parts = []
                    for frame in some:
                        wanted = keep is None and frame.within(at, since, until)
                        part = frame if wanted else await cut(frame, at, since, until, keep)
                        if part is not None:
                            parts.append(part)
                        at, epoch = frame.last, epoch_at(frame.epochs, frame.last)
                    if parts:
                        yield self._joined(parts)
                    if some[-1].event == "end":
                        return
                # Only who has found nothing waits: a piece of a backlog is followed by the next.
                if not frames and changed is self._changed:
                    if self._failure is not None:
                        raise self._failure
                    await changed.wait()
        finally:
            self._leave()

    async def frames(
        self, after: int = 0, *, since: int | None = None, until: int | None = None, keep: Keep | None = None
    ) -> AsyncGenerator[Frame]:
        """Give the same one by one."""
        async with aclosing(self.bursts(after, since=since, until=until, keep=keep)) as bursts:
            async for burst in bursts:
                for frame in burst.frames:
                    yield frame

    @property
    def buffered_bytes(self) -> int:
        """Size of the recent events that are kept for readers that keep up, in bytes; 0 without readers."""
        return self._size

    def _joined(self, frames: list[Frame]) -> Burst:
        """Give the one burst of these frames, for the readers that keep up are all at one place."""
        if self._burst is None or self._burst.frames != frames:
            self._burst = Burst(frames)
        return self._burst

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
            self._unsubscribe = lambda: None  # it would keep this feed for ever
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
                    last, epochs = self._recent[-1].last, self._recent[-1].epochs
                    new = await asyncio.to_thread(self._news, last, epoch_at(epochs, last))
                    if not self._recent or self._recent[-1].last != last:
                        break  # the last reader left meanwhile, and perhaps another came
                    if new is None:
                        self._forget()
                        break
                    self._recent.extend(new)
                    size = sum(len(f.written) for f in new)
                    self._size += size
                    while self._size > RECENT and len(self._recent) > 1:
                        self._size -= len(self._recent.popleft().written)
                    self._tell(new, size)
                    if size < PIECE // 8:  # a store may give less than a piece, for it measures what is packed
                        break  # that was all; what has come since then has been noticed
            except CortexError:
                self._forget()
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
                return  # the program ends: there are no more threads, and nobody is left to wake
            if not self._recent:
                self._notify()

    def _forget(self) -> None:
        """Have every reader ask the store itself: it tells each of them what is wrong."""
        self._recent.clear()
        self._size = 0
        self._burst = None

    def _tell(self, new: list[Frame], size: int) -> None:
        """Wake the readers: at once where nothing came for a moment, it is no line, or it is much; else after that moment.

        The more there are, the more of their time goes into waking and writing, and not into what is written.
        """
        self._unsaid += size
        due = self._woken + min(_MOMENT_S, _EACH_S * (self._readers - 1))
        if due <= self._loop.time() or self._unsaid >= BURST or any(frame.event != "log" for frame in new):
            self._notify()
        elif self._waking is None:
            self._waking = self._loop.call_at(due, self._notify)

    def _notify(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
        self._waking, self._woken, self._unsaid = None, self._loop.time(), 0
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _news(self, after: int, epoch: int) -> list[Frame] | None:
        """Give what there is after a number, None where the recording is not held any more."""
        return self._read(after, epoch) or (None if self._store.info(self.recording) is None else [])

    def _read(self, after: int, epoch: int | None) -> list[Frame]:
        """Read what there is after a number that was written in an epoch.

        Raises
        ------
        CursorNotHeld
            The store has lost that number and has another of it now.
        """
        entries = self._store.entries(self.recording, after, PIECE)
        if entries and epoch is not None:
            check_epoch(entries[0].epochs, after, epoch)
        return [Frame.of(self.recording, e) for e in entries]

    async def _after(self, at: int, epoch: int | None) -> list[Frame] | None:
        """Give what there is after a number; None where nothing will come any more."""
        if self._recent and self._recent[0].seq <= at + 1 <= self._recent[-1].last + 1:
            # From the end: a reader that keeps up lacks one frame of hundreds.
            frames = [*takewhile(lambda f: f.last > at, reversed(self._recent))][::-1]
            if frames and epoch is not None:
                check_epoch(frames[0].epochs, at, epoch)
            return None if not frames and self._recent[-1].event == "end" else frames
        frames = await asyncio.to_thread(self._read, at, epoch)
        if not frames:
            info = await asyncio.to_thread(self._store.info, self.recording)
            if info is None:
                raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)
            if info.done and epoch is not None:
                check_epoch(info.epochs, at, epoch)
            return None if info.done and at >= info.last_seq else []
        if not self._recent and self._readers and sum(len(f.written) for f in frames) < PIECE:
            # The first reader to reach the end of the recording: from here on the feed reads for all. What was
            # committed since this one read has been noticed already, so look at once.
            self._recent.append(frames[-1])
            self._size = len(frames[-1].written)
            self._wake()
        return frames
