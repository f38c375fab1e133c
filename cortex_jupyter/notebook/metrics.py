"""Metrics as an object: a frame that says what it holds, and its drawing.

The drawing is a picture in a saved notebook, and one that follows the task where there is a kernel.
"""

from __future__ import annotations

import logging
import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cortex_jupyter.analysis.chart import chart
from cortex_jupyter.analysis.curves import panels
from cortex_jupyter.analysis.result_frame import Found, cell, html_table
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.host import answers
from cortex_jupyter.tables.convert import plain

if TYPE_CHECKING:
    from collections.abc import Sequence


_log = logging.getLogger(__name__)

#: Seconds between two pictures of a task that runs, at least; and of the time, the share that drawing may take.
_EVERY_S: Final = 1.5
_SHARE: Final = 0.1


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
        return list(import_optional("pyarrow.compute").unique(self._table["name"].cast("string")).to_pylist())

    def __add__(self, other: Self) -> Self:
        """Give the metrics of both, for one chart of several tasks."""
        pa = import_optional("pyarrow")
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
        pa = import_optional("pyarrow")
        if not self.sources:
            return self
        return type(self)(pa.concat_tables([plain(source.again()) for source in self.sources]), self.sources)

    def summary(self) -> list[dict[str, Any]]:
        """Give for each name how many values there are, the first, the last, the least and the most."""
        pc = import_optional("pyarrow.compute")
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


class Chart:
    """A drawing of metrics; `Metrics.plot` makes it.

    Parameters
    ----------
    metrics : Metrics
    names : tuple of str
    x : str or None
    """

    def __init__(self, metrics: Metrics, names: tuple[str, ...] = (), x: str | None = None) -> None:
        self.metrics, self._names, self._x = metrics, names, x
        self._closed = threading.Event()
        self._widget: Any = None

    def html(self, note: str = "") -> str:
        """Give the picture as HTML that needs nothing else."""
        return chart(panels(self.metrics.to_arrow(), self._names, self._x), note)

    def close(self) -> None:
        """Follow no longer."""
        self._closed.set()

    def __repr__(self) -> str:
        return f"a chart of {', '.join(self._names or self.metrics.names) or 'nothing'}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html()}
        if self._widget is None and answers() and any(not source.mark()[1] for source in self.metrics.sources):
            self._widget = self._follow()
        if self._widget is not None:
            shown = self._widget._repr_mimebundle_()
            bundle |= {k: v for k, v in shown.items() if k not in bundle}
        return bundle

    def _follow(self) -> Any:
        try:
            from ipywidgets import HTML  # noqa: PLC0415 - only where there is a page
        except ImportError:
            return None
        widget = HTML(self.html("live"))
        threading.Thread(target=self._keep_up, args=(widget,), name="cortex-chart", daemon=True).start()
        return widget

    def _keep_up(self, widget: Any) -> None:
        """Draw anew when lines have come, until the tasks have ended."""
        seen: list[tuple[int, bool]] = []  # what came while the first picture was drawn is news too
        pause = _EVERY_S
        while not self._closed.wait(pause):
            try:
                marks = [source.mark() for source in self.metrics.sources]
                over = all(done for _, done in marks)
                if marks != seen or over:
                    seen, began = marks, time.perf_counter()
                    self.metrics = self.metrics.again()
                    widget.value = self.html("" if over else "live")
                    pause = max(_EVERY_S, (time.perf_counter() - began) / _SHARE)
                if over:
                    return
            except CortexError as error:
                _log.warning("the chart no longer follows: %s", error.message)
                widget.value = self.html(f"no longer followed: {error.message}")
                return
