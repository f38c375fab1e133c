"""A search across tasks: the newest lines of each, honest counts, and a broken task that stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from archive.made import archived
from support.filled import Filled

from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.reader import searcher
from cortex_jupyter.reader.task_search import parse_task_search, split_events

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.store import Store

Event = tuple[str, dict[str, Any]]


def target(filled: Filled, archive: str | None = None) -> dict[str, Any]:
    return {"task": filled.ref.key, "store": filled.store.url, "archive": archive, "recording": filled.id}


def run(targets: list[dict[str, Any]], max_lines: int = 100, **query: str) -> list[Event]:
    parsed, _ = parse_task_search(query)
    events, rest = split_events(b"".join(searcher.search_tasks(targets, parsed, max_lines)))
    assert rest == b""
    return events


def texts(events: list[Event], task: str) -> list[str]:
    return [
        record["text"] for name, doc in events if name == "lines" and doc["task"] == task for record in doc["records"]
    ]


def ends(events: list[Event]) -> dict[str, dict[str, Any]]:
    return {doc["task"]: doc for name, doc in events if name == "task"}


def test_each_task_sends_its_newest_lines_and_counts_all(store: Store) -> None:
    one = Filled(store, "one").lines([(1, i, f"step {i}") for i in range(50)])
    one.lines([(2, i, f"late step {i}") for i in range(20, 60)]).end()  # overlaps in time
    two = Filled(store, "two").lines([(1, 0, "nothing here")]).end()
    events = run([target(one), target(two)], 5, search="STEP OR step")
    assert ends(events) == {
        "ml:job/one": {"task": "ml:job/one", "matches": 90, "all": True},
        "ml:job/two": {"task": "ml:job/two", "matches": 0, "all": True},
    }
    assert texts(events, "ml:job/one") == [f"late step {i}" for i in range(59, 54, -1)]
    assert events[-1] == ("done", {"tasks": 2, "with_matches": 1, "matches": 90, "all": True})


def test_a_count_that_is_not_whole_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "_COUNT_S", -1.0)
    big = Filled(store, "big")
    for batch in range(10):
        big.lines([(1, batch * 100 + i, "hit") for i in range(10)])
    events = run([target(big)], 3, search="hit")
    end = ends(events)["ml:job/big"]
    assert len(texts(events, "ml:job/big")) == 3 and not end["all"] and 3 <= end["matches"] < 100
    assert events[-1][1]["all"] is False


def test_a_task_that_cannot_be_read_stops_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Filled(store, "good").lines([(1, 0, "a hit")]).end()
    gone = target(good) | {"task": "ml:job/gone", "recording": good.id + 1}
    elsewhere = target(good) | {"task": "ml:job/elsewhere", "store": "sqlite:////dev/null/no.sqlite"}
    broken = Filled(store, "broken").lines([(1, 0, "a hit")]).end()
    walk = searcher.Walk.__init__

    def breaks(self: Any, where: Any, recording: int, query: LogQuery) -> None:
        if recording == broken.id:
            raise RuntimeError("torn page")
        walk(self, where, recording, query)

    monkeypatch.setattr(searcher.Walk, "__init__", breaks)
    events = run([gone, elsewhere, target(broken), target(good)], search="hit")
    found = {task: doc.get("error", {}).get("code") for task, doc in ends(events).items()}
    assert found == {
        "ml:job/gone": "CursorNotHeld",
        "ml:job/elsewhere": "StoreError",
        "ml:job/broken": "SearchFailed",
        "ml:job/good": None,
    }
    assert texts(events, "ml:job/good") == ["a hit"]
    assert events[-1][1] == {"tasks": 4, "with_matches": 1, "matches": 1, "all": False}


def test_an_archived_task_is_searched_and_not_opened_where_its_manifest_rules_it_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Filled(store, "old").lines([(1, i, f"INFO step {i}") for i in range(30)]).end()
    url = str(tmp_path / "archive")
    archived(old, url)
    store.forget(old.id)
    assert store.info(old.id) is None
    assert texts(run([target(old, url)], search="step 29"), "ml:job/old") == ["INFO step 29"]
    opened: list[object] = []
    read = ParquetFile._group

    def counted(file: ParquetFile, *arguments: Any) -> Any:
        opened.append(file)
        return read(file, *arguments)

    monkeypatch.setattr(ParquetFile, "_group", counted)
    for narrowed in ({"since": "2026-01-02T00:00:00Z"}, {"until": "2025-01-01T00:00:00Z"}, {"level": "error"}):
        events = run([target(old, url)], search="step", **narrowed)
        assert ends(events)["ml:job/old"] == {"task": "ml:job/old", "matches": 0, "all": True}
    assert not opened
    assert ends(run([target(old, url)], search="step", level="info"))["ml:job/old"]["matches"] == 30 and opened


def test_matches_are_marked_and_a_very_long_line_is_cut(store: Store) -> None:
    long = "x" * 40_000
    one = Filled(store, "one").lines([(1, 0, "é loss and Loss"), (1, 1, f"loss {long}"), (1, 2, "no")]).end()
    records = [r for name, doc in run([target(one)], search="loss") if name == "lines" for r in doc["records"]]
    assert [r["seq"] for r in records] == [2, 1]
    assert records[1]["marks"] == [[2, 6], [11, 15]] and "length" not in records[1]
    assert (len(records[0]["text"]), records[0]["length"], records[0]["marks"]) == (searcher.MAX_TEXT, 40_005, [[0, 4]])


def test_what_is_typed_adds_to_the_other_parameters() -> None:
    query, lines = parse_task_search(
        {"search": "oom level>=warning step>3", "grep": ["a", "b"], "level": "error", "where": "x=1", "lines": 7}
    )
    assert (query.grep, query.where, query.level, lines) == (("a", "b", "(?i)oom"), ("x=1", "step>3"), "error", 7)
    assert parse_task_search({"level": "info", "search": "level>=error"})[0].level == "error"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no filter"),
        ({"since": "1h"}, "no filter"),
        ({"search": " "}, "empty"),
        ({"search": "/(/"}, "no regular expression"),
        ({"search": "level>=error", "level": "=info"}, "level>=error excludes all of level='=info'"),
        ({"search": "x", "lines": "0"}, "no number from 1"),
        ({"search": "x", "lines": "many"}, "no number from 1"),
        ({"search": "x", "before": "0"}, "no cursor"),
        ({"search": "x", "limit": "3"}, "no parameter 'limit'"),
    ],
)
def test_a_wrong_search_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        parse_task_search(values)


def test_the_newest_lines_of_pods_that_write_at_the_same_time(store: Store) -> None:
    both = Filled(store, "both")
    both.lines([(1, i, f"hit {i}") for i in range(0, 100, 2)])
    both.lines([(2, i, f"hit {i}") for i in range(1, 100, 2)]).end()
    both.lines([(1, -50 + i, f"old {i}") for i in range(5)])
    events = run([target(both)], 6, search="hit")
    assert sorted(texts(events, "ml:job/both")) == [f"hit {i}" for i in range(94, 100)]
