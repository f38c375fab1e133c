"""The viewer as a widget: a loader, a few traits, and a comm.

The comm carries the viewer's code and, if the page reaches no server, the log.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from cortex_jupyter.errors import MissingExtra
from cortex_jupyter.notebook.comm import CommServer
from cortex_jupyter.notebook.query import VIEWER_OPTIONS
from cortex_jupyter.query.language import SEVERAL, LogQuery

if TYPE_CHECKING:
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.reader.session import Session

_STATIC: Final = Path(__file__).parent / "static"
#: Minimum interval (seconds) of sending the viewer's code. Pages repeat their request until it comes, so a busy kernel finds
#: several requests; one answer reaches all pages.
_ANSWER_EVERY_S: Final = 0.2


def bundle(name: str) -> bytes:
    """Read a file of the built viewer.

    Raises
    ------
    MissingExtra
        The viewer has not been built.
    """
    path = _STATIC / name
    if not path.is_file():
        raise MissingExtra(
            f"the viewer's {name} has not been built", "run `make setup`, or `npm ci && npm run build` in js/"
        )
    return path.read_bytes()


def version_of(*parts: bytes) -> str:
    """Return a hash of a build of the viewer, so that a page loads each build only once."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


class LogViewer(anywidget.AnyWidget):  # type: ignore[misc]
    """The live viewer of one or more tasks; made by `TaskLog.viewer`.

    Traits hold settings and a summary, but neither lines nor the viewer's code: traits are saved in the notebook's file
    and sent for each viewer. Each page gets the code once, when its loader asks (js/src/hosts/loader.ts).

    Parameters
    ----------
    tasks : list of str
        Keys of the tasks.
    query : dict
        The query at first. The default of `since` is `1m`.
    transport : str
        `auto`, `sse` or `comm`.
    origin : str
        A fingerprint of the tasks' cluster and store. The page does not use a server that reads others.
    height, font_size : int
        Pixels.
    source_width : int
        Width of the column of sources (characters). 0: as wide as the names need.
    time : str
        How times are shown: `local`, `utc`, `start` (since the task's start), `delta` (since the previous line), `off`.
    wrap : bool
        Wrap long lines.
    trim : bool
        Hide the time and the level at the beginning of a line's text if the columns show the same.
    columns : list of str
        Some of `pod`, `container` and `level`.
    newest_first : bool
        Show the newest line on top.
    fields : list of str
        Fields that lines show in columns before the message, in this order. Empty: no columns, and structured lines show all
        fields behind the message.
    fold : str
        Show consecutive equal lines as one row: `exact`ly equal ones, or `masked` to ignore numbers.
    around : int
        Number of lines to show before and after each match of the filter.
    split : str
        Split the bars of the time axis by `level` or by `pod`. Empty: do not.
    chart : str
        Show a chart of the metrics over `time` or `step`. Empty: no chart.
    chart_log : bool
        Show the chart's values on a logarithmic scale.
    chart_smooth : int
        Smooth the chart's curves over this number of points. 0: as they are.
    panel : str
        Show the `patterns` of the lines, their `fields`, or the `ranks`, in the place of the chart. Empty: none.
    follow : bool
        Keep the newest line in sight. The page changes this trait too, like all of the above.
    bookmarks : list of dict
        `task`, `seq` and `note` of bookmarked lines, and their `time` (RFC 3339) if the page set them.
    view, status : dict
        Written by the page: the present filter, and the task's state and counts.
    """

    tasks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    query = traitlets.Dict().tag(sync=True)
    transport = traitlets.Enum(("auto", "sse", "comm"), "auto").tag(sync=True)
    origin = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(420, min=200).tag(sync=True)
    font_size = traitlets.Int(12, min=9, max=20).tag(sync=True)
    source_width = traitlets.Int(0, min=0).tag(sync=True)
    time = traitlets.Enum(("local", "utc", "start", "delta", "off"), "local").tag(sync=True)
    wrap = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003 - a trait's default
    trim = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003 - a trait's default
    columns = traitlets.List(traitlets.Enum(("pod", "container", "level")), ["pod", "container"]).tag(sync=True)
    newest_first = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003 - a trait's default
    fields = traitlets.List(traitlets.Unicode()).tag(sync=True)
    fold = traitlets.Enum(("", "exact", "masked"), "").tag(sync=True)
    around = traitlets.Int(0, min=0, max=100).tag(sync=True)
    split = traitlets.Enum(("", "level", "pod"), "").tag(sync=True)
    chart = traitlets.Enum(("", "time", "step"), "").tag(sync=True)
    chart_smooth = traitlets.Int(0, min=0, max=1000).tag(sync=True)
    chart_log = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003 - a trait's default
    panel = traitlets.Enum(("", "patterns", "fields", "ranks"), "").tag(sync=True)
    follow = traitlets.Bool(True).tag(sync=True)  # noqa: FBT003 - a trait's default
    bookmarks = traitlets.List(traitlets.Dict()).tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    _viewer = traitlets.Unicode().tag(sync=True)
    # The traits that Python has set. The user's settings in JupyterLab do not change them.
    _stated = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, engine: Runtime, recordings: Session, **traits: Any) -> None:
        # Read the files here, so that the module can be imported when the viewer has not been built.
        # Set `_esm` before `super().__init__`, where anywidget makes a synced trait of it.
        self._esm = bundle("loader.js").decode()
        self._parts = [bundle(name) for name in ("viewer.js", "viewer.css", "store.js", "charts.js", "panels.js")]
        self._answered = float("-inf")
        super().__init__(
            _viewer=version_of(*self._parts),
            origin=recordings.origin,
            _stated=sorted(VIEWER_OPTIONS & traits.keys()),
            **traits,
        )
        self._server = CommServer(engine, recordings, self.send)
        self.on_msg(self._received)

    @traitlets.observe(*VIEWER_OPTIONS)  # type: ignore[untyped-decorator]  # traitlets has no types
    def _state(self, change: dict[str, Any]) -> None:
        self._stated = sorted({*self._stated, change["name"]})

    @traitlets.observe("comm")  # type: ignore[untyped-decorator]  # traitlets has no types
    def _opened(self, change: dict[str, Any]) -> None:
        # JupyterLab sends comm messages to a subshell, so that a busy kernel can answer. ipykernel 7.4 passes them on to the
        # shell that sent last on this comm: the shell of the cell that created the widget. Then the viewer would appear
        # only after all cells have ended. So keep the message in its own subshell.
        if hasattr(change["new"], "_reply_subshell_for"):
            change["new"]._reply_subshell_for = lambda _data, subshell: subshell  # noqa: SLF001 - ipykernel has no public way

    def _received(self, _: object, content: dict[str, Any], __: object) -> None:
        # It may run in any thread: JupyterLab sends comm messages to a subshell.
        if content.get("type") != "viewer":
            self._server.receive(content)
        elif time.monotonic() > self._answered + _ANSWER_EVERY_S:
            self._answered = time.monotonic()
            self.send({"type": "viewer", "version": self._viewer}, self._parts)

    def close(self) -> None:
        """Close the viewer and its streams."""
        server: CommServer | None = getattr(self, "_server", None)  # None if `__init__` has failed
        if server is not None:
            server.close()
        super().close()

    def mimebundle(self) -> dict[str, Any]:
        """Return the part of a display bundle that shows this widget."""
        bundle = self._repr_mimebundle_()
        data: dict[str, Any] = bundle[0] if isinstance(bundle, tuple) else bundle
        return {k: v for k, v in (data or {}).items() if k != "text/plain"}


def for_page(query: dict[str, Any]) -> dict[str, Any]:
    r"""Return a query in the form of the page's filter.

    Examples
    --------
    >>> for_page({"grep": r"loss=\d", "exclude": "GET /", "tail": 5})
    {'grep': ['/loss=\\d/c'], 'exclude': ['/GET //c'], 'tail': 5}
    """
    page_query: dict[str, Any] = {k: v if isinstance(v, bool | list | tuple) else str(v) for k, v in query.items()}
    page_query |= LogQuery.parse({k: v for k, v in query.items() if k in ("since", "until")}).window()
    if "tail" in page_query:
        page_query["tail"] = int(page_query["tail"])
    for name in SEVERAL:
        if value := page_query.get(name):
            page_query[name] = [value] if isinstance(value, str) else list(value)
    for name in ("grep", "exclude"):
        # In the page, `/.../c` is a case-sensitive regular expression as in Python; other text is literal.
        if name in page_query:
            page_query[name] = [f"/{pattern}/c" for pattern in page_query[name]]
    return page_query
