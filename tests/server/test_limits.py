"""Each limit of a server, from outside: at the limit all is well, beyond it there is an error that says what to do."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from server.running import Server, logs, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.tape import Tape

ALICE, BOB, CAROL = ({"X-User": name} for name in ("alice", "bob", "carol"))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Server]:
    """A server for several people, all of whose limits are near; with the recordings of the other."""
    options = [
        f"--CortexJupyter.{limit}"
        for limit in ("max_streams=4", "max_streams_per_user=2", "max_tasks_per_stream=2", "max_viewers=3")
    ]
    people = "--ServerApp.identity_provider_class=server.people.People"
    path = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
    with run_server(
        tmp_path_factory.mktemp("limited"), people, *options, CORTEX_STORE=server.store_url, PYTHONPATH=path
    ) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def follow(server: Server, path: str, who: dict[str, str]) -> contextlib.AbstractContextManager[httpx.Response]:
    return httpx.stream("GET", server.url + path, headers=who, timeout=30)


def hold(stack: contextlib.ExitStack, server: Server, path: str, who: dict[str, str]) -> None:
    """Have a stream open; as soon as there is room, for a server notices a moment later that a reader has gone."""
    for _ in range(200):
        response = follow(server, path, who)
        answer = response.__enter__()
        if answer.status_code == 200:
            stack.push(response)
            parts = answer.iter_raw()
            stack.callback(parts.close)
            next(parts)
            return
        response.__exit__(None, None, None)
    raise AssertionError(answer.status_code)


def refused(server: Server, path: str, who: dict[str, str]) -> dict[str, str]:
    answer = httpx.get(server.url + path, headers=who, timeout=30)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "5", answer.text
    error: dict[str, str] = answer.json()["error"]
    assert error["code"] == "LimitReached"
    return error


def live(tape: Tape) -> str:
    tape.running()
    return f"{logs(tape.ref.name)}?follow=true"


def test_streams_are_counted_by_user_and_for_all(limited: Server, session_tape: Callable[[str], Tape]) -> None:
    a, b = live(session_tape("one")), live(session_tape("two"))
    with contextlib.ExitStack() as stack:
        for path in (a, b):
            hold(stack, limited, path, ALICE)
        assert "max_streams_per_user" in refused(limited, a, ALICE)["hint"]
        for way in ("search?grep=x", "metrics", "logs.txt"):
            path = a.replace("logs?follow=true", way)
            assert "2 streams are open for you" in refused(limited, path, ALICE)["message"], way
        for path in (a, b):
            hold(stack, limited, path, BOB)
        error = refused(limited, a, CAROL)
        assert error["message"] == "4 streams are open on this server" and "max_streams" in error["hint"]
        assert httpx.get(limited.url + a.partition("?")[0], headers=CAROL).status_code == 200, "a page is no stream"


def test_viewers_of_one_task_are_counted_over_all_streams(
    limited: Server, tape: Tape, session_tape: Callable[[str], Tape]
) -> None:
    path, other = live(tape), session_tape("other")
    other.running()
    both = f"cortex/stream?task={tape.ref.key}&task={other.ref.key}"
    with contextlib.ExitStack() as stack:
        for who in (ALICE, BOB):
            hold(stack, limited, path, who)
        hold(stack, limited, both, CAROL)
        error = refused(limited, path, CAROL)
        assert error["message"] == f"3 viewers follow {tape.ref.key} on this server" and "max_viewers" in error["hint"]
        hold(stack, limited, live(other), CAROL)


def test_tasks_of_one_stream(limited: Server, done: Tape) -> None:
    task = f"task={done.ref.key}"
    assert httpx.get(limited.url + f"cortex/stream?{task}&{task}", headers=ALICE).status_code == 200
    answer = httpx.get(limited.url + f"cortex/stream?{task}&{task}&{task}", headers=ALICE)
    assert answer.status_code == 429 and "max_tasks_per_stream" in answer.json()["error"]["hint"]
    assert "retry-after" not in answer.headers, "to wait is no help"


def _closed(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _half(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [_closed, _reset, _half])
@pytest.mark.parametrize("heard", [True, False], ids=["after the first byte", "before it"])
def test_whoever_leaves_makes_room_however_they_leave(
    limited: Server, tape: Tape, leave: Callable[[socket.socket], None], heard: bool
) -> None:
    path = live(tape)
    address = urlsplit(limited.url)
    left = []
    for _ in range(4):
        connection = socket.create_connection((address.hostname, address.port), timeout=30)
        left.append(connection)
        connection.sendall(
            f"GET {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\nX-User: alice\r\n\r\n".encode()
        )
        if heard:
            connection.recv(1)
        leave(connection)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            hold(stack, limited, path, ALICE)
    for connection in left:
        connection.close()


def test_a_stream_that_ends_by_itself_makes_room(limited: Server, done: Tape, tape: Tape) -> None:
    for _ in range(5):
        answer = httpx.get(limited.url + logs(done.ref.name), headers=ALICE | {"Accept": "text/event-stream"})
        assert answer.status_code == 200 and "event: end" in answer.text
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            hold(stack, limited, live(tape), ALICE)
