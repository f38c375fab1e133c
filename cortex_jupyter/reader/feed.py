"""Yield everything after a cursor exactly once, as it arrives: what SSE, the widget and the command line read.

A `Feed` serves all readers of one recording in this process. New entries are read and unpacked once, in a thread, and
all readers that keep up get the same bytes. A slower reader reads from the store at its own pace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextlib import aclosing
from itertools import takewhile
from typing import TYPE_CHECKING

from cortex_jupyter.errors import CortexError, StoreBusy
from cortex_jupyter.model import check_epoch, epoch_at
from cortex_jupyter.reader.events import BURST, Burst, StreamEvent, cut, gathered
from cortex_jupyter.reader.retry_deadline import RetryDeadline
from cortex_jupyter.store.scan import require_info

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once.
PIECE = 1 << 20
#: Bytes kept in memory for readers that keep up.
RECENT = 2 << 20
#: Entries that arrive within a short time are sent together. That time grows by this much with each reader but the
#: first, because waking readers costs more than the content.
_DELAY_PER_READER_S = 0.0005
_MAX_DELAY_S = 0.05


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
        self._recent: deque[StreamEvent] = deque()
        self._size = 0
        self._is_over = False  # nothing comes after `_recent`
        self._changed = asyncio.Event()
        self._burst: Burst | None = None
        self._woken_at = float("-inf")
        self._wake_timer: asyncio.TimerHandle | None = None
        self._pending_bytes = 0  # committed bytes since readers were woken last
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
        keep: RowFilter | None = None,
        epoch: int | None = None,
    ) -> AsyncGenerator[Burst]:
        """Yield every event with a number above `after`, then those to come, to the end of the recording.

        Parameters
        ----------
        after : int, optional
            The last number the reader has.
        since, until : int, optional
            ns since the Unix epoch: records outside are left out. Notices are not.
        keep : callable, optional
            A filter: takes a batch and returns the positions of the wanted records. Runs in a thread.
        epoch : int, optional
            The epoch of `after`, if the reader knows it.

        Yields
        ------
        Burst
            In order of number. A batch that is cut keeps its numbers in the column `q`.

        Raises
        ------
        CursorNotHeld
            The recording has left the store, or the store was rolled back behind the reader's cursor.
        CortexError
            No recorder can record the task, as `fail` was told.
        """
        self._enter()
        position = after
        retry_deadline = RetryDeadline()
        try:
            while True:
                changed = self._changed
                try:
                    events = await self._after(position, epoch)
                    retry_deadline.clear()
                except StoreBusy as error:
                    await retry_deadline.wait(error)
                    continue
                if events is None:
                    return
                # Matches of a filter are sent at once; they do not wait for further matches.
                for group in gathered(events, BURST if keep is None else 0):
                    parts = []
                    for event in group:
                        is_whole = keep is None and event.within(position, since, until)
                        part = event if is_whole else await cut(event, position, since, until, keep)
                        if part is not None:
                            parts.append(part)
                        position, epoch = event.last, epoch_at(event.epochs, event.last)
                    if parts:
                        yield self._joined(parts)
                if any(event.event == "end" for event in events):
                    return
                # Wait only if nothing was read: a backlog is read piece after piece without a pause.
                if not events and changed is self._changed:
                    if self._failure is not None:
                        raise self._failure
                    await changed.wait()
        finally:
            self._leave()

    async def events(
        self, after: int = 0, *, since: int | None = None, until: int | None = None, keep: RowFilter | None = None
    ) -> AsyncGenerator[StreamEvent]:
        """Yield the same events one by one."""
        async with aclosing(self.bursts(after, since=since, until=until, keep=keep)) as bursts:
            async for burst in bursts:
                for event in burst.events:
                    yield event

    def _joined(self, events: list[StreamEvent]) -> Burst:
        """Return the burst of these events. Readers that keep up are at the same place, so they share it."""
        if self._burst is None or self._burst.events != events:
            self._burst = Burst(events)
        return self._burst

    def fail(self, error: CortexError | None) -> None:
        """Report to readers that have everything why nothing more will come; None when recording works again."""
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
            self._unsubscribe = lambda: None  # the old one would keep this feed alive
            self._forget()

    def _signal(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so there is no reader to wake
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._dirty = True
        if self._filling is None or self._filling.done():
            self._filling = self._loop.create_task(self._fill())

    async def _fill(self) -> None:
        """Read new entries once for all readers that keep up, then wake them."""
        while self._dirty:
            self._dirty = False
            try:
                while self._recent:
                    last, epochs = self._recent[-1].last, self._recent[-1].epochs
                    new = await asyncio.to_thread(self._read_new, last, epoch_at(epochs, last))
                    if not self._recent or self._recent[-1].last != last:
                        break  # the last reader left meanwhile, and perhaps another came
                    if new is None:
                        self._forget()
                        break
                    self._recent.extend(new)
                    self._is_over = self._is_over or any(event.event == "end" for event in new)
                    size = sum(len(event.written) for event in new)
                    self._size += size
                    while self._size > RECENT and len(self._recent) > 1:
                        self._size -= len(self._recent.popleft().written)
                    self._schedule_wake(new, size)
                    if size < PIECE // 8:  # far below one read (a store measures compressed bytes): nothing is left
                        break  # a later commit signals again
            except CortexError:
                self._forget()
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
                return  # the program ends: no thread can be started, and no reader is left
            if not self._recent:
                self._notify()

    def _forget(self) -> None:
        """Forget the recent entries, so that each reader asks the store and gets the store's error itself."""
        self._recent.clear()
        self._size, self._is_over = 0, False
        self._burst = None

    def _schedule_wake(self, new: list[StreamEvent], size: int) -> None:
        """Wake the readers at once after a quiet moment, for a notice, or if much is pending; else after that moment.

        With many readers, waking and writing cost more than the content; so the moment grows with their number.
        """
        self._pending_bytes += size
        due = self._woken_at + min(_MAX_DELAY_S, _DELAY_PER_READER_S * (self._readers - 1))
        if due <= self._loop.time() or self._pending_bytes >= BURST or any(event.event != "log" for event in new):
            self._notify()
        elif self._wake_timer is None:
            self._wake_timer = self._loop.call_at(due, self._notify)

    def _notify(self) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        self._wake_timer, self._woken_at, self._pending_bytes = None, self._loop.time(), 0
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _read_new(self, after: int, epoch: int) -> list[StreamEvent] | None:
        """Return the entries after a number, or None if the recording is no longer held."""
        return self._read(after, epoch) or (None if self._store.info(self.recording) is None else [])

    def _read(self, after: int, epoch: int | None) -> list[StreamEvent]:
        """Read the entries after a number that was written in an epoch.

        Raises
        ------
        CursorNotHeld
            The store has lost that number and has reused it for another entry.
        """
        entries = self._store.entries(self.recording, after, PIECE)
        if entries and epoch is not None:
            check_epoch(entries[0].epochs, after, epoch)
        return [StreamEvent.of(self.recording, e) for e in entries]

    async def _after(self, position: int, epoch: int | None) -> list[StreamEvent] | None:
        """Return the entries after a number, or None if no more will come."""
        if self._recent and self._recent[0].seq <= position + 1 <= self._recent[-1].last + 1:
            # From the end: a reader that keeps up lacks only the last of hundreds of events.
            events = [*takewhile(lambda event: event.last > position, reversed(self._recent))][::-1]
            if events and epoch is not None:
                check_epoch(events[0].epochs, position, epoch)
            return None if not events and self._is_over else events
        events = await asyncio.to_thread(self._read, position, epoch)
        if not events:
            info = await asyncio.to_thread(require_info, self._store, self.recording)
            if info.done and epoch is not None:
                check_epoch(info.epochs, position, epoch)
            return None if info.done and position >= info.last_seq else []
        if not self._recent and self._readers and sum(len(event.written) for event in events) < PIECE:
            state = await asyncio.to_thread(self._store.info, self.recording)
            if self._recent or not self._readers:
                return events  # another reader was faster, or the last one has left
            # The first reader has reached the end of the recording: from here on the feed reads for all readers.
            # Commits since this read have been signalled already, so look at once.
            self._recent.append(events[-1])
            self._size = len(events[-1].written)
            # A recorder of an earlier release may have written something after the end.
            self._is_over = state is not None and state.done and events[-1].last >= state.last_seq
            self._wake()
        return events
