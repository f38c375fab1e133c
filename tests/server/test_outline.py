"""The outline of a whole recording, pages around a moment, and streams that begin with the newest lines."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from server.fake_recorder import T0
from server.running import logs, records

from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server


def test_the_outline_counts_every_line_and_has_the_notices(server: Server, completed: FakeRecorder) -> None:
    found = server.get(logs(completed.ref.name, "outline"), bins=50).json()
    assert (found["records"], sum(found["lines"]), found["task"]) == (1000, 1000, completed.ref.key)
    assert 25 <= len(found["lines"]) <= 50
    assert (int(found["first"]), int(found["last"])) == (
        min(r[1] for r in completed.lines),
        max(r[1] for r in completed.lines),
    )
    assert [n["event"] for n in found["notices"]] == ["status", "gap", "end"]
    assert [s["container"] for s in found["sources"]] == ["main", "main", "proxy"]
    assert max(found["lines"]) < 2 * 1000 / len(found["lines"]), "the counts of evenly spaced lines differ too much"


def test_a_recording_without_lines_has_an_outline(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.running()
    found = server.get(logs(fake_recorder.ref.name, "outline")).json()
    assert (found["records"], found["lines"], found["first"]) == (0, [], None)


@pytest.mark.parametrize("query", [{"bins": "0"}, {"bins": "many"}, {"bins": "99999999999"}, {"bin": "5"}])
def test_wrong_parameters_of_an_outline_are_errors(
    server: Server, completed: FakeRecorder, query: dict[str, str]
) -> None:
    status, error = server.error(logs(completed.ref.name, "outline"), **query)
    assert (status, error["code"]) == (400, "BadQuery")


def test_the_cursors_of_a_page_around_a_moment_lead_to_every_record(server: Server, completed: FakeRecorder) -> None:
    page = server.page(completed.ref.name, at=rfc3339(T0 + 500 * 10**9), limit=100)
    seqs = [r["seq"] for r in page["records"]]
    by_time = [q for _, q in sorted((t, q) for q, t, *_ in completed.lines)]
    middle = sum(t < T0 + 500 * 10**9 for _, t, *_ in completed.lines)
    assert sorted(seqs) == sorted(by_time[middle - 50 : middle + 50])
    seen = list(seqs)
    older, newer = page["older"], page["newer"]
    while older:
        page = server.page(completed.ref.name, before=older, limit=333)
        seen += [r["seq"] for r in page["records"]]
        older = page["older"]
    while newer:
        page = server.page(completed.ref.name, after=newer, limit=333)
        seen += [r["seq"] for r in page["records"]]
        newer = page["newer"]
    assert sorted(seen) == sorted(by_time)


@pytest.mark.parametrize(
    "query", [{"at": "soon"}, {"at": rfc3339(T0), "since": "1m"}, {"at": rfc3339(T0), "tail": "5"}]
)
def test_a_wrong_moment_is_an_error(server: Server, completed: FakeRecorder, query: dict[str, str]) -> None:
    status, error = server.error(logs(completed.ref.name), **query)
    assert (status, error["code"]) == (400, "BadQuery")


async def test_a_stream_begins_with_the_newest_lines_and_a_cursor_to_older_ones(
    server: Server, completed: FakeRecorder
) -> None:
    events = await server.events("cortex/stream", task=completed.ref.key, since="all", most="100")
    found = [q for q, _ in records(events)]
    status = json.loads(events[0].data)
    since = int(status["from"])
    assert sorted(found) == [q for q, t, *_ in completed.lines if t >= since]
    assert 100 <= len(found) <= 160, "the stream does not begin with whole batches of about 100 lines"
    page = server.page(completed.ref.name, before=status["older"], limit=10_000)
    assert sorted([*found, *(r["seq"] for r in page["records"])]) == [q for q, *_ in completed.lines]
    whole = await server.events("cortex/stream", task=completed.ref.key, since="all", most="5000")
    assert len(records(whole)) == 1000 and json.loads(whole[0].data)["older"] is None


def test_levels_are_counted_in_the_intervals_of_their_lines(server: Server, completed: FakeRecorder) -> None:
    query = {"bins": 50, "levels": "true"}
    end = time.monotonic() + 120
    while (found := server.get(logs(completed.ref.name, "outline"), **query).json())["counted"] < 1000:
        assert time.monotonic() < end
        time.sleep(0.05)
    texts = [text for *_, text in completed.lines]
    assert sum(found["warnings"]) == sum(t.startswith("WARNING") for t in texts)
    assert sum(found["errors"]) == sum(t.startswith("ERROR") for t in texts)
    assert len(found["errors"]) == len(found["lines"]) and max(found["errors"]) < 30
    assert [source["lines"] for source in found["sources"]] == [334, 333, 333]
