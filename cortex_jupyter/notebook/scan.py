"""`cortex.scan`: the logs of many tasks as one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.store import ArchiveStore, open_readable
from cortex_jupyter.model import check_namespace
from cortex_jupyter.notebook.open_file import open as open_file
from cortex_jupyter.notebook.query import parse_query, with_fixed_days
from cortex_jupyter.notebook.recording_reader import RecordingReader, progress
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.notebook.tasklog import TaskLog, logs
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.session import Recording
from cortex_jupyter.store.scan import scan_tracebacks
from cortex_jupyter.tables.schema import COLUMNS, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    import pyarrow as pa
    from pandas import DataFrame


def scan(
    tasks: Iterable[str | PathLike[str] | TaskLog] | None = None, *, namespace: str | None = None, **query: Any
) -> Scan:
    """Return the logs of many tasks as one table. Nothing is read yet.

    Parameters
    ----------
    tasks : iterable of str, path or TaskLog, optional
        Tasks, or files as for `open`. Default: all recorded or archived tasks of the namespace.
    namespace : str, optional
        Namespace of tasks that name none. Default: `CORTEX_NAMESPACE`, else the kubeconfig's.
    **query
        As for `logs`. Archived tasks are not opened if their manifests show that nothing can match.

    Raises
    ------
    BadQuery, TaskNotFound, ArchiveError
    """
    query = with_fixed_days(query)
    parsed = parse_query(query)
    logs_ = _all_logs(namespace, query) if tasks is None else [_log(task, namespace, query) for task in tasks]
    return Scan([log for log in logs_ if _may_hold(log, parsed)], query)


class Scan:
    """Many logs as one table; made by `scan`.

    Attributes
    ----------
    logs : list of TaskLog
        Logs that may hold matching lines.
    """

    def __init__(self, logs: Sequence[TaskLog], query: dict[str, Any]) -> None:
        self.logs = list(logs)
        self._query = query

    def to_arrow(self, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Return a `pyarrow.Table`, task after task, with the columns of `TaskLog.to_arrow`."""
        pa = import_optional("pyarrow")
        with progress("reading tasks", len(self.logs)) as bar:
            tables = []
            for log in self.logs:
                tables.append(log._reader.table(columns).replace_schema_metadata(None))  # noqa: SLF001 - the same room
                bar.update()
        if not tables:
            return pa.schema([f for f in schema() if f.name in columns]).empty_table()
        return pa.concat_tables(tables).unify_dictionaries()

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame`."""
        from cortex_jupyter.tables.convert import to_pandas

        return to_pandas(self.to_arrow())

    def to_polars(self, *, lazy: bool = True) -> Any:
        """Return a `polars.LazyFrame`, or a `DataFrame` with `lazy=False`."""
        pl = import_optional("polars")
        if not self.logs:
            empty = pl.from_arrow(self.to_arrow())
            return empty.lazy() if lazy else empty
        frames = pl.concat([log.to_polars(lazy=True) for log in self.logs])
        return frames if lazy else frames.collect()

    def to_dask(self) -> Any:
        """Return a `dask.dataframe.DataFrame` with a partition per task, which the workers read.

        The workers must reach the store or the archive. An archive in object storage works from any machine.

        Raises
        ------
        MissingExtra
            dask is not installed.
        """
        dd = import_optional("dask.dataframe")
        parts = [(*log.place, log._reader.numbers) for log in self.logs]  # noqa: SLF001 - the same room
        meta = _to_pandas(schema().empty_table())
        return dd.from_map(_read_part, parts, meta=meta) if parts else dd.from_pandas(meta, npartitions=1)

    def sql(self, statement: str) -> Any:
        """Query all logs with SQL, as the table `logs`; see `TaskLog.sql`."""
        from cortex_jupyter.tables.sql import needed, run

        return run(statement, "logs", self.to_arrow(needed(statement)))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the logs directly."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return len(self.logs)

    def __repr__(self) -> str:
        query = "".join(f", {k}={v!r}" for k, v in self._query.items())
        return f"cortex_jupyter.scan({[log.opened or log.task for log in self.logs]!r}{query})"


def _log(task: str | PathLike[str] | TaskLog, namespace: str | None, query: dict[str, Any]) -> TaskLog:
    if isinstance(task, TaskLog):
        return task.filter(**query) if query else task
    text = str(task)
    if not isinstance(task, str) or "://" in text or Path(text).expanduser().is_file():
        return open_file(text, **query)
    return logs(text, namespace=namespace, **query)


def _all_logs(namespace: str | None, query: dict[str, Any]) -> list[TaskLog]:
    """Return the logs of all recorded or archived tasks of a namespace, without asking the cluster for each task."""
    engine = runtime()

    async def find() -> list[TaskLog]:
        recordings = await engine.recordings()
        logs_ = []
        for info in await recordings.readable_recordings(check_namespace(namespace or recordings.namespace)):
            archived = recordings.archive if recordings.store.info(info.id) is None else None
            recording = Recording(recordings, info.id, info.ref, None, store=archived)
            logs_.append(TaskLog(RecordingReader(engine, recordings, recording, query)))
        return logs_

    return engine.run(find())


def _may_hold(log: TaskLog, query: LogQuery) -> bool:
    """Return whether a log may hold matching lines, by its manifest."""
    url, recording, _ = log.place
    store = log._reader.recording.store  # noqa: SLF001 - the same room
    if not isinstance(store, ArchiveStore) or not url:
        return True
    return store.archived(recording).may_hold(query.since, query.until, query.level)


def _read_part(part: tuple[str, int, dict[str, Any], Sequence[int] | None]) -> DataFrame:
    """Read one task, on a worker's machine."""
    from cortex_jupyter.tables.read import read

    url, recording, query, numbers = part
    with open_readable(url) as store:
        parsed = replace(LogQuery.parse({"since": "all", **query}).among(store, recording), numbers=numbers)
        if parsed.level is not None:
            parsed = replace(parsed, tracebacks=scan_tracebacks(store, recording, parsed))
        return _to_pandas(read(store, recording, parsed))


def _to_pandas(table: pa.Table) -> DataFrame:
    """Return a DataFrame without categories, which would differ between partitions."""
    from cortex_jupyter.tables.convert import to_pandas

    frame = to_pandas(table)
    categories = [name for name in frame.columns if str(frame[name].dtype) == "category"]
    return frame.astype(dict.fromkeys(categories, frame["text"].dtype))
