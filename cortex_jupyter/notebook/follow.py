"""Everything of a task's log to its end, for `for` and for `async for`."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from cortex_jupyter.notebook.record import Record
from cortex_jupyter.records import Batch
from cortex_jupyter.server.window import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.feed import Frame
    from cortex_jupyter.recording.open import Recording


async def frames(recording: Recording, query: LogQuery) -> AsyncIterator[Frame]:
    """Give the events of a task's window and those to come, to its end; it stays wanted meanwhile."""
    async with recording.wanted():
        window = await Window.open(recording, query, None)
        await window.settle()
        async with aclosing(window.frames()) as events:
            async for frame in events:
                yield frame


class Follow:
    """The records of a task in the order of recording, each once, as they come, to the task's end.

    An iterator and an asynchronous iterator; closing it, or leaving the loop, ends the reading.
    """

    def __init__(self, runtime: Runtime, recording: Recording, query: LogQuery) -> None:
        self._runtime = runtime
        self._frames = frames(recording, query)
        self._ready: deque[Record] = deque()
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        found = self.next()
        if found is None:
            raise StopIteration
        return found

    def next(self, timeout: float | None = None) -> Record | None:
        """Wait for the next record, None at the end.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
            Nothing came. The iterator has ended then.
        """
        if not self._ready and not self._over:
            self._take(self._runtime.run(self._more(), timeout=timeout))
        return self._ready.popleft() if self._ready else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        if not self._ready and not self._over:
            self._take(await asyncio.wrap_future(self._runtime.submit(self._more())))
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()

    def close(self) -> None:
        """End the reading."""
        if not self._over:
            self._over = True
            if self._runtime.alive:
                self._runtime.submit(self._frames.aclose())  # type: ignore[attr-defined]

    def __del__(self) -> None:
        self.close()

    async def _more(self) -> Frame | None:
        """Give the next batch; None at the end."""
        try:
            async for frame in self._frames:
                if frame.event == "log":
                    return frame
        except BaseException:
            self._over = True
            raise
        return None

    def _take(self, frame: Frame | None) -> None:
        # Decoded here, in the thread that uses it.
        if frame is None:
            self._over = True
        else:
            self._ready.extend(Record.each(Batch.decode(frame.entry.data)))
