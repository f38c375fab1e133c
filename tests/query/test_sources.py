"""Selection of sources. js/test/ui/sources.test.ts uses the same table; archives and frames select by columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from support.sources import CASES, MEMBER_CASES, MEMBERS, SOURCES, WRONG, WRONG_NUMBERS

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import MEMBERSHIP, Batch, Source
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.tables.select import select

COUNT = len(SOURCES)


def query(values: dict[str, str]) -> LogQuery:
    class Store:
        @staticmethod
        def sources(_: int) -> dict[int, Any]:
            named = [Source(pod, "", container, str(i), "main", run) for i, (pod, container, run) in enumerate(SOURCES)]
            return {i: (one, None) for i, one in enumerate(named)}

    return LogQuery.parse(values).among(Store(), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("values", "kept"), CASES, ids=str)
def test_the_lines_of_sources(values: dict[str, str], kept: list[int]) -> None:
    sources = {i: {"pod": pod, "container": container, "run": run} for i, (pod, container, run) in enumerate(SOURCES)}
    ids = list(range(COUNT))
    keep = query(values).keep()
    assert keep is not None
    assert list(keep(Batch("d:job/a", ids, [0] * COUNT, ids, [0] * COUNT, ["x"] * COUNT, sources))) == kept
    pods, containers, runs = (list(column) for column in zip(*SOURCES, strict=True))
    columns = {name: pa.array(names).dictionary_encode() for name, names in (("pod", pods), ("container", containers))}
    table = pa.table(columns | {"run": pa.array(runs, pa.int32()), "seq": ids})
    assert select(table, query(values))["seq"].to_pylist() == kept
    assert select(table.slice(0, 0), query(values)).num_rows == 0


@pytest.mark.parametrize("text", WRONG)
def test_an_invalid_run_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="is no run") as error:
        LogQuery.parse({"run": text})
    assert "-2 the one before" in error.value.hint


@pytest.mark.parametrize("value", [True, 1.5, ["0"]])
def test_a_run_is_a_number_or_a_text(value: object) -> None:
    with pytest.raises(BadQuery):
        LogQuery.parse({"run": value})
    assert LogQuery.parse({"run": -1}) == LogQuery.parse({"run": "-1"})


def test_the_newest_run_includes_later_runs() -> None:
    """A reader who follows the newest run gets its successor after a restart. The run before it stays the same."""
    newest, before = query({"run": "-1"}).run, query({"run": "-2"}).run
    assert newest and newest.wants("train-1", "main", 2) and newest.wants("a-pod-to-come", "main", 0)
    assert before and not before.wants("train-1", "main", 2) and not before.wants("a-pod-to-come", "main", 0)


def member_query(values: dict[str, str]) -> LogQuery:
    class Store:
        @staticmethod
        def sources(_: int) -> dict[int, Any]:
            return {i: (source, None) for i, source in enumerate(members())}

    return LogQuery.parse(values).among(Store(), 1)  # type: ignore[arg-type]


def members() -> list[Source]:
    return [
        Source(f"p-{i}", "", "main", str(i), role=role, rank=rank, attempt=attempt)
        for i, (role, rank, attempt) in enumerate(MEMBERS)
    ]


@pytest.mark.parametrize(("values", "lines"), MEMBER_CASES, ids=str)
def test_the_lines_of_roles_ranks_and_attempts(values: dict[str, str], lines: list[int]) -> None:
    count = len(MEMBERS)
    sources = {i: source.public for i, source in enumerate(members())}
    keep = member_query(values).keep()
    assert keep is not None
    ids = list(range(count))
    assert list(keep(Batch("d:job/a", ids, [0] * count, ids, [0] * count, ["x"] * count, sources))) == lines
    columns = zip(MEMBERSHIP, zip(*MEMBERS, strict=True), strict=True)
    table = pa.table({name: pa.array(values).dictionary_encode() for name, values in columns} | {"seq": ids})
    assert select(table, member_query(values))["seq"].to_pylist() == lines
    assert select(table.slice(0, 0), member_query(values)).num_rows == 0


@pytest.mark.parametrize(("name", "text"), WRONG_NUMBERS)
def test_an_invalid_rank_or_attempt_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadQuery, match=f"is no {name}") as error:
        LogQuery.parse({name: text})
    assert f"{name}=0" in error.value.hint


def test_a_rank_and_an_attempt_are_numbers_or_texts() -> None:
    assert LogQuery.parse({"rank": 3, "attempt": -1}) == LogQuery.parse({"rank": "3", "attempt": "-1"})
    for name in ("role", "rank", "attempt"):
        for value in (True, 1.5, ["0"]):
            with pytest.raises(BadQuery):
                LogQuery.parse({name: value})


def test_the_newest_attempt_includes_later_ones_and_has_no_window() -> None:
    query = LogQuery.parse({"attempt": "-1"}, default_since="1m")
    assert query.since is None
    newest = query.attempt and query.attempt.among([("worker", "0", "1")])
    assert newest and newest.wants("worker", "0", "2") and not newest.wants("worker", "0", "0")
    assert newest.wants("worker", "1", "0"), "a rank to come"
