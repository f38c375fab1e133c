from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import orjson
import pyarrow.parquet as pq
import pytest
from server.fake_recorder import T0, FakeRecorder
from support.filled import Filled

from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.model import Cursor, Source, TaskRef
from cortex_jupyter.notebook import comm
from cortex_jupyter.notebook.comm import CommServer, CommSink, KernelPermissions
from cortex_jupyter.reader.event_stream import EventStream, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.notebook.runtime import Runtime


class Page:
    """A page that splits the stream as the real one does, and acknowledges messages only on request."""

    def __init__(self, engine: Runtime, beside: Page | None = None) -> None:
        self.inbox: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
        self.name = "one" if beside is None else "two"
        self.pages = [self]
        if beside is None:
            self.server = CommServer(engine, engine.run(engine.recordings()), self._sent)
        else:
            self.server = beside.server
            beside.pages.append(self)
        self.rest = b""
        self.ids: list[str] = []

    def _sent(self, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        # All pages of a widget receive everything; each handles its own messages.
        for page in self.pages:
            if page.name == message["client"]:
                page.inbox.put((message, buffers[0] if buffers else b""))

    def send(self, **message: Any) -> None:
        self.server.receive({"client": self.name, **message})

    def take(self, *, ack: bool = True, timeout: float = 10) -> dict[str, Any]:
        message, data = self.inbox.get(timeout=timeout)
        self.rest += data
        if ack and message["type"] == "bytes":
            self.send(type="ack", n=message["n"])
        return message

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        *whole, self.rest = self.rest.split(b"\n\n")
        found = []
        for block in whole:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and line[:1] != b":")
            if b"id" in fields:
                self.ids.append(fields[b"id"].decode())
            if b"data" in fields:
                found.append((fields[b"event"].decode(), orjson.loads(fields[b"data"])))
        return found

    def until(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        while not any(name == event for name, _ in found):
            self.take()
            found += self.events()
        return found


@pytest.fixture
def page(filled: Filled, engine: Runtime) -> Iterator[Page]:
    page = Page(engine)
    yield page
    page.server.close()


def texts(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [text for name, doc in events if name == "log" for text in doc["m"]]


def test_the_stream_begins_with_the_state_and_ends_with_the_end(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(5)]).end(3, "failed", "Job failed exit 3")
    page.send(type="open", tasks=["ml:job/train-1"], since="all")
    events = page.until("end")
    assert [name for name, _ in events] == ["status", "log", "end"]
    assert "older" in events[0][1] and texts(events) == [f"line {i}" for i in range(5)]
    assert events[-1][1]["exit_code"] == 3


def test_a_window_and_the_page_before_it(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(100)]).end()
    page.send(type="open", tasks=["ml:job/train-1"], since="1m")  # all lines are months old
    events = page.until("end")
    older = events[0][1]["older"]
    assert texts(events) == [] and older
    page.send(type="page", id=7, task="ml:job/train-1", query={"before": older, "limit": "10", "since": "all"})
    answer = page.take()
    assert answer["type"] == "page" and answer["id"] == 7
    assert [r["text"] for r in answer["page"]["records"]] == [f"line {i}" for i in range(90, 100)]
    assert answer["page"]["older"] and "notices" in answer["page"] and answer["page"]["complete"]["records"] == 100


def test_a_page_of_some_roles_ranks_and_attempts(filled: Filled, page: Page) -> None:
    for rank in range(4):
        fields = {"role": "worker", "rank": str(rank), "attempt": str(rank % 2)}
        filled.lines([(filled.add(Source(f"w-{rank}", f"u-{rank}", "main", f"w{rank}", **fields)), rank, f"of {rank}")])
    filled.lines([(1, 9, "of no role")]).end()
    for number, (query, ranks) in enumerate(
        (({"role": "worker"}, [0, 1, 2, 3]), ({"rank": "1-2"}, [1, 2]), ({"role": "w*", "attempt": "1"}, [1, 3]))
    ):
        page.send(type="page", id=number, task="ml:job/train-1", query=query | {"since": "all"})
        records = page.take()["page"]["records"]
        assert [(r["text"], r["role"], r["rank"]) for r in records] == [(f"of {i}", "worker", str(i)) for i in ranks]
    page.send(type="page", id=9, task="ml:job/train-1", query={"rank": "first"})
    assert page.take()["error"]["message"] == "rank='first' is no rank"


