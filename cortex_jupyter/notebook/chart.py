"""A chart as a cell's value: a picture in a saved notebook, and one that follows the task where there is a kernel."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.chart import chart
from cortex_jupyter.analysis.curves import panels
from cortex_jupyter.errors import CortexError
from cortex_jupyter.notebook.host import answers

if TYPE_CHECKING:
    from cortex_jupyter.notebook.metrics import Metrics

_log = logging.getLogger(__name__)

#: Seconds between two pictures of a task that runs, at least; and of the time, the share that drawing may take.
_EVERY_S: Final = 1.5
_SHARE: Final = 0.1


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
