"""The viewer as a widget: a loader, a few traits, and a comm that brings the viewer and, where no server is reached, the log."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from cortex_jupyter.errors import MissingExtra
from cortex_jupyter.notebook.comm import CommServer
from cortex_jupyter.query.language import SEVERAL

if TYPE_CHECKING:
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.reader.session import Session

_STATIC: Final = Path(__file__).parent / "static"


#: A page asks again while nobody answers, so a kernel that was busy finds several questions; one answer reaches all pages.
_ANSWER_EVERY_S: Final = 0.2


def bundle(name: str) -> bytes:
    """Read a file of the built front end.

    Raises
    ------
    MissingExtra
        It has not been built.
    """
    path = _STATIC / name
    if not path.is_file():
        raise MissingExtra(
            f"the viewer's {name} has not been built", "run `make setup`, or `npm ci && npm run build` in js/"
        )
    return path.read_bytes()


def version_of(*parts: bytes) -> str:
    """Name a build of the viewer, so that a page loads each only once."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


class LogViewer(anywidget.AnyWidget):  # type: ignore[misc]
    """The live viewer of one or more tasks; `TaskLog` makes and shows it.

    Traits carry settings and a summary. Neither lines nor the viewer's code are in them: a trait is saved in the
    notebook's file and sent for each viewer. The code goes to each page once, when its loader asks (js/src/hosts/loader.ts).

    Parameters
    ----------
    tasks : list of str
        Keys.
    query : dict
        What is shown first; `since` is `1m` where it is not given.
    transport : str
        `auto`, `sse` or `comm`.
    origin : str
        Which cluster and store the tasks are of, as a fingerprint: a server that reads another one is not asked.
    height, font_size : int
        Pixels.
    time : str
        How lines' times are shown: `local`, `utc`, `start` (since the task's start), `delta` (since the line before), `off`.
    wrap : bool
        Long lines are wrapped.
    columns : list of str
        Of `pod`, `container` and `level`.
    newest_first : bool
        The newest line is on top.
    fields : list of str
        What rows show of JSON and logfmt lines behind the message, in this order; nothing: all fields.
    fold : str
        Equal lines that follow each other are one row: `exact`ly equal ones, or `masked`, whatever their numbers.
    chart : str
        A chart of the metrics beside the lines, over `time` or `step`; nothing: none.
    chart_log : bool
        Its values on a logarithmic scale.
    follow : bool
        The newest line is kept in sight; written by the page as well, as all of these.
    bookmarks : list of dict
        `task`, `seq` and `note` of lines that were marked.
    view, status : dict
        Written by the page: the filter as it is now, and the task's state and counts.
    """

    tasks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    query = traitlets.Dict().tag(sync=True)
    transport = traitlets.Enum(("auto", "sse", "comm"), "auto").tag(sync=True)
    origin = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(420, min=200).tag(sync=True)
    font_size = traitlets.Int(12, min=9, max=20).tag(sync=True)
    time = traitlets.Enum(("local", "utc", "start", "delta", "off"), "local").tag(sync=True)
    wrap = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003
    columns = traitlets.List(traitlets.Enum(("pod", "container", "level")), ["pod", "container"]).tag(sync=True)
    newest_first = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003
    fields = traitlets.List(traitlets.Unicode()).tag(sync=True)
    fold = traitlets.Enum(("", "exact", "masked"), "").tag(sync=True)
    chart = traitlets.Enum(("", "time", "step"), "").tag(sync=True)
    chart_log = traitlets.Bool(False).tag(sync=True)  # noqa: FBT003
    follow = traitlets.Bool(True).tag(sync=True)  # noqa: FBT003
    bookmarks = traitlets.List(traitlets.Dict()).tag(sync=True)
    view = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    _viewer = traitlets.Unicode().tag(sync=True)

    def __init__(self, engine: Runtime, recordings: Session, **traits: Any) -> None:
        # Read here and not when the class is made: without a bundle the module can still be imported.
        # As an attribute and before: anywidget makes a synced trait of what it finds.
        self._esm = bundle("loader.js").decode()
        self._parts = [bundle("viewer.js"), bundle("viewer.css"), bundle("store.js")]
        self._answered = float("-inf")
        super().__init__(_viewer=version_of(*self._parts), origin=recordings.origin, **traits)
        self._server = CommServer(engine, recordings, self.send)
        self.on_msg(self._received)

    @traitlets.observe("comm")  # type: ignore[untyped-decorator]  # traitlets tells no types
    def _opened(self, change: dict[str, Any]) -> None:
        # A page that asks in a subshell has a busy kernel's answer. ipykernel 7.4 hands what it asks to the shell that has
        # written last, which is the one of the cell that made us: the viewer would be there when all cells have ended.
        if hasattr(change["new"], "_reply_subshell_for"):
            change["new"]._reply_subshell_for = lambda _data, asked: asked  # noqa: SLF001

    def _received(self, _: object, content: dict[str, Any], __: object) -> None:
        # From whatever thread: JupyterLab sends comm messages to a subshell.
        if content.get("type") != "viewer":
            self._server.receive(content)
        elif time.monotonic() > self._answered + _ANSWER_EVERY_S:
            self._answered = time.monotonic()
            self.send({"type": "viewer", "version": self._viewer}, self._parts)

    def close(self) -> None:
        """End the viewer and what it reads."""
        server: CommServer | None = getattr(self, "_server", None)  # None where it could not be made
        if server is not None:
            server.close()
        super().close()

    def mimebundle(self) -> dict[str, Any]:
        """Give the part of a display bundle that shows this widget."""
        bundle = self._repr_mimebundle_()
        data: dict[str, Any] = bundle[0] if isinstance(bundle, tuple) else bundle
        return {k: v for k, v in (data or {}).items() if k != "text/plain"}


def for_page(query: dict[str, Any]) -> dict[str, Any]:
    r"""Write a query as the page's own filter understands it.

    Examples
    --------
    >>> for_page({"grep": r"loss=\d", "exclude": "GET /", "tail": 5})
    {'grep': ['/loss=\\d/c'], 'exclude': ['/GET //c'], 'tail': 5}
    """
    shown: dict[str, Any] = {k: v if isinstance(v, bool | list | tuple) else str(v) for k, v in query.items()}
    if "tail" in shown:
        shown["tail"] = int(shown["tail"])
    for name in SEVERAL:
        if given := shown.get(name):
            shown[name] = [given] if isinstance(given, str) else list(given)
    for name in ("grep", "exclude"):
        # The page takes plain text for text; Python's pattern is a regular expression, and case counts.
        if name in shown:
            shown[name] = [f"/{pattern}/c" for pattern in shown[name]]
    return shown