@pytest.mark.parametrize("suffix", ["txt", "ndjson", "parquet"])
def test_a_download_comes_in_pieces_that_are_acknowledged(filled: Filled, page: Page, suffix: str) -> None:
    for part in range(8):
        filled.lines([(1, i, f"line {i} {'x' * 2000}") for i in range(part * 1000, part * 1000 + 1000)])
    filled.end()
    page.send(
        type="download",
        id=4,
        task="ml:job/train-1",
        format=suffix,
        query={"since": "all", "exclude": ["line 1 ", "line 2 "]},
    )
    data = b""
    while not (message := page.inbox.get(timeout=60))[0].get("done"):
        assert message[0]["type"] == "file" and message[0]["id"] == 4
        data += message[1]
        page.send(type="ack", id=4, n=message[0]["n"])
    assert message[0] == {
        "client": "one",
        "type": "file",
        "id": 4,
        "done": True,
        "name": f"ml-train-1_filtered.{suffix}",
    }
    if suffix == "parquet":
        assert pq.read_table(io.BytesIO(data)).num_rows == 7998
    else:
        texts = data.decode().splitlines()
        assert suffix == "txt" or orjson.loads(texts[-1])["text"].startswith("line 7999 ")
        assert len(texts) == 7998 and "line 7999 " in texts[-1]


def test_a_download_that_cannot_be_made_is_an_error_and_an_empty_one_ends(filled: Filled, page: Page) -> None:
    filled.lines([(1, 1, "line")]).end()
    for query, suffix, words in (({"level": "none"}, "txt", "level"), ({"since": "all"}, "zip", "format 'zip'")):
        page.send(type="download", id=5, task="ml:job/train-1", format=suffix, query=query)
        answer = page.inbox.get(timeout=30)[0]
        assert answer["done"] and words in answer["error"]["message"]
    page.send(type="download", id=6, task="ml:job/train-1", format="txt", query={"since": "all", "grep": "nothing"})
    answer = page.inbox.get(timeout=30)[0]
    assert answer["done"] and answer["name"] == "ml-train-1_filtered.txt"


def test_after_resuming_at_a_cursor_each_line_was_sent_once(filled: Filled, page: Page) -> None:
    for i in range(30):
        filled.lines([(1, i, f"line {i}")])
    filled.end()
    page.send(type="open", tasks=["ml:job/train-1"], since="all")
    assert texts(page.until("end")) == [f"line {i}" for i in range(30)]
    middle = page.ids[11]
    page.send(type="close")
    page.send(type="open", tasks=["ml:job/train-1"], cursor=middle)
    assert texts(page.until("end")) == [f"line {i}" for i in range(12, 30)]


def test_opening_a_stream_stops_the_previous_one(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(10)]).end()
    for _ in range(3):
        page.send(type="open", tasks=["ml:job/train-1"], since="all")
    assert texts(page.until("end")) == [f"line {i}" for i in range(10)]


def test_a_page_that_acknowledges_nothing_gets_a_limited_number_of_messages(
    filled: Filled, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "_MAX_UNSENT_BYTES", 1000)
    monkeypatch.setattr(comm, "_BEHIND_S", 600)
    for i in range(400):
        filled.lines([(1, 20 * i + j, f"line {20 * i + j} {'x' * 50}") for j in range(20)])
    filled.end()
    page.send(type="open", tasks=["ml:job/train-1"], since="all")
    taken = [page.take(ack=False) for _ in range(8)]
    assert [m["n"] for m in taken] == list(range(1, 9))
    with pytest.raises(queue.Empty):
        page.take(ack=False, timeout=0.6)
    page.send(type="ack", n=8)
    got = texts(page.events())
    monkeypatch.setattr(comm, "_MAX_UNSENT_BYTES", 1 << 20)
    got += texts(page.until("end"))
    assert got == [f"line {i} {'x' * 50}" for i in range(8000)]


