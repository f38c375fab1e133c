"""The part of `TaskLog` that reads the recording as it is now: state, records, counts."""

from __future__ import annotations

import asyncio
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

from tqdm.auto import tqdm

from cortex_jupyter.archive.store import ArchiveStore, nearest
from cortex_jupyter.errors import NotAllowed, ReadingWarning
from cortex_jupyter.notebook.record import Record, Status
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.state import present
from cortex_jupyter.tables.ordered import ordered
from cortex_jupyter.tables.schema import COLUMNS
from cortex_jupyter.tables.statement import Completeness

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    import pyarrow as pa

    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.store import Readable, RecordingInfo


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[tqdm[Any]]:
    """Show a progress bar if the block takes longer than a second and output goes to a user."""
    # The thread that updates a chart has no cell in which to show a bar.
    hidden = None if threading.current_thread() is threading.main_thread() else True
    with tqdm(total=total, desc=label, unit=" lines", unit_scale=True, delay=1, leave=False, disable=hidden) as bar:
        yield bar


class Snapshot:
    """One recording and a query, read synchronously.

    Parameters
    ----------
    engine : Runtime
    recordings : Session
    recording : Recording
        The task's recording.
    query : dict
        The parameters as the user gave them.
    """

    def __init__(self, engine: Runtime, recordings: Session, recording: Recording, query: dict[str, Any]) -> None:
        self._engine = engine
        self._recordings = recordings
        self._recording = recording
        self._query = query

    @property
    def status(self) -> Status:
        """The state of the task, as its recorder saw it last."""
        return self._engine.run(self._now())

    @property
    def problem(self) -> CortexError | None:
        """Why nothing new can be recorded now: a permission is missing, or the cluster does not answer. Else None."""
        return self._engine.run(self._recording.obstacle())

    def _parsed(self) -> LogQuery:
        """Parse the query again: `since="10m"` means the ten minutes before now, by the cluster's clock."""
        info = self._recording.store.info(self._recording.id)
        clock_ahead = self._recording.clock_ahead(info) if info else 0
        query = LogQuery.parse({"since": "all", **self._query}).ahead(clock_ahead)
        return query.among(self._recording.store, self._recording.id)

    @property
    def place(self) -> tuple[str, int, dict[str, Any]]:
        """Store, recording and query: what another process needs to read the same log."""
        return self._recording.store.url, self._recording.id, dict(self._query)

    def _settle(self) -> RecordingInfo:
        """Wait until everything written so far is recorded.

        Raises
        ------
        NotAllowed
            A permission to read the log is missing, and nothing is recorded.
        """
        try:
            info = self._watch(self._recording.caught_up(), "reading the log")
        except NotAllowed as error:
            if not self._statement().records:
                raise
            warnings.warn(f"{error.message}; this is what was recorded before", ReadingWarning, stacklevel=3)
            return self._recording.read_info()
        if not info.done and self.problem is not None:
            warnings.warn(self.status.message, ReadingWarning, stacklevel=3)
        return info

    def _wait(self, test: Callable[[RecordingInfo], bool], timeout: float | None = None) -> RecordingInfo:
        return self._watch(until(self._recording, test), "waiting for the task", timeout)

    def _watch(
        self, coroutine: Coroutine[Any, Any, RecordingInfo], label: str, timeout: float | None = None
    ) -> RecordingInfo:
        with progress(label) as bar:

            def tick() -> None:
                info = self._recording.store.info(self._recording.id)
                if info is not None:
                    bar.update(info.last_seq - bar.n)

            return self._engine.run(coroutine, timeout=timeout, tick=tick)

    def _mark(self) -> tuple[int, bool]:
        """Return the number of the newest record, and whether the recording is complete."""
        info = self._engine.run(self._recording.info())
        return info.last_seq, info.done

    async def _now(self) -> Status:
        info = await self._recording.info()
        return Status.of(await present(self._recording, info), done=info.done)

    def _statement(self) -> Completeness:
        return Completeness.of(self._recording.store, self._recording.id)

    def _columnar(self) -> Readable:
        """Return the place to read whole columns from: the archive if it has the recording, else the store."""
        return nearest(self._recording.store, self._recordings.archive, self._recording.id)

    def _table(self, columns: Sequence[str] = COLUMNS, *, start: int = 0, shared: bool = False) -> pa.Table:
        from cortex_jupyter.tables.read import read  # needs pyarrow, which is optional

        self._settle()
        store, id_ = self._columnar(), self._recording.id
        with progress("loading the log", self._statement().records) as bar:
            return read(store, id_, self._parsed(), bar.update, columns, start, shared=shared)

    def records(self) -> Iterator[Record]:
        """Yield the records of the log as it is now, in the order of `to_arrow`. It needs no pyarrow."""
        self._settle()
        yield from map(Record.of, ordered(self._recording.store, self._recording.id, self._parsed()))

    def __len__(self) -> int:
        """Count the records."""
        if self._query.keys() <= {"since", "timestamps", "pretty"} and self._query.get("since", "all") == "all":
            self._settle()
            return self._statement().records
        if isinstance(store := self._columnar(), ArchiveStore):
            from cortex_jupyter.tables.read import count  # needs pyarrow, like any archive

            self._settle()
            return count(store, self._recording.id, self._parsed())
        return sum(1 for _ in self.records())

    def __bool__(self) -> bool:
        """Return True, even without lines. Otherwise `if log` would read the whole log."""
        return True

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...

    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        """Return the record with this `seq`, or all records in a range of `seq`. Negative numbers count from the end.

        Raises
        ------
        IndexError
            There is no such record: the number belongs to a notice, is filtered out, or does not exist yet.
        """
        last = self._settle().last_seq
        if isinstance(place, slice):
            start, stop, step = place.indices(last + 1)
            records = [r for r in self._between(start, stop) if (r.seq - start) % step == 0]
            return sorted(records, key=lambda r: r.seq)
        seq = place if place >= 0 else last + 1 + place
        for record in self._between(seq, seq + 1):
            return record
        raise IndexError(f"no record has the number {seq}; the last is {last}")

    def _between(self, start: int, stop: int) -> Iterator[Record]:
        records = ordered(self._recording.store, self._recording.id, self._parsed(), start, stop)
        return map(Record.of, records)


async def until(recording: Recording, test: Callable[[RecordingInfo], bool]) -> RecordingInfo:
    """Wait until a recording's state passes a test, and return the state. The task stays wanted meanwhile."""
    changed, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    unsubscribe = recording.store.subscribe(wake, recording.id)
    try:
        async with recording.keep_wanted():
            while True:
                changed.clear()
                if test(info := await recording.info()):
                    return info
                await changed.wait()
    finally:
        unsubscribe()
