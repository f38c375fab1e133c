"""Parse, encode and commit on one thread, for all tasks of a recorder: each task when it is due.

A batch is committed at once if the task's last one is older than an interval (a quiet log has no delay). Else it is
committed when that time is over or `FULL` bytes have arrived. The interval is 10 ms for a recorder with lines of few
tasks, and grows to `INTERVAL_S` with their number. For a task without readers it is `UNREAD_S`: a commit costs the
recorder and the store about as much as a hundred lines, whatever it holds, and of the thousands of tasks of a collector
few have a reader.
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
from cortex_jupyter.recorder.losses import Losses
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking
from cortex_jupyter.recorder.writing.batch import Batcher, ParsedLines, PendingNotice, RawLines, SourceProgress
from cortex_jupyter.recorder.writing.commit_retrier import CommitRetrier, StallNotice
from cortex_jupyter.recorder.writing.line_limit import LineLimit
from cortex_jupyter.telemetry import recorder_metrics, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.text.lines import Lines
    from cortex_jupyter.recorder.writing.batch import Item
    from cortex_jupyter.store import Anchor, Lease, Store

_log = logging.getLogger(__name__)

#: Longest time between the commits of a task with readers.
INTERVAL_S: Final = 0.025
#: Shortest time between them. At 100 lines/s, 10 ms cost 1 % of a core more than 25 ms, and a line is seen 9 ms earlier.
_SHORTEST_INTERVAL_S: Final = 0.01
_INTERVAL_PER_TASK_S: Final = 0.001
UNREAD_S: Final = 1.0
FULL: Final = 64 << 10
#: Lines of a batch of parsed lines.
_BATCH_LINES: Final = 2000
#: Bytes that a task may have waiting before its sources stop reading.
_MAX_WAITING: Final = 1 << 20


class Writer:
    """The writer's thread. Use it as a context manager; open channels inside.

    Parameters
    ----------
    store : Store
    health : Health, optional
        Notified of each write in progress.
    """

    def __init__(self, store: Store, health: Health | None = None) -> None:
        self._store, self._health = store, health or Health()
        self.lock = threading.Condition()
        # Ordered by due time. A channel whose due time has changed is in it twice; `_waiting` holds the valid time.
        self._queue: list[tuple[float, int, Channel]] = []
        self._waiting: dict[Channel, float] = {}
        self._order = itertools.count()
        self._stopping = threading.Event()
        #: Used on the writer's thread only.
        self.losses = Losses()
        self.retrier = CommitRetrier(store, self._stopping, self._stall_notices, self._health)
        # Runs in the context of the thread that starts it, so that its log messages name the recorder.
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
        masking: Masking = UNMASKED,
        masked: dict[str, int] | None = None,
        namespace: str = "",
    ) -> Channel:
        """Return the channel of a recording whose lease is held."""
        return Channel(
            self,
            self._store,
            lease,
            task=task,
            last_seq=last_seq,
            masking=masking,
            masked=masked,
            namespace=namespace,
        )

    @property
    def interval_s(self) -> float:
        """Time between the commits of a task with readers; longer, the more tasks wait for their commits."""
        return min(INTERVAL_S, max(_SHORTEST_INTERVAL_S, _INTERVAL_PER_TASK_S * len(self._waiting)))

    def add(self, channel: Channel) -> None:
        """Queue a channel for its due time. The caller holds the lock."""
        if self._waiting.get(channel) == channel.due_at:
            return
        self._waiting[channel] = channel.due_at
        heapq.heappush(self._queue, (channel.due_at, next(self._order), channel))
        if self._queue[0][2] is channel:
            self.lock.notify()

    def _stall_notices(self) -> list[StallNotice]:
        with self.lock:
            return [channel.stall_notice for channel in self._waiting if channel.error is None]

    def _run(self) -> None:
        while (job := self._next()) is not None:
            channel, items, barriers = job
            if items:
                with self._health.write_in_progress():
                    channel.write(items)
            for barrier in barriers:
                barrier()

    def _next(self) -> tuple[Channel, list[Item], list[Callable[[], object]]] | None:
        with self.lock:
            while True:
                while self._queue and self._waiting.get(self._queue[0][2]) != self._queue[0][0]:
                    heapq.heappop(self._queue)
                due_at, _, channel = self._queue[0] if self._queue else (None, 0, None)
                now = time.monotonic()
                if channel is not None and due_at is not None and (due_at <= now or self._stopping.is_set()):
                    heapq.heappop(self._queue)
                    del self._waiting[channel]
                    items = channel.take()
                    if channel.items:
                        self.add(channel)
                    return channel, items, channel.take_reached_barriers()
                if self._stopping.is_set():
                    return None
                self.lock.wait(None if due_at is None else due_at - now)


class Channel:
    """The way of one recording's lines and notices to the writer. All methods are called on the event loop.

    Parameters
    ----------
    writer : Writer
    store : Store
    lease : Lease
    task : str
    last_seq : int
        The last recorded number.
    masking : Masking
    masked : dict or None
        As for `Batcher`.
    namespace : str
        The task's namespace, whose quota limits how fast lines are taken.
    """

    def __init__(
        self,
        writer: Writer,
        store: Store,
        lease: Lease,
        *,
        task: str,
        last_seq: int,
        masking: Masking,
        masked: dict[str, int] | None,
        namespace: str,
    ) -> None:
        self._writer, self._lease = writer, lease
        self.limit = LineLimit(namespace, self._report_limit)
        self.task = task
        self._batcher = Batcher(task, last_seq + 1, masking, masked)
        self.stall_notice = StallNotice(store, lease, self._batcher)
        #: The last number that this recorder has committed.
        self.last_committed = last_seq
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        # Shared with the writer's thread, under its lock.
        self.items: list[Item] = []
        self.size = 0
        self.due_at = 0.0
        self.written_at = float("-inf")
        self.accepted = self.taken = 0  # numbers of items
        self.barriers: list[tuple[int, Callable[[], object]]] = []  # with the number of items before each
        self._has_readers = True
        self._has_end = False
        self.error: Exception | None = None
        self._opened_ns = time.time_ns()
        #: By source: the trace context of its next commit.
        self.traced: dict[int, Any] = {}

    def add_source(self, sid: int, source: Source, anchor: Anchor) -> None:
        """Add a source before its first line."""
        self._batcher.progress[sid] = SourceProgress(source, anchor)

    @property
    def clock_ahead_s(self) -> float:
        """How far the latest line was ahead of our clock when it arrived (seconds); mostly negative."""
        return self._batcher.clock_ahead / 1e9

    def silence(self, now: int) -> tuple[float, str]:
        """Return for how long no line of a main container has come (seconds), and the task's rhythm if that stands out."""
        seconds = (now - self._batcher.heard_at) / 1e9 if self._batcher.heard_at else 0.0
        return seconds, self._batcher.rhythm.silence(seconds)

    def anchor(self, sid: int) -> Anchor:
        """Return a source's anchor; exact after `flush`."""
        return self._batcher.progress[sid].anchor

    def recent(self, sid: int) -> list[tuple[int, str]]:
        """Return the last few recorded lines of a source; exact after `flush`."""
        return list(self._batcher.progress[sid].recent)

    def set_recent(self, sid: int, lines: list[tuple[int, str]]) -> None:
        """Set the last lines of a source that an earlier recorder has recorded; call it after `flush`."""
        recent = self._batcher.progress[sid].recent
        if not recent:
            recent.extend(lines[-8:])

    def _report_limit(self) -> None:
        fields = {"notice": "line_limit", "hint": self.limit.hint}
        self.put_notice(PendingNotice("status", f"From now on lines may come late: {self.limit.why}", fields=fields))

    async def put_lines(self, sid: int, data: bytes) -> None:
        """Hand over whole lines; wait while too much is unwritten, or more lines came than the namespace may write.

        Raises
        ------
        CortexError
            The error of the last commit; nothing more is accepted.
        """
        if not data:
            return
        at = time.time_ns()
        if data[-1:] != b"\n":
            data += b"\n"
        if self.limit.lines_per_s is not None:
            await self.limit.pass_lines(data.count(b"\n"))
        await self._until_room()
        self._enqueue(RawLines(sid, data, at))

    async def put_parsed(self, sid: int, lines: Lines) -> None:
        """Hand over parsed lines; wait while too much is unwritten.

        Raises
        ------
        CortexError
            The error of the last commit; nothing more is accepted.
        """
        for start in range(0, len(lines), _BATCH_LINES):
            await self._until_room()
            part = lines.part(start, start + _BATCH_LINES)
            self.limit.count_lines(len(part))
            self._enqueue(ParsedLines(sid, part))

    def put_notice(self, note: PendingNotice) -> None:
        """Hand over a notice, or a change of the recording's row."""
        self._enqueue(note)

    def set_has_readers(self, *, has_readers: bool) -> None:
        """Set whether the task has readers. With the first reader, waiting items are committed soon."""
        if has_readers == self._has_readers:
            return
        with self._writer.lock:
            self._has_readers = has_readers
            if self.items:
                self.due_at = min(self.due_at, self.written_at + self._interval)
                self._writer.add(self)

    @property
    def _interval(self) -> float:
        return self._writer.interval_s if self._has_readers else UNREAD_S

    async def flush(self) -> None:
        """Wait until everything that was handed over is committed."""
        done = asyncio.Event()
        with self._writer.lock:
            self.barriers.append((self.accepted, lambda: self._loop.call_soon_threadsafe(done.set)))
            self.due_at = time.monotonic()
            self._writer.add(self)
        await done.wait()
        if self.error is not None:
            raise self.error

    async def _until_room(self) -> None:
        while self.size > _MAX_WAITING and self.error is None:
            self._has_room.clear()
            await self._has_room.wait()

    def _enqueue(self, item: Item) -> None:
        if self.error is not None:
            raise self.error
        event = item.event if isinstance(item, PendingNotice) else "log"
        if self._has_end and event:
            return  # readers stop at the end; only the recording's row may still change
        self._has_end = self._has_end or event == "end"
        with self._writer.lock:
            if not self.items:
                self.due_at = max(time.monotonic(), self.written_at + self._interval)
            self.items.append(item)
            recorder_metrics.QUEUE.inc(item.size)
            self.accepted += 1
            self.size += item.size
            if self.size >= FULL:
                self.due_at = min(self.due_at, time.monotonic())
            self._writer.add(self)

    # ---------------------------------------------- on the writer's thread

    def take(self) -> list[Item]:
        """Take about `FULL` bytes of items. The caller holds the lock."""
        size = n = 0
        for item in self.items:
            n += 1
            size += item.size
            if size >= FULL:
                break
        items, self.items = self.items[:n], self.items[n:]
        self.size -= size
        self.taken += n
        self.written_at = time.monotonic()
        # Full or not, the channel queues behind the ones that are due already: a backlog of one task does not delay the
        # others.
        self.due_at = self.written_at if self.size >= FULL or self.barriers else self.written_at + self._interval
        return items

    def take_reached_barriers(self) -> list[Callable[[], object]]:
        """Take the barriers whose preceding items have all been taken. The caller holds the lock."""
        reached = [call for count, call in self.barriers if count <= self.taken]
        self.barriers = [(count, call) for count, call in self.barriers if count > self.taken]
        return reached

    def _trace_commit(self, items: list[Item], seconds: float) -> None:
        for item in items:
            if isinstance(item, (RawLines, ParsedLines)) and (context := self.traced.pop(item.sid, None)) is not None:
                tracing.record_span(
                    "cortex.commit", seconds, {"cortex.task": self.task, "cortex.commit.bytes": item.size}, context
                )

    def write(self, items: list[Item]) -> None:
        """Commit items unless a commit failed before.

        An error is kept, and raised by the next method that hands over items.
        """
        size = sum(item.size for item in items)
        if self.error is None:
            self._commit(items, size)
        recorder_metrics.QUEUE.dec(size)
        self._loop.call_soon_threadsafe(self._has_room.set)

    def _commit(self, items: list[Item], size: int) -> None:
        try:
            commit = self._batcher.build(items)
            started_at = time.monotonic()
            self._writer.retrier.commit(self._lease, commit, self.stall_notice)
            seconds = time.monotonic() - started_at
            recorder_metrics.count_commit(commit.entries, size, seconds, self._opened_ns)
            for item in items:
                if isinstance(item, PendingNotice) and item.loss:
                    self._writer.losses.add(self.task, item.loss)
            if self.traced:
                self._trace_commit(items, seconds)
            if commit.entries:
                self.last_committed = commit.entries[-1].last
        except Exception as error:  # noqa: BLE001 - raised in the task's coroutine, which must not wait for ever
            if not isinstance(error, CortexError):
                _log.exception("A batch of %s cannot be recorded", self._batcher.task)
            recorder_metrics.count_error(error)
            self.error = error
