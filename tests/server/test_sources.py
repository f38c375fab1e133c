"""Filters for pods, containers and runs work alike in pages, streams, searches and downloads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from server.fake_recorder import T0, FakeRecorder
from server.running import logs, records
from support.sources import CASES, MEMBER_CASES, MEMBERS, SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.running import Server


@pytest.fixture(scope="module")
def restarted(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    fake_recorder = session_recorder("restarted")
    for i, (pod, container, run) in enumerate(SOURCES):
        fake_recorder.write([(T0 + i, fake_recorder.source(pod, container, run=run), f"line {i}")])
    fake_recorder.end()
    return fake_recorder


@pytest.mark.parametrize(("values", "kept"), CASES, ids=str)
async def test_matching_records_are_sent(
    server: Server, restarted: FakeRecorder, values: dict[str, str], kept: list[int]
) -> None:
    name = restarted.ref.name
    if not kept:  # nothing can ever match
        for place in ("logs", "logs.txt", "search"):
            status, error = server.error(logs(name, place), **values)
            assert status == 404 and error["code"] == "ContainerNotFound" and error["hint"]
        return
    texts = [f"line {i}" for i in kept]
    assert [record["text"] for record in server.page(name, **values)["records"]] == texts
    # Lines of several containers begin with their source and time.
    lines = server.get(logs(name, "logs.txt"), **values).text.splitlines()
    assert [re.sub(r"^\[[^]]+\] \S+Z ", "", line) for line in lines] == texts
    assert [text for _, text in records(await server.events(logs(name), follow="true", since="all", **values))] == texts
    tail = server.page(name, tail="1", **values)["records"]
    assert [record["text"] for record in tail] == texts[-1:]


@pytest.mark.parametrize(
    ("values", "kept"), [case for case in CASES if case[0].get("run", "").startswith("-2")], ids=str
)
async def test_matching_records_are_searched(
    server: Server, restarted: FakeRecorder, values: dict[str, str], kept: list[int]
) -> None:
    found = records(await server.events(logs(restarted.ref.name, "search"), **values))
    assert sorted(text for _, text in found) == [f"line {i}" for i in kept]


@pytest.fixture(scope="module")
def members(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    fake_recorder = session_recorder("members")
    for i, (role, rank, attempt) in enumerate(MEMBERS):
        sid = fake_recorder.source(f"p-{i}", role=role, rank=rank, attempt=attempt)
        fake_recorder.write([(T0 + i, sid, f"line {i}")])
    fake_recorder.end()
    return fake_recorder


@pytest.mark.parametrize(("values", "lines"), MEMBER_CASES, ids=str)
async def test_roles_ranks_and_attempts(
    server: Server, members: FakeRecorder, values: dict[str, str], lines: list[int]
) -> None:
    await test_matching_records_are_sent(server, members, values, lines)
    if lines:
        await test_matching_records_are_searched(server, members, values, lines)


def test_a_record_has_its_role_rank_and_attempt_if_any(server: Server, members: FakeRecorder) -> None:
    members_of_records = [
        tuple(record.get(name, "") for name in ("role", "rank", "attempt"))
        for record in server.page(members.ref.name)["records"]
    ]
    assert members_of_records == MEMBERS
    assert "role" not in server.page(members.ref.name)["records"][-1], "empty fields are left out"
    for query in ({"rank": "x"}, {"rank": "3-1"}, {"attempt": "first"}):
        status, error = server.error(logs(members.ref.name), **query)
        assert status == 400 and error["code"] == "BadQuery" and "=0 " in error["hint"]