def test_a_page_whose_acknowledgements_are_late_is_told_how_many_lines_it_does_not_have(
    filled: Filled, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "_BEHIND_S", 0.05)
    filled.lines([(1, i, f"line {i}") for i in range(100)])
    recorded = filled.store.info(filled.id).last_seq
    page.send(type="open", stream=1, tasks=["ml:job/train-1"], since="all")
    page.take(ack=False)  # the state
    taken = [page.take(ack=False)]
    while taken[-1]["type"] != "behind":
        taken.append(page.take(ack=False))
    # The page has not even confirmed the first line, although all are on their way.
    assert taken[-1] == {"client": "one", "type": "behind", "stream": 1, "lines": recorded}
    # Ten more lines come while nothing is confirmed.
    filled.lines([(1, 100 + i, f"line {100 + i}") for i in range(10)])
    while taken[-1].get("lines") != recorded + 10:
        taken.append(page.take(ack=False))
    page.send(type="ack", n=max(m["n"] for m in taken if m["type"] == "bytes"))
    while taken[-1].get("lines") != 0:
        taken.append(page.take(ack=True))
    assert len([name for name, _ in page.events() if name == "log"]) >= 1
    # From now on it keeps up, and is told nothing.
    filled.end()
    page.until("end")


def test_two_pages_of_one_widget_have_separate_streams_and_answers(
    filled: Filled, page: Page, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tabs, or two users who share a notebook, do not affect each other's requests and speed."""
    monkeypatch.setattr(comm, "_MAX_UNSENT_BYTES", 1000)
    for i in range(400):
        filled.lines([(1, 20 * i + j, f"line {20 * i + j} {'x' * 50}") for j in range(20)])
    filled.end()
    page.send(type="open", stream=1, tasks=["ml:job/train-1"], since="all")
    while not page.ids:
        page.take()
        events = page.events()
    got = texts(events)
    last = Cursor.parse(page.ids[-1]).seq
    other = Page(engine, page)
    other.send(
        type="open", stream=1, tasks=["ml:job/train-1"], cursor=str(replace(Cursor.parse(page.ids[-1]), seq=7000))
    )
    other.send(type="page", id=1, task="ml:job/train-1", query={"limit": "2", "since": "all"})
    page.send(type="outline", id=1, task="ml:job/train-1", bins=10)
    theirs = texts(other.until("end"))
    assert theirs == [f"line {i} {'x' * 50}" for i in range(int(theirs[0].split()[1]), 8000)] and last < 7000
    other.send(type="close")
    got += texts(page.until("end"))
    assert got == [f"line {i} {'x' * 50}" for i in range(8000)]


def test_the_stream_of_a_page_that_has_silently_gone_ends(
    filled: Filled, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "_GONE_S", 0.2)
    for i in range(400):
        filled.lines([(1, i, f"line {i} {'x' * 50}")])
    page.send(type="open", tasks=["ml:job/train-1"], since="all")
    page.take(ack=False)
    server = page.server._pages["one"]
    assert server.is_busy
    for i in range(400, 420):  # one message each, up to the limit of unacknowledged messages
        if not server.is_busy:
            break
        filled.lines([(1, i, f"line {i}")])
        with contextlib.suppress(queue.Empty):
            page.take(ack=False, timeout=0.5)
    assert not server.is_busy
    # The page comes back, and resumes at its cursor.
    page.events()
    page.send(type="open", tasks=["ml:job/train-1"], cursor=page.ids[-1])
    assert page.take()["n"] == 1


async def test_a_quiet_stream_sends_heartbeats() -> None:
    sent: asyncio.Queue[bytes] = asyncio.Queue()
    sink = CommSink(lambda _message, buffers: sent.put_nowait(buffers[0]) if buffers else None, {})

    async def allow(*_: object) -> dict[str, str]:
        return {}

    recordings: Any = SimpleNamespace(allow=allow, check=allow, hidden=allow)
    recording = SimpleNamespace(ref=TaskRef("ml", "job", "train-1"), hidden={})
    slot = Slot("ml:job/train-1", window=cast("Any", SimpleNamespace(recording=recording)))
    stream = EventStream([slot], sink, KernelPermissions(recordings), heartbeat_s=0.01)
    stream._pumps = [asyncio.create_task(asyncio.Event().wait())]  # type: ignore[list-item]
    work = [asyncio.create_task(stream._beat()), asyncio.create_task(sink.run()), *stream._pumps]
    async with asyncio.timeout(120):
        assert b": hb " in await sent.get()
    for task in work:
        task.cancel()


def test_with_a_shared_store_a_stream_ends_when_the_kernel_loses_its_permission(
    filled: Filled, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "HEARTBEAT_S", 0.01)

    class Taken:
        async def check_namespace(self, _cluster: object, namespace: str, person: object) -> None:
            assert person is None, "the check is not for the kernel's own user"
            raise NotAllowed(f"you may not read logs in namespace {namespace!r}")

    fake_recorder = FakeRecorder(filled.store, "live", "ml")
    fake_recorder.running()
    fake_recorder.write([(T0, fake_recorder.source(), "one")])
    page.send(type="open", tasks=["ml:job/live"], since="all")
    assert texts(page.until("log")) == ["one"]
    recordings: Any = page.server._recordings
    monkeypatch.setattr(recordings, "cluster", SimpleNamespace(id="a cluster"))
    monkeypatch.setattr(recordings, "access", Taken())
    assert page.until("error")[-1][1]["code"] == "NotAllowed"
    until = time.monotonic() + 120
    while page.server._pages["one"].is_busy:
        assert time.monotonic() < until
        time.sleep(0.01)
    fake_recorder.close()


def test_several_tasks_over_one_comm(filled: Filled, page: Page) -> None:
    filled.lines([(1, 0, "one")]).end()
    Filled(filled.store, "train-2").lines([(1, 0, "two")]).end()
    page.send(type="open", tasks=["ml:job/train-1", "ml:job/train-2"], cursor=",", since="all")
    events: list[tuple[str, dict[str, Any]]] = []
    while sum(name == "end" for name, _ in events) < 2:
        page.take()
        events += page.events()
    assert sorted(texts(events)) == ["one", "two"] and len(page.ids[-1].split(",")) == 2


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"tasks": ["ml:job/nothing"]}, "NoCluster"),
        ({"tasks": []}, "BadQuery"),
        ({"tasks": ["ml:job/train-1"], "since": "soon"}, "BadQuery"),
        ({"tasks": ["ml:job/train-1"], "cursor": "99-1"}, "CursorNotHeld"),
        ({"tasks": ["ml:job/train-1"], "cursor": "x"}, "BadQuery"),
    ],
)
def test_a_stream_that_cannot_be_opened_is_an_error(
    filled: Filled, page: Page, message: dict[str, Any], code: str
) -> None:
    filled.lines([(1, 0, "one")])
    page.send(type="open", **message)
    answer = page.take()
    assert answer["type"] == "error" and answer["error"]["code"] == code and answer["error"]["message"]


