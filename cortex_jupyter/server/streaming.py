"""What the two handlers that answer with a stream share: resuming, and ending at once when the reader goes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.model import Cursor
from cortex_jupyter.reader.process import event
from cortex_jupyter.server.base import Handler
from cortex_jupyter.server.pace import Pace
from cortex_jupyter.server.rights import Rights
from cortex_jupyter.server.sse import Slot, Stream
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable
    from contextlib import AbstractContextManager

    from cortex_jupyter.model import TaskRef

#: An error as the last event of a stream, and more bytes than it has; within `data` no line ends.
_ERROR: Final = re.compile(rb'(?:\A|\n)event: error\ndata: {"code":"(\w+)"[^\n]*\n\n\Z')
_TAIL: Final = 8192


class StreamingHandler(Handler):
    """A handler that may answer with a stream."""

    _running: asyncio.Future[None] | None = None
    _lost: CortexError | None = None  # why they may not read any more

    def on_connection_close(self) -> None:
        """Stop what is done for a reader that has gone."""
        super().on_connection_close()
        if self._running is not None:
            self._running.cancel()

    async def until_closed(self, work: Awaitable[None], ref: TaskRef | None = None) -> None:
        """Do something until it is done, the reader has gone or, with a task, may not read that any more.

        Raises
        ------
        CortexError
            They may not.
        """
        running = self._running = asyncio.ensure_future(work)
        watching = None if ref is None else asyncio.create_task(self._watch(ref, running))
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await running
        finally:
            running.cancel()
            if watching is not None:
                watching.cancel()
        if self._lost is not None and not self._finished:
            raise self._lost

    async def _watch(self, ref: TaskRef, running: asyncio.Future[None]) -> None:
        """Ask as often as a stream is heard of whether they may read on; what is over sooner is not asked about."""
        rights = Rights(self)
        while self._lost is None:
            await asyncio.sleep(self.service.app.heartbeat_s)
            [self._lost] = await rights.lost([ref])
        running.cancel()

    def reading(self, tasks: Iterable[str] = ()) -> AbstractContextManager[None]:
        """Count what is sent as one of the user's streams; see `Readers.reading`."""
        return self.service.readers.reading(self.service.user(self), tasks)

    async def stream(self, slots: list[Slot], *, plain: bool = False) -> None:
        """Answer with the events of these tasks.

        Raises
        ------
        LimitReached
        """
        tasks = {slot.window.recording.ref.key for slot in slots if slot.window}

        async def run() -> None:
            with self.reading(tasks):
                await Stream(self, slots, plain=plain).run()

        await self.until_closed(run())

    async def events(self, pieces: AsyncGenerator[bytes], ref: TaskRef) -> None:
        """Answer with an event stream of a task that is written elsewhere.

        Raises
        ------
        LimitReached
        """
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")

        async def run() -> None:
            with self.reading():
                await self.flush()  # the headers: a reader knows that it is heard
                async with aclosing(pieces), aclosing(_counted(pieces)) as told:
                    await self.send(told)

        try:
            await self.until_closed(run(), ref)
        except CortexError as error:
            if not self._headers_written:
                raise
            server_metrics.count_refusal(error.code)
            self.write(event("error", **error.as_dict()))

    async def send(self, pieces: AsyncGenerator[bytes]) -> None:
        """Write pieces as they come, as fast as this server sends to one reader."""
        pace = Pace(self.service.app.max_bytes_per_s)
        async for piece in pieces:
            self.write(piece)
            await self.flush()
            if pause := pace.pause(len(piece)):
                await asyncio.sleep(pause)

    def resume(self, argument: str | None) -> list[Cursor | None]:
        """Read where the reader was: the header of a reconnecting EventSource, else the argument `cursor`.

        Returns
        -------
        list of Cursor or None
            In the order of the tasks; None where the reader has nothing of a task yet.

        Raises
        ------
        BadQuery
        """
        text = self.request.headers.get("Last-Event-ID") or argument or ""
        cursors = [Cursor.parse(part) if part.strip() else None for part in text.split(",")]
        for cursor in cursors:
            if cursor is not None and cursor.before is not None:
                raise BadQuery(f"the cursor {cursor} leads back, a stream goes on", "take the `id:` of an event")
        return cursors


async def _counted(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Give pieces of events, and count the error with which they end, whoever has written it."""
    tail = b""
    async for piece in pieces:
        tail = (tail + piece[-_TAIL:])[-_TAIL:]
        yield piece
    if error := _ERROR.search(tail):
        server_metrics.count_refusal(error[1].decode())
