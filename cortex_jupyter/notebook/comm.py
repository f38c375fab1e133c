"""The kernel's side of the comm: the same event stream as over HTTP, for pages that reach no server (VS Code, Colab).

The page asks and the kernel answers, in plain dicts. Several pages may show one widget: two tabs, or two people who share a
notebook. Each page hears everything that is sent to any of them. So a page names itself in its requests
(`"client": NAME`), the kernel repeats that name in its answers, and each page has its own stream.

    page    {"type": "open", "stream": 3, "tasks": [KEY, ...], "cursor": "C1,C2", "since": "1m"}   replaces the stream before
    kernel  {"type": "bytes", "stream": 3, "n": 1} and one buffer                     bytes of the event stream
    page    {"type": "ack", "n": 1}                                                   the page has stored it
    kernel  {"type": "behind", "stream": 3, "lines": 900}      once a second while acknowledgements are late, and then with 0
    page    {"type": "page", "id": 7, "task": KEY, "query": {...}}                    older lines
    kernel  {"type": "page", "id": 7, "page": {...}} or {..., "error": {...}}
    page    {"type": "outline", "id": 8, "task": KEY, "bins": 1000}                   number of lines over time
    kernel  {"type": "outline", "id": 8, "outline": {...}} or {..., "error": {...}}
    page    {"type": "search", "id": 9, "task": KEY, "query": {...}}                  a filter over the whole recording
    page    {"type": "metrics", "id": 9, "task": KEY}                                 the metrics of the whole recording
    kernel  {"type": "found", "id": 9} and one buffer                                 events; the last message has "done": true
    page    {"type": "download", "id": 9, "task": KEY, "format": "txt", "query": {...}}   the log as a file
    kernel  {"type": "file", "id": 9, "n": 1} and one buffer                          a piece; the last message has "done" and "name"
    page    {"type": "ack", "id": 9, "n": 1}
    page    {"type": "stop", "id": 9}
    kernel  {"type": "error", "stream": 3, "error": {"code", "message", "hint"}}      the stream could not be opened
    page    {"type": "close"}

`reader.event_stream` writes the events, here as for `GET cortex/stream`.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections import deque
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.recording_metrics import measured, patterned, ranked
from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import Cursor, TaskRef
from cortex_jupyter.query.language import NAMES, LogQuery
from cortex_jupyter.reader.event_stream import HEARTBEAT_S, EventStream, Slot
from cortex_jupyter.reader.filtering import in_thread
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.outline_json import outline
from cortex_jupyter.reader.page_json import page, parse_moment
from cortex_jupyter.reader.search import matches, parse_search
from cortex_jupyter.reader.state import present
from cortex_jupyter.reader.text import TextFormat, rows
from cortex_jupyter.reader.window import Window, at_most, wait_caught_up
from cortex_jupyter.tables.files import (
    ALLOWED,
    SETTLE_S,
    check_reader,
    file_name,
    parquet,
    read_pieces,
    select,
    text_pieces,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.reader.session import Recording, Session
    from cortex_jupyter.store import RecordingInfo

    #: `widget.send(content, buffers)`. Any thread may call it: ipykernel's IOPub has a thread of its own.
    Send = Callable[[dict[str, Any], list[bytes] | None], object]
    Work = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

#: Messages per second to one page: Jupyter Server cuts off what exceeds its IOPub limit.
_RATE: Final = 15
#: Messages that the page has not acknowledged yet.
_MAX_UNACKNOWLEDGED: Final = 8
#: Unsent bytes above which the stream waits for the page.
_MAX_UNSENT_BYTES: Final = 1 << 20
#: A page that acknowledges nothing for this long (seconds) has gone: tabs close without a message. If it comes back, it
#: opens a new stream at its cursor.
_GONE_S: Final = 60.0
#: Maximum size of a Parquet file that is written for a download (bytes).
_MAX_FILE_BYTES: Final = 1 << 32
#: If the page has not acknowledged a message for this long (seconds), it is told as often how many lines it does not have.
_BEHIND_S: Final = 1.0
#: Parameters of a query for a page of older lines.
_PAGE: Final = frozenset(NAMES) - {"follow", "tail", "timestamps", "pretty"} | {"at"}


class CommServer:
    """Answers all pages of one widget.

    Parameters
    ----------
    engine : Runtime
        Everything runs on its loop. `receive` may be called from any thread and returns at once.
    recordings : Recordings
    send : callable
    """

    def __init__(self, engine: Runtime, recordings: Session, send: Send) -> None:
        self._engine, self._recordings, self._send = engine, recordings, send
        self._pages: dict[object, PageServer] = {}

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message of a page."""
        self._engine.loop.call_soon_threadsafe(self._receive, message)

    def close(self) -> None:
        """Stop everything that is being sent."""
        if self._engine.alive:
            self._engine.loop.call_soon_threadsafe(self._close)

    def _receive(self, message: dict[str, Any]) -> None:
        name = message.get("client")
        if name not in self._pages:
            self._pages = {k: server for k, server in self._pages.items() if server.is_busy}

            def send(answer: dict[str, Any], buffers: list[bytes] | None) -> None:
                self._send({"client": name, **answer}, buffers)

            self._pages[name] = PageServer(self._recordings, send)
        self._pages[name].receive(message)

    def _close(self) -> None:
        for server in self._pages.values():
            server.close()


