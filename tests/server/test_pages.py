from __future__ import annotations

import io
import json
import re
from itertools import count
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.fake_recorder import T0
from server.running import logs

from cortex_jupyter.model import rfc3339

if TYPE_CHECKING:
    from server.fake_recorder import FakeRecorder
    from server.running import Server

FEW_EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_newest_page_is_ordered_by_time_and_bounded(server: Server, completed: FakeRecorder) -> None:
    page = server.page(completed.ref.name, limit=100)
    assert len(page["records"]) == 100 and page["older"] and page["newer"] is None
    by_source: dict[tuple[str, str], list[int]] = {}
    for record in page["records"]:
        by_source.setdefault((record["pod"], record["container"]), []).append(record["seq"])
    assert all(seqs == sorted(seqs) for seqs in by_source.values()), "records of one source are not in file order"
    assert page["task"]["state"] == "succeeded" and page["task"]["task"] == completed.ref.key
    complete = page["complete"]
    assert (complete["records"], complete["done"], len(complete["gaps"])) == (1000, True, 1)
    assert (complete["from"], complete["to"]) == (
        rfc3339(min(r[1] for r in completed.lines)),
        rfc3339(max(r[1] for r in completed.lines)),
    )


def test_a_record_has_exactly_the_documented_fields(server: Server, completed: FakeRecorder) -> None:
    """docs/reference/http.md documents them."""
    record = server.page(completed.ref.name, after="0", limit=1)["records"][0]
    assert record == {
        "seq": 2,
        "time": "2023-11-14T22:13:20.000000000Z",
        "pod": "train-0",
        "container": "main",
        "kind": "main",
        "run": 0,
        "stream": "stdout",
        "text": "INFO line 00000 loss=0.0",
        "level": "info",
    }


