"""Read a recording from synchronous code: its state, its records as they are now, and waiting for changes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from array import array
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tqdm.auto import tqdm

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import ArchiveStore, nearest
from cortex_jupyter.errors import MissingExtra, NotAllowed, ReadingWarning
from cortex_jupyter.notebook.query import with_fixed_days
from cortex_jupyter.notebook.record import Record, Status
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.state import present
from cortex_jupyter.reader.text import TextFormat
from cortex_jupyter.store.scan import scan_tracebacks
from cortex_jupyter.tables.ordered import ordered
from cortex_jupyter.tables.schema import COLUMNS
from cortex_jupyter.tables.statement import Completeness

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    import pyarrow as pa

    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.model import Source
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.query.tracebacks import KnownTracebacks
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.store import Anchor, Readable, RecordingInfo

#: Positions up to here, from either end, are found record by record; for others, reading the column `seq` is quicker.
_NEAR: Final = 20_000


@contextmanager
def progress(label: str, total: int | None = None, unit: str = " lines") -> Iterator[tqdm[Any]]:
    """Show a progress bar if the block takes longer than a second and output goes to a user."""
    # The thread that updates a chart has no cell for a bar.
    hidden = None if threading.current_thread() is threading.main_thread() else True
    with tqdm(total=total, desc=label, unit=unit, unit_scale=True, delay=1, leave=False, disable=hidden) as bar:
        yield bar


class RecordingReader:
    """Reads one recording with a query. Its methods block, except for `ask_status`.

    Parameters
    ----------
    engine : Runtime
    session : Session
    recording : Recording
    query : dict
        The parameters as the user gave them, without the ones that are None. Days and times of day are fixed.
    numbers : sequence of int, optional
        Ascending numbers (`seq`): only the records with these. An array holds numbers of records that exist.
    """

    def __init__(
        self,
        engine: Runtime,
        session: Session,
        recording: Recording,
        query: dict[str, Any],
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.engine, self.session, self.recording, self.numbers = engine, session, recording, numbers
        self._found_tracebacks: tuple[tuple[int | None, int | None, int], KnownTracebacks] | None = None
        self.query = with_fixed_days({name: value for name, value in query.items() if value is not None})

    def with_query(self, query: dict[str, Any]) -> RecordingReader:
        """Return a reader of the same records with another query."""
        return RecordingReader(self.engine, self.session, self.recording, query, self.numbers)

    def with_numbers(self, query: dict[str, Any], numbers: Sequence[int]) -> RecordingReader:
        """Return a reader of the records with these numbers."""
        return RecordingReader(self.engine, self.session, self.recording, query, numbers)

    def status(self) -> Status:
        """Return the state of the task, as its recorder saw it last."""
        return self.engine.run(self.ask_status())

    async def ask_status(self) -> Status:
        """Return the state of the task. Call it on the engine's loop only."""
        info = await self.recording.info()
        return Status.of(await present(self.recording, info), done=info.done)

    def info(self) -> RecordingInfo:
        """Return the row of the recording."""
        return self.engine.run(self.recording.info())

    def problem(self) -> CortexError | None:
        """Return why nothing new can be recorded now; None if nothing is wrong."""
        return self.engine.run(self.recording.obstacle())

    def sources(self) -> list[tuple[Source, Anchor]]:
        """Return the recorded sources, and how far each is recorded."""
        return list(self.recording.store.sources(self.recording.id).values())

    def parsed_query(self) -> LogQuery:
        """Parse the query again: `since="10m"` means the ten minutes before now, by the cluster's clock."""
        info = self.recording.store.info(self.recording.id)
        clock_ahead = self.recording.clock_ahead(info) if info else 0
        query = LogQuery.parse({"since": "all", **self.query}).ahead(clock_ahead)
        return replace(query.among(self.recording.store, self.recording.id), numbers=self.numbers)

    def query_now(self) -> LogQuery:
        """Parse the query for reading the records as they are now. A filter by level then keeps tracebacks whole."""
        query = self.parsed_query()
        return query if query.level is None else replace(query, tracebacks=self._tracebacks(query))

    def _tracebacks(self, query: LogQuery) -> KnownTracebacks:
        store, id_ = self.recording.store, self.recording.id
        info = store.info(id_)
        key = (query.since, query.until, info.last_seq if info else 0)
        if self._found_tracebacks is None or self._found_tracebacks[0] != key:  # there are new lines
            self._found_tracebacks = key, scan_tracebacks(store, id_, query, upto=key[2])
        return self._found_tracebacks[1]

    def settle(self) -> RecordingInfo:
        """Wait until all lines that the task has written are recorded.

        Raises
        ------
        NotAllowed
            A permission to read the log is missing, and nothing is recorded.
        """
        try:
            info = self._watch(self.recording.caught_up(), "reading the log")
        except NotAllowed as error:
            if not self.statement().records:
                raise
            warnings.warn(f"{error.message}; this is what was recorded before", ReadingWarning, stacklevel=3)
            return self.recording.read_info()
        if not info.done and self.problem() is not None:
            warnings.warn(self.status().message, ReadingWarning, stacklevel=3)
        return info

    def wait(
        self,
        test: Callable[[RecordingInfo], bool],
        timeout: float | None = None,
        tick: Callable[[], object] | None = None,
    ) -> RecordingInfo:
        """Wait until the recording's row passes a test; `tick` is called a few times per second.

        Raises
        ------
        TimeoutError
            It did not within `timeout` (seconds).
        """
        return self._watch(until(self.recording, test), "waiting for the task", timeout, tick)

    def _watch(
        self,
        coroutine: Coroutine[Any, Any, RecordingInfo],
        label: str,
        timeout: float | None = None,
        also: Callable[[], object] | None = None,
    ) -> RecordingInfo:
        with progress(label) as bar:

            def tick() -> None:
                info = self.recording.store.info(self.recording.id)
                if info is not None:
                    bar.update(info.last_seq - bar.n)
                if also is not None:
                    also()

            return self.engine.run(coroutine, timeout=timeout, tick=tick)

    def statement(self) -> Completeness:
        """Return the completeness statement of the whole recording, as it is now."""
        return Completeness.of(self.recording.store, self.recording.id)

    def columnar(self) -> Readable:
        """Return the place to read whole columns from: the archive if it has the recording, else the store."""
        return nearest(self.recording.store, self.session.archive, self.recording.id)

    def table(self, columns: Sequence[str] = COLUMNS, *, start: int = 0, shared: bool = False) -> pa.Table:
        """Return a `pyarrow.Table` of the log as it is now; see `tables.read.read`."""
        from cortex_jupyter.tables.read import read  # needs pyarrow, which is optional

        self.settle()
        store, id_ = self.columnar(), self.recording.id
        with progress("loading the log", self.statement().records) as bar:
            return read(store, id_, self.query_now(), bar.update, columns, start, shared=shared)

    def records(self) -> Iterator[Record]:
        """Yield the records as they are now, in the order of `table`. It needs no pyarrow."""
        self.settle()
        yield from map(Record.of, ordered(self.recording.store, self.recording.id, self.query_now()))

    def last_records(self, count: int) -> list[Record]:
        """Return the last records as they are recorded now, without reading more than necessary."""
        query = self.query_now()
        query = replace(query, tail=count if query.tail is None else min(query.tail, count))
        return list(map(Record.of, ordered(self.recording.store, self.recording.id, query)))

    def text_format(self) -> TextFormat:
        """Return how a file of text shows the records."""
        return TextFormat.of(self.recording.store, self.recording.id, self.parsed_query())

    def count(self) -> int:
        """Count the records. Call `settle` before."""
        if self.query.get("since", "all") == "all" and self.query.keys() <= {"since", "timestamps", "pretty"}:
            if self.numbers is None:
                return self.statement().records
            if isinstance(self.numbers, array) and self.info().done:  # all of them exist, and none leaves any more
                return len(self.numbers)
        if isinstance(store := self.columnar(), ArchiveStore):
            from cortex_jupyter.tables.read import count  # needs pyarrow, like any archive

            return count(store, self.recording.id, self.query_now())
        return sum(1 for _ in ordered(self.recording.store, self.recording.id, self.query_now()))

    def numbers_at(self, positions: slice) -> array[int]:
        """Return the numbers of the records at a slice of positions in the order of `table`, ascending.

        Positions near the beginning or the end are found without reading the rest.
        """
        self.settle()
        start, stop, near = positions.start or 0, positions.stop, range(-_NEAR, _NEAR)
        # From one end to a place that counts from the other end, such as log[:-1], lies nearly everything.
        is_across = stop is not None and (start < 0) != (stop < 0)
        if is_across or (start >= 0 and (stop is None or stop not in near)) or (start < 0 and start not in near):
            with contextlib.suppress(MissingExtra):
                return self._numbers_by_column(positions)
        if is_across:
            start, stop, _ = positions.indices(self.count())
        query = self.query_now()
        if start < 0:
            tail = -start if query.tail is None else min(-start, query.tail)
            last = ordered(self.recording.store, self.recording.id, replace(query, tail=tail))
            return array("q", sorted([record.seq for record in last][positions]))
        with closing(ordered(self.recording.store, self.recording.id, query)) as records:
            return array("q", sorted(record.seq for record in islice(records, start, stop, positions.step)))

    def _numbers_by_column(self, positions: slice) -> array[int]:
        pc: Any = import_optional("pyarrow.compute")
        seqs = self.table(("seq",))["seq"].combine_chunks()[positions]
        seqs = seqs.take(pc.sort_indices(seqs)).cast("int64")
        numbers = array("q")
        numbers.frombytes(memoryview(seqs.buffers()[1])[: 8 * len(seqs)])
        return numbers


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