class KernelPermissions:
    """What this process may read: in a shared store, the process's own permissions in the cluster count.

    Parameters
    ----------
    recordings : Recordings
    """

    def __init__(self, recordings: Session) -> None:
        self._recordings = recordings

    async def check(self, ref: TaskRef) -> None:
        """Check that this process may read a task."""
        await self._recordings.allow(ref.namespace)
        await self._recordings.check(ref)

    async def hidden(self, ref: TaskRef) -> dict[str, str]:
        """Return what this process may not see beside a task's lines, and why."""
        return await self._recordings.hidden(ref.namespace)

    async def renew(self) -> bool:
        """Return False: the kernel's user never changes."""
        return False


class CommSink:
    """Collects the bytes of a stream into few messages, and sends no more of them than the page acknowledges.

    Parameters
    ----------
    send : callable
    head : dict
        What each message has beside its number and its bytes.
    slots : list of Slot, optional
        The tasks of the stream whose bytes these are.
    """

    def __init__(self, send: Send, head: dict[str, Any], slots: Sequence[Slot] = ()) -> None:
        self._send, self._head, self._slots = send, head, slots
        #: For each message that is not acknowledged: when it was sent (monotonic), and the last record of each task in it.
        self._in_transit: deque[tuple[float, list[int]]] = deque()
        #: The number of the last record of each task that the page has stored.
        self.stored = [slot.sent for slot in slots]
        self._unsent = bytearray()
        self._sent = self._acknowledged = 0
        self._has_bytes = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_ack = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._has_room.set()

    async def send(self, events: bytes) -> None:
        """Queue bytes; wait while too many of them are unsent."""
        self._unsent += events
        self._has_bytes.set()
        self._is_empty.clear()
        if len(self._unsent) > _MAX_UNSENT_BYTES:
            self._has_room.clear()
        await self._has_room.wait()

    def acknowledge(self, n: int) -> None:
        """Note that the page has stored message `n` and those before it."""
        while self._acknowledged < min(n, self._sent):
            self._acknowledged += 1
            _, self.stored = self._in_transit.popleft()
        self._has_ack.set()

    @property
    def waits_s(self) -> float:
        """How long the oldest message has waited for its acknowledgement (seconds)."""
        return time.monotonic() - self._in_transit[0][0] if self._in_transit else 0.0

    async def drained(self) -> None:
        """Wait until everything has been sent."""
        await self._is_empty.wait()

    async def run(self) -> None:
        """Send what is queued; return when the page has gone.

        The first bytes after a silence go out at once, later ones at most `_RATE` times per second.
        """
        last_sent = float("-inf")
        while True:
            await self._has_bytes.wait()
            await asyncio.sleep(max(0.0, last_sent + 1 / _RATE - time.monotonic()))
            while self._sent - self._acknowledged >= _MAX_UNACKNOWLEDGED:
                self._has_ack.clear()
                try:
                    async with asyncio.timeout(_GONE_S):
                        await self._has_ack.wait()
                except TimeoutError:
                    return
            data, self._unsent = bytes(self._unsent), bytearray()
            self._has_bytes.clear()
            self._has_room.set()
            self._sent += 1
            last_sent = time.monotonic()
            self._in_transit.append((last_sent, [slot.sent for slot in self._slots]))
            self._send({**self._head, "n": self._sent}, [data])
            self._is_empty.set()


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
        self._sink: CommSink | None = None
        self._pages: set[asyncio.Task[None]] = set()
        self._searches: dict[object, asyncio.Task[None]] = {}
        self._files: dict[object, CommSink] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anything is being sent."""
        works = (*self._pages, *self._searches.values(), *((self._stream,) if self._stream else ()))
        return any(not work.done() for work in works)

    def receive(self, message: dict[str, Any]) -> None:
        """Handle a message of the page."""
        match message.get("type"):
            case "open":
                self._stop()
                answer = {"type": "error", "stream": message.get("stream")}
                self._stream = asyncio.create_task(self._guarded(self._open, message, answer))
            case "ack":
                sink = self._files.get(message["id"]) if "id" in message else self._sink
                if sink is not None:
                    sink.acknowledge(int(message.get("n", 0)))
            case "page" | "outline" as kind:
                answer = {"type": kind, "id": message.get("id")}
                work = self._page if kind == "page" else self._outline
                task = asyncio.create_task(self._guarded(work, message, answer))
                self._pages.add(task)
                task.add_done_callback(self._pages.discard)
            case "search" | "metrics" | "patterns" | "ranks":
                answer = {"type": "found", "id": message.get("id"), "done": True}
                self._searches[message.get("id")] = asyncio.create_task(self._guarded(self._search, message, answer))
            case "download":
                answer = {"type": "file", "id": message.get("id"), "done": True}
                self._searches[message.get("id")] = asyncio.create_task(self._guarded(self._download, message, answer))
            case "stop":
                if (search := self._searches.pop(message.get("id"), None)) is not None:
                    search.cancel()
            case "close":
                self._stop()

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        self._stream = self._sink = None

    def close(self) -> None:
        """Stop everything that is being sent."""
        self._stop()
        for search in self._searches.values():
            search.cancel()
        self._searches.clear()

    async def _guarded(self, work: Work, message: dict[str, Any], answer: dict[str, Any]) -> None:
        """Do some work for the page, and show its failure there: no caller waits for the result."""
        try:
            await work(message)
        except CortexError as error:
            self._send({**answer, "error": error.as_dict()}, None)
        except Exception:  # noqa: BLE001 - the reader is told
            _log.exception("[cortex-jupyter] the viewer's request failed")
            hint = "this is a bug of cortex-jupyter; the kernel's log says more"
            self._send(
                {**answer, "error": {"code": "InternalError", "message": "the kernel failed", "hint": hint}}, None
            )

    async def _open(self, message: dict[str, Any]) -> None:
        tasks = [str(t) for t in message.get("tasks") or []]
        if not tasks:
            raise BadQuery("no task is named", "name at least one task")
        query = LogQuery.parse({"since": message.get("since")}, default_since="1m")
        cursors = [Cursor.parse(c) if c else None for c in str(message.get("cursor") or "").split(",")]
        cursors += [None] * (len(tasks) - len(cursors))
        max_records = at_most(message.get("most"))
        slots = await asyncio.gather(
            *(self._slot(t, query, c, max_records) for t, c in zip(tasks, cursors, strict=False))
        )
        if len(slots) == 1 and slots[0].error is not None:
            raise slots[0].error
        number = message.get("stream")
        self._sink = sink = CommSink(self._send, {"type": "bytes", "stream": number}, slots)
        stream = EventStream(list(slots), sink, KernelPermissions(self._recordings), heartbeat_s=HEARTBEAT_S)

        async def run() -> None:
            await stream.run()
            await sink.drained()

        works = [asyncio.create_task(run()), asyncio.create_task(sink.run())]
        report = asyncio.create_task(self._report_behind(slots, sink, number))
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)  # everything is sent, or the page has gone
        finally:
            for work in (*works, report):
                work.cancel()
            await asyncio.gather(*works, report, return_exceptions=True)
        if not works[0].cancelled():
            works[0].result()

    async def _report_behind(self, slots: Sequence[Slot], sink: CommSink, number: object) -> None:
        """Report to a page with late acknowledgements how many recorded lines it lacks, and when it has all.

        The stream's own bytes wait for the acknowledgements, so this is a message of its own. Acknowledgements are late if
        the kernel is busy and has no subshells, or if page or network are slow.
        """
        was_behind = False
        while True:
            await asyncio.sleep(_BEHIND_S)
            lines = 0
            if sink.waits_s > _BEHIND_S:
                for slot, stored in zip(slots, sink.stored, strict=True):
                    if slot.window is not None and slot.error is None:
                        with suppress(CortexError):  # a passing failure of the store
                            lines += max(0, (await slot.window.recording.info()).last_seq - stored)
            if lines or was_behind:
                self._send({"type": "behind", "stream": number, "lines": lines}, None)
            was_behind = lines > 0

    async def _slot(self, name: str, query: LogQuery, cursor: Cursor | None, max_records: int | None) -> Slot:
        slot = Slot(name, cursor="" if cursor is None else str(cursor))
        try:
            recording = await self._recordings.find(TaskRef.parse(name, self._recordings.namespace))
            slot.window = await Window.open(recording, query, cursor, max_records)
            slot.sent = slot.window.after
        except CortexError as error:
            slot.error = error
        return slot

    async def _search(self, message: dict[str, Any]) -> None:
        id_ = message.get("id")
        query = parse_search(message.get("query") or {}) if message["type"] == "search" else None
        recording = await self._find(message)
        if query is not None and query.before is not None:
            (await recording.info()).check(query.before)
        if query is not None:
            events = matches(recording, query)
        else:
            kinds = {"metrics": measured, "patterns": patterned, "ranks": ranked}
            events = kinds[message["type"]](recording)
        async with aclosing(events) as pieces:
            async for piece in pieces:
                self._send({"type": "found", "id": id_}, [piece])
                await asyncio.sleep(1 / _RATE)
        self._searches.pop(id_, None)
        self._send({"type": "found", "id": id_, "done": True}, None)

    async def _download(self, message: dict[str, Any]) -> None:
        id_, suffix = message.get("id"), message.get("format")
        query = LogQuery.parse(message.get("query") or {}, default_since="all", allowed=ALLOWED)
        recording = await self._find(message)
        await check_names(recording, query)
        head = {"type": "file", "id": id_}
        sink = self._files[id_] = CommSink(self._send, head)
        page_gone = threading.Event()

        async def send() -> None:
            async with recording.keep_wanted():
                info = await wait_caught_up(recording, SETTLE_S)
                among = await asyncio.to_thread(query.among, recording.store, recording.id)
                with tempfile.TemporaryDirectory(prefix="cortex-") as folder:
                    pieces = await asyncio.to_thread(_pieces, recording, among, suffix, info, Path(folder), page_gone)
                    async with aclosing(in_thread(pieces, among.keep())) as parts:
                        is_empty = True
                        async for part in parts:
                            is_empty = is_empty and not part
                            await sink.send(part)
                    if not is_empty:
                        await sink.drained()
            self._send({**head, "done": True, "name": file_name(recording.ref, query, str(suffix))}, None)

        works = [asyncio.create_task(send()), asyncio.create_task(sink.run())]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)  # everything is sent, or the page has gone
        finally:
            page_gone.set()
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            self._files.pop(id_, None)
            self._searches.pop(id_, None)
        if not works[0].cancelled():
            works[0].result()

    async def _outline(self, message: dict[str, Any]) -> None:
        recording = await self._find(message)
        answer = await outline(recording, message.get("bins"), levels=bool(message.get("levels")))
        self._send({"type": "outline", "id": message.get("id"), "outline": answer}, None)

    async def _page(self, message: dict[str, Any]) -> None:
        recording = await self._find(message)
        parameters = message.get("query") or {}
        query = LogQuery.parse(parameters, allowed=_PAGE)
        at = parse_moment(parameters.get("at"), query)
        info = await recording.info()
        task = await present(recording, info)
        answer = await asyncio.to_thread(page, recording, query, info, task, at)
        self._send({"type": "page", "id": message.get("id"), "page": answer}, None)

    async def _find(self, message: dict[str, Any]) -> Recording:
        return await self._recordings.find(TaskRef.parse(str(message.get("task")), self._recordings.namespace))


def _pieces(
    recording: Recording, query: LogQuery, suffix: object, info: RecordingInfo, folder: Path, page_gone: threading.Event
) -> Iterator[bytes]:
    """Return a log as a file, piece by piece."""
    if suffix == "parquet":
        return read_pieces(parquet(recording, query, folder / "logs.parquet", page_gone, _MAX_FILE_BYTES))
    batches = select(recording, query, info, page_gone)
    if suffix == "ndjson":
        return (b"".join(orjson.dumps(row) + b"\n" for row in rows(batch)) for batch in batches)
    if suffix == "txt":
        form = TextFormat.of(recording.store, recording.id, query, partial(check_reader, page_gone))
        return text_pieces(batches, recording.store.index(recording.id), form)
    raise BadQuery(f"there is no download in the format {suffix!r}", "use txt, ndjson or parquet")
