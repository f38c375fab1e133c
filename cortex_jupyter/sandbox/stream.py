"""A streamed answer, and the faults that can befall it."""

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

#: What the API server copies at once (`io.Copy`).
BLOCK = 32 * 1024


class Cut(Exception):
    """The stream is over because a fault says so."""


class Stream:
    """One chunked answer.

    Parameters
    ----------
    request : web.Request
        The request it answers.
    content_type : str
        Its media type.
    faults : Faults
        Where applications are counted.
    find : callable
        Gives the fault that concerns this stream, or None; asked before each block.
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
        if kind is None or kind is Cut:
            with contextlib.suppress(ConnectionError):
                await self.response.write_eof()
        return kind is Cut

    async def send(self, data: bytes) -> None:
        """Send some bytes, or an empty block to let faults act.

        Raises
        ------
        Cut
            When a fault has ended the stream.
        """
        while fault := self._find():
            room = max(0, int(fault.options.get("after_bytes", 0)) - self._sent)
            if fault.kind == "slow":
                await self._slowly(data, float(fault.options.get("bytes_per_second", 1000)))
                self._faults.use(fault)
                return
            if room and room >= len(data):
                break
            await self._write(data[:room])
            self._faults.use(fault)
            await self._end(fault)
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), BLOCK):
            await self.response.write(data[start : start + BLOCK])
            # A client that is quick enough never makes `write` wait: let the others have their turn.
            await asyncio.sleep(0)
        self._sent += len(data)

    async def _slowly(self, data: bytes, per_second: float) -> None:
        piece = max(1, int(per_second / 10))
        for start in range(0, len(data), piece):
            await self._write(data[start : start + piece])
            await asyncio.sleep(len(data[start : start + piece]) / per_second)

    async def _end(self, fault: Fault) -> None:
        if fault.kind == "stall":
            # Open and silent for ever: as behind a load balancer that has forgotten the connection.
            await asyncio.Event().wait()
        if fault.kind == "abort" and (transport := self._request.transport) is not None:
            # What was sent arrives; then a reset instead of the last chunk.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        raise Cut
