"""A streamed answer, and the faults that end or slow it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.sandbox.faults import Fault, Faults

#: Size of the blocks that the API server copies (bytes; `io.Copy`).
BLOCK = 32 * 1024


class StreamEnded(Exception):
    """A fault has ended the stream."""


class Stream:
    """A chunked answer.

    Parameters
    ----------
    request : web.Request
        The request it answers.
    content_type : str
        The answer's media type.
    faults : Faults
        The faults in force; counts each application.
    find : callable
        Returns the fault that applies to this stream, or None; called before each block.
    """

    def __init__(
        self, request: web.Request, content_type: str, faults: Faults, find: Callable[[], Fault | None]
    ) -> None:
        self._request = request
        self._faults = faults
        self._find = find
        self._sent = 0
        self.response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache, private"})

    async def __aenter__(self) -> Self:
        await self.response.prepare(self._request)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or kind is StreamEnded:
            with contextlib.suppress(ConnectionError):
                await self.response.write_eof()
        return kind is StreamEnded

    async def send(self, data: bytes) -> None:
        """Send bytes; send an empty block to apply faults while there is no data.

        Raises
        ------
        StreamEnded
            If a fault has ended the stream.
        """
        while fault := self._find():
            allowed = max(0, int(fault.options.get("after_bytes", 0)) - self._sent)
            if fault.kind == "slow":
                await self._write_slowly(data, float(fault.options.get("bytes_per_second", 1000)))
                self._faults.use(fault)
                return
            if allowed and allowed >= len(data):
                break
            await self._write(data[:allowed])
            self._faults.use(fault)
            await self._end_by_fault(fault)
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), BLOCK):
            await self.response.write(data[start : start + BLOCK])
            # `write` never waits for a fast client, so let other tasks run here.
            await asyncio.sleep(0)
        self._sent += len(data)

    async def _write_slowly(self, data: bytes, per_second: float) -> None:
        piece = max(1, int(per_second / 10))
        for start in range(0, len(data), piece):
            await self._write(data[start : start + piece])
            await asyncio.sleep(len(data[start : start + piece]) / per_second)

    async def _end_by_fault(self, fault: Fault) -> None:
        if fault.kind == "stall":
            # Stay open and silent for ever, as behind a load balancer that has lost the connection.
            await asyncio.Event().wait()
        if fault.kind == "abort" and (transport := self._request.transport) is not None:
            # The client receives what was sent, then a reset instead of the last chunk.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        raise StreamEnded
