"""The base of the handlers that answer with a stream: resume, send, and end at once when the reader goes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import Cursor
from cortex_jupyter.reader.event_stream import EventStream, ReaderGoneError, Slot, Throttle
from cortex_jupyter.reader.permissions import PermissionWatch
from cortex_jupyter.reader.process import event
from cortex_jupyter.server.base import Handler
from cortex_jupyter.server.service import RequestPermissions
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from cortex_jupyter.model import TaskRef

_SSE_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # Proxies must neither store nor compress the stream, and nginx must not buffer it.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
#: An error as the last event of a stream. Its `data` has no newline, and it is shorter than `_TAIL` bytes.
_ERROR: Final = re.compile(rb'(?:\A|\n)event: error\ndata: {"code":"(\w+)"[^\n]*\n\n\Z')
_TAIL: Final = 8192


class ResponseSink:
    """Sends a stream's bytes as the body of an HTTP response.

    Parameters
    ----------
    handler : Handler
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        for name, value in _SSE_HEADERS.items():
            handler.set_header(name, value)

    async def send(self, events: bytes) -> None:
        """Write and flush. Only one call at a time: Tornado forgets the first of two flushes that wait.

        Raises
        ------
        ReaderGoneError
        """
        self._handler.write(events)
        try:
            await self._handler.flush()
        except StreamClosedError as error:
            raise ReaderGoneError from error


class StreamingHandler(Handler):
    """A handler that may answer with a stream."""

    _running: asyncio.Future[None] | None = None
    _revoked: CortexError | None = None  # why the reader may not read any more

    def on_connection_close(self) -> None:
        """Stop the work for a reader that has gone."""
        super().on_connection_close()
        if self._running is not None:
            self._running.cancel()

    async def until_closed(self, work: Awaitable[None], *refs: TaskRef) -> None:
        """Wait for some work. Cancel it when the reader has gone, or may not read one of these tasks any more.

        Raises
        ------
        CortexError
            Why the reader may not read the task any more.
        """
        running = self._running = asyncio.ensure_future(work)
        watching = asyncio.create_task(self._watch(refs, running)) if refs else None
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await running
        finally:
            running.cancel()
            if watching is not None:
                watching.cancel()
        if self._revoked is not None and not self._finished:
            raise self._revoked
        if running.cancelled() and not self._is_closed:
            self.outcome = "stopped"  # by the end of the server

    async def _watch(self, refs: Sequence[TaskRef], running: asyncio.Future[None]) -> None:
        """Check the reader's permissions every heartbeat interval. Work that ends sooner is not checked again."""
        permissions = PermissionWatch(RequestPermissions(self.service, self))
        while self._revoked is None:
            await asyncio.sleep(self.service.app.heartbeat_s)
            errors = await permissions.revoked(refs)
            self._revoked = next((error for error in errors if error is not None), None)
        running.cancel()

    def reading(self, tasks: Iterable[str] = ()) -> AbstractContextManager[None]:
        """Count the answer as one of the user's streams; see `Readers.reading`."""
        return self.service.readers.reading(self.service.user(self), map(self.service.full_name, tasks))

    async def stream(self, slots: list[Slot], *, plain: bool = False) -> None:
        """Answer with the events of these tasks.

        Raises
        ------
        LimitReached
        """
        tasks = {slot.window.recording.ref.key for slot in slots if slot.window}
        settings = self.service.app

        async def run() -> None:
            with self.reading(tasks):
                stream = EventStream(
                    slots,
                    ResponseSink(self),
                    RequestPermissions(self.service, self),
                    heartbeat_s=settings.heartbeat_s,
                    on_heartbeat=self.service.note_activity,
                    max_bytes_per_s=settings.max_bytes_per_s,
                    plain=plain,
                    span=self.span,
                )
                try:
                    await stream.run()
                finally:
                    for slot in slots:
                        if slot.window is not None:
                            read = self.read_of(slot.window.recording.ref)
                            read.bytes, read.outcome = slot.bytes, slot.outcome

        await self.until_closed(run())

    async def events(self, pieces: AsyncGenerator[bytes], *refs: TaskRef) -> None:
        """Answer with the events of some tasks that a process of ours writes.

        Raises
        ------
        LimitReached
        """
        for name, value in _SSE_HEADERS.items():
            self.set_header(name, value)

        async def run() -> None:
            with self.reading():
                await self.flush()  # the headers, so that the reader knows that the request was accepted
                async with aclosing(pieces), aclosing(self._noting_error(pieces)) as counted_pieces:
                    await self.send(counted_pieces)

        try:
            await self.until_closed(run(), *refs)
        except CortexError as error:
            if not self._headers_written:
                raise
            server_metrics.count_refusal(error.code)
            self.outcome = error.code
            self.write(event("error", **error.as_dict()))

    async def _noting_error(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Pass on pieces of events. If the last event is an error, count it in our metrics."""
        tail = b""
        async for piece in pieces:
            tail = (tail + piece[-_TAIL:])[-_TAIL:]
            yield piece
        if error := _ERROR.search(tail):
            self.outcome = error[1].decode()
            server_metrics.count_refusal(self.outcome)

    async def send(self, pieces: AsyncGenerator[bytes]) -> None:
        """Write pieces as they come, within `max_bytes_per_s`."""
        throttle = Throttle(self.service.app.max_bytes_per_s)
        async for piece in pieces:
            self.write(piece)
            await self.flush()
            if pause := throttle.pause(len(piece)):
                await asyncio.sleep(pause)

    def resume(self, argument: str | None) -> list[Cursor | None]:
        """Parse the cursors from which the reader resumes: the header `Last-Event-ID`, else the argument `cursor`.

        Returns
        -------
        list of Cursor or None
            In the order of the tasks. None for a task of which the reader has nothing yet.

        Raises
        ------
        BadQuery
        """
        text = self.request.headers.get("Last-Event-ID") or argument or ""
        cursors = [Cursor.parse(part) if part.strip() else None for part in text.split(",")]
        for cursor in cursors:
            if cursor is not None and cursor.before is not None:
                raise BadQuery(
                    f"cannot resume at {cursor}: this cursor leads back, and a stream goes forward",
                    "give the `id:` of an event",
                )
        return cursors
