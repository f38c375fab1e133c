"""The one thread that parses, encodes and commits, for all tasks of a recorder: each when it is due."""

from __future__ import annotations

import contextvars
import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING, Self

from cortex_jupyter.recorder.process.health import Pulse
from cortex_jupyter.recorder.text.parser import PLAIN, Parser
from cortex_jupyter.recorder.writing.channel import Channel
from cortex_jupyter.recorder.writing.commit_retrier import Patience, Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.recorder.writing.batch import Item
    from cortex_jupyter.store import Lease, Store


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
