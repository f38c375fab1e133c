"""A response for `server.sse.Stream` whose bytes go to a page in the messages of a comm."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.reader.session import Session

    #: `widget.send(content, buffers)`; ipykernel's IOPub has a thread of its own, so any thread may call it.
    Send = Callable[[dict[str, Any], list[bytes] | None], object]

#: Messages a second at most: Jupyter Server cuts off what exceeds its IOPub limit. Messages the page has not taken yet.
RATE: Final = 15
_CREDIT: Final = 8
#: Bytes after which writing waits for the page.
_FULL: Final = 1 << 20
_HEARTBEAT_S: Final = 15.0
#: Seconds after which a page that takes nothing has gone: tabs are closed without a word. One that is back asks by cursor.
_GONE_S: Final = 60.0


class Outlet:
    """Collects written bytes into few messages, no more of them than the page takes.

    It is a `server.response.Response`.
    """

    class _App:
        heartbeat_s = _HEARTBEAT_S
        max_bytes_per_s = 0

    span = tracing.Span()  # a kernel's comm is no request

    def __init__(self, send: Send, stream: object, recordings: Session | None = None) -> None:
        self._send, self._stream, self._recordings = send, stream, recordings
        self._waiting = bytearray()
        self._sent = self._acked = 0
        self._written = asyncio.Event()
        self._room = asyncio.Event()
        self._credit = asyncio.Event()
        self._idle = asyncio.Event()
        self._room.set()
        self.service = self
        self.app = self._App

    def set_header(self, name: str, value: str) -> None:
        """Do nothing: a comm has no headers."""

    def active(self) -> None:
        """Do nothing: a kernel's comm counts as activity anyway."""

    async def check(self, ref: TaskRef, _: object) -> None:
        """Check that this process may read a task: where a store is shared, its own rights count, which are its owner's."""
        if self._recordings is not None:
            await self._recordings.allow(ref.namespace)
            await self._recordings.check(ref)

    async def hidden(self, ref: TaskRef, _: object) -> dict[str, str]:
        """Return what this process may not see beside a task's lines."""
        return {} if self._recordings is None else await self._recordings.hidden(ref.namespace)

    async def renewed(self, _: object) -> bool:
        """Tell that it is still the same who reads."""
        return False

    def write(self, data: bytes) -> None:
        """Take bytes to be sent."""
        self._waiting += data
        self._written.set()
        self._idle.clear()
        if len(self._waiting) > _FULL:
            self._room.clear()

    async def flush(self) -> None:
        """Wait while the page does not take what there is."""
        await self._room.wait()

    def ack(self, n: int) -> None:
        """Note that the page has taken message `n` and those before it."""
        self._acked = max(self._acked, min(n, self._sent))
        self._credit.set()

    async def drained(self) -> None:
        """Wait until everything has been sent."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send, at once what comes after a silence, at most `RATE` messages a second; returns when the page has gone."""
        last = float("-inf")
        while True:
            await self._written.wait()
            await asyncio.sleep(max(0.0, last + 1 / RATE - time.monotonic()))
            while self._sent - self._acked >= _CREDIT:
                self._credit.clear()
                try:
                    async with asyncio.timeout(_GONE_S):
                        await self._credit.wait()
                except TimeoutError:
                    return
            data, self._waiting = bytes(self._waiting), bytearray()
            self._written.clear()
            self._room.set()
            self._sent += 1
            last = time.monotonic()
            self._send({"type": "bytes", "stream": self._stream, "n": self._sent}, [data])
            self._idle.set()
