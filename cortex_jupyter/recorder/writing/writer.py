"""The one thread that parses, encodes and commits, for all tasks of a recorder: each when it is due.

A batch goes out at once when the task's last one is older than `INTERVAL_S` (a quiet log pays no delay), else when
that time is over or `FULL` bytes are there (a busy one is capped at some 30 events a second). Where nobody reads, that time is
`UNREAD_S`: a commit costs its recorder and the store about as much as a hundred lines, whatever is in it, and of thousands
of tasks that a collector records few have a reader.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from cortex_jupyter.errors import CortexError
from cortex_jupyter.recorder.process.health import Pulse
from cortex_jupyter.recorder.text.parser import PLAIN, Parser
from cortex_jupyter.recorder.writing.batch import Batcher, Note, Piece, Ready, Track
from cortex_jupyter.recorder.writing.commit_retrier import Patience, Voice
from cortex_jupyter.telemetry import recorder_metrics, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.text.lines import Lines
    from cortex_jupyter.recorder.writing.batch import Item
    from cortex_jupyter.store import Anchor, Lease, Store

_log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.025
UNREAD_S: Final = 1.0
FULL: Final = 64 << 10
#: Lines of a batch of parsed ones.
_LINES: Final = 2000
#: Bytes a task may have waiting before its readers stop taking in.
_MOST: Final = 1 << 20


class Writer:
    """The thread; use as a context manager, inside which channels may be opened.

    Parameters
    ----------
    store : Store
    pulse : Pulse, optional
        To be told of what is being written, and for how long.
    """

    def __init__(self, store: Store, pulse: Pulse | None = None) -> None:
        self._store, self._pulse = store, pulse or Pulse()
        self.lock = threading.Condition()
        # By when they are due. One whose time has changed stands there twice; what holds is in the dictionary.
        self._queue: list[tuple[float, int, Channel]] = []
        self._waiting: dict[Channel, float] = {}
        self._order = itertools.count()
        self._stopping = threading.Event()
        self.patience = Patience(store, self._stopping, self._voices, self._pulse)
        # With the context of who starts it: its messages say which recorder it is.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="cortex-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self._stopping.set()
            self.lock.notify()
        self._thread.join()

    def open(
        self,
        lease: Lease,
        task: str,
        last_seq: int,
        parser: Parser = PLAIN,
        masked: dict[str, int] | None = None,
    ) -> Channel:
        """Give the channel of a recording whose lease is held."""
        return Channel(self, self._store, lease, task, last_seq, parser, masked)

    def add(self, channel: Channel) -> None:
        """Have a channel looked at when it is due, the lock being held."""
        if self._waiting.get(channel) == channel.due:
            return
        self._waiting[channel] = channel.due
        heapq.heappush(self._queue, (channel.due, next(self._order), channel))
        if self._queue[0][2] is channel:
            self.lock.notify()

    def _voices(self) -> list[Voice]:
        with self.lock:
            return [channel.voice for channel in self._waiting if channel.error is None]

    def _run(self) -> None:
        while (job := self._next()) is not None:
            channel, items, barriers = job
            if items:
                with self._pulse.writing():
                    channel.write(items)
            for barrier in barriers:
                barrier()

    def _next(self) -> tuple[Channel, list[Item], list[Callable[[], object]]] | None:
        with self.lock:
            while True:
                while self._queue and self._waiting.get(self._queue[0][2]) != self._queue[0][0]:
                    heapq.heappop(self._queue)
                due, _, channel = self._queue[0] if self._queue else (None, 0, None)
                now = time.monotonic()
                if channel is not None and due is not None and (due <= now or self._stopping.is_set()):
                    heapq.heappop(self._queue)
                    del self._waiting[channel]
                    items = channel.take()
                    if channel.items:
                        self.add(channel)
                    return channel, items, channel.passed()
                if self._stopping.is_set():
                    return None
                self.lock.wait(None if due is None else due - now)


class Channel:
    """One recording's way into the writer. All methods are called on the event loop.

    Parameters
    ----------
    writer : Writer
    store : Store
    lease : Lease
    task : str
    last_seq : int
        The last number that is recorded.
    parser : Parser
    masked : dict or None
        As `Batcher` takes them.
    """

    def __init__(
        self,
        writer: Writer,
        store: Store,
        lease: Lease,
        task: str,
        last_seq: int,
        parser: Parser,
        masked: dict[str, int] | None,
    ) -> None:
        self._writer, self._lease = writer, lease
        self.task = task
        self._batcher = Batcher(task, last_seq + 1, parser, masked)
        self.voice = Voice(store, lease, self._batcher)
        #: The last number that we have recorded.
        self.reached = last_seq
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        # Shared with the writer's thread, under its lock.
        self.items: list[Item] = []
        self.size = 0
        self.due = 0.0
        self.written = float("-inf")
        self.given = self.taken = 0  # items so far
        self.barriers: list[tuple[int, Callable[[], object]]] = []  # after how many items
        self._interval = INTERVAL_S
        self.error: Exception | None = None
        self._since = time.time_ns()
        #: By source: where in a trace its next commit belongs.
        self.traced: dict[int, Any] = {}

    def track(self, sid: int, source: Source, anchor: Anchor) -> None:
        """Make a source known before its first line."""
        self._batcher.tracks[sid] = Track(source, anchor)

    @property
    def ahead(self) -> float:
        """How far the latest line was ahead of our clock when it came, seconds; mostly below 0."""
        return self._batcher.ahead / 1e9

    def anchor(self, sid: int) -> Anchor:
        """Give where a source is; exact after `flush`."""
        return self._batcher.tracks[sid].anchor

    def recent(self, sid: int) -> list[tuple[int, str]]:
        """Give the last few recorded lines of a source; exact after `flush`."""
        return list(self._batcher.tracks[sid].recent)

    def recall(self, sid: int, lines: list[tuple[int, str]]) -> None:
        """Tell the last lines of a source that another recorder has recorded; to be called after `flush`."""
        recent = self._batcher.tracks[sid].recent
        if not recent:
            recent.extend(lines[-8:])

    async def lines(self, sid: int, data: bytes) -> None:
        """Hand over whole lines; waits while too much is unwritten.

        Raises
        ------
        CortexError
            What the last commit failed with; nothing more is taken.
        """
        if not data:
            return
        if data[-1:] != b"\n":
            data += b"\n"
        await self._until_room()
        self._put(Piece(sid, data))

    async def ready(self, sid: int, lines: Lines) -> None:
        """Hand over parsed lines; waits while too much is unwritten.

        Raises
        ------
        CortexError
            What the last commit failed with; nothing more is taken.
        """
        for start in range(0, len(lines), _LINES):
            await self._until_room()
            part = lines.part(start, start + _LINES)
            self._put(Ready(sid, part))

    def note(self, note: Note) -> None:
        """Hand over a notice, or a change of the recording's row."""
        self._put(note)

    def read(self, *, on: bool) -> None:
        """Say whether anybody reads it; what has waited for nobody is committed as soon as somebody does."""
        interval = INTERVAL_S if on else UNREAD_S
        if interval == self._interval:
            return
        with self._writer.lock:
            self._interval = interval
            if self.items:
                self.due = min(self.due, self.written + self._interval)
                self._writer.add(self)

    async def flush(self) -> None:
        """Wait until everything handed over is committed."""
        done = asyncio.Event()
        with self._writer.lock:
            self.barriers.append((self.given, lambda: self._loop.call_soon_threadsafe(done.set)))
            self.due = time.monotonic()
            self._writer.add(self)
        await done.wait()
        if self.error is not None:
            raise self.error

    async def _until_room(self) -> None:
        while self.size > _MOST and self.error is None:
            self._room.clear()
            await self._room.wait()

    def _put(self, item: Item) -> None:
        if self.error is not None:
            raise self.error
        with self._writer.lock:
            if not self.items:
                self.due = max(time.monotonic(), self.written + self._interval)
            self.items.append(item)
            recorder_metrics.QUEUE.inc(item.size)
            self.given += 1
            self.size += item.size
            if self.size >= FULL:
                self.due = min(self.due, time.monotonic())
            self._writer.add(self)

    # ------------------------------------------------- on the writer's thread

    def take(self) -> list[Item]:
        """Take about `FULL` bytes of items, the lock being held."""
        size = n = 0
        for item in self.items:
            n += 1
            size += item.size
            if size >= FULL:
                break
        taken, self.items = self.items[:n], self.items[n:]
        self.size -= size
        self.taken += n
        self.written = time.monotonic()
        # Full or not, it stands behind those that are due already: a backlog of one task does not hold up the others.
        self.due = self.written if self.size >= FULL or self.barriers else self.written + self._interval
        return taken

    def passed(self) -> list[Callable[[], object]]:
        """Take the barriers before which everything has been taken, the lock being held."""
        passed = [call for at, call in self.barriers if at <= self.taken]
        self.barriers = [(at, call) for at, call in self.barriers if at > self.taken]
        return passed

    def _trace(self, items: list[Item], seconds: float) -> None:
        for item in items:
            if isinstance(item, (Piece, Ready)) and (at := self.traced.pop(item.sid, None)) is not None:
                tracing.record_span(
                    "cortex.commit", seconds, {"cortex.task": self.task, "cortex.commit.bytes": item.size}, at
                )

    def write(self, items: list[Item]) -> None:
        """Commit items, unless that failed before; an error is kept for who hands over next."""
        size = sum(item.size for item in items)
        if self.error is None:
            self._commit(items, size)
        recorder_metrics.QUEUE.dec(size)
        self._loop.call_soon_threadsafe(self._room.set)

    def _commit(self, items: list[Item], size: int) -> None:
        try:
            commit = self._batcher.build(items)
            begun = time.monotonic()
            self._writer.patience.commit(self._lease, commit, self.voice)
            seconds = time.monotonic() - begun
            recorder_metrics.count_commit(commit.entries, size, seconds, self._since)
            if self.traced:
                self._trace(items, seconds)
            if commit.entries:
                self.reached = commit.entries[-1].last
        except Exception as error:  # noqa: BLE001 - handed to the task's coroutine, which must not wait for ever
            if not isinstance(error, CortexError):
                _log.exception("A batch of %s cannot be recorded", self._batcher.task)
            recorder_metrics.count_error(error)
            self.error = error
