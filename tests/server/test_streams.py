from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from server.fake_recorder import T0
from server.running import TOKEN, logs, records

from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    import httpx_sse
    from server.fake_recorder import FakeRecorder
    from server.running import Server

SSE = {"Accept": "text/event-stream"}


def expected(fake_recorder: FakeRecorder) -> list[tuple[int, str]]:
    return [(seq, text) for seq, _, _, text in fake_recorder.lines]


async def test_completed_task_streams_only_when_asked_for_a_stream(server: Server, completed: FakeRecorder) -> None:
    assert server.get(logs(completed.ref.name), follow="true").headers["content-type"].startswith("application/json")
    async with server.stream(logs(completed.ref.name), SSE) as source:
        headers = source.response.headers
        events = [event async for event in source.aiter_sse()]
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform" and headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert records(events) == expected(completed)
    kinds = [event.event for event in events]
    assert kinds[0] == "status" and kinds[-1] == "end" and kinds.count("end") == 1 and "gap" in kinds
    end = json.loads(events[-1].data)
    assert (end["task"], end["state"], end["exit_code"]) == (completed.ref.key, "succeeded", 0)
    assert end["message"] == "Job complete exit 0"


async def test_the_first_event_has_the_state_and_what_is_recorded(server: Server, completed: FakeRecorder) -> None:
    events = await server.events(logs(completed.ref.name), SSE)
    first = json.loads(events[0].data)
    assert events[0].id == "" and events[0].retry == 1000
    assert first["task"] == completed.ref.key and first["ref"] == completed.ref.key and first["older"] is None
    assert first["state"] == "succeeded" and first["recorded"]["records"] == 1000 and first["recorded"]["complete"]


async def test_a_stream_resumes_exactly_after_any_event(server: Server, completed: FakeRecorder) -> None:
    whole = await server.events(logs(completed.ref.name), SSE)
    for i, event in enumerate(whole[1:-1], 1):
        had = set(records(whole[: i + 1]))
        after = [pair for pair in expected(completed) if pair not in had]
        how = {"headers": SSE | {"Last-Event-ID": event.id}} if i % 2 else {"headers": SSE, "cursor": event.id}
        rest = await server.events(logs(completed.ref.name), **how)
        assert records(rest) == after, event.id
        assert rest[-1].event == "end" and "older" not in json.loads(rest[0].data)
    last = await server.events(logs(completed.ref.name), SSE, cursor=whole[-1].id)
    assert [event.event for event in last] == ["status", "end"], "a reader that has everything does not get the end"


async def test_an_event_after_the_end_keeps_no_stream_open(server: Server, fake_recorder: FakeRecorder) -> None:
    """An earlier release may have recorded one."""
    fake_recorder.write([(T0, fake_recorder.source("train-0"), "the only line", 1)])
    fake_recorder.end()
    fake_recorder.note("status", "a late event")
    async with asyncio.timeout(60):
        whole = await server.events(logs(fake_recorder.ref.name), SSE)
        assert [event.event for event in whole] == ["status", "log", "end", "status"]
        for cursor, expected_events in ((whole[-2].id, ["status", "status"]), (whole[-1].id, ["status", "end"])):
            rest = await server.events(logs(fake_recorder.ref.name), SSE, cursor=cursor)
            assert [event.event for event in rest] == expected_events


async def test_last_event_id_overrides_the_cursor_in_the_address(server: Server, completed: FakeRecorder) -> None:
    whole = await server.events(logs(completed.ref.name), SSE)
    rest = await server.events(
        logs(completed.ref.name), SSE | {"Last-Event-ID": whole[20].id}, cursor=whole[3].id, since="1m"
    )
    had = set(records(whole[:21]))
    assert records(rest) == [pair for pair in expected(completed) if pair not in had]


async def test_a_stream_has_its_window_and_a_cursor_to_older_lines(server: Server, completed: FakeRecorder) -> None:
    low, high = T0 + 500 * 10**9, T0 + 700 * 10**9
    events = await server.events(logs(completed.ref.name), SSE, since=rfc3339(low), until=rfc3339(high))
    assert records(events) == [(s, m) for s, t, _, m in completed.lines if low <= t <= high]
    older = json.loads(events[0].data)["older"]
    page = server.page(completed.ref.name, before=older, limit=10_000)
    assert sorted(r["seq"] for r in page["records"]) == [s for s, t, *_ in completed.lines if t < low]


