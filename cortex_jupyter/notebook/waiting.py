"""Following a task and waiting for it: for code that blocks, and for code that is asynchronous."""

from __future__ import annotations

import asyncio
import time
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ReadingWarning, TaskFailed, WaitTimeout
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook.follow import Follow, Frames
from cortex_jupyter.notebook.query import check
from cortex_jupyter.notebook.record import Record
from cortex_jupyter.notebook.snapshot import Snapshot, progress, until
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    from collections.abc import Generator

    from cortex_jupyter.notebook.record import Status

#: Lines that the exception of a failed task carries.
LAST: Final = 50


class Waiting(Snapshot):
    """The part of `TaskLog` that follows and waits."""

    def follow(self) -> Follow:
        """Give every record of the log, then those to come, to the task's end; for `for` and `async for`."""
        self._warn()
        return Follow(self.frames())

    def frames(self) -> Frames:
        """Give the events of the log to the task's end: whole batches, and notices."""
        return Frames(self._engine, self._recording, check(self._query))

    def wait(
        self, pattern: str | None = None, timeout: float | None = None, *, raise_on_failure: bool = False
    ) -> Record | Status:
        """Block until the task has ended and its log is read, or until a line matches.

        An interrupt (Ctrl-C, the notebook's stop button) ends the waiting at once; the recording goes on.
        Asynchronous code writes `await log`, with `asyncio.timeout` around it where it will not wait for ever.

        Parameters
        ----------
        pattern : str, optional
            A regular expression; lines that are there already count.
        timeout : float, optional
            Seconds.
        raise_on_failure : bool, optional
            Raise where the task ends otherwise than well.

        Returns
        -------
        Record or Status
            The line that matches; else how the task ended.

        Raises
        ------
        WaitTimeout
            Neither happened in time. It is a `TimeoutError`.
        TaskFailed
            With `raise_on_failure`: the task failed, or was deleted before it ended. It carries `exit_code`, `reason`
            and `records`, the last 50 lines.
        """
        self._warn()
        end = None if timeout is None else time.monotonic() + timeout
        try:
            if pattern is not None and (found := self._line(pattern, end)) is not None:
                return found
            self._wait(lambda info: info.done, None if end is None else end - time.monotonic())
        except TimeoutError:
            raise self._late(pattern, timeout) from None
        status = self.status
        if raise_on_failure and status.state != "succeeded":
            raise self._failed(status)
        return status

    def _warn(self) -> None:
        """Warn of a wait that cannot end as things are; it goes on by itself when they change."""
        if self.problem is not None:
            warnings.warn(self.status.message, ReadingWarning, stacklevel=3)

    def __await__(self) -> Generator[object, None, Status]:
        """Wait for the end without blocking the event loop; gives how the task ended."""
        return asyncio.wrap_future(self._engine.submit(self._ended())).__await__()

    async def _ended(self) -> Status:
        await until(self._recording, lambda info: info.done)
        return await self._now()

    def _line(self, pattern: str, end: float | None) -> Record | None:
        """Give the first line that matches, None where the task ends without one."""
        find = finder("pattern", pattern)
        with progress(f"waiting for {pattern!r}") as bar, closing(self.frames()) as frames:
            while True:
                left = None if end is None else max(0.0, end - time.monotonic())
                frame = frames.next(left, lambda: bar.update(0))
                if frame is None:
                    return None
                if frame.event == "log":
                    batch = Batch.decode(frame.entry.data)
                    for place, text in enumerate(batch.texts):
                        if find(text):
                            return next(Record.each(batch.take([place])))
                    bar.update(len(batch))

    def _late(self, pattern: str | None, timeout: float | None) -> WaitTimeout:
        status, records = self.status, self._statement().records
        what = "it has not ended" if pattern is None else f"no line matches {pattern[:60]!r}"
        return WaitTimeout(
            f"{self._recording.ref.key}: {what} after {timeout:g} s; {status.message or status.state}, "
            f"{format_count(records, 'line')} so far"
        )

    def _failed(self, status: Status) -> TaskFailed:
        last = type(self)(self._engine, self._recordings, self._recording, self._query | {"tail": LAST})
        return TaskFailed(
            self._recording.ref.key, status.message, status.exit_code, status.reason, list(last.records())
        )
