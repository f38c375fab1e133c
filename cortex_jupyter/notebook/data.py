"""A log as data: Arrow, pandas, polars, Parquet, and whatever reads Arrow's C stream."""

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


class Data(Snapshot):
    """The half of `TaskLog` that gives frames; each is the log as it is now."""

    def to_arrow(self) -> Any:
        """Give a `pyarrow.Table` of the log as it is now.

        Columns: `time` (ns, UTC), `seq`, `namespace`, `task`, `pod`, `container`, `kind`, `run`, `node`, `stream`,
        `level`, `message`, `text`, `fields`; rows in the order of time, of one source as in its file.

        Raises
        ------
        MissingExtra
            There is no pyarrow.
        """
        return self._table()

    def to_pandas(self) -> Any:
        """Give a `pandas.DataFrame` with the columns of `to_arrow`."""
        from cortex_jupyter.tables.convert import to_pandas  # noqa: PLC0415

        return to_pandas(self._table())

    def to_polars(self, *, lazy: bool = False) -> Any:
        """Give a `polars.DataFrame` with the columns of `to_arrow`.

        Parameters
        ----------
        lazy : bool, optional
            A `polars.LazyFrame`: filters and columns reach down to the archive or the recording.
        """
        from cortex_jupyter.tables.convert import to_polars  # noqa: PLC0415

        if not lazy:
            return to_polars(self._table(shared=True))
        from cortex_jupyter.tables.lazy import lazy as scan  # noqa: PLC0415

        self._settle()
        return scan(self._columnar(), self._recording.id, self._parsed())

    def sql(self, statement: str) -> Any:
        """Ask the log by SQL, as the table `log`.

        Parameters
        ----------
        statement : str
            For DuckDB: `select level, count(*) from log group by 1`. Only the columns that it names are read. `time` is
            a TIMESTAMP in UTC.

        Returns
        -------
        duckdb.DuckDBPyRelation
            Shows as a table; `.df()`, `.pl()`, `.arrow()`, `.fetchall()`.

        Raises
        ------
        BadQuery
            DuckDB cannot run it.
        MissingExtra
            There is no duckdb.
        """
        from cortex_jupyter.tables.sql import needed, run  # noqa: PLC0415

        return run(statement, "log", self._table(needed(statement)))

    def fields(self) -> Any:
        """Give the fields of JSON and logfmt lines as columns with types of their own.

        Returns
        -------
        pandas.DataFrame
            A row per line that has fields: `time`, `seq`, `pod`, `level`, and the fields. Where values of one field are
            of several kinds it is text; `frame.attrs["conflicts"]` says which, `attrs["left_out"]` how many fields
            beyond the 500 most frequent there are.
        """
        from cortex_jupyter.tables.columns import WITH, fields  # noqa: PLC0415
        from cortex_jupyter.tables.convert import to_pandas  # noqa: PLC0415

        found = fields(self._table((*WITH, "fields")))
        frame = to_pandas(found.table)
        frame.attrs |= {"conflicts": found.conflicts, "left_out": found.left_out}
        return frame

    def follow_frames(self, every: str = "5s", kind: str = "pandas") -> Iterator[Any]:
        """Give what there is as a frame and then, to the task's end, what is new.

        Parameters
        ----------
        every : str, optional
            The time between two looks; where nothing is new none is given.
        kind : str, optional
            `pandas`, `polars` or `arrow`.

        Yields
        ------
        pandas.DataFrame, polars.DataFrame or pyarrow.Table
            With the columns of `to_arrow`. Each line comes once.

        Raises
        ------
        BadQuery
            `every` is no duration, or `kind` is none of the three.
        """
        from cortex_jupyter.tables.convert import to_pandas, to_polars  # noqa: PLC0415
        from cortex_jupyter.tables.read import read  # noqa: PLC0415

        kinds: dict[str, Callable[[Any], Any]] = {
            "pandas": to_pandas,
            "polars": to_polars,
            "arrow": lambda table: table,
        }
        convert = kinds.get(kind)
        pause = duration(every)
        if convert is None or not pause:
            raise BadQuery(f"every={every!r}, kind={kind!r} cannot be followed", "write every='5s' and kind='pandas', 'polars' or 'arrow'")  # fmt: skip
        query, start = self._parsed(), 0
        while True:
            info = self._settle()
            if info.last_seq >= start:
                table = read(self._recording.store, self._recording.id, query, start=start)
                # Up to what was there when it was looked: what came meanwhile is for the next look.
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
        """Write the log to a Parquet file, in the layout of an archive, with the completeness statement in its metadata.

        The columns are those of `to_arrow` but `message` and `fields`, which would double the file: `cortex.open` gives
        them again.

        Raises
        ------
        BadQuery
            It cannot be written there.
        """
        from cortex_jupyter.tables.parquet import to_parquet  # noqa: PLC0415

        self._settle()
        with progress("writing the log", self._statement().records) as bar:
            to_parquet(self._columnar(), self._recording.id, self._parsed(), path, bar.update)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the log directly."""
        return self._table().__arrow_c_stream__(requested_schema)
