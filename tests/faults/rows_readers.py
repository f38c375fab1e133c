"""Faults between the Jupyter server and who reads from it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
from faults.case import Row
from faults.seen import Seen
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand import until
from support.jupyter import TOKEN, Home, Jupyter, counter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from faults.case import Case

#: Bytes that the slow client takes while the fast one gets a hundred lines.
SIP = 2048


class Client:
    """An SSE client that keeps what it has and knows its cursor.

    Only what an empty line has ended is an event: what a cut leaves of one comes again.
    """

    def __init__(self, seen: Seen, task: str) -> None:
        self.seen, self._path, self._rest, self.cursor = seen, Jupyter.path(task), b"", ""

    @property
    def target(self) -> str:
        """The path and query to ask for."""
        cursor = {"cursor": self.cursor} if self.cursor else {}
        return f"{self._path}?" + urlencode({"follow": "true", "since": "all"} | cursor)

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":"))
            if b"data" in fields:
                self.seen.take(fields[b"event"].decode(), json.loads(fields[b"data"]))
            self.cursor = fields.get(b"id", b"").decode() or self.cursor

    def broke_off(self) -> None:
        """Drop what a broken connection left of an event."""
        self._rest = b""

    def read(self, server: Jupyter, most: int | None = None) -> None:
        """Read on from the cursor, to the end or for so many bytes, then drop the connection."""
        self.broke_off()
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        with server.client.stream("GET", self.target, headers=headers) as response:
            assert response.status_code == 200, response.read()
            for chunk in response.iter_raw():
                self.feed(chunk if most is None else chunk[:most])
                most = None if most is None else most - len(chunk)
                if most is not None and most <= 0:
                    return


@asynccontextmanager
async def served(case: Case) -> AsyncIterator[Home]:
    """Run a Jupyter server of a new user as `case.server`."""
    home = Home(case.folder, case.sandbox.kubeconfig)
    case.server = await asyncio.to_thread(Jupyter, home)
    try:
        yield home
    finally:
        await asyncio.to_thread(case.server.close)
        await asyncio.to_thread(home.end)


async def read_on(case: Case) -> None:
    """Read, and come back by the cursor when the server does."""
    client = Client(case.seen, case.name)
    async with served(case) as home:
        while case.seen.end is None:
            try:
                await asyncio.to_thread(client.read, case.server)
            except httpx.TransportError:
                await asyncio.to_thread(case.server.process.wait, 30)
                case.server = await asyncio.to_thread(Jupyter, home, "server", case.server.port)


async def server_killed(case: Case) -> None:
    for _ in range(2):
        await case.lines(2500)
        case.hit()
        case.server.process.send_signal(signal.SIGKILL)


async def read_in_pieces(case: Case) -> None:
    """Drop the connection again and again, live; then at any byte of what is recorded."""
    client = Client(case.seen, case.name)

    @settings(derandomize=True, database=None, deadline=None, max_examples=30)
    @given(st.lists(st.integers(1, 80_000), max_size=12))
    def at_any_byte(cuts: list[int]) -> None:
        again = Client(Seen(), case.name)
        for most in [*cuts, None]:
            if again.seen.end is None:
                again.read(case.server, most)
        assert again.seen.end and not again.seen.doubled
        assert again.seen.lines() == case.seen.lines(), f"cut after {cuts}"

    async with served(case):
        most = 1
        while case.seen.end is None:
            case.hit()
            await asyncio.to_thread(client.read, case.server, most)
            most = most * 2 + 1
        await asyncio.to_thread(at_any_byte)


async def nothing(_: Case) -> None:
    """Have the reader be the fault."""


async def read_fast_and_slowly(case: Case) -> None:
    fast, slow = Client(case.seen, case.name), Client(Seen(), case.name)
    async with served(case), asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(fast.read, case.server))
        await _sip(case, slow)
    assert slow.seen.end and not slow.seen.doubled
    assert slow.seen.lines() == case.seen.lines()


async def _sip(case: Case, client: Client) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", case.server.port))
        # HTTP/1.0: no chunks to take apart.
        head = f"GET /{client.target} HTTP/1.0\r\nAuthorization: token {TOKEN}\r\nAccept: text/event-stream\r\n\r\n"
        await loop.sock_sendall(connection, head.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await loop.sock_recv(connection, SIP)
        client.feed(data.partition(b"\r\n\r\n")[2])
        while data := await loop.sock_recv(connection, SIP if case.seen.end is None else 1 << 20):
            client.feed(data)
            if case.seen.end is not None:  # the fast one has all: no need to be slow any more
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            at = case.seen.count + 100
            await until(lambda at=at: case.seen.end or case.seen.count >= at)


def _with(read: Any, name: str, fault: Any = nothing, **options: Any) -> Row:
    return Row(name, fault, read=read, **options)


ROWS = [
    _with(read_on, "Jupyter server killed under an SSE client", server_killed, program=counter(10_000, per_second=2000)),
    _with(read_in_pieces, "SSE client cut at any byte"),
    _with(read_fast_and_slowly, "slow SSE client beside a fast one",
          program=counter(6000, per_second=2000, until="STRUCK").replace("'x' * 60", "'x' * 1000")),
]  # fmt: skip
