"""Results of an analysis as a frame: an Arrow table that pandas, polars and DuckDB read, and that displays itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pandas import DataFrame
    from polars import DataFrame as PolarsFrame

#: Rows displayed.
_SHOWN: Final = 20
_CELL: Final = 160


class ResultFrame:
    """The rows of a result.

    Parameters
    ----------
    table : pyarrow.Table

    Examples
    --------
    >>> import pyarrow as pa
    >>> frame = ResultFrame(pa.table({"name": ["loss"], "value": [0.25]}))
    >>> len(frame), next(iter(frame)), frame.to_polars().shape
    (1, {'name': 'loss', 'value': 0.25}, (1, 2))
    """

    #: What an empty frame displays.
    nothing: ClassVar[str] = "nothing was found"

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table`."""
        return self._table

    def to_pandas(self) -> DataFrame:
        """Return a `pandas.DataFrame`.

        Raises
        ------
        MissingExtra
            pandas is not installed.
        """
        from cortex_jupyter.tables.convert import to_pandas

        return to_pandas(self._table)

    def to_polars(self) -> PolarsFrame:
        """Return a `polars.DataFrame`.

        Raises
        ------
        MissingExtra
            polars is not installed.
        """
        from cortex_jupyter.tables.convert import to_polars

        return to_polars(self._table)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return an Arrow stream, so that polars, pyarrow, DuckDB and pandas read the frame directly."""
        return self._table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells that are displayed, as plain text."""
        rows = self._table.slice(0, _SHOWN).to_pylist()
        return self.columns, [[cell(row[name]) for name in self.columns] for row in rows]

    def __repr__(self) -> str:
        if not self:
            return self.nothing
        head, rows = self.shown()
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = [
            "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
        ]
        more = len(self) - len(rows)
        return "\n".join(lines) + (f"\n... {more:,} more rows" if more > 0 else "")

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{escape(self.nothing)}</i>"
        head, rows = self.shown()
        return html_table(head, [[escape(text) for text in row] for row in rows], len(self) - len(rows))


def cell(value: object) -> str:
    """Format a value for a table's cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    text = " ".join(str(value).split())
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def html_table(head: list[str], rows: list[list[str]], more: int = 0, *, wrap: bool = False) -> str:
    """Return a table as HTML; the cells are HTML already."""
    style = "text-align:left;vertical-align:top" + (";white-space:pre-wrap;overflow-wrap:anywhere" if wrap else "")
    top = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td style={chr(34)}{style}{chr(34)}>{c}</td>' for c in row)}</tr>" for row in rows)
    note = f'<div style="opacity:.65">{more:,} more rows</div>' if more > 0 else ""
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{note}"
