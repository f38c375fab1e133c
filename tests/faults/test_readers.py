"""Faults between the Jupyter server and its SSE clients."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from faults.case import Row
from faults.received import Received, SseClient
from faults.row import parametrize_rows, run_row
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand import until
from support.jupyter import TOKEN, Home, Jupyter, counter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case

#: Number of bytes that the slow client reads while the fast one receives a hundred lines.
SIP = 2048


@asynccontextmanager
async def served(case: Case) -> AsyncIterator[Home]:
    """Run a Jupyter server of a new user as `case.server` while the block runs."""
    home = Home(case.folder, case.sandbox.kubeconfig)
    case.server = await asyncio.to_thread(Jupyter, home)
    try:
        yield home
    finally:
        await asyncio.to_thread(case.server.close)
        await asyncio.to_thread(home.end)


async def read_with_resume(case: Case) -> None:
    """Read to the end; when the server dies, start it again and resume from the cursor."""
    client = SseClient(case.received, case.name)
    async with served(case) as home:
        while case.received.end is None:
            try:
                await asyncio.to_thread(client.read, case.server)
            except httpx.TransportError:
                await asyncio.to_thread(case.server.process.wait, 30)
                case.server = await asyncio.to_thread(Jupyter, home, "server", case.server.port)


async def server_killed(case: Case) -> None:
    for _ in range(2):
        await case.wait_lines(2500)
        case.mark_fault()
        case.server.process.send_signal(signal.SIGKILL)


async def read_in_pieces(case: Case) -> None:
    """Drop the live connection many times; then drop it at random bytes of the completed recording."""
    client = SseClient(case.received, case.name)

    @settings(derandomize=True, database=None, deadline=None, max_examples=30)
    @given(st.lists(st.integers(1, 80_000), max_size=12))
    def at_any_byte(cuts: list[int]) -> None:
        client = SseClient(Received(), case.name)
        for max_bytes in [*cuts, None]:
            if client.received.end is None:
                client.read(case.server, max_bytes)
        assert client.received.end and not client.received.duplicates
        assert client.received.lines() == case.received.lines(), f"cut after {cuts}"

    async with served(case):
        max_bytes = 1
        while case.received.end is None:
            case.mark_fault()
            await asyncio.to_thread(client.read, case.server, max_bytes)
            max_bytes = max_bytes * 2 + 1
        await asyncio.to_thread(at_any_byte)


async def no_fault(_: Case) -> None:
    """Do nothing: the reader itself is the fault."""


async def read_fast_and_slowly(case: Case) -> None:
    fast, slow = SseClient(case.received, case.name), SseClient(Received(), case.name)
    async with served(case), asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(fast.read, case.server))
        await _sip(case, slow)
    assert slow.received.end and not slow.received.duplicates
    assert slow.received.lines() == case.received.lines()


async def _sip(case: Case, client: SseClient) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", case.server.port))
        # HTTP/1.0 answers are not chunked, so their bytes are the events.
        head = f"GET /{client.target} HTTP/1.0\r\nAuthorization: token {TOKEN}\r\nAccept: text/event-stream\r\n\r\n"
        await loop.sock_sendall(connection, head.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await loop.sock_recv(connection, SIP)
        client.feed(data.partition(b"\r\n\r\n")[2])
        while data := await loop.sock_recv(connection, SIP if case.received.end is None else 1 << 20):
            client.feed(data)
            if case.received.end is not None:  # the fast client has all lines, so the slow one may hurry
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            target_count = case.received.count + 100
            await until(lambda target_count=target_count: case.received.end or case.received.count >= target_count)


def _with(read: Any, name: str, fault: Any = no_fault, **options: Any) -> Row:
    return Row(name, fault, read=read, **options)


ROWS = [
    _with(
        read_with_resume,
        "Jupyter server killed under an SSE client",
        server_killed,
        program=counter(10_000, per_second=2000),
    ),
    _with(read_in_pieces, "SSE client cut at any byte"),
    _with(
        read_fast_and_slowly,
        "slow SSE client beside a fast one",
        program=counter(6000, per_second=2000, until="FAULTS_DONE").replace("'x' * 60", "'x' * 1000"),
    ),
]


@parametrize_rows(ROWS)
async def test_row(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
