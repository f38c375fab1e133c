"""A log as data: Arrow, pandas, polars, Parquet, and whatever reads Arrow's C stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.notebook.snapshot import Snapshot, progress

if TYPE_CHECKING:
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
        from cortex_jupyter.frames.convert import to_pandas  # noqa: PLC0415

        return to_pandas(self._table())

    def to_polars(self) -> Any:
        """Give a `polars.DataFrame` with the columns of `to_arrow`."""
        from cortex_jupyter.frames.convert import to_polars  # noqa: PLC0415

        return to_polars(self._table())

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the log to a Parquet file, in the layout of an archive, with the completeness statement in its metadata.

        The columns are those of `to_arrow` but `message` and `fields`, which would double the file: `cortex.open` gives
        them again.

        Raises
        ------
        BadQuery
            It cannot be written there.
        """
        from cortex_jupyter.frames.parquet import to_parquet  # noqa: PLC0415

        self._settle()
        with progress("writing the log", self._statement().records) as bar:
            to_parquet(self._recording.store, self._recording.id, self._parsed(), path, bar.update)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the log directly."""
        return self._table().__arrow_c_stream__(requested_schema)
