"""`TaskLog`: the log of one task, live and as data, in notebooks, IPython and scripts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import operator
import time
import warnings
from array import array
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, overload

import orjson

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.errors import (
    BadQuery,
    ContainerNotFound,
    CortexError,
    HangWarning,
    ReadingWarning,
    RecordNotFound,
    TaskFailed,
    WaitTimeout,
)
from cortex_jupyter.model import Batch, TaskRef, parse_rfc3339
from cortex_jupyter.notebook.follow import Follow, TaskEvents, has_several_containers
from cortex_jupyter.notebook.host import can_use_widgets, shows_html
from cortex_jupyter.notebook.query import parse_query, take_viewer_options
from cortex_jupyter.notebook.record import Marked, Record
from cortex_jupyter.notebook.recording_reader import RecordingReader, progress, until
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.notebook.static_html import LINES, MAX_READ, static_html
from cortex_jupyter.notebook.tasktable import tasks
from cortex_jupyter.query.instants import duration
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.query.tracebacks import TracebackTracker
from cortex_jupyter.reader.name_check import check_names, check_sources
from cortex_jupyter.reader.window import find_end
from cortex_jupyter.store.scan import scan_tracebacks
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
    from os import PathLike

    import pyarrow as pa
    from pandas import DataFrame

    from cortex_jupyter.analysis.comparison import Comparison
    from cortex_jupyter.analysis.error_list import Errors
    from cortex_jupyter.analysis.hangs import Hangs
    from cortex_jupyter.analysis.pattern_table import Patterns
    from cortex_jupyter.analysis.progress_table import ProgressFrame
    from cortex_jupyter.analysis.ranks_frame import Ranks
    from cortex_jupyter.analysis.why import Why
    from cortex_jupyter.notebook.masked import Masked
    from cortex_jupyter.notebook.metrics import Metrics
    from cortex_jupyter.notebook.record import Status
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.notebook.widget import LogViewer
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.reader.text import TextFormat
    from cortex_jupyter.tables.statement import Completeness

_log = logging.getLogger(__name__)

#: While a user waits for a task, its newest lines are examined this often (seconds).
HANG_CHECK_S: float = 15.0
_HANG_LINES: Final = 20_000
#: Number of last lines in the exception of a failed task.
LAST_LINES: Final = 50

__all__ = ["TaskLog", "logs", "tasks"]


def logs(
    task: str,
    *,
    namespace: str | None = None,
    kubeconfig: str | None = None,
    context: str | None = None,
    **query: Any,
) -> TaskLog:
    """Return the log of a task. As the value of a cell it shows the live viewer.

    Parameters
    ----------
    task : str
        `[NAMESPACE:][KIND/]NAME`, or `-l app=x`.
    namespace : str, optional
        Used if `task` names none. Default: `CORTEX_NAMESPACE`, else the kubeconfig's.
    kubeconfig, context : str, optional
        Default: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod.
    **query
        Which records: `since` (`90s`, `10m`, `yesterday`, `10:00`, RFC 3339 or `all`, the default in Python), `until`, `tail`, `pod`,
        `container`, `role`, `rank` (`3`, `"0-3"`), `run` (of each container: 0 is the first, -1 the newest, -2 the one
        before; `POD/CONTAINER/0` of one container), `attempt` (of the task: 0 is the first, -1 the newest), `stream`,
        `level`, `grep`, `exclude`, `where` (`"status>=500"`; these three may be lists), `timestamps`, `pretty`.
        How the viewer looks: `time` (`local`, `utc`, `start`, `delta`, `off`), `wrap`, `trim` (hide
        times and levels in the text that the columns show too), `columns`, `font_size`, `newest_first`, `fields` (of
        JSON lines and others, as columns), `fold` (equal lines: `exact`, or `masked` to ignore numbers), `around` (lines around each match),
        `split` (bars of the time axis, by `level` or `pod`), `chart` (of metrics, over `time` or `step`), `chart_log`,
        `chart_smooth`, `panel` (`patterns` or `fields`), `height`.

    Raises
    ------
    TaskNotFound, AmbiguousTask, ContainerNotFound, NotAllowed, NoCluster, ClusterError
        Raised at once, not when the log is first read.
    BadQuery
        A parameter is wrong.
    """
    viewer_options = take_viewer_options(query)
    parse_query(query)  # before the cluster is asked
    engine = runtime()
    log = _find_log(engine, lambda: engine.recordings(kubeconfig, context), task, namespace, query)
    log.looks |= viewer_options
    return log


def _find_log(
    engine: Runtime,
    connect: Callable[[], Awaitable[Session]],
    task: str,
    namespace: str | None,
    query: dict[str, Any],
) -> TaskLog:
    """Return the log of a task. Without a `namespace` that of the session counts."""

    async def find() -> tuple[Session, Recording]:
        session = await connect()
        recording = await session.find(TaskRef.parse(task, namespace or session.namespace))
        await check_names(recording, parse_query(query))
        return session, recording

    return TaskLog(RecordingReader(engine, *engine.run(find()), query))


class TaskLog:
    """The log of one task; made by `logs`.

    As the value of a cell it shows the live viewer. Reading (`to_pandas`, `len`, iteration, slices, `complete`) first
    waits until all lines that the task has written are recorded.
    """

    def __init__(self, reader: RecordingReader) -> None:
        self._reader = reader
        self._viewer: LogViewer | None = None
        #: The viewer's options, and its transport: `auto`, `sse` or `comm`. Set them before the viewer is shown. Later, set
        #: the traits of `viewer` with the same names.
        self.looks: dict[str, Any] = {}
        self.transport = "auto"
        #: The file of a log that was opened from a file, else "".
        self.opened = ""
        # For a part of a log: the code that makes it, and the query in that code.
        self._code, self._code_query = "", dict[str, Any]()

    # ----------------------------------------------------------------------- what

    @property
    def task(self) -> str:
        """The task's key, `namespace:kind/name`."""
        return self._reader.recording.ref.key

    @property
    def status(self) -> Status:
        """The state of the task, as its recorder saw it last."""
        return self._reader.status()

    @property
    def state(self) -> str:
        """`pending`, `running`, `succeeded`, `failed` or `gone`."""
        return self.status.state

    @property
    def exit_code(self) -> int | None:
        """The exit code of a task that has ended."""
        return self.status.exit_code

    @property
    def over(self) -> bool:
        """Whether the task has ended, by its recording or by its state in the cluster when it was found."""
        if self._reader.info().done:
            return True
        from cortex_jupyter.cluster.workloads import state_of

        workload = self._reader.recording.workload
        # A bare pod is the workload itself. The state of a Job needs only the Job.
        return workload is None or state_of(workload, [workload.obj] if workload.ref.kind == "pod" else []).over

    @property
    def problem(self) -> CortexError | None:
        """Why nothing new can be recorded now: a permission is missing, or the cluster does not answer. Else None."""
        return self._reader.problem()

    @property
    def query(self) -> LogQuery:
        """The parsed parameters. Durations count from now."""
        return self._reader.parsed_query()

    @property
    def text_format(self) -> TextFormat:
        """How a file of text shows the records: of several containers with source and time."""
        return self._reader.text_format()

    @property
    def several(self) -> bool:
        """Whether lines come, or may still come, from several containers."""
        return has_several_containers(self._reader.recording)

    @property
    def runs(self) -> dict[tuple[str, str], list[int]]:
        """The recorded runs by pod and container, counted by restarts: 0 is the first."""
        runs: dict[tuple[str, str], set[int]] = {}
        for source, _ in self._reader.sources():
            runs.setdefault((source.pod, source.container), set()).add(source.run)
        return {name: sorted(numbers) for name, numbers in runs.items()}

    def ended_runs(self) -> dict[tuple[str, str], list[int]]:
        """Return `runs` of the containers whose newest run has ended."""
        self._reader.settle()
        sources = self._reader.sources()
        running = {(source.pod, source.container) for source, anchor in sources if not anchor.ended}
        return {name: runs for name, runs in self.runs.items() if name not in running}

    def missing_name(self) -> ContainerNotFound | None:
        """Return the error for the first name in the query that no recorded source has; None if all exist."""
        if not (sources := self._reader.sources()):
            return None
        try:
            check_sources([source for source, _ in sources], self.query)
        except ContainerNotFound as error:
            return error
        return None

    @property
    def complete(self) -> Completeness:
        """The completeness statement of the whole recording: lines, time range, and gaps with their reasons."""
        self._reader.settle()
        return self._reader.statement()

    @property
    def place(self) -> tuple[str, int, dict[str, Any]]:
        """Store, recording and query: what another process needs to read the same log. For a part, it reads the whole log."""
        recording = self._reader.recording
        return recording.store.url, recording.id, dict(self._reader.query)

    def filter(self, **query: Any) -> TaskLog:
        """Return the log of the same task with further parameters. A parameter that is given again is replaced.

        Parameters
        ----------
        **query
            As for `logs`.

        Raises
        ------
        BadQuery
            A parameter is wrong.
        ContainerNotFound
            The task has ended, and has no such pod, container, role, rank, run or attempt.
        """
        log = self._filtered(query)
        self._reader.engine.run(check_names(self._reader.recording, log.query))
        return log

    def _filtered(self, query: dict[str, Any]) -> TaskLog:
        """Return the log with further parameters, without a check that the task has the names in them."""
        viewer_options = take_viewer_options(query)
        parse_query(merged := {**self._reader.query, **query})
        log = TaskLog(self._reader.with_query(merged))
        log.looks, log.transport, log.opened = self.looks | viewer_options, self.transport, self.opened
        log._code, log._code_query = self._code, self._code_query
        return log

    # -------------------------------------------------------------------- records

    def records(self) -> Iterator[Record]:
        """Yield the records of the log as it is now, in the order of `to_arrow`. It needs no pyarrow."""
        return self._reader.records()

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def __reversed__(self) -> Iterator[Record]:
        return reversed(list(self.records()))

    def __len__(self) -> int:
        """Count the records."""
        self._reader.settle()
        return self._reader.count()

    def __bool__(self) -> bool:
        """Return True, even without lines. Otherwise `if log` would read the whole log."""
        return True

    @overload
    def __getitem__(self, position: int) -> Record: ...

    @overload
    def __getitem__(self, position: slice) -> TaskLog: ...

    def __getitem__(self, position: int | slice) -> Record | TaskLog:
        r"""Return the record at a position, or the log of the records at a slice of positions.

        Positions count the records of this log, with its filter, from 0 in the order of `to_pandas`: by time. Negative
        ones count from the end. `seq` goes by the records' numbers instead, which a filter does not change.

        Returns
        -------
        Record or TaskLog
            The log of a slice holds these records for good, however the task goes on.

        Raises
        ------
        RecordNotFound
            The log has no such position. It is an `IndexError`.
        BadQuery
            The slice has a negative step.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "train.log")
        >>> _ = path.write_text("step=1 loss=0.5\nsaved\nstep=2 loss=0.25\nsaved\n")
        >>> log = cortex.open(path)
        >>> log[-1].text, log.filter(grep="loss")[1].text
        ('saved', 'step=2 loss=0.25')
        >>> log[1:3].to_pandas().text.tolist()
        ['saved', 'step=2 loss=0.25']
        """
        if isinstance(position, slice):
            positions, code = _checked(position)
            return self._fixed(self._reader.numbers_at(positions), f"{self!r}[{code}]")
        index = operator.index(position)
        for record in self._fixed(self._reader.numbers_at(slice(index, index + 1 or None)), "").records():
            return record
        raise RecordNotFound(
            f"there is no line at position {index}: the log has {format_count(len(self), 'line')}",
            f"log[-1] is the last line; log.seq[{index}] would be the line with this number" if index >= 0 else "",
        )

    @property
    def seq(self) -> BySeq:
        """The records by their number: `log.seq[2652]`, `log.seq[100:200]`.

        `seq` is the number of a record in its task, in the order of recording; frames have it as a column, and what the
        viewer copies as code uses it. Notices have numbers too, and a filter leaves numbers out, so a range may hold
        fewer records. `log.seq[100:200]` is a log, `log.seq[2652]` a record.
        """
        return BySeq(self._numbered, repr(self))

    def _numbered(self, positions: slice, code: str) -> TaskLog:
        """Return the log of the records with numbers in a slice, which has no negative parts; `code` makes it."""
        numbers = range(self._reader.settle().last_seq + 1)[positions]
        query = parse_query(self._reader.query)
        if self._reader.numbers is not None or query.tail is not None:
            return self._fixed(array("q", sorted(r.seq for r in self.records() if r.seq in numbers)), code)
        part = self._part(self._reader.query, numbers, code)
        counts_from_newest = any(chosen and not chosen.counted for chosen in (query.run, query.attempt))
        if query.since is None and query.until is None and not counts_from_newest:
            return part
        return self._fixed(array("q", sorted(record.seq for record in part.records())), code)

    def _fixed(self, numbers: array[int], code: str) -> TaskLog:
        # A window that moves, a tail and the newest run would mean other records later. So only the display is left.
        display_query = {name: value for name, value in self._reader.query.items() if name in ("timestamps", "pretty")}
        return self._part(display_query, numbers, code)

    def _part(self, query: dict[str, Any], numbers: Sequence[int], code: str) -> TaskLog:
        log = TaskLog(self._reader.with_numbers(query, numbers))
        log.looks, log.transport, log.opened = dict(self.looks), self.transport, self.opened
        log._code, log._code_query = code, query
        return log

    # ----------------------------------------------------------------- to its end

    def follow(self) -> Follow:
        """Iterate over all records, then over new ones until the task ends, with `for` or `async for`."""
        self._warn()
        return Follow(self.frames())

    def frames(self) -> TaskEvents:
        """Iterate over the events of the log until the task ends: whole batches, and notices."""
        query = replace(parse_query(self._reader.query), numbers=self._reader.numbers)
        if query.level is not None:
            query = replace(query, tracebacks=TracebackTracker())
        return TaskEvents(self._reader.engine, self._reader.recording, query)

    @overload
    def wait(self, pattern: None = None, timeout: float | None = None, *, raise_on_failure: bool = False) -> Status: ...

    @overload
    def wait(self, pattern: str, timeout: float | None = None, *, raise_on_failure: bool = False) -> Record | None: ...

    def wait(
        self, pattern: str | None = None, timeout: float | None = None, *, raise_on_failure: bool = False
    ) -> Record | Status | None:
        """Block until the task has ended and its log is read, or until a line matches. Warn while the task hangs.

        An interrupt (Ctrl-C, the notebook's stop button) ends the wait at once; the recording goes on.
        Asynchronous code uses `await log`, with `asyncio.timeout` to limit the wait.

        Parameters
        ----------
        pattern : str, optional
            A regular expression. Lines that are already recorded count too.
        timeout : float, optional
            Seconds.
        raise_on_failure : bool, optional
            Raise an exception if the task does not succeed. A line that matches before that is returned.

        Returns
        -------
        Record, Status or None
            With `pattern`: the first line that matches; None if the task ends without one. Without `pattern`: the state
            of the task.

        Raises
        ------
        WaitTimeout
            Neither happened in time. It is a `TimeoutError`.
        TaskFailed
            With `raise_on_failure`: the task failed, or was deleted before it ended. The exception has `exit_code`,
            `reason` and `records`, the last 50 lines (of the pod that failed first, if it is known).
        """
        self._warn()
        end = None if timeout is None else time.monotonic() + timeout
        watch = _HangWatch(self)
        try:
            if pattern is not None:
                find = finder("pattern", pattern)
                with progress(f"waiting for {pattern!r}") as bar, closing(self.frames()) as events:

                    def show(lines: int) -> None:
                        bar.update(lines)
                        watch()

                    if (record := _first_match(events, find, end, show)) is not None:
                        return record
            self._reader.wait(lambda info: info.done, None if end is None else end - time.monotonic(), watch)
        except TimeoutError:
            raise self._timeout_error(pattern, timeout) from None
        status = self.status
        if raise_on_failure and status.state != "succeeded":
            raise self._failure(status)
        return status if pattern is None else None

    def __await__(self) -> Generator[object, None, Status]:
        """Wait for the task's end without blocking the event loop, and return its state."""

        async def end() -> Status:
            await until(self._reader.recording, lambda info: info.done)
            return await self._reader.ask_status()

        return asyncio.wrap_future(self._reader.engine.submit(end())).__await__()

    def _warn(self) -> None:
        """Warn that nothing can be recorded now, so the wait may not end. Recording continues when the problem is solved."""
        if self.problem is not None:
            warnings.warn(self.status.message, ReadingWarning, stacklevel=3)

    def _timeout_error(self, pattern: str | None, timeout: float | None) -> WaitTimeout:
        status, records = self.status, self._reader.statement().records
        problem = "it has not ended" if pattern is None else f"no line matches {pattern[:60]!r}"
        return WaitTimeout(
            f"{self.task}: {problem} after {timeout:g} s; {status.message or status.state}, "
            f"{format_count(records, 'line')} so far"
        )

    def _failure(self, status: Status) -> TaskFailed:
        # The other pods of a distributed task only report that one is gone.
        pod = self._pod_that_failed() if "pod" not in self._reader.query else ""
        records = self._last_records(pod=pod) if pod else []
        if not records:
            pod, records = "", self._last_records()
        return TaskFailed(self.task, status.message, status.exit_code, status.reason, records, pod)

    def _pod_that_failed(self) -> str:
        """Return the pod that failed first, as its recorder saw it; empty if it is unknown."""
        recording, info = self._reader.recording, self._reader.info()
        end = find_end(recording.store, info)
        pod: str = "" if end is None else orjson.loads(end.data).get("pod", "")
        return pod

    def _last_records(self, **query: str) -> list[Record]:
        return list(self._reader.with_query(self._reader.query | {**query, "tail": LAST_LINES}).records())

    # ----------------------------------------------------------------------- data

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table` of the log as it is now.

        Columns: `time` (ns, UTC), `seq`, `namespace`, `task`, `pod`, `container`, `kind`, `run`, `node`, `stream`,
        `level`, `message`, `text`, `fields`, `role`, `rank`, `attempt`; rows are ordered by time, and within a source as
        in its file.

        Raises
        ------
        MissingExtra
            pyarrow is not installed.
        """
        return self._reader.table()

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame` with the columns of `to_arrow`."""
        from cortex_jupyter.tables.convert import to_pandas

        return to_pandas(self._reader.table())

    def to_polars(self, *, lazy: bool = False) -> Any:
        """Return a `polars.DataFrame` with the columns of `to_arrow`.

        Parameters
        ----------
        lazy : bool, optional
            Return a `polars.LazyFrame`, which reads only the rows and columns that are needed.
        """
        from cortex_jupyter.tables.convert import to_polars

        if not lazy:
            return to_polars(self._reader.table(shared=True))
        from cortex_jupyter.tables.lazy import lazy as scan

        self._reader.settle()
        return scan(self._reader.columnar(), self._reader.recording.id, self._reader.query_now())

    def sql(self, statement: str) -> Any:
        """Query the log with SQL, as the table `log`.

        Parameters
        ----------
        statement : str
            A statement for DuckDB: `select level, count(*) from log group by 1`. Only the columns that it names are
            read. `time` is a TIMESTAMP in UTC.

        Returns
        -------
        duckdb.DuckDBPyRelation
            It is displayed as a table, and has `.df()`, `.pl()`, `.arrow()` and `.fetchall()`.

        Raises
        ------
        BadQuery
            DuckDB cannot run the statement.
        MissingExtra
            duckdb is not installed.
        """
        from cortex_jupyter.tables.sql import needed, run

        return run(statement, "log", self._reader.table(needed(statement)))

    def fields(self) -> Any:
        """Return the fields of JSON and logfmt lines as typed columns.

        Returns
        -------
        pandas.DataFrame
            A row per line with fields: `time`, `seq`, `pod`, `level`, and the fields. A field with values of several
            types becomes text; `frame.attrs["conflicts"]` lists these. `attrs["left_out"]` is the number of fields
            left out: only the 500 most frequent ones are columns.
        """
        from cortex_jupyter.tables.columns import BASE_COLUMNS, fields
        from cortex_jupyter.tables.convert import to_pandas

        result = fields(self._reader.table((*BASE_COLUMNS, "fields")))
        frame = to_pandas(result.table)
        frame.attrs |= {"conflicts": result.conflicts, "left_out": result.left_out}
        return frame

    def follow_frames(self, every: str = "5s", kind: str = "pandas") -> Iterator[Any]:
        """Yield a frame with all existing lines, then frames with new lines, until the task ends.

        Parameters
        ----------
        every : str, optional
            The time between two frames. Without new lines, no frame is returned.
        kind : str, optional
            `pandas`, `polars` or `arrow`.

        Yields
        ------
        pandas.DataFrame, polars.DataFrame or pyarrow.Table
            With the columns of `to_arrow`. Each line is in one frame only.

        Raises
        ------
        BadQuery
            `every` is no duration, or `kind` is unknown.
        """
        from cortex_jupyter.tables.convert import to_pandas, to_polars
        from cortex_jupyter.tables.read import read

        kinds: dict[str, Callable[[pa.Table], object]] = {
            "pandas": to_pandas,
            "polars": to_polars,
            "arrow": lambda table: table,
        }
        convert = kinds.get(kind)
        pause = duration(every)
        if convert is None or not pause:
            raise BadQuery(
                f"cannot follow with every={every!r}, kind={kind!r}",
                "write every='5s' and kind='pandas', 'polars' or 'arrow'",
            )
        query, start = self._reader.parsed_query(), 0
        while True:
            info = self._reader.settle()
            if info.last_seq >= start:
                recording = self._reader.recording
                if query.level is not None:
                    query = replace(query, tracebacks=scan_tracebacks(recording.store, recording.id, query))
                table = read(recording.store, recording.id, query, start=start)
                # Leave lines that came after `settle` to the next frame.
                pc: Any = import_optional("pyarrow.compute")
                table = table.filter(pc.less_equal(pc.field("seq"), info.last_seq))
                start = info.last_seq + 1
                if len(table):
                    yield convert(table)
            if info.done:
                return
            with contextlib.suppress(TimeoutError):
                self._reader.wait(lambda info: info.done, pause / 1e9)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the log to a Parquet file in the layout of an archive, with the completeness statement in its metadata.

        The file has the columns of `to_arrow` except `message` and `fields`, which would double its size. `cortex.open`
        derives them again.

        Raises
        ------
        BadQuery
            The file cannot be written.
        """
        from cortex_jupyter.tables.parquet import to_parquet

        self._reader.settle()
        with progress("writing the log", self._reader.statement().records) as bar:
            to_parquet(self._reader.columnar(), self._reader.recording.id, self._reader.query_now(), path, bar.update)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the log directly."""
        return self._reader.table().__arrow_c_stream__(requested_schema)

    def mask(self) -> Masked:
        """Return the log with tokens, keys, passwords and e-mail addresses masked, as data and for export.

        The rules come from detect-secrets. The recording does not change. The completeness statement counts the masked
        values.

        Raises
        ------
        MissingExtra
            detect-secrets is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "login.log").write_text("login ann@example.org")
        >>> log = cortex.open(folder / "login.log")
        >>> log.mask().to_pandas().text.tolist()
        ['login [masked]']
        >>> log.mask().to_parquet(folder / "login.parquet")
        """
        from cortex_jupyter.notebook.masked import Masked

        return Masked(self._reader, repr(self))

    # ------------------------------------------------------------------- analysis

    def metrics(self, *names: str, pattern: str | None = None, path: str | None = None) -> Metrics:
        r"""Return the metrics that lines report: a frame with a row per value, and a chart with `.plot()`.

        Known forms are `loss=0.31 step=400`, `loss: 0.31`, `iter 0: loss 10.9`, JSON, Python dicts, tables with a column
        of steps, and the output of the common libraries (docs/explanation/metrics.md names them).

        Parameters
        ----------
        *names : str
            Only these metrics; globs are allowed (`val_*`).
        pattern : str, optional
            A regular expression to use instead of the known forms. Each named group is a metric, except `step` and
            `rank`: they are the line's step and rank.
        path : str, optional
            Only fields of JSON lines at or below this path: `train.loss`.

        Returns
        -------
        Metrics
            Columns `time`, `step`, `name`, `value`, `task`, `pod`, `rank`, `seq`.

        Raises
        ------
        BadQuery
            `pattern` is no regular expression, or has no named group besides `step` and `rank`.
        MissingExtra
            pyarrow is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.log").write_text("step=1 loss=0.5\nstep=2 loss=0.25\ntook 3 s at 2\n")
        >>> log = cortex.open(folder / "train.log")
        >>> log.metrics("loss", "val_*").to_pandas()[["step", "name", "value"]].values.tolist()
        [[1.0, 'loss', 0.5], [2.0, 'loss', 0.25]]
        >>> log.metrics(pattern=r"took (?P<took>\d+) s at (?P<step>\d+)").to_pandas().value.tolist()
        [3.0]
        >>> log.metrics("loss").plot()
        a chart of loss
        """
        from cortex_jupyter.notebook.metrics import Metrics  # needs pyarrow, which is optional

        source = _MetricSource(self._reader, names, pattern, path)
        return Metrics(source.table(), [source])

    def errors(self) -> Errors:
        """Return tracebacks, and lines that report an error. The same error in several pods counts as one.

        Tracebacks of Python, Java, JavaScript, Go, Rust, of C++ in PyTorch, of CUDA and of NCCL are known.

        Returns
        -------
        Errors
            A sequence of `Error` (`type`, `message`, `frames`, `count`, `pods`, `first`, `last`, `context`, `text`,
            `seq`) in the order of their first occurrence. It is a frame too.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.error_list import Errors
        from cortex_jupyter.analysis.errors import errors

        return Errors(errors(self.to_arrow()))

    def why(self) -> Why:
        """Return what ended the task: exit code, reason, Kubernetes' events, the last error and the last lines.

        If several ranks or pods failed: which one failed first, by the clocks of the nodes, and not because another one
        did. A lost connection, NCCL's watchdog, SIGTERM and a launcher's report are effects.

        Returns
        -------
        Why
            Its `summary` is one sentence. Also `exit_code`, `reason`, `culprit` (the container that failed first),
            `error`, `evidence` (lines in their order, as `log.seq[...]`), `errors`, `events`, and `containers` with their
            last lines.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.diagnosis import diagnose
        from cortex_jupyter.analysis.why import Why

        table, status = self.to_arrow(), self.status
        recording = self._reader.recording
        diagnosis = diagnose(recording.store, recording.id, table, succeeded=status.ended_well)
        return Why(self.task, status, diagnosis, self._hangs(table).now if status.state == "running" else "")

    def ranks(self) -> Ranks:
        r"""Compare the ranks of a distributed task: how far each is, how fast, since when it is silent, its first error.

        A rank is the newest run of a main container, or one process of several whose lines torchrun, Open MPI or Ray mark.

        Returns
        -------
        Ranks
            A row for each rank: `role`, `rank`, `pod`, `node`, `state`, `note` (`failed first`, `failed`, `behind`, `silent`,
            `stuck`, `slow`), `step`, `step_s`, `step_p95_s`, `lag`, `late_s`, `last`, `silent_s`, `error`, ... Its `.plot()` shows a
            strip for each rank: its progress over time.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "train.log")
        >>> _ = path.write_text("".join(f"[default{rank}]:step {step} done\n" for step in range(9) for rank in (0, 1)))
        >>> cortex.open(path).ranks().to_pandas()[["rank", "step", "lag"]].values.tolist()
        [['0', 8.0, 0.0], ['1', 8.0, 0.0]]
        """
        from cortex_jupyter.analysis.ranks import compare_ranks_of
        from cortex_jupyter.analysis.ranks_frame import Ranks

        table, recording = self.to_arrow(), self._reader.recording
        end, is_over = self._end(table)
        comparison, _ = compare_ranks_of(
            recording.store,
            recording.id,
            table,
            end,
            succeeded=self.status.ended_well,
            is_over=is_over,
            steps_only=self._steps_only,
        )
        return Ranks(comparison)

    def hangs(self) -> Hangs:
        r"""Find when the task stood still: no rank made a step for much longer than is usual for this task.

        The usual times are learned from the task itself: the time between two steps, and pauses such as checkpoints and
        evaluations. Each pause is judged by what came before it, so that the result for a task that has ended is what
        users saw while it ran. In the log of a task without steps its lines count.

        Returns
        -------
        Hangs
            A row for each time: `since`, `until` (null while it lasts), `seconds`, `noticed`, `usual_s`, `p99_s`, `behind`
            (the ranks that had not reached the last step), `message`, `seq`. `now` is the message while it lasts, else empty.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "train.log")
        >>> times = [*range(40), 2000, 2001]
        >>> _ = path.write_text("".join(f"2026-01-01T{t // 3600:02}:{t // 60 % 60:02}:{t % 60:02}Z step {t} done\n" for t in times))
        >>> cortex.open(path).hangs().to_pandas()[["seconds", "usual_s"]].values.tolist()
        [[1961.0, 1.0]]
        """
        from cortex_jupyter.analysis.steps import COLUMNS

        return self._hangs(self._reader.table(COLUMNS))

    def _hangs(self, table: pa.Table) -> Hangs:
        from cortex_jupyter.analysis.hangs import hangs
        from cortex_jupyter.analysis.steps import read_progress

        end, is_over = self._end(table)
        return hangs(table, read_progress(table), end, is_over=is_over, steps_only=self._steps_only)

    @property
    def _steps_only(self) -> bool:
        """Whether the log has no rhythm without steps: that of a file, or of a service."""
        return bool(self.opened) or not ends_by_itself(self._reader.recording.ref.kind)

    def _newest_hang(self, lines: int) -> dict[str, Any] | None:
        """Return the hang that lasts, by the newest lines; None if there is none. It waits for nothing."""
        from cortex_jupyter.analysis.steps import COLUMNS
        from cortex_jupyter.tables.read import read

        recording = self._reader.recording
        query = replace(parse_query({}), tail=lines)
        return self._hangs(read(recording.store, recording.id, query, columns=COLUMNS)).last

    def _end(self, table: pa.Table) -> tuple[int, bool]:
        """Return when the task ended, or now by the clock of its lines (ns), and whether it has ended."""
        pc: Any = import_optional("pyarrow.compute")
        recording, info = self._reader.recording, self._reader.info()
        last = pc.max(table["time"].cast("int64")).as_py() or 0
        if not info.done:
            return max(last, time.time_ns() + recording.clock_ahead(info)), False
        return max(last, parse_rfc3339(info.finished) if info.finished else 0), True

    def progress(self) -> ProgressFrame:
        """Return the progress of each container: bars (tqdm, rich, Keras, ...) and counts such as `epoch 3/10`.

        Returns
        -------
        ProgressFrame
            A row per bar: `pod`, `container`, `label`, `step`, `total`, `fraction`, `rate` (per second), `unit`,
            `elapsed`, `remaining` (seconds), `time`, `seq`. Bars that run come before finished ones, the newest first.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.progress import progress_bars
        from cortex_jupyter.analysis.progress_table import ProgressFrame

        return ProgressFrame(progress_bars(self.to_arrow()))

    def patterns(self) -> Patterns:
        r"""Group lines that are equal except for their values, such as `epoch <*> loss=<*>`, with counts over time.

        Returns
        -------
        Patterns
            Columns `pattern`, `count` (of lines), `share`, `level`, `first`, `last`, `pods`, `counts` (over time), `seq` and
            `example` (of the first line), and `times` (how often it occurred: a traceback or a table counts once). The
            pattern with the most lines comes first.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.log").write_text("step=1 loss=0.5\nsaved\nstep=2 loss=0.25\n")
        >>> log = cortex.open(folder / "train.log")
        >>> patterns = log.patterns()
        >>> patterns.to_pandas()[["pattern", "count"]].values.tolist()
        [['step=<*> loss=<*>', 2], ['saved', 1]]
        >>> [record.text for record in log.filter(grep=patterns.grep(1))]
        ['saved']
        """
        from cortex_jupyter.analysis.pattern_table import Patterns
        from cortex_jupyter.analysis.patterns import patterns

        return Patterns(patterns(self.to_arrow()))

    def compare(self, other: TaskLog | str) -> Comparison:
        r"""Compare with another log: hyperparameters that differ, the first other line, lines of one log, what takes longer.

        A hyperparameter is a named value (`lr=3e-4`, `"lr": 0.0003`, `lr: 3e-4`, `--lr 3e-4`) with one value in each log. It
        is written before the first step (the second value of `step`, `epoch` ...), or again and again without change.
        Measurements, times and ids (`val_loss`, `load_time`, `run_id`) are none. All other differences in numbers, IDs
        and times do not count. This log is `a`, the other one `b`. Pods are paired in the order of their names.

        Parameters
        ----------
        other : TaskLog or str
            The other log, or the name of its task. A name without a namespace is in the namespace of this task; its log
            is found in the same cluster, and has the parameters of this log.

        Returns
        -------
        Comparison
            A frame of patterns with the counts of both logs; `hyperparameters`, `first`, `durations`, `only_a`, `only_b`.

        Raises
        ------
        TaskNotFound, ContainerNotFound, NotAllowed, NoCluster, ClusterError
            `other` is a name, and `logs` would raise this for it.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "good.log").write_text("lr=3e-4 shard 7\nstep=1 loss=0.5\n")
        >>> _ = (folder / "bad.log").write_text("lr=3e-2 shard 9\nshard 9 is broken\nstep=1 loss=2.5\n")
        >>> comparison = cortex.open(folder / "good.log").compare(cortex.open(folder / "bad.log"))
        >>> comparison.hyperparameters.to_pandas()[["name", "a", "b"]].values.tolist()
        [['lr', '3e-4', '3e-2']]
        >>> comparison.first.a["text"], comparison.first.b["text"]
        ('step=1 loss=0.5', 'shard 9 is broken')
        >>> comparison.only_b.to_pandas().pattern.tolist()
        ['shard <*> is broken']
        """
        from cortex_jupyter.analysis.compare import compare
        from cortex_jupyter.analysis.comparison import Comparison

        log = self._sibling(other) if isinstance(other, str) else other
        return Comparison(compare(self.to_arrow(), log.to_arrow()), (self.task, log.task))

    def _sibling(self, task: str) -> TaskLog:
        """Return the log of another task, with the parameters of this log."""
        if self.opened:
            return logs(task, **self._reader.query)
        engine, session = self._reader.engine, self._reader.session

        async def connect() -> Session:
            await session.refresh()
            return session

        return _find_log(engine, connect, task, self._reader.recording.ref.namespace, self._reader.query)

    # -------------------------------------------------------------------- display

    @property
    def viewer(self) -> LogViewer:
        """The widget that shows this log. All cells share it. A part of a log has none.

        Raises
        ------
        BadQuery
            This is a part of a log.
        """
        if self._code:
            raise BadQuery(f"{self!r} is a part of a log, which has no viewer", "show the log itself, or filter it")
        if self._viewer is None:
            from cortex_jupyter.notebook.widget import LogViewer, for_page  # loads ipywidgets

            self._viewer = LogViewer(
                self._reader.engine,
                self._reader.session,
                tasks=[self.task],
                query=for_page(self._reader.query),
                transport=self.transport,
                **({"time": "off"} if self._reader.query.get("timestamps") is False else {}) | self.looks,
            )
        return self._viewer

    @property
    def view(self) -> TaskLog:
        """The log as the viewer shows it now: window, filter and pods. Its repr is code for the same log."""
        from cortex_jupyter.notebook.view import query_of

        return self._filtered(query_of(dict(self.viewer.view)))  # a viewer that hides all pods names none

    @property
    def marks(self) -> list[Marked]:
        """The bookmarked lines with their notes, in the order of recording."""
        notes = {m["seq"]: m["note"] for m in self.viewer.bookmarks if m["task"] == self.task}
        whole = TaskLog(self._reader.with_query({}))
        return [Marked(record, note) for seq, note in sorted(notes.items()) for record in whole.seq[seq : seq + 1]]

    def __repr__(self) -> str:
        if self._code:
            more = {k: v for k, v in self._reader.query.items() if self._code_query.get(k) != v}
            return self._code + (f".filter({', '.join(f'{k}={v!r}' for k, v in more.items())})" if more else "")
        query = "".join(f", {k}={v!r}" for k, v in self._reader.query.items())
        call = f"open({self.opened!r}" if self.opened else f"logs({self.task!r}"
        return f"cortex_jupyter.{call}{query})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if not shows_html() and not self._code:
            return bundle
        records = self._reader.last_records(MAX_READ)
        if self._code:  # it is fixed, and mostly short: its lines are what a user wants to see
            rows, count = list(map(repr, records[-LINES:])), len(self)
            rows = ["…", *rows] if count > len(rows) else rows
            bundle["text/plain"] = "\n".join([f"{self!r}: {format_count(count, 'line')}", *rows])
        query_shown = {k: str(v) for k, v in self._reader.query.items()}
        statement = "" if self._code else str(self._reader.statement())
        if shows_html():
            bundle["text/html"] = static_html(self.task, self.status, query_shown, records, statement, self._code)
        return bundle | self.viewer.mimebundle() if can_use_widgets() and not self._code else bundle


