"""Follow a task's log until the task ends, with `for` and `async for`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from cortex_jupyter.model import Batch
from cortex_jupyter.notebook.backlog import backlog
from cortex_jupyter.notebook.record import Record
from cortex_jupyter.reader.window import Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.events import StreamEvent
    from cortex_jupyter.reader.session import Recording


async def events(recording: Recording, query: LogQuery) -> AsyncGenerator[StreamEvent]:
    """Yield the events in a task's window, then new ones until the task ends. The task stays wanted meanwhile."""
    async with recording.keep_wanted():
        window = await Window.open(recording, query, None)
        await window.settle()
        if await asyncio.to_thread(has_several_containers, recording):
            async with aclosing(backlog(window)) as recorded:
                async for event in recorded:
                    yield event
        async with aclosing(window.bursts()) as bursts:
            async for burst in bursts:
                for event in burst.events:
                    yield event


def has_several_containers(recording: Recording) -> bool:
    """Return whether lines come, or may still come, from several containers. It blocks."""
    sources = recording.store.sources(recording.id).values()
    # The specification of these kinds does not say how many pods there are.
    if (
        recording.ref.kind in ("selector", "daemonset")
        or recording.ref.is_custom
        or len({(s.pod, s.container) for s, _ in sources}) > 1
    ):
        return True
    spec = recording.workload.obj.get("spec", {}) if recording.workload else {}
    pod = spec.get("template", {}).get("spec") or spec
    containers = len(pod.get("containers") or []) + len(pod.get("initContainers") or [])
    return containers > 1 or max(spec.get("parallelism") or 1, spec.get("replicas") or 1) > 1


class TaskEvents:
    """The events of a task until it ends, one by one, for synchronous code.

    Parameters
    ----------
    runtime : Runtime
    recording : Recording
    query : LogQuery
    """

    def __init__(self, runtime: Runtime, recording: Recording, query: LogQuery) -> None:
        self._runtime = runtime
        self._events = events(recording, query)
        self._step: asyncio.Task[object] | None = None  # waits for the next event
        self.is_over = False

    def __iter__(self) -> Iterator[StreamEvent]:
        while (event := self.next()) is not None:
            yield event

    def next(self, timeout: float | None = None, tick: Callable[[], object] | None = None) -> StreamEvent | None:
        """Wait for the next event and return it; at the end return None. Call `tick` a few times per second meanwhile.

        Raises
        ------
        TimeoutError
            No event came within `timeout` (seconds). This also ends the reading.
        """
        return None if self.is_over else self._runtime.run(self._more(), timeout=timeout, tick=tick)

    async def anext(self) -> StreamEvent | None:
        """Wait for the next event like `next`, on the caller's own event loop."""
        return None if self.is_over else await asyncio.wrap_future(self._runtime.submit(self._more()))

    async def _more(self) -> StreamEvent | None:
        self._step = asyncio.current_task()
        try:
            async for event in self._events:
                return event
        except BaseException:
            self.is_over = True
            raise
        finally:
            self._step = None
        self.is_over = True
        return None

    def close(self) -> None:
        """Stop reading."""
        if not self.is_over:
            self.is_over = True
            if self._runtime.alive:
                self._runtime.submit(self._end())

    async def _end(self) -> None:
        # A running generator cannot be closed. Cancel its step, unless an interrupt has: a second time would break its clean-up.
        if (step := self._step) is not None:
            if not step.cancelling():
                step.cancel()
            await asyncio.wait([step])
        await self._events.aclose()

    def __del__(self) -> None:
        self.close()


class Follow:
    """The records of a task until it ends, each once: recorded ones ordered by time, then new ones as they come.

    It is an iterator and an asynchronous iterator. Close or delete it to end the reading.
    """

    def __init__(self, events: TaskEvents) -> None:
        self._events = events
        self._ready: deque[Record] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        record = self.next()
        if record is None:
            raise StopIteration
        return record

    def next(self, timeout: float | None = None) -> Record | None:
        """Wait for the next record and return it; at the end return None.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
            No record came in time. This also ends the iterator.
        """
        until = None if timeout is None else time.monotonic() + timeout
        remaining_s = timeout
        while not self._ready and (event := self._events.next(remaining_s)) is not None:
            self._add(event)
            remaining_s = None if until is None else max(0.0, until - time.monotonic())
        return self._ready.popleft() if self._ready else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while not self._ready and (event := await self._events.anext()) is not None:
            self._add(event)
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    def close(self) -> None:
        """Stop reading."""
        self._events.close()

    def _add(self, event: StreamEvent) -> None:
        # Decode in the thread that uses the records.
        if event.event == "log":
            self._ready.extend(Record.each(Batch.decode(event.entry.data)))
