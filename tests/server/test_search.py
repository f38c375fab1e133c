"""A search of the whole recording sends the newest matches first, and its progress. It ends with its reader or at its limit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from server.fake_recorder import T0
from server.running import logs, records

from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"grep": "line 0007"}, "line 0007"),
        ({"grep": "(?i)LINE 0007"}, "line 0007"),
        ({"grep": r"line 0\d\d70 "}, "70 "),
        ({"level": "error"}, "ERROR"),
        ({"pod": "train-1", "exclude": "loss=0.[1-9]"}, "WARNING line 000"),
    ],
)
async def test_every_match_is_sent_once_newest_batches_first(
    server: Server, completed: FakeRecorder, filters: dict[str, str], wanted: str
) -> None:
    events = await server.events(logs(completed.ref.name, "search"), **filters)
    found = records(events)
    assert sorted(q for q, _ in found) == [q for q, _, _, text in completed.lines if wanted in text]
    batches = [json.loads(e.data)["seq"] for e in events if e.event == "log"]
    assert batches == sorted(batches, reverse=True)
    last = json.loads(events[-1].data)
    assert (events[-1].event, last["matches"], last["looked"], last["all"]) == ("done", len(found), 1000, True)


async def test_a_search_stays_within_its_window(server: Server, completed: FakeRecorder) -> None:
    low, high = T0 + 100 * 10**9, T0 + 200 * 10**9
    query = {"grep": "line", "since": rfc3339(low), "until": rfc3339(high)}
    events = await server.events(logs(completed.ref.name, "search"), **query)
    assert sorted(q for q, _ in records(events)) == [q for q, t, *_ in completed.lines if low <= t <= high]
    assert json.loads(events[-1].data)["to"] == str(low)


@pytest.mark.parametrize("query", [{}, {"since": "1m"}, {"grep": "("}, {"grep": "(a+)+$"}, {"limit": "5", "grep": "x"}])
def test_a_search_without_a_filter_or_with_a_wrong_one_is_refused(
    server: Server, completed: FakeRecorder, query: dict[str, str]
) -> None:
    status, error = server.error(logs(completed.ref.name, "search"), **query)
    assert (status, error["code"]) == (400, "BadQuery")


def searchers(server: Server, module: str = "reader.searcher") -> list[str]:
    """Return the processes that search this server's store."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            if (
                f"cortex_jupyter.{module}".encode() in (proc / "cmdline").read_bytes()
                and str(server.home).encode() in (proc / "environ").read_bytes()
            ):
                found.append(proc.name)
        except OSError:
            continue
    return found


async def until(server: Server, *, running: bool) -> None:
    async with asyncio.timeout(120):
        while bool(searchers(server)) != running:  # noqa: ASYNC110 - other processes send no signal
            await asyncio.sleep(0.05)


async def test_a_search_ends_when_its_reader_goes(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.write([(T0, fake_recorder.source(), "x" * 60_000)])
    fake_recorder.end()
    async with server.stream(logs(fake_recorder.ref.name, "search"), grep="x*x*x*x*y"):
        await until(server, running=True)
    await until(server, running=False)


async def test_a_runaway_pattern_is_named(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.write([(T0, fake_recorder.source(), "x" * 60_000)])
    fake_recorder.end()
    before = server.refused("TooSlow")
    events = await server.events(logs(fake_recorder.ref.name, "search"), grep="x*x*x*x*y")
    error = json.loads(events[-1].data)
    assert server.refused("TooSlow") == before + 1
    assert (events[-1].event, error["code"]) == ("error", "TooSlow")
    assert "x*x*x*x*y" in error["message"]
    assert not searchers(server)


@pytest.mark.parametrize(
    ("way", "module", "code"),
    [
        ("search?grep=x*x*x*x*y", "reader.searcher", "SearchFailed"),
        ("metrics", "analysis.metrics_worker", "MetricsFailed"),
        ("patterns", "analysis.patterns_worker", "PatternsFailed"),
        ("ranks", "analysis.ranks_worker", "RanksFailed"),
    ],
)
async def test_a_killed_search_process_is_an_error_and_counted(
    server: Server, fake_recorder: FakeRecorder, way: str, module: str, code: str
) -> None:
    fake_recorder.write([(T0 + i, fake_recorder.source(), f"step={i} loss=0.5 {'x' * 60_000}") for i in range(20)])
    fake_recorder.end()
    before = server.refused(code)

    async def kill() -> None:
        while not (found := searchers(server, module)):  # noqa: ASYNC110 - other processes send no signal
            await asyncio.sleep(0.01)
        for one in found:
            os.kill(int(one), signal.SIGKILL)

    async with asyncio.timeout(120):
        events, _ = await asyncio.gather(server.events(logs(fake_recorder.ref.name, way)), kill())
    assert (events[-1].event, json.loads(events[-1].data)["code"]) == ("error", code)
    assert server.refused(code) == before + 1