class BySeq:
    """The records of a log by their numbers; see `TaskLog.seq`."""

    def __init__(self, numbered: Callable[[slice, str], TaskLog], code: str) -> None:
        self._numbered, self._code = numbered, code

    @overload
    def __getitem__(self, number: int) -> Record: ...

    @overload
    def __getitem__(self, number: slice) -> TaskLog: ...

    def __getitem__(self, number: int | slice) -> Record | TaskLog:
        """Return the record with a number, or the log of the records with numbers in a range.

        Raises
        ------
        RecordNotFound
            The log has no such record: its number belongs to a notice, is filtered out, or does not exist yet.
        BadQuery
            A number or a step is negative. A range may begin below 0 if its end is given.
        """
        part, code = _checked(number if isinstance(number, slice) else slice(operator.index(number), None))
        if part.start is not None and part.start < 0 and part.stop is not None:
            part = slice(0, part.stop, part.step)  # such as the lines before an early one: log.seq[seq - 6 : seq]
        if (part.start or 0) < 0 or (part.stop or 0) < 0:
            raise BadQuery("numbers of lines are not negative", "log[-1] is the last line, log[-20:] are the last 20")
        if isinstance(number, slice):
            return self._numbered(part, f"{self._code}.seq[{code}]")
        for record in self._numbered(slice(part.start, part.start + 1), "").records():
            return record
        raise RecordNotFound(
            f"no line of this log has the number {part.start}",
            f"it is the number of a notice, or of a line that the filter leaves out; log[{part.start}] counts lines",
        )


