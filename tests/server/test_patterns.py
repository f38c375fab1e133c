"""The patterns of a whole recording with their filters, and the commonest values of the fields of its lines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from server.fake_recorder import T0
from server.running import logs

from cortex_jupyter.analysis import patterns_worker, worker

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server

S = 10**9
#: What trains and serves: with and without a header, as JSON and as logfmt.
LINES = [
    *(f"step {i} loss={1 / (i + 1):.3f}" for i in range(40)),
    *(f"2026-01-31 12:00:{i:02} INFO trainer: saved checkpoint {i}" for i in range(20)),
    *(
        f'{{"level":"info","msg":"GET /api/{i}","status":{[200, 200, 500][i % 3]},"user":{{"name":"u{i % 2}"}}}}'
        for i in range(30)
    ),
    *(f"method=GET status={200 + i} took={i}ms" for i in range(4)),
    "checkpoint",
    "ERROR the disk is full",
    "step aside for a moment",
]


async def summary(server: Server, recorder: FakeRecorder) -> dict[str, Any]:
    events = await server.events(logs(recorder.ref.name, "patterns"))
    assert [one.event for one in events if one.event != "progress"] == ["patterns", "done"], events[-1].data
    [found] = [json.loads(one.data) for one in events if one.event == "patterns"]
    return dict(found)


def write(recorder: FakeRecorder, lines: list[str]) -> None:
    source = recorder.source()
    recorder.write([(T0 + i * S, source, text) for i, text in enumerate(lines)])


async def test_each_pattern_has_its_counts_and_a_filter_for_its_lines(
    server: Server, fake_recorder: FakeRecorder
) -> None:
    write(fake_recorder, LINES)
    fake_recorder.end()
    found = await summary(server, fake_recorder)
    by_text = {one["pattern"]: one for one in found["patterns"]}
    steps = by_text["step <*> loss=<*>"]
    assert (steps["count"], sum(steps["counts"]), len(steps["counts"]), steps["pods"]) == (40, 40, 32, 1)
    assert (steps["first"], steps["last"]) == (T0, T0 + 39 * S)
    assert (found["from"], found["to"], found["left_out"]) == (T0, T0 + (len(LINES) - 1) * S, 0)
    assert sum(one["count"] for one in found["patterns"]) == len(LINES)
    [error] = [one for one in found["patterns"] if one["level"] == "error"]
    assert error["count"] == 1
    for one in found["patterns"]:
        matched = [text for text in LINES if re.search(one["grep"], text)]
        assert len(matched) == one["count"], (one, matched)
    # A search of the whole recording finds the same lines.
    events = await server.events(logs(fake_recorder.ref.name, "search"), grep=steps["grep"])
    assert json.loads(events[-1].data)["matches"] == 40


async def test_fields_have_their_commonest_values(server: Server, fake_recorder: FakeRecorder) -> None:
    write(fake_recorder, LINES)
    fake_recorder.end()
    fields = {one["name"]: one for one in (await summary(server, fake_recorder))["fields"]}
    assert fields["status"]["lines"] == 34 and fields["status"]["values"][:2] == [["200", 21], ["500", 10]]
    assert (fields["status"]["least"], fields["status"]["most"]) == (200, 500)
    assert fields["user.name"]["values"] == [["u0", 15], ["u1", 15]] and fields["user.name"]["most"] is None
    assert "msg" not in fields and fields["level"]["values"] == [["info", 30]]


@pytest.mark.parametrize("lines", [[], ["one line"]])
async def test_a_short_log_has_no_surprise(server: Server, fake_recorder: FakeRecorder, lines: list[str]) -> None:
    if lines:
        write(fake_recorder, lines)
    fake_recorder.end()
    found = await summary(server, fake_recorder)
    assert [one["pattern"] for one in found["patterns"]] == lines and found["fields"] == []


async def test_many_patterns_are_cut_but_rare_errors_stay(server: Server, fake_recorder: FakeRecorder) -> None:
    letters = "abcdefghijklmnopqrst"
    # Each number of words is a pattern of its own, and each first word.
    many = [" ".join([a] * n) for a in letters for n in range(1, 31) for _ in range(2)]
    write(fake_recorder, [*many, "ERROR the disk is full"])
    fake_recorder.end()
    found = await summary(server, fake_recorder)
    assert len(found["patterns"]) == patterns_worker._PATTERNS + 1 and found["left_out"] == 400
    assert any("disk is full" in one["pattern"] for one in found["patterns"])


def test_only_the_newest_lines_of_a_long_recording_are_grouped(
    fake_recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LINES", 10)
    source = fake_recorder.source()
    for first in range(0, 40, 4):
        fake_recorder.write([(T0 + i * S, source, f"step {i}") for i in range(first, first + 4)])
    events: list[bytes] = []
    patterns_worker.summarize(fake_recorder.store, fake_recorder.id, 60, events.append)
    docs = [json.loads(one.split(b"data: ", 1)[1]) for one in events]
    assert docs[-1] == {"looked": 8, "lines": 40} and docs[-2]["from"] == T0 + 32 * S


def test_an_unknown_parameter_is_an_error(server: Server, completed: FakeRecorder) -> None:
    status, error = server.error(logs(completed.ref.name, "patterns"), since="1m")
    assert (status, error["code"]) == (400, "BadQuery")


def test_a_pattern_that_is_too_long_is_cut_and_matches() -> None:
    text = " ".join(f"word{i}" for i in range(400))
    regex = patterns_worker.line_regex(text)
    assert len(regex) <= 1000 and re.search(regex, text)


def test_grouping_many_different_lines_reports_that_it_works(
    fake_recorder: FakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PROGRESS_S", 0)
    letters = "abcdefghij"
    words = [f"{a}{b}{c}" for a in letters for b in letters for c in letters]
    write(fake_recorder, [" ".join(words[i : i + 7]) for i in range(0, 700, 7)])
    events: list[bytes] = []
    patterns_worker.summarize(fake_recorder.store, fake_recorder.id, 60, events.append)
    # Every distinct line is a step of each of the passes over them.
    reports = events.count(b'event: progress\ndata: {"looked":100,"lines":100}\n\n')
    assert reports > 5 * 100
