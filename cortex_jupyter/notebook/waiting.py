"""The part of `TaskLog` that follows a task and waits for it, for blocking and for asynchronous code."""

from __future__ import annotations

import asyncio
import time
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ReadingWarning, TaskFailed, WaitTimeout
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook.follow import Follow, TaskEvents
from cortex_jupyter.notebook.query import parse_query
from cortex_jupyter.notebook.record import Record
from cortex_jupyter.notebook.snapshot import Snapshot, progress, until
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    from collections.abc import Generator

    from cortex_jupyter.notebook.record import Status

#: Number of last lines in the exception of a failed task.
LAST_LINES: Final = 50


class Waiting(Snapshot):
    """The part of `TaskLog` that follows and waits."""

    def follow(self) -> Follow:
        """Iterate over all records, then over new ones until the task ends, with `for` or `async for`."""
        self._warn()
        return Follow(self.events())

    def events(self) -> TaskEvents:
        """Iterate over the events of the log until the task ends: whole batches, and notices."""
        return TaskEvents(self._engine, self._recording, parse_query(self._query))

    def wait(
        self, pattern: str | None = None, timeout: float | None = None, *, raise_on_failure: bool = False
    ) -> Record | Status:
        """Block until the task has ended and its log is read, or until a line matches.

        An interrupt (Ctrl-C, the notebook's stop button) ends the wait at once; the recording goes on.
        Asynchronous code uses `await log`, with `asyncio.timeout` to limit the wait.

        Parameters
        ----------
        pattern : str, optional
            A regular expression. Lines that are already recorded count too.
        timeout : float, optional
            Seconds.
        raise_on_failure : bool, optional
            Raise an exception if the task does not succeed.

        Returns
        -------
        Record or Status
            The first line that matches, else the state of the task.

        Raises
        ------
        WaitTimeout
            Neither happened in time. It is a `TimeoutError`.
        TaskFailed
            With `raise_on_failure`: the task failed, or was deleted before it ended. The exception has `exit_code`,
            `reason` and `records`, the last 50 lines.
        """
        self._warn()
        end = None if timeout is None else time.monotonic() + timeout
        try:
            if pattern is not None and (record := self._first_match(pattern, end)) is not None:
                return record
            self._wait(lambda info: info.done, None if end is None else end - time.monotonic())
        except TimeoutError:
            raise self._timeout_error(pattern, timeout) from None
        status = self.status
        if raise_on_failure and status.state != "succeeded":
            raise self._failure(status)
        return status

    def _warn(self) -> None:
        """Warn that nothing can be recorded now, so the wait may not end. Recording continues when the problem is solved."""
        if self.problem is not None:
            warnings.warn(self.status.message, ReadingWarning, stacklevel=3)

    def __await__(self) -> Generator[object, None, Status]:
        """Wait for the task's end without blocking the event loop, and return its state."""
        return asyncio.wrap_future(self._engine.submit(self._ended())).__await__()

    async def _ended(self) -> Status:
        await until(self._recording, lambda info: info.done)
        return await self._now()

    def _first_match(self, pattern: str, end: float | None) -> Record | None:
        """Return the first line that matches; None if the task ends without one."""
        find = finder("pattern", pattern)
        with progress(f"waiting for {pattern!r}") as bar, closing(self.events()) as events:
            while True:
                remaining_s = None if end is None else max(0.0, end - time.monotonic())
                event = events.next(remaining_s, lambda: bar.update(0))
                if event is None:
                    return None
                if event.event == "log":
                    batch = Batch.decode(event.entry.data)
                    for index, text in enumerate(batch.texts):
                        if find(text):
                            return next(Record.each(batch.take([index])))
                    bar.update(len(batch))

    def _timeout_error(self, pattern: str | None, timeout: float | None) -> WaitTimeout:
        status, records = self.status, self._statement().records
        problem = "it has not ended" if pattern is None else f"no line matches {pattern[:60]!r}"
        return WaitTimeout(
            f"{self._recording.ref.key}: {problem} after {timeout:g} s; {status.message or status.state}, "
            f"{format_count(records, 'line')} so far"
        )

    def _failure(self, status: Status) -> TaskFailed:
        last = type(self)(self._engine, self._recordings, self._recording, self._query | {"tail": LAST_LINES})
        return TaskFailed(
            self._recording.ref.key, status.message, status.exit_code, status.reason, list(last.records())
        )