@pytest.mark.parametrize("filters", [{}, {"level": "error"}])
async def test_tail_sends_the_newest_records_of_the_window(
    server: Server, completed: FakeRecorder, filters: dict[str, str]
) -> None:
    wanted = [line for line in completed.lines if not filters or line[3].startswith("ERROR")]
    newest = sorted(sorted((t, s) for s, t, *_ in wanted)[-50:], key=lambda x: x[1])
    events = await server.events(logs(completed.ref.name), SSE, tail=50, **filters)
    assert [s for s, _ in records(events)] == [s for _, s in newest] and events[-1].event == "end"
    page = server.page(completed.ref.name, before=json.loads(events[0].data)["older"], limit=10_000, **filters)
    assert len(page["records"]) == len(wanted) - 50


async def test_after_the_tail_new_lines_follow(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.write([(T0 + i, sid, f"old {i}") for i in range(100)])
    fake_recorder.running()
    async with server.stream(logs(fake_recorder.ref.name), follow="true", tail=3, since="all") as source:
        texts: list[str] = []
        async for event in source.aiter_sse():
            texts += [m for _, m in records([event])]
            if texts == ["old 97", "old 98", "old 99"]:
                fake_recorder.write([(T0 + 1000 + i, sid, f"new {i}") for i in range(5)])
                fake_recorder.end()
    assert texts == ["old 97", "old 98", "old 99", *(f"new {i}" for i in range(5))]


async def test_filtered_batches_keep_their_numbers(server: Server, completed: FakeRecorder) -> None:
    events = await server.events(logs(completed.ref.name), SSE, grep="line 00[05]", level="warn", pod="train-[01]")
    wanted = [
        (s, m)
        for s, _, _, m in completed.lines
        if m.startswith(("WARN", "ERR")) and ("line 000" in m or "line 005" in m)
    ]
    assert records(events) == wanted


async def test_a_running_task_is_followed_to_its_end(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.running()
    async with server.stream(logs(fake_recorder.ref.name), follow="true", since="all") as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        events: list[httpx_sse.ServerSentEvent] = []
        async for event in source.aiter_sse():
            events.append(event)
            if len(records(events)) < 10:
                n = len(records(events))
                fake_recorder.write([(T0 + n, sid, f"line {n}")])
            elif event.event == "log":
                fake_recorder.note("status", "Running: waiting for the next pod", state="running")
                fake_recorder.end(3)
    assert records(events) == expected(fake_recorder)
    assert [e.event for e in events][-2:] == ["status", "end"]
    assert json.loads(events[-1].data)["exit_code"] == 3


async def test_a_silent_stream_sends_heartbeats(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.running()
    async with server.stream(logs(fake_recorder.ref.name), follow="true") as source:
        seen = b""
        async for part in source.response.aiter_bytes():
            seen += part
            if seen.count(b": hb ") >= 2:
                break
    assert seen.startswith(b"retry: 1000\n")


async def test_plain_text_is_one_event_per_line(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.write([(T0, sid, "first"), (T0 + 1, sid, "50%\r100%"), (T0 + 2, sid, '{"a":1}'), (T0 + 3, sid, "")])
    fake_recorder.end()
    events = await server.events(logs(fake_recorder.ref.name), SSE, format="text", timestamps="true", pretty="true")
    lines = [event for event in events if event.event == "message"]
    assert [e.data for e in lines] == [
        "2023-11-14T22:13:20.000000000Z first",
        "2023-11-14T22:13:20.000000001Z 50%\n100%",
        '2023-11-14T22:13:20.000000002Z {\n  "a": 1\n}',
        "2023-11-14T22:13:20.000000003Z ",
    ]
    rest = await server.events(logs(fake_recorder.ref.name), SSE, format="text", cursor=lines[1].id)
    assert [e.data for e in rest if e.event == "message"] == ['{"a":1}', ""]
    assert rest[-1].event == "end"


# ---------------------------------------------------------------- several tasks over one connection


async def test_one_stream_carries_several_tasks(
    server: Server, completed: FakeRecorder, fake_recorder: FakeRecorder
) -> None:
    sid = fake_recorder.source()
    fake_recorder.write([(T0 + i, sid, f"line {i}") for i in range(50)])
    fake_recorder.end(1)
    tasks = [completed.ref.name, f"default:job/{fake_recorder.ref.name}", "no-such-task"]
    events = await server.events("cortex/stream", task=tasks, since="all")
    assert records(events, completed.ref.key) == expected(completed) and records(
        events, fake_recorder.ref.key
    ) == expected(fake_recorder)
    ends = [json.loads(e.data) for e in events if e.event == "end"]
    assert {e["task"]: e["exit_code"] for e in ends} == {completed.ref.key: 0, fake_recorder.ref.key: 1}
    [error] = [json.loads(e.data) for e in events if e.event == "error"]
    assert error["task"] == "no-such-task" and error["code"] == "NoCluster" and error["hint"]
    states = [json.loads(e.data) for e in events if e.event == "status"]
    asked = {s["task"]: s["ref"] for s in states if "ref" in s}
    assert asked == {completed.ref.key: tasks[0], fake_recorder.ref.key: tasks[1]}, (
        "events do not name the requested task"
    )


async def test_one_stream_resumes_each_of_its_tasks(
    server: Server, completed: FakeRecorder, fake_recorder: FakeRecorder
) -> None:
    sid = fake_recorder.source()
    for batch in range(10):
        fake_recorder.write([(T0 + batch * 10 + i, sid, f"line {batch}-{i}") for i in range(10)])
    fake_recorder.end()
    tasks = [completed.ref.key, fake_recorder.ref.key]
    whole = await server.events("cortex/stream", task=tasks, since="all")
    with_id = [i for i, event in enumerate(whole) if event.id]
    for i in [*with_id[:12], *with_id[12::5]]:
        rest = await server.events("cortex/stream", task=tasks, since="all", cursor=whole[i].id)
        for one in (completed, fake_recorder):
            assert records(whole[: i + 1], one.ref.key) + records(rest, one.ref.key) == expected(one), whole[i].id


async def test_an_invalid_cursor_affects_only_its_own_task(
    server: Server, completed: FakeRecorder, fake_recorder: FakeRecorder
) -> None:
    fake_recorder.end()
    events = await server.events("cortex/stream", task=[completed.ref.key, fake_recorder.ref.key], cursor="999999-1,")
    assert [json.loads(e.data)["code"] for e in events if e.event == "error"] == ["CursorNotHeld"]
    assert [json.loads(e.data)["task"] for e in events if e.event == "end"] == [fake_recorder.ref.key]


# ---------------------------------------------------------------- many readers, slow readers


@pytest.fixture(scope="module")
def large(session_recorder: Any) -> FakeRecorder:
    """12 MB in 80 batches: more than the buffers of the sockets hold."""
    fake_recorder: FakeRecorder = session_recorder("large")
    sid = fake_recorder.source()
    for batch in range(80):
        fake_recorder.write(
            [(T0 + batch * 1000 + i, sid, f"INFO line {batch * 1000 + i:06d} " + "x" * 130) for i in range(1000)]
        )
    fake_recorder.end()
    return fake_recorder


async def test_a_slow_reader_delays_no_other_and_loses_nothing(server: Server, large: FakeRecorder) -> None:
    host, port = server.url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    path = f"/{server.url.split('/', 3)[3]}{logs(large.ref.name)}?since=all"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\nAuthorization: token {TOKEN}\r\n\r\n".encode()
    )
    slow = await reader.readuntil(b"event: log")  # then it stops reading
    fast = await server.events(logs(large.ref.name), SSE, since="all")
    assert records(fast) == expected(large), "a reader lost lines beside one that does not read"
    while b"event: end" not in slow[-1000:]:
        slow += await reader.read(1 << 20)
    writer.close()
    for text in (large.texts[0], large.texts[40_000], large.texts[-1]):
        assert text[:20].encode() in slow
    assert slow.count(b"INFO line ") == 80_000


async def test_other_requests_are_answered_while_a_filter_runs(server: Server, large: FakeRecorder) -> None:
    reading = asyncio.create_task(
        server.events(logs(large.ref.name), SSE, since="all", grep=r"line \d*7 x+$", level="info")
    )
    pings = 0
    async with httpx.AsyncClient(headers=server.headers) as client:
        while not reading.done():
            assert (await client.get(server.url + "api")).status_code == 200
            pings += 1
    assert len(records(reading.result())) == 8000
    assert pings > 3, "requests were not answered while the stream ran"


async def test_the_stream_of_a_reader_that_goes_ends_at_once(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.running()
    sid = fake_recorder.source()
    for _ in range(3):
        async with server.stream(logs(fake_recorder.ref.name), follow="true", since="all") as source:
            async for _event in source.aiter_sse():
                break
    # Later readers get everything, and the server logs no error about readers that have gone.
    fake_recorder.write([(T0, sid, "x")])
    fake_recorder.end()
    assert records(await server.events(logs(fake_recorder.ref.name), follow="true", since="all")) == expected(
        fake_recorder
    )
    with contextlib.suppress(FileNotFoundError):
        assert "Traceback" not in server.log.read_text()


async def test_live_lines_reach_many_readers(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.running()

    def record() -> None:
        for i in range(40):
            fake_recorder.write([(T0 + i * 10 + k, sid, f"line {i}-{k}") for k in range(10)])
            time.sleep(0.01)
        fake_recorder.end()

    thread = threading.Thread(target=record)
    readers = [
        asyncio.create_task(server.events(logs(fake_recorder.ref.name), follow="true", since="all")) for _ in range(20)
    ]
    thread.start()
    for events in await asyncio.gather(*readers):
        assert records(events) == expected(fake_recorder)
    thread.join()