def test_a_bad_request_for_a_page_is_answered_with_an_error(filled: Filled, page: Page) -> None:
    filled.lines([(1, 0, "one")])
    page.send(type="page", id=3, task="ml:job/train-1", query={"limit": "99999"})
    answer = page.take()
    assert answer["id"] == 3 and answer["error"]["code"] == "BadQuery"


def test_a_search_sends_events_and_can_be_stopped(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(500)]).end(0, "succeeded", "Job complete exit 0")
    page.send(type="search", id=7, task="ml:job/train-1", query={"grep": "line 4.$"})
    events: list[tuple[str, dict[str, Any]]] = []
    while not page.take(timeout=30).get("done"):
        events += page.events()
    assert texts(events) == [f"line {i}" for i in range(40, 50)]
    assert [name for name, _ in events if name != "progress"] == ["log", "done"]
    page.send(type="search", id=8, task="ml:job/train-1", query={})
    refused = page.take()
    assert refused["error"]["code"] == "BadQuery" and refused["done"]
    page.send(type="stop", id=7)
    page.send(type="outline", id=9, task="ml:job/train-1", bins=10)
    assert page.take()["outline"]["records"] == 500


def test_the_patterns_of_a_recording_are_sent_as_events(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"step {i} done") for i in range(5)]).end(0, "succeeded", "Job complete exit 0")
    page.send(type="patterns", id=7, task="ml:job/train-1")
    events: list[tuple[str, dict[str, Any]]] = []
    while not page.take(timeout=30).get("done"):
        events += page.events()
    [found] = [data for name, data in events if name == "patterns"]
    assert [(one["pattern"], one["count"]) for one in found["patterns"]] == [("step <*> done", 5)]
    assert [name for name, _ in events if name != "progress"] == ["patterns", "done"]


def test_the_metrics_of_a_recording_are_sent_as_events(filled: Filled, page: Page) -> None:
    filled.lines([(1, i, f"step={i} loss={1 / (i + 1)}") for i in range(5)]).end(0, "succeeded", "Job complete exit 0")
    page.send(type="metrics", id=7, task="ml:job/train-1")
    events: list[tuple[str, dict[str, Any]]] = []
    while not page.take(timeout=30).get("done"):
        events += page.events()
    [points] = [data for name, data in events if name == "points"]
    assert [one["value"] for one in points["series"]] == [[1 / (i + 1) for i in range(5)]]
    assert [name for name, _ in events if name != "progress"] == ["points", "done"]
