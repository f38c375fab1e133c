"""A log with masked secrets, for sharing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from cortex_jupyter.archive.layout import STATEMENT
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.masking import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    import pyarrow as pa
    from pandas import DataFrame
    from polars import DataFrame as PolarsFrame

    from cortex_jupyter.notebook.record import Record
    from cortex_jupyter.notebook.recording_reader import RecordingReader
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.text import TextFormat
    from cortex_jupyter.tables.statement import Completeness


class Masked:
    """A log as data, with tokens, keys, passwords and e-mail addresses masked; made by `log.mask()`.

    The recording does not change. `complete` and the metadata of Parquet files count what was masked.

    Parameters
    ----------
    reader : RecordingReader
        Reads the log.
    code : str
        Code that makes the log, for `repr`.
    """

    def __init__(self, reader: RecordingReader, code: str) -> None:
        self._reader, self._code = reader, code
        self._mask = Mask()

    @property
    def masked(self) -> Counter[str]:
        """The number of masked secrets by kind, in the last read."""
        return self._mask.counts

    @property
    def complete(self) -> Completeness:
        """The completeness statement, with the number of secrets masked in the last read."""
        statement = self._reader.statement()
        return replace(statement, masked=dict(Counter(statement.masked) + self.masked))

    @property
    def query(self) -> LogQuery:
        """The parameters of the log."""
        return self._reader.parsed_query()

    @property
    def text_format(self) -> TextFormat:
        """How a file of text shows the records: of several containers with source and time."""
        return self._reader.text_format()

    def records(self) -> Iterator[Record]:
        """Yield the records of the log as it is now. It needs no pyarrow."""
        self._mask = mask = Mask()
        for record in self._reader.records():
            text = mask(record.text)
            yield record if text == record.text else replace(record, text=text)

    __iter__ = records

    def __len__(self) -> int:
        self._reader.settle()
        return self._reader.count()

    def __bool__(self) -> bool:
        return True

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table` with the columns of `TaskLog.to_arrow`."""
        self._mask = Mask()
        table = _mask_table(self._reader.table(), self._mask)
        metadata = dict(table.schema.metadata or {}) | {STATEMENT: self.complete.as_json(rows=table.num_rows)}
        return table.replace_schema_metadata(metadata)

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame`."""
        from cortex_jupyter.tables.convert import to_pandas

        return to_pandas(self.to_arrow())

    def to_polars(self) -> PolarsFrame:
        """Return a `polars.DataFrame`."""
        from cortex_jupyter.tables.convert import to_polars

        return to_polars(self.to_arrow())

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write a Parquet file. The completeness statement in its metadata counts what was masked.

        Raises
        ------
        BadQuery
            The file cannot be written.
        """
        from cortex_jupyter.tables.convert import whole

        table = self.to_arrow().drop_columns(["message", "fields"])
        whole(
            path,
            lambda file: import_optional("pyarrow.parquet").write_table(
                table, file, compression="zstd", compression_level=1
            ),
        )

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Let polars, pyarrow, DuckDB and pandas read the log directly."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"{self._code}.mask()"


def _mask_table(table: pa.Table, mask: Mask) -> pa.Table:
    """Mask the secrets of a table.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.
    mask : Mask
        Masks texts, and counts what it masks.

    Returns
    -------
    pyarrow.Table
        The same rows and columns; level, message and fields of changed lines are parsed again.
    """
    from cortex_jupyter.tables.derive import derived  # needs pyarrow, which is optional

    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    text = table["text"].combine_chunks()
    candidates = pc.match_substring_regex(text, mask.worth)
    if not pc.any(candidates, min_count=0).as_py():
        return table
    old = text.filter(candidates)
    new = pa.array(mask.each(old.to_pylist()), pa.large_string())
    changed = pc.not_equal(old, new)
    if not pc.any(changed, min_count=0).as_py():
        return table
    rows = pc.replace_with_mask(candidates, candidates, changed)
    new = new.filter(changed)
    read = derived(pa.chunked_array([new]))
    for name, column in {
        "text": pa.chunked_array([new]),
        **{k: read[k] for k in ("level", "message", "fields")},
    }.items():
        index = table.schema.get_field_index(name)
        if index >= 0:
            field_type = table.schema.field(index).type
            # No kernel replaces values of a dictionary.
            plain_type = field_type.value_type if pa.types.is_dictionary(field_type) else field_type
            whole = table[name].combine_chunks().cast(plain_type)
            whole = pc.replace_with_mask(whole, rows, column.combine_chunks().cast(plain_type)).cast(field_type)
            table = table.set_column(index, table.schema.field(index), whole)
    return table
