"""Each limit of a server: requests up to the limit succeed, and above it an error says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from server.fake_recorder import T0
from server.running import Server, logs, run_server

from cortex_jupyter.model import Batch, rfc3339
from cortex_jupyter.server.limits import Limits
from cortex_jupyter.server.readers import WorkLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.fake_recorder import FakeRecorder

ALICE, BOB, CAROL = ({"X-User": name} for name in ("alice", "bob", "carol"))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Server]:
    """Yield a server for several users with low limits, which uses the store of `server`."""
    options = [
        f"--CortexJupyter.{limit}"
        for limit in (
            "max_streams=4",
            "max_streams_per_user=2",
            "max_tasks_per_stream=2",
            "max_viewers=3",
            "max_searches=2",
            "max_bytes_per_s=200000",
            "max_page_records=60",
            "max_page_size=1200",
            "max_query_s=0",
            "max_pattern_s=0.1",
        )
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
    """Keep a stream open. Retry at first, because the server needs a moment to notice that an earlier reader has left."""
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


def live(fake_recorder: FakeRecorder) -> str:
    fake_recorder.running()
    return f"{logs(fake_recorder.ref.name)}?follow=true"


def test_streams_are_limited_per_user_and_in_total(
    limited: Server, session_recorder: Callable[[str], FakeRecorder]
) -> None:
    a, b = live(session_recorder("one")), live(session_recorder("two"))
    with contextlib.ExitStack() as stack:
        for path in (a, b):
            hold(stack, limited, path, ALICE)
        assert "max_streams_per_user" in refused(limited, a, ALICE)["hint"]
        for way in ("search?grep=x", "metrics", "patterns", "ranks", "logs.txt"):
            path = a.replace("logs?follow=true", way)
            assert "2 streams are open for you" in refused(limited, path, ALICE)["message"], way
        for path in (a, b):
            hold(stack, limited, path, BOB)
        error = refused(limited, a, CAROL)
        assert error["message"] == "4 streams are open on this server" and "max_streams" in error["hint"]
        assert httpx.get(limited.url + a.partition("?")[0], headers=CAROL).status_code == 200, (
            "a page counts as a stream"
        )


def test_viewers_of_a_task_are_limited_over_all_streams(
    limited: Server, fake_recorder: FakeRecorder, session_recorder: Callable[[str], FakeRecorder]
) -> None:
    path, other = live(fake_recorder), session_recorder("other")
    other.running()
    both = f"cortex/stream?task={fake_recorder.ref.key}&task={other.ref.key}"
    with contextlib.ExitStack() as stack:
        for who in (ALICE, BOB):
            hold(stack, limited, path, who)
        hold(stack, limited, both, CAROL)
        error = refused(limited, path, CAROL)
        assert (
            error["message"] == f"3 viewers follow {fake_recorder.ref.key} on this server"
            and "max_viewers" in error["hint"]
        )
        hold(stack, limited, live(other), CAROL)


def test_tasks_of_a_stream_are_limited(limited: Server, completed: FakeRecorder) -> None:
    task = f"task={completed.ref.key}"
    assert httpx.get(limited.url + f"cortex/stream?{task}&{task}", headers=ALICE).status_code == 200
    answer = httpx.get(limited.url + f"cortex/stream?{task}&{task}&{task}", headers=ALICE)
    assert answer.status_code == 429 and "max_tasks_per_stream" in answer.json()["error"]["hint"]
    assert "retry-after" not in answer.headers, "the answer asks to retry, which does not help here"


def _closed(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _half(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [_closed, _reset, _half])
@pytest.mark.parametrize("heard", [True, False], ids=["after the first byte", "before it"])
def test_a_leaving_reader_frees_its_slot_however_it_leaves(
    limited: Server, fake_recorder: FakeRecorder, leave: Callable[[socket.socket], None], heard: bool
) -> None:
    path = live(fake_recorder)
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


def test_a_stream_that_ends_by_itself_frees_its_slot(
    limited: Server, completed: FakeRecorder, fake_recorder: FakeRecorder
) -> None:
    for _ in range(5):
        answer = httpx.get(limited.url + logs(completed.ref.name), headers=ALICE | {"Accept": "text/event-stream"})
        assert answer.status_code == 200 and "event: end" in answer.text
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            hold(stack, limited, live(fake_recorder), ALICE)


def test_the_documented_limits_are_those_of_the_server() -> None:
    table = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in table.splitlines() if row.startswith("| `max_")]
    defaults = {name: trait.default() for name, trait in Limits.class_own_traits(config=True).items()}
    assert {name.strip("`"): float(default) for name, default in rows} == defaults
    assert all(trait.help for trait in Limits.class_own_traits(config=True).values())


# ---------------------------------------------------------------- a page, a search, a pattern


def walk(server: Server, path: str, first: dict[str, str], way: str, on: str) -> Iterator[dict[str, Any]]:
    """Yield pages until there are no more."""
    query = first
    for _ in range(500):
        answer = httpx.get(server.url + path, params=query, headers=ALICE, timeout=30)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page
        if page[way] is None:
            return
        query = {k: v for k, v in first.items() if k not in ("after", "at")} | {on: page[way]}
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize(
    ("first", "way", "on"),
    [({}, "older", "before"), ({"after": "0"}, "newer", "after"), ({"grep": "ERROR"}, "older", "before")],
)
def test_a_page_ends_at_its_limits_and_its_cursors_continue(
    limited: Server, completed: FakeRecorder, first: dict[str, str], way: str, on: str
) -> None:
    pages = list(walk(limited, logs(completed.ref.name), first | {"limit": "10000"}, way, on))
    texts = [record["text"] for page in pages for record in page["records"]]
    assert sorted(texts) == sorted(text for text in completed.texts if first.get("grep", "") in text)
    for page in pages:
        size = [len(record["text"]) for record in page["records"]]
        assert len(size) <= 60 and (sum(size) <= 1200 or len(size) == 1)
    assert any(page["stopped"] for page in pages) and not pages[-1]["stopped"]


def test_a_line_longer_than_the_page_limit_fills_a_page(limited: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.write([(T0 + i, sid, letter * 5000) for i, letter in enumerate("abc")])
    fake_recorder.end()
    pages = list(walk(limited, logs(fake_recorder.ref.name), {}, "older", "before"))
    assert [[record["text"][0] for record in page["records"]] for page in pages if page["records"]] == [
        ["c"],
        ["b"],
        ["a"],
    ]


def test_a_search_stops_at_its_limit_and_its_cursor_continues(limited: Server, completed: FakeRecorder) -> None:
    seqs: list[int] = []
    first = T0 + 900 * 10**9
    narrow = {"grep": "ERROR", "since": rfc3339(first)}
    query = narrow
    for _ in range(200):
        answer = httpx.get(limited.url + logs(completed.ref.name, "search"), params=query, headers=ALICE, timeout=30)
        events = [part.split("\ndata: ") for part in answer.text.strip().split("\n\n")]
        for kind, data in events:
            if kind == "event: log":
                seqs += Batch.decode(data.encode()).seqs
        last = json.loads(events[-1][1])
        if last["all"]:
            break
        query = narrow | {"before": last["older"]}
    assert last["all"] and last["older"] is None and query.get("before"), "the search was not stopped and continued"
    assert sorted(seqs) == [seq for seq, time, _, text in completed.lines if "ERROR" in text and time >= first]


def test_metrics_stop_at_their_limit_and_say_so(
    limited: Server, session_recorder: Callable[[str], FakeRecorder]
) -> None:
    fake_recorder = session_recorder("numbers")
    sid = fake_recorder.source()
    for first in range(0, 140_000, 4000):
        fake_recorder.write([(T0 + i, sid, f"loss={i}") for i in range(first, first + 4000)])
    fake_recorder.end()
    answer = httpx.get(limited.url + logs(fake_recorder.ref.name, "metrics"), headers=ALICE, timeout=30)
    events = [part.split("\ndata: ") for part in answer.text.strip().split("\n\n")]
    assert [kind for kind, _ in events] == ["event: points", "event: progress", "event: error"]
    looked, error = json.loads(events[1][1]), json.loads(events[2][1])
    assert 0 < looked["looked"] < looked["lines"] == 140_000
    assert error["code"] == "TooMany" and str(looked["looked"]) in error["message"] and "max_query_s" in error["hint"]


#: Exponential backtracking: two ways to match each letter. The lookahead keeps RE2 away, which would match it at once, and no
#: literal is required, so that no prefilter applies.
EVIL = "(?:(?=a)ab|a[b])*[cd]"


@pytest.fixture(scope="module")
def hostile(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """Return a recording whose last line makes the pattern run for very long."""
    fake_recorder = session_recorder("hostile")
    sid = fake_recorder.source()
    fake_recorder.write([(T0 + i, sid, f"a plain line {i}") for i in range(2000)])
    fake_recorder.write([(T0 + 10**9, sid, "ab" * 200)])
    fake_recorder.end()
    return fake_recorder


@pytest.mark.parametrize("way", ["logs", "logs?tail=5", "logs?follow=true", "logs.txt?tail=5", "logs.parquet"])
def test_a_runaway_pattern_is_stopped_and_named(limited: Server, hostile: FakeRecorder, way: str) -> None:
    path = logs(hostile.ref.name, way.partition("?")[0])
    query = dict([way.partition("?")[2].split("=")]) if "?" in way else {}
    answer = httpx.get(limited.url + path, params=query | {"grep": EVIL}, headers=ALICE, timeout=30)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "TooSlow" and EVIL in error["message"] and "0.1 s" in error["message"] and error["hint"]


def test_number_and_length_of_patterns_are_limited(limited: Server, completed: FakeRecorder) -> None:
    path = limited.url + logs(completed.ref.name)
    for number, length, status in ((50, 1, 200), (51, 1, 400), (1, 1000, 200), (1, 1001, 400)):
        answer = httpx.get(path, params={"grep": ["e" * length] * number}, headers=ALICE, timeout=30)
        assert answer.status_code == status, (number, length)


def test_a_runaway_pattern_is_an_event_of_a_stream_and_cuts_a_file(limited: Server, hostile: FakeRecorder) -> None:
    path = limited.url + logs(hostile.ref.name)
    accept = ALICE | {"Accept": "text/event-stream"}
    answer = httpx.get(path, params={"exclude": EVIL}, headers=accept, timeout=30)
    *_, (kind, data) = (part.split("\ndata: ") for part in answer.text.strip().split("\n\n"))
    assert kind == "event: error" and json.loads(data)["code"] == "TooSlow"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{path}.txt", params={"exclude": EVIL}, headers=ALICE, timeout=30)
    answer = httpx.get(f"{path}/../search", params={"grep": EVIL}, headers=ALICE, timeout=30)
    assert "event: error" in answer.text and "TooSlow" in answer.text


def test_other_readers_are_served_while_patterns_run_away(
    limited: Server, hostile: FakeRecorder, completed: FakeRecorder
) -> None:
    path = limited.url + logs(hostile.ref.name)
    with ThreadPoolExecutor(6) as pool:
        evil = [pool.submit(httpx.get, path, params={"grep": EVIL}, headers=BOB, timeout=60) for _ in range(12)]
        while not all(one.done() for one in evil):
            assert httpx.get(limited.url + logs(completed.ref.name), headers=ALICE, timeout=5).status_code == 200
    assert {one.result().status_code for one in evil} == {400}


def test_searches_of_one_user_queue_and_all_are_answered(limited: Server, completed: FakeRecorder) -> None:
    def search(who: dict[str, str]) -> str:
        return httpx.get(limited.url + logs(completed.ref.name, "search") + "?grep=ERROR", headers=who, timeout=60).text

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(search, (ALICE, ALICE, BOB, BOB)))
    assert all("event: done" in answer for answer in answers)


# ---------------------------------------------------------------- speed


@pytest.fixture(scope="module")
def long(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """Return a recording that is slightly larger than the burst that the speed limit allows."""
    fake_recorder = session_recorder("long")
    sid = fake_recorder.source()
    for batch in range(8):
        fake_recorder.write([(T0 + batch * 100 + i, sid, f"{batch}.{i} ".ljust(1000, "x")) for i in range(50)])
    fake_recorder.end()
    return fake_recorder


def test_a_throttled_stream_loses_nothing_and_reports_its_lag(limited: Server, long: FakeRecorder) -> None:
    sse = ALICE | {"Accept": "text/event-stream"}
    parts = httpx.get(limited.url + logs(long.ref.name), headers=sse, timeout=30).text.splitlines()
    texts = [text for part in parts if part.startswith('data: {"task"') for text in json.loads(part[6:]).get("m", ())]
    assert texts == long.texts
    behind = [int(part.removeprefix(": behind ")) for part in parts if part.startswith(": behind ")]
    assert behind[0] > 0 and behind[-1] == 0 and behind == sorted(behind, reverse=True)
    assert "event: error" not in parts and parts[parts.index("event: end") - 1].startswith("id: ")


@pytest.mark.parametrize("way", ["logs.txt", "logs.ndjson"])
def test_throttled_downloads_are_complete(limited: Server, long: FakeRecorder, way: str) -> None:
    text = httpx.get(limited.url + logs(long.ref.name, way), headers=ALICE, timeout=30).text
    assert [text.count(line) for line in long.texts] == [1] * len(long.texts)


def test_a_stream_without_a_limit_reports_no_lag(server: Server, long: FakeRecorder) -> None:
    assert ": behind" not in server.get(logs(long.ref.name), {"Accept": "text/event-stream"}).text


async def test_one_user_gets_at_most_half_of_the_running_processes() -> None:
    turns, over, begun = WorkLimiter(4), asyncio.Event(), []

    async def work(user: str) -> None:
        async with turns.slot(user):
            begun.append(user)
            await over.wait()

    async with asyncio.TaskGroup() as group:
        for user in ("alice",) * 5 + ("bob",) * 3:
            group.create_task(work(user))
        for _ in range(50):
            await asyncio.sleep(0)
        assert begun == ["alice", "alice", "bob", "bob"]
        over.set()
    assert sorted(begun) == ["alice"] * 5 + ["bob"] * 3


# ---------------------------------------------------------------- memory and disk


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Server]:
    """A server with little memory for unsent pages."""
    options = [
        f"--CortexJupyter.{limit}"
        for limit in (
            "max_buffered=55000000",
            "max_buffered_per_user=30000000",
            "max_files=3",
            "max_files_per_user=2",
            "max_file_bytes=20000000",
        )
    ]
    people = "--ServerApp.identity_provider_class=server.people.People"
    path = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
    home = tmp_path_factory.mktemp("small")
    (home / "tmp").mkdir()
    with run_server(
        home, people, *options, CORTEX_STORE=server.store_url, PYTHONPATH=path, TMPDIR=str(home / "tmp")
    ) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def bulky(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """Return a recording of ten million characters that hardly compress."""
    fake_recorder = session_recorder("bulky")
    sid = fake_recorder.source()
    for batch in range(10):
        fake_recorder.write([(T0 + batch * 1000 + i, sid, os.urandom(500).hex()) for i in range(1000)])
    fake_recorder.end()
    return fake_recorder


def unread(stack: contextlib.ExitStack, server: Server, path: str, user: str) -> None:
    """Send a request, wait for the first bytes of the answer, and read no more."""
    address = urlsplit(server.url)
    connection = socket.socket()
    stack.callback(connection.close)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect((address.hostname, address.port))
    connection.sendall(
        f"GET {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\nX-User: {user}\r\n\r\n".encode()
    )
    assert connection.recv(12) == b"HTTP/1.1 200"


def status_of(server: Server, path: str, user: dict[str, str]) -> int:
    with follow(server, path, user) as answer:
        return answer.status_code


@pytest.mark.parametrize(
    ("way", "each", "most"),
    [
        ("logs?limit=10000", "max_buffered_per_user", "max_buffered"),
        ("logs.parquet", "max_files_per_user", "max_files"),
    ],
)
def test_bytes_held_for_slow_readers_are_limited(
    small: Server, bulky: FakeRecorder, way: str, each: str, most: str
) -> None:
    path = logs(bulky.ref.name, way)
    with contextlib.ExitStack() as stack:
        unread(stack, small, path, "alice")
        unread(stack, small, path, "alice")
        assert each in refused(small, path, ALICE)["hint"]
        unread(stack, small, path, "bob")
        if way == "logs?limit=10000":
            unread(stack, small, path, "carol")
        assert most in refused(small, path, CAROL)["hint"]
        if way == "logs.parquet":
            assert httpx.head(small.url + path, headers=CAROL, timeout=60).status_code == 429
    for _ in range(200):  # a server notices a moment later that a reader has gone
        if status_of(small, path, ALICE) == 200:
            break
    else:
        raise AssertionError("answers for readers that left still count against the limits")
    end = time.monotonic() + 120
    while list((small.home / "tmp").iterdir()):
        assert time.monotonic() < end, "temporary files are left"
        time.sleep(0.05)


def test_the_size_of_a_parquet_file_is_limited(
    small: Server, bulky: FakeRecorder, session_recorder: Callable[[str], FakeRecorder]
) -> None:
    fake_recorder = session_recorder("vast")
    sid = fake_recorder.source()
    for batch in range(60):
        fake_recorder.write([(T0 + batch * 1000 + i, sid, os.urandom(500).hex()) for i in range(1000)])
    fake_recorder.end()
    answer = httpx.get(small.url + logs(fake_recorder.ref.name, "logs.parquet"), headers=ALICE, timeout=60)
    assert answer.status_code == 429 and answer.json()["error"]["code"] == "TooMany"
    assert "max_file_bytes" in answer.json()["error"]["hint"]
    assert httpx.get(small.url + logs(bulky.ref.name, "logs.parquet"), headers=ALICE, timeout=60).status_code == 200
