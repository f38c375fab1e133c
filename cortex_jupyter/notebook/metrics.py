"""Metrics as an object: a frame that says what it holds, and that is drawn."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Protocol, Self

from cortex_jupyter.analysis.result_frame import Found, cell, html_table
from cortex_jupyter.archive.extra import library
from cortex_jupyter.notebook.chart import Chart
from cortex_jupyter.tables.convert import plain

if TYPE_CHECKING:
    from collections.abc import Sequence


class Source(Protocol):
    """A log whose metrics these are."""

    def again(self) -> Any:
        """Give the table as it is now."""

    def mark(self) -> tuple[int, bool]:
        """Give how far it has been recorded, and whether that is its end."""


class Metrics(Found):
    """The numbers that a log reports, a row per value; `log.metrics()` makes it.

    Columns: `time` (ns, UTC), `step`, `name`, `value`, `task`, `pod`, `rank`, `seq`.

    Parameters
    ----------
    table : pyarrow.Table
        As `analysis.metrics.metrics` gives it.
    sources : sequence of Source, optional
        Where it came from, so that a chart can follow tasks that run.
    """

    nothing = (
        r'no numbers are reported in these lines; metrics(pattern=r"...(?P<loss>\S+)...") reads a form of your own'
    )

    def __init__(self, table: Any, sources: Sequence[Source] = ()) -> None:
        super().__init__(table)
        self.sources = tuple(sources)

    @property
    def names(self) -> list[str]:
        """What is reported, in the order in which it first is."""
        return list(library("pyarrow.compute").unique(self._table["name"].cast("string")).to_pylist())

    def __add__(self, other: Self) -> Self:
        """Give the metrics of both, for one chart of several tasks."""
        pa = library("pyarrow")
        tables = [plain(m.to_arrow()) for m in (self, other)]
        return type(self)(pa.concat_tables(tables), (*self.sources, *other.sources))

    def plot(self, *names: str, x: str | None = None) -> Chart:
        """Draw it: a panel for each name, a curve for each pod; of many pods their median and range.

        In a notebook the picture follows a task that runs. It needs no plotting library.

        Parameters
        ----------
        *names : str
            Which; else those that vary, losses first, at most nine.
        x : str, optional
            `step` or `time`; else the step where it grows.

        Returns
        -------
        Chart
        """
        return Chart(self, names, x)

    def again(self) -> Self:
        """Give them as they are now, of tasks that run."""
        pa = library("pyarrow")
        if not self.sources:
            return self
        return type(self)(pa.concat_tables([plain(source.again()) for source in self.sources]), self.sources)

    def summary(self) -> list[dict[str, Any]]:
        """Give for each name how many values there are, the first, the last, the least and the most."""
        pc = library("pyarrow.compute")
        found = []
        for name in self.names:
            values = self._table.filter(pc.equal(self._table["name"].cast("string"), name))["value"]
            finite = values.filter(pc.is_finite(values))
            ends = pc.min_max(finite)
            found.append({
                "name": name, "values": len(values), "first": values[0].as_py(), "last": values[-1].as_py(),
                "least": ends["min"].as_py(), "most": ends["max"].as_py(),
            })  # fmt: skip
        return found

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Give a row per name: a row per value would say little."""
        rows = self.summary()
        return list(rows[0]), [[cell(value) for value in row.values()] for row in rows]

    def __repr__(self) -> str:
        lines = super().__repr__().splitlines()
        return "\n".join(lines[: len(self.names) + 1])

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{escape(self.nothing)}</i>"
        head, rows = self.shown()
        note = f'<div style="opacity:.65">{len(self):,} values; .plot() draws them, .to_pandas() gives them</div>'
        return html_table(head, [[escape(text) for text in row] for row in rows]) + note