def _checked(positions: slice) -> tuple[slice, str]:
    """Return a slice of integers, and the code for it.

    Raises
    ------
    BadQuery
        The step is not positive.
    """
    parts = [
        None if part is None else operator.index(part) for part in (positions.start, positions.stop, positions.step)
    ]
    start, stop, step = parts
    if step is not None and step < 1:
        raise BadQuery(
            "the step of a log is negative or zero", "a log is in the order of time; reversed(log) goes back"
        )
    words = ["" if part is None else str(part) for part in parts]
    return slice(start, stop, step), ":".join(words[:2] if step is None else words)


class _HangWatch:
    """Warns, once for each time, that a task hangs; called a few times per second during a wait."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log
        self._next_at = time.monotonic() + HANG_CHECK_S
        self._since: Any = None

    def __call__(self) -> None:
        if (began := time.monotonic()) < self._next_at:
            return
        try:
            hang = self._log._newest_hang(_HANG_LINES)  # noqa: SLF001 - the same module
        except Exception as error:  # noqa: BLE001 - the user waits for something else, which a fault here must not end
            self._next_at = math.inf
            if not isinstance(error, CortexError):  # else pyarrow is not installed, or the store does not answer
                _log.exception("%s: whether it hangs is not watched any more", self._log.task)
            return
        if hang is not None and hang["until"] is None and hang["since"] != self._since:
            self._since = hang["since"]
            warnings.warn(f"{self._log.task}: {hang['message']}", HangWarning, stacklevel=2)
        # Looking takes a twentieth of the time at most.
        self._next_at = time.monotonic() + max(HANG_CHECK_S, 20 * (time.monotonic() - began))


class _MetricSource:
    """Reads the metrics of a log again when the log has grown; implements `notebook.metrics.Source`."""

    def __init__(self, reader: RecordingReader, names: tuple[str, ...], pattern: str | None, path: str | None) -> None:
        from cortex_jupyter.analysis.incremental import IncrementalMetrics

        self._reader = reader
        self._growing = IncrementalMetrics(self._read, reader.parsed_query, names, pattern, path)

    def _read(self, start: int) -> tuple[pa.Table, int]:
        from cortex_jupyter.analysis.incremental import COLUMNS

        last, _ = self.mark()
        records = self._reader.table(COLUMNS, start=start)
        return records, max(last, import_optional("pyarrow.compute").max(records["seq"]).as_py() or 0)

    def table(self) -> pa.Table:
        return self._growing.update()

    def mark(self) -> tuple[int, bool]:
        info = self._reader.info()
        return info.last_seq, info.done

    def label(self) -> str:
        info = self._reader.info()
        return f"{info.ref.key} {info.uid or info.started or ''}".rstrip()

    def members(self) -> dict[tuple[str, str], tuple[str, str]]:
        task = self._reader.recording.ref.key
        return {(task, source.pod): (source.role, source.rank) for source, _ in self._reader.sources()}


def _first_match(
    events: TaskEvents, find: Callable[[str], object], end: float | None, show: Callable[[int], object]
) -> Record | None:
    """Return the first line that matches; None if the task ends without one. `show` gets the number of lines read.

    Raises
    ------
    TimeoutError
        No line matched before `end` (monotonic).
    """
    while True:
        remaining_s = None if end is None else max(0.0, end - time.monotonic())
        event = events.next(remaining_s, lambda: show(0))
        if event is None:
            return None
        if event.event == "log":
            batch = Batch.decode(event.entry.data)
            for index, text in enumerate(batch.texts):
                if find(text):
                    return next(Record.each(batch.take([index])))
            show(len(batch))