def test_a_page_has_1000_records_by_default(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    fake_recorder.write([(T0 + i, sid, f"line {i}") for i in range(1001)])
    fake_recorder.end()
    page = server.page(fake_recorder.ref.name)
    assert [r["text"] for r in page["records"]] == fake_recorder.texts[1:] and page["older"]


def test_the_kind_task_finds_a_task_of_any_kind_by_its_name(server: Server, completed: FakeRecorder) -> None:
    assert server.get(logs(completed.ref.name, kind="task")).json()["task"]["task"] == completed.ref.key


def test_pages_are_not_cached(server: Server, completed: FakeRecorder) -> None:
    assert server.get(logs(completed.ref.name)).headers["cache-control"] == "no-store"


def test_all_conditions_on_fields_must_hold(server: Server, completed: FakeRecorder) -> None:
    page = server.page(completed.ref.name, where=["loss>=0.1", "loss<0.2"], grep=["INFO", "line"], limit=10_000)
    texts = [t for *_, t in completed.lines]
    expected = [t for t in texts if (found := re.search(r"loss=([0-9.]+)", t)) and 0.1 <= float(found[1]) < 0.2]
    assert expected and sorted(r["text"] for r in page["records"]) == sorted(t for t in expected if "INFO" in t)


@FEW_EXAMPLES
@given(
    sizes=st.lists(st.integers(70, 999), min_size=1, max_size=4),
    filters=st.sampled_from([{}, {"level": "warn"}, {"grep": "5 "}, {"pod": "*-1"}]),
)
def test_pages_going_back_have_every_record_once(
    server: Server, completed: FakeRecorder, sizes: list[int], filters: dict[str, str]
) -> None:
    expected = _expected(completed, filters)
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for i in count():
        page = server.page(completed.ref.name, limit=sizes[i % len(sizes)], **filters, **cursor)
        seen = [r["seq"] for r in page["records"]] + seen
        if page["older"] is None:
            break
        cursor = {"before": page["older"]}
    assert sorted(seen) == expected and len(seen) == len(expected)


@FEW_EXAMPLES
@given(
    sizes=st.lists(st.integers(70, 999), min_size=1, max_size=4),
    filters=st.sampled_from([{}, {"level": "error"}, {"exclude": "5 "}, {"container": "proxy"}]),
)
def test_pages_going_forward_have_every_record_once(
    server: Server, completed: FakeRecorder, sizes: list[int], filters: dict[str, str]
) -> None:
    seen: list[int] = []
    cursor = "0"
    for i in count():
        page = server.page(completed.ref.name, limit=sizes[i % len(sizes)], after=cursor, **filters)
        seen += [r["seq"] for r in page["records"]]
        if page["newer"] is None:
            break
        cursor = page["newer"]
    assert sorted(seen) == _expected(completed, filters)


def _expected(completed: FakeRecorder, filters: dict[str, str]) -> list[int]:
    def wanted(sid: int, text: str) -> bool:
        source = completed.sources[sid]
        levels = {"warn": ("WARNING", "ERROR"), "error": ("ERROR",)}
        return (
            ("level" not in filters or text.startswith(levels[filters["level"]]))
            and filters.get("grep", "") in text
            and ("exclude" not in filters or filters["exclude"] not in text)
            and ("pod" not in filters or source["pod"] == "train-1")
            and ("container" not in filters or source["container"] == "proxy")
        )

    return [seq for seq, _, sid, text in completed.lines if wanted(sid, text)]


def test_since_until_and_tail_combine(server: Server, completed: FakeRecorder) -> None:
    start, end = T0 + 100 * 10**9, T0 + 200 * 10**9
    inside = sorted((time, seq) for seq, time, *_ in completed.lines if start <= time <= end)
    page = server.page(completed.ref.name, since=rfc3339(start), until=rfc3339(end))
    assert sorted(r["seq"] for r in page["records"]) == sorted(seq for _, seq in inside)
    assert page["older"], "the page has no cursor to lines before the window"
    tail = server.page(completed.ref.name, since=rfc3339(start), until=rfc3339(end), tail=10)
    assert sorted(r["seq"] for r in tail["records"]) == sorted(seq for _, seq in inside[-10:])
    assert server.page(completed.ref.name, tail=0)["records"] == []


def test_the_default_window_of_a_completed_task_is_all(server: Server, completed: FakeRecorder) -> None:
    assert server.page(completed.ref.name, since="1m")["records"] == []
    assert len(server.page(completed.ref.name)["records"]) == 1000


def test_records_can_be_filtered_by_stream(server: Server, completed: FakeRecorder) -> None:
    by_stream = {stream: server.page(completed.ref.name, stream=stream)["records"] for stream in ("stdout", "stderr")}
    assert [len(records) for records in by_stream.values()] == [500, 500]
    assert {record["stream"] for record in by_stream["stderr"]} == {"stderr"}


def test_a_page_has_the_notices_of_its_time_range(server: Server, completed: FakeRecorder) -> None:
    notices = server.page(completed.ref.name)["notices"]
    assert [n["message"] for n in notices] == ["Log not available yet: ContainerCreating", "lines are missing"]


def test_a_running_task_that_is_not_followed_is_answered_with_a_page(
    server: Server, fake_recorder: FakeRecorder
) -> None:
    sid = fake_recorder.source()
    fake_recorder.running()
    fake_recorder.write([(T0, sid, "old")])
    page = server.page(fake_recorder.ref.name, since="all")
    assert [r["text"] for r in page["records"]] == ["old"] and page["newer"] and not page["complete"]["done"]
    fake_recorder.write([(T0 + 1, sid, "new")])
    page = server.page(fake_recorder.ref.name, after=page["newer"])
    assert [r["text"] for r in page["records"]] == ["new"]
    assert page["task"]["state"] == "running"


def test_text_is_returned_as_written(server: Server, fake_recorder: FakeRecorder) -> None:
    sid = fake_recorder.source()
    texts = ["<b>&amp;</b>", "a\rb\rc", "\x1b[31mred\x1b[0m", "nul\x00", "é\u2028\u2029", "\\xff", "y" * (1 << 20), ""]
    fake_recorder.write([(T0 + i, sid, text) for i, text in enumerate(texts)])
    fake_recorder.end()
    assert [r["text"] for r in server.page(fake_recorder.ref.name)["records"]] == texts


@pytest.mark.parametrize("filters", [{}, {"level": "error"}, {"tail": "7"}, {"pod": "train-1", "grep": "line 00[0-4]"}])
def test_downloads_have_the_same_records_as_pages(
    server: Server, completed: FakeRecorder, filters: dict[str, str]
) -> None:
    page = (
        server.page(completed.ref.name, limit=10_000, **filters)
        if "tail" not in filters
        else server.page(completed.ref.name, **filters)
    )
    by_seq = sorted(page["records"], key=lambda r: r["seq"])
    ndjson = server.get(logs(completed.ref.name, "logs.ndjson"), **filters)
    assert [json.loads(line) for line in ndjson.text.splitlines()] == by_seq
    assert ndjson.headers["content-type"].startswith("application/x-ndjson")
    txt = server.get(logs(completed.ref.name, "logs.txt"), timestamps="true", **filters)
    prefixed = [f"[{r['pod']}/{r['container']}] {r['time']} {r['text']}" for r in page["records"]]
    one_container = [f"{r['time']} {r['text']}" for r in page["records"]]
    assert txt.text.splitlines() == (one_container if "pod" in filters else prefixed)
    table = pq.read_table(io.BytesIO(server.get(logs(completed.ref.name, "logs.parquet"), **filters).content))
    assert table.column("text").to_pylist() == [r["text"] for r in page["records"]]


def test_text_of_several_containers_has_source_and_time_in_the_order_of_time(
    server: Server, fake_recorder: FakeRecorder
) -> None:
    fields = {"role": "worker", "attempt": "0"}
    sids = [fake_recorder.source(f"bert-{i}-x{i}", **fields, rank=str(i)) for i in range(8)]
    silent = [fake_recorder.source(f"bert-{i}-x{i}", "prepare", "init") for i in range(8)]
    late = [(T0 + i * 10**9, sids[i % 4], f"line {i}") for i in range(4, 40)]
    early = [(T0 + i * 10**9 + 5, sids[4 + i % 4], f"early {i}") for i in range(8)]
    fake_recorder.write(late)
    fake_recorder.write(early)
    fake_recorder.end()
    name = fake_recorder.ref.name
    text = server.get(logs(name, "logs.txt"), container="main").text
    rows = [(time, f"worker-{sids.index(sid)}", line) for time, sid, line in sorted(late + early)]
    assert [line.split(" ", 2) for line in text.splitlines()] == [
        [f"[{source}]", rfc3339(time), line] for time, source, line in rows
    ]
    assert server.get(logs(name, "logs.txt"), container="main", timestamps="false").text.splitlines() == [
        f"[{source}] {line}" for _, source, line in rows
    ]
    assert silent and server.get(logs(name, "logs.txt")).text.startswith(f"[worker-4/main] {rfc3339(T0 + 5)} early 0\n")
    # One container: plain text, also if others of the pod are silent.
    one = server.get(logs(name, "logs.txt"), pod="bert-5-x5").text
    assert one.splitlines() == [line for _, source, line in rows if source == "worker-5"]


def test_the_name_of_a_download_shows_whether_it_is_whole(server: Server, completed: FakeRecorder) -> None:
    def name(suffix: str, **query: str) -> str:
        header = server.get(logs(completed.ref.name, f"logs.{suffix}"), **query).headers["content-disposition"]
        return header.removeprefix('attachment; filename="').removesuffix('"')

    task = f"default-{completed.ref.name}"
    for suffix in ("txt", "ndjson", "parquet"):
        assert name(suffix) == name(suffix, since="all", timestamps="true") == f"{task}.{suffix}"
        assert name(suffix, level="error") == f"{task}_filtered.{suffix}"
    assert name("txt", since="10m", grep="x") == f"{task}_filtered_last-10m.txt"
    assert name("txt", since="2023-11-14T22:13:20Z", until="5m") == f"{task}_from-2023-11-14T22-13-20Z_to-5m-ago.txt"


def test_pretty_text(server: Server, fake_recorder: FakeRecorder) -> None:
    fake_recorder.write([(T0, fake_recorder.source(), '{"a":{"b":1}}')])
    fake_recorder.end()
    assert (
        server.get(logs(fake_recorder.ref.name, "logs.txt"), pretty="true").text == '{\n  "a": {\n    "b": 1\n  }\n}\n'
    )


def test_json_that_is_nested_too_deeply_is_not_indented(server: Server, fake_recorder: FakeRecorder) -> None:
    deep = '{"a":' + "[" * 400 + "]" * 400 + "}"
    fake_recorder.write([(T0, fake_recorder.source(), deep)])
    fake_recorder.end()
    assert server.get(logs(fake_recorder.ref.name, "logs.txt"), pretty="true").text == f"{deep}\n"
