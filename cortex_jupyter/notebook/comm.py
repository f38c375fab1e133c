"""The kernel's side of the comm: the bytes of the SSE contract for pages that reach no server (VS Code, Colab).

The page asks, the kernel answers; messages are plain dicts. Several pages may show one widget (two tabs, people who share a
notebook), and each hears what is sent to any: a page names itself in what it asks (`"client": NAME`), the kernel names it in the
answers, and each has its own stream.

    page    {"type": "open", "stream": 3, "tasks": [KEY, ...], "cursor": "C1,C2", "since": "1m"}   in place of before
    kernel  {"type": "bytes", "stream": 3, "n": 1} and one buffer                     of the event stream
    page    {"type": "ack", "n": 1}                                                   it is in the page's store
    page    {"type": "page", "id": 7, "task": KEY, "query": {...}}                    older lines
    kernel  {"type": "page", "id": 7, "page": {...}} or {..., "error": {...}}
    page    {"type": "outline", "id": 8, "task": KEY, "bins": 1000}                   how the lines are spread over time
    kernel  {"type": "outline", "id": 8, "outline": {...}} or {..., "error": {...}}
    page    {"type": "search", "id": 9, "task": KEY, "query": {...}}                  a filter over the whole recording
    page    {"type": "metrics", "id": 9, "task": KEY}                                 the numbers that all of it reports
    kernel  {"type": "found", "id": 9} and one buffer                                 of events; at last {..., "done": true}
    page    {"type": "stop", "id": 9}
    kernel  {"type": "error", "stream": 3, "error": {"code", "message", "hint"}}      the stream could not be opened
    page    {"type": "close"}

What is written is what `GET stream` writes, by the same code (`server.sse`); here is only how it travels.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.recording_metrics import measured
from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import Cursor, TaskRef
from cortex_jupyter.notebook.outlet import RATE, Outlet
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.outline_json import outline
from cortex_jupyter.reader.page_json import page, parse_moment
from cortex_jupyter.reader.search import matches, parse_search
from cortex_jupyter.reader.state import present
from cortex_jupyter.reader.window import Window, at_most
from cortex_jupyter.server.sse import Slot, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cortex_jupyter.notebook.outlet import Send
    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.reader.session import Session

    Work = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

#: What the page may ask of a page of older lines.
_PAGE: Final = frozenset(
    {
        "since",
        "until",
        "limit",
        "before",
        "after",
        "at",
        "pod",
        "container",
        "run",
        "stream",
        "level",
        "grep",
        "exclude",
        "where",
    }
)


class CommServer:
    """Answers one widget's pages.

    Parameters
    ----------
    engine : Runtime
        Everything runs on its loop; `receive` may be called from any thread and returns at once.
    recordings : Session
    send : callable
    """

    def __init__(self, engine: Runtime, recordings: Session, send: Send) -> None:
        self._engine, self._recordings, self._send = engine, recordings, send
        self._pages: dict[object, PageServer] = {}

    def receive(self, message: dict[str, Any]) -> None:
        """Take a message of a page."""
        self._engine.loop.call_soon_threadsafe(self._take, message)

    def close(self) -> None:
        """End what is being sent."""
        if self._engine.alive:
            self._engine.loop.call_soon_threadsafe(self._end)

    def _take(self, message: dict[str, Any]) -> None:
        name = message.get("client")
        if name not in self._pages:
            self._pages = {k: one for k, one in self._pages.items() if one.busy}

            def send(answer: dict[str, Any], buffers: list[bytes] | None) -> None:
                self._send({"client": name, **answer}, buffers)

            self._pages[name] = PageServer(self._recordings, send)
        self._pages[name].take(message)

    def _end(self) -> None:
        for one in self._pages.values():
            one.close()


class PageServer:
    """Answers one page.

    Parameters
    ----------
    recordings : Session
    send : callable
    """

    def __init__(self, recordings: Session, send: Send) -> None:
        self._recordings, self._send = recordings, send
        self._stream: asyncio.Task[None] | None = None
        self._outlet: Outlet | None = None
        self._pages: set[asyncio.Task[None]] = set()
        self._searches: dict[object, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is being sent."""
        works = (*self._pages, *self._searches.values(), *((self._stream,) if self._stream else ()))
        return any(not work.done() for work in works)

    def take(self, message: dict[str, Any]) -> None:
        """Take a message."""
        match message.get("type"):
            case "open":
                self._stop()
                answer = {"type": "error", "stream": message.get("stream")}
                self._stream = asyncio.create_task(self._guarded(self._open, message, answer))
            case "ack":
                if self._outlet is not None:
                    self._outlet.ack(int(message.get("n", 0)))
            case "page" | "outline" as kind:
                answer = {"type": kind, "id": message.get("id")}
                work = self._page if kind == "page" else self._outline
                task = asyncio.create_task(self._guarded(work, message, answer))
                self._pages.add(task)
                task.add_done_callback(self._pages.discard)
            case "search" | "metrics":
                answer = {"type": "found", "id": message.get("id"), "done": True}
                self._searches[message.get("id")] = asyncio.create_task(self._guarded(self._search, message, answer))
            case "stop":
                if (search := self._searches.pop(message.get("id"), None)) is not None:
                    search.cancel()
            case "close":
                self._stop()

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        self._stream = self._outlet = None

    def close(self) -> None:
        """End what is being sent."""
        self._stop()
        for search in self._searches.values():
            search.cancel()
        self._searches.clear()

    async def _guarded(self, work: Work, message: dict[str, Any], answer: dict[str, Any]) -> None:
        """Do something for the page; what goes wrong is shown there, for nobody else would see it."""
        try:
            await work(message)
        except CortexError as error:
            self._send({**answer, "error": error.as_dict()}, None)
        except Exception:  # noqa: BLE001
            _log.exception("[cortex-jupyter] the viewer's request failed")
            hint = "this is a bug of cortex-jupyter; the kernel's log says more"
            self._send(
                {**answer, "error": {"code": "InternalError", "message": "the kernel failed", "hint": hint}}, None
            )

    async def _open(self, message: dict[str, Any]) -> None:
        tasks = [str(t) for t in message.get("tasks") or []]
        if not tasks:
            raise BadQuery("no task is named", "a viewer needs at least one")
        query = LogQuery.parse({"since": message.get("since")}, default_since="1m")
        cursors = [Cursor.parse(c) if c else None for c in str(message.get("cursor") or "").split(",")]
        cursors += [None] * (len(tasks) - len(cursors))
        most = at_most(message.get("most"))
        slots = await asyncio.gather(*(self._slot(t, query, c, most) for t, c in zip(tasks, cursors, strict=False)))
        if len(slots) == 1 and slots[0].error is not None:
            raise slots[0].error
        self._outlet = outlet = Outlet(self._send, message.get("stream"), self._recordings)
        stream = Stream(outlet, list(slots))

        async def run() -> None:
            await stream.run()
            await outlet.drained()

        works = [asyncio.create_task(run()), asyncio.create_task(outlet.run())]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)  # all is sent, or the page has gone
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
        if not works[0].cancelled():
            works[0].result()

    async def _slot(self, asked: str, query: LogQuery, cursor: Cursor | None, most: int | None) -> Slot:
        slot = Slot(asked, cursor="" if cursor is None else str(cursor))
        try:
            recording = await self._recordings.find(TaskRef.parse(asked, self._recordings.namespace))
            slot.window = await Window.open(recording, query, cursor, most)
        except CortexError as error:
            slot.error = error
        return slot

    async def _search(self, message: dict[str, Any]) -> None:
        id_ = message.get("id")
        query = parse_search(message.get("query") or {}) if message["type"] == "search" else None
        recording = await self._recordings.find(TaskRef.parse(str(message.get("task")), self._recordings.namespace))
        if query is not None and query.before is not None:
            (await recording.info()).check(query.before)
        async with aclosing(measured(recording) if query is None else matches(recording, query)) as pieces:
            async for piece in pieces:
                self._send({"type": "found", "id": id_}, [piece])
                await asyncio.sleep(1 / RATE)
        self._searches.pop(id_, None)
        self._send({"type": "found", "id": id_, "done": True}, None)

    async def _outline(self, message: dict[str, Any]) -> None:
        recording = await self._recordings.find(TaskRef.parse(str(message.get("task")), self._recordings.namespace))
        found = await outline(recording, message.get("bins"), levels=bool(message.get("levels")))
        self._send({"type": "outline", "id": message.get("id"), "outline": found}, None)

    async def _page(self, message: dict[str, Any]) -> None:
        recording = await self._recordings.find(TaskRef.parse(str(message.get("task")), self._recordings.namespace))
        asked = message.get("query") or {}
        query = LogQuery.parse(asked, allowed=_PAGE)
        at = parse_moment(asked.get("at"), query)
        info = await recording.info()
        task = await present(recording, info)
        found = await asyncio.to_thread(page, recording, query, info, task, at)
        self._send({"type": "page", "id": message.get("id"), "page": found}, None)
