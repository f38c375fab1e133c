"""The metrics of a log: a frame, and its chart.

The chart is a picture in a saved notebook. With a kernel, it follows the task.
"""

from __future__ import annotations

import logging
import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cortex_jupyter.analysis.chart import chart
from cortex_jupyter.analysis.curves import panels
from cortex_jupyter.analysis.result_frame import ResultFrame, cell, html_table
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.host import can_use_widgets
from cortex_jupyter.tables.convert import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pyarrow as pa


_log = logging.getLogger(__name__)

#: The chart of a running task is drawn again at most this often (seconds).
_EVERY_S: Final = 1.5
#: Maximum share of the time that drawing may take.
_SHARE: Final = 0.1


class Source(Protocol):
    """A log with metrics."""

    def table(self) -> pa.Table:
        """Return the metrics as they are now, as a `pyarrow.Table`."""

    def mark(self) -> tuple[int, bool]:
        """Return the number of the last record, and whether the log is complete."""

    def label(self) -> str:
        """Return what distinguishes this log from logs of other runs of the task."""

    def members(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Return role and rank by task and pod."""


class Metrics(ResultFrame):
    """The metrics of a log, a row per value; made by `log.metrics()`.

    Columns: `time` (ns, UTC), `step`, `name`, `value`, `task`, `pod`, `rank`, `seq`.

    Parameters
    ----------
    table : pyarrow.Table
        The result of `analysis.metrics.metrics`.
    sources : sequence of Source, optional
        The logs, so that a chart can follow running tasks.
    """

    nothing = r'these lines report no metrics; read another form with metrics(pattern=r"...(?P<loss>\S+)...")'

    def __init__(self, table: pa.Table, sources: Sequence[Source] = ()) -> None:
        super().__init__(table)
        self.sources: tuple[Source, ...] = tuple(sources)

    @property
    def names(self) -> list[str]:
        """The names of the metrics, in the order of their first values."""
        return list(import_optional("pyarrow.compute").unique(self._table["name"].cast("string")).to_pylist())

    def __add__(self, other: Self) -> Self:
        """Return the metrics of both, for one chart of several tasks."""
        pa = import_optional("pyarrow")
        tables = [plain(m.to_arrow()) for m in (self, other)]
        return type(self)(pa.concat_tables(tables), (*self.sources, *other.sources))

    def plot(self, *names: str, x: str | None = None) -> Chart:
        """Return a chart: a panel for each metric, with a curve for each pod, or the median and range of many pods.

        In a notebook the chart follows a running task. It needs no plotting library.

        Parameters
        ----------
        *names : str
            Metrics to show. Default: at most nine metrics that vary, losses first.
        x : str, optional
            `step` or `time`. Default: the step if it grows, else the time.

        Returns
        -------
        Chart
        """
        return Chart(self, names, x)

    def to_tensorboard(self, folder: str | PathLike[str], *, follow: bool = False) -> int:
        r"""Write the metrics into event files of TensorBoard: a run for each pod, and for each rank that its lines name.

        A second call adds only what is missing. A value whose line names no whole step has its number in its curve as step.

        Parameters
        ----------
        folder : str or path
            TensorBoard's `--logdir`. It may hold the event files of the training itself, too.
        follow : bool, optional
            Whether to go on until the task has ended. To stop earlier, interrupt the cell.

        Returns
        -------
        int
            Number of values that were added.

        Raises
        ------
        MissingExtra
            tensorboard is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.log").write_text("step=1 loss=0.5\nstep=2 loss=0.25\n")
        >>> metrics = cortex.open(folder / "train.log").metrics()
        >>> metrics.to_tensorboard(folder / "runs"), metrics.to_tensorboard(folder / "runs")
        (2, 0)
        """
        from cortex_jupyter.notebook.metric_exports import TensorBoard, export

        return export(self, TensorBoard(folder), follow=follow)

    def to_mlflow(self, run_id: str | None = None, *, follow: bool = False) -> str:
        """Log the metrics to a run of MLflow, at the tracking server that MLflow is set up for.

        The metrics of the first pod keep their names. The names of other pods' metrics begin with the pod's name and `/`.
        A second call adds only what is missing.

        Parameters
        ----------
        run_id : str, optional
            Default: the active run; else the run that an earlier call made for this log; else a new one, named after
            the task.
        follow : bool, optional
            Whether to go on until the task has ended. To stop earlier, interrupt the cell.

        Returns
        -------
        str
            The run's id.

        Raises
        ------
        MissingExtra
            Neither mlflow-skinny nor mlflow is installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex
        >>> log = cortex.logs("train-1")  # doctest: +SKIP
        >>> run_id = log.metrics("loss", "val_*").to_mlflow(follow=True)  # doctest: +SKIP
        """
        from cortex_jupyter.notebook.metric_exports import Mlflow, export

        pc = import_optional("pyarrow.compute")
        tasks = pc.unique(self._table["task"].cast("string")).to_pylist()
        labels = [source.label() for source in self.sources] or tasks
        name = " ".join(task.rpartition("/")[2] for task in tasks) or "log"
        run = Mlflow(run_id, " ".join(labels), name, follow=follow)
        export(self, run, follow=follow)
        return run.run_id

    def reread(self) -> Self:
        """Return the metrics as they are now."""
        pa = import_optional("pyarrow")
        if not self.sources:
            return self
        return type(self)(pa.concat_tables([plain(source.table()) for source in self.sources]), self.sources)

    def summary(self) -> list[dict[str, Any]]:
        """Return for each metric its number of values, and the first, last, least and greatest value."""
        pc = import_optional("pyarrow.compute")
        rows = []
        for name in self.names:
            values = self._table.filter(pc.equal(self._table["name"].cast("string"), name))["value"]
            finite = values.filter(pc.is_finite(values))
            ends = pc.min_max(finite)
            rows.append(
                {
                    "name": name,
                    "values": len(values),
                    "first": values[0].as_py(),
                    "last": values[-1].as_py(),
                    "least": ends["min"].as_py(),
                    "most": ends["max"].as_py(),
                }
            )
        return rows

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Return the table to display: a row per metric instead of a row per value."""
        rows = self.summary()
        return list(rows[0]), [[cell(value) for value in row.values()] for row in rows]

    def __repr__(self) -> str:
        lines = super().__repr__().splitlines()
        return "\n".join(lines[: len(self.names) + 1])

    def _repr_html_(self) -> str:
        if not self:
            return f"<i>{escape(self.nothing)}</i>"
        head, rows = self.shown()
        note = (
            f'<div style="opacity:.65">{len(self):,} values; draw them with .plot(), read them with .to_pandas()</div>'
        )
        return html_table(head, [[escape(text) for text in row] for row in rows]) + note


class Chart:
    """A chart of metrics; made by `Metrics.plot`.

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
        """Return the chart as self-contained HTML."""
        members = {key: member for source in self.metrics.sources for key, member in source.members().items()}
        return chart(panels(self.metrics.to_arrow(), self._names, self._x, members), note)

    def close(self) -> None:
        """Stop following the tasks."""
        self._closed.set()

    def __repr__(self) -> str:
        return f"a chart of {', '.join(self._names or self.metrics.names) or 'nothing'}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html()}
        if self._widget is None and can_use_widgets() and any(not source.mark()[1] for source in self.metrics.sources):
            self._widget = self._follow()
        if self._widget is not None:
            widget_bundle = self._widget._repr_mimebundle_()
            bundle |= {k: v for k, v in widget_bundle.items() if k not in bundle}
        return bundle

    def _follow(self) -> Any:
        try:
            from ipywidgets import HTML  # only pages need it
        except ImportError:
            return None
        widget = HTML(self.html("live"))
        threading.Thread(target=self._keep_up, args=(widget,), name="cortex-chart", daemon=True).start()
        return widget

    def _keep_up(self, widget: Any) -> None:
        """Redraw the chart when new lines have come, until the tasks have ended."""
        drawn: list[tuple[int, bool]] = []  # empty, because lines may have come while the first picture was drawn
        pause = _EVERY_S
        while not self._closed.wait(pause):
            try:
                marks = [source.mark() for source in self.metrics.sources]
                is_over = all(done for _, done in marks)
                if marks != drawn or is_over:
                    drawn, began = marks, time.perf_counter()
                    self.metrics = self.metrics.reread()
                    widget.value = self.html("" if is_over else "live")
                    pause = max(_EVERY_S, (time.perf_counter() - began) / _SHARE)
                if is_over:
                    return
            except CortexError as error:
                _log.warning("the chart stopped following its tasks: %s", error.message)
                widget.value = self.html(f"not followed any more: {error.message}")
                return
