"""The part of `TaskLog` that returns data: Arrow, pandas, polars, Parquet, and Arrow's C stream."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.notebook.snapshot import Snapshot, progress
from cortex_jupyter.query.instants import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    import pyarrow as pa
    from pandas import DataFrame


class Data(Snapshot):
    """The part of `TaskLog` that returns frames. Each holds the log as it is now."""

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table` of the log as it is now.

        Columns: `time` (ns, UTC), `seq`, `namespace`, `task`, `pod`, `container`, `kind`, `run`, `node`, `stream`,
        `level`, `message`, `text`, `fields`; rows are ordered by time, and within a source as in its file.

        Raises
        ------
        MissingExtra
            pyarrow is not installed.
        """
        return self._table()

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame` with the columns of `to_arrow`."""
        from cortex_jupyter.tables.convert import to_pandas

        return to_pandas(self._table())

    def to_polars(self, *, lazy: bool = False) -> Any:
        """Return a `polars.DataFrame` with the columns of `to_arrow`.

        Parameters
        ----------
        lazy : bool, optional
            Return a `polars.LazyFrame`, which reads only the rows and columns that are needed.
        """
        from cortex_jupyter.tables.convert import to_polars

        if not lazy:
            return to_polars(self._table(shared=True))
        from cortex_jupyter.tables.lazy import lazy as scan

        self._settle()
        return scan(self._columnar(), self._recording.id, self._parsed())

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

        return run(statement, "log", self._table(needed(statement)))

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

        result = fields(self._table((*BASE_COLUMNS, "fields")))
        frame = to_pandas(result.table)
        frame.attrs |= {"conflicts": result.conflicts, "left_out": result.left_out}
        return frame

    def follow_frames(self, every: str = "5s", kind: str = "pandas") -> Iterator[Any]:
        """Yield a frame with all lines so far, then frames with new lines, until the task ends.

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
        query, start = self._parsed(), 0
        while True:
            info = self._settle()
            if info.last_seq >= start:
                table = read(self._recording.store, self._recording.id, query, start=start)
                # Leave lines that came after `_settle` to the next frame.
                pc: Any = import_optional("pyarrow.compute")
                table = table.filter(pc.less_equal(pc.field("seq"), info.last_seq))
                start = info.last_seq + 1
                if len(table):
                    yield convert(table)
            if info.done:
                return
            with contextlib.suppress(TimeoutError):
                self._wait(lambda info: info.done, pause / 1e9)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the log to a Parquet file in the layout of an archive, with the completeness statement in its metadata.

        The columns are those of `to_arrow` without `message` and `fields`, which would double the file. `cortex.open`
        derives them again.

        Raises
        ------
        BadQuery
            The file cannot be written.
        """
        from cortex_jupyter.tables.parquet import to_parquet

        self._settle()
        with progress("writing the log", self._statement().records) as bar:
            to_parquet(self._columnar(), self._recording.id, self._parsed(), path, bar.update)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the log directly."""
        return self._table().__arrow_c_stream__(requested_schema)
