"""A log whose secrets are masked: what may leave the house."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.layout import STATEMENT
from cortex_jupyter.parsing.masking import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from cortex_jupyter.notebook.data import Data
    from cortex_jupyter.notebook.record import Record
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.tables.statement import Completeness


class Masked:
    """A log with tokens, keys, passwords and e-mail addresses masked, as data; `log.mask()` makes it.

    What is stored stays as it is. What was masked is counted in `complete` and in the metadata of Parquet files.

    Parameters
    ----------
    log : TaskLog
    """

    def __init__(self, log: Data) -> None:
        self._log = log
        self._mask = Mask()

    @property
    def masked(self) -> Counter[str]:
        """How many secrets were masked, by kind, in what was read last."""
        return self._mask.counts

    @property
    def complete(self) -> Completeness:
        """The completeness statement, with what was masked in what was read last."""
        said = self._log._statement()  # noqa: SLF001 - the half of a log that gives no statement
        return replace(said, masked=dict(Counter(said.masked) + self.masked))

    @property
    def query(self) -> LogQuery:
        """The parameters of the log."""
        return self._log._parsed()  # noqa: SLF001

    def records(self) -> Iterator[Record]:
        """Give the records of the log as it is now; needs no pyarrow."""
        self._mask = mask = Mask()
        for record in self._log.records():
            text = mask(record.text)
            yield record if text == record.text else replace(record, text=text)

    __iter__ = records

    def __len__(self) -> int:
        return len(self._log)

    def __bool__(self) -> bool:
        return True

    def to_arrow(self) -> Any:
        """Give a `pyarrow.Table` with the columns of `TaskLog.to_arrow`."""
        from cortex_jupyter.tables.masked import masked  # noqa: PLC0415 - needs pyarrow, which is optional

        self._mask = Mask()
        table = masked(self._log.to_arrow(), self._mask)
        metadata = dict(table.schema.metadata or {}) | {STATEMENT: self.complete.as_json(rows=table.num_rows)}
        return table.replace_schema_metadata(metadata)

    def to_pandas(self) -> Any:
        """Give a `pandas.DataFrame`."""
        from cortex_jupyter.tables.convert import to_pandas  # noqa: PLC0415

        return to_pandas(self.to_arrow())

    def to_polars(self) -> Any:
        """Give a `polars.DataFrame`."""
        from cortex_jupyter.tables.convert import to_polars  # noqa: PLC0415

        return to_polars(self.to_arrow())

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write a Parquet file; what was masked stands in the statement in its metadata.

        Raises
        ------
        BadQuery
            It cannot be written there.
        """
        from cortex_jupyter.archive.optional import import_optional  # noqa: PLC0415
        from cortex_jupyter.tables.convert import whole  # noqa: PLC0415

        table = self.to_arrow().drop_columns(["message", "fields"])
        whole(
            path,
            lambda file: import_optional("pyarrow.parquet").write_table(
                table, file, compression="zstd", compression_level=1
            ),
        )

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read it directly."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"{self._log!r}.mask()"
