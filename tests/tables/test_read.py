from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.filled import T0, Filled, Line

from cortex_jupyter.archive.layout import STATEMENT
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import Batch, rfc3339
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.pages import newest
from cortex_jupyter.reader.text import TextFormat
from cortex_jupyter.store.scan import Scan, reading_order
from cortex_jupyter.tables.convert import to_pandas, to_polars
from cortex_jupyter.tables.ordered import ordered
from cortex_jupyter.tables.parquet import to_parquet
from cortex_jupyter.tables.read import read
from cortex_jupyter.tables.schema import COLUMNS, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.store.scan import EntryPart


def table(filled: Filled, **query: object) -> pa.Table:
    return read(filled.store, filled.id, LogQuery.parse(query))


def test_an_empty_log_is_typed(filled: Filled) -> None:
    empty = table(filled)
    assert empty.schema.equals(schema()) and len(empty) == 0
    frame = to_pandas(empty)
    assert tuple(frame.columns) == COLUMNS and str(frame["time"].dtype) == "datetime64[ns, UTC]"
    assert to_polars(empty).schema["time"] == pl.Datetime("ns", "UTC")


def test_each_column_of_a_known_record(filled: Filled) -> None:
    filled.lines([(3, 1, "preparing")]).lines([(1, 5, "ERROR <b>no</b> \x1b[31m\\xff\x00")], streams=[2])
    rows = table(filled).to_pylist()
    first, second = rows
    assert {k: v for k, v in second.items() if k not in ("time", "message", "fields")} == {
        "seq": 2,
        "namespace": "ml",
        "task": "ml:job/train-1",
        "pod": "train-1-aa",
        "container": "main",
        "kind": "main",
        "run": 0,
        "node": "node-1",
        "stream": "stderr",
        "level": "error",
        "text": "ERROR <b>no</b> \x1b[31m\\xff\x00",
        "role": "",
        "rank": "",
        "attempt": "",
    }
    assert (first["kind"], first["container"], first["stream"], first["level"]) == ("init", "prepare", "unknown", None)


def test_nanoseconds_survive_everywhere(filled: Filled) -> None:
    filled.lines([(1, 1, "a"), (1, 2, "b")])
    found = table(filled)
    assert found["time"].cast(pa.int64()).to_pylist() == [T0 + 1, T0 + 2]
    assert to_pandas(found)["time"].astype("int64").tolist() == [T0 + 1, T0 + 2]
    assert to_polars(found)["time"].to_physical().to_list() == [T0 + 1, T0 + 2]


def test_libraries_read_it(filled: Filled) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(10)])
    found = table(filled)
    frame, polars = to_pandas(found), to_polars(found)
    assert frame["text"].tolist() == polars["text"].to_list() == [f"line {i}" for i in range(10)]
    assert isinstance(frame["pod"].dtype, pd.CategoricalDtype)
    assert isinstance(frame["text"].dtype, pd.StringDtype)
    assert duckdb.sql("select count(*) from found").fetchall() == [(10,)]


def test_categories_of_chunks_with_different_dictionaries() -> None:
    parts = [([0, 1, None, 1], ["x", "y"]), ([0, None, 2, 1], ["y", "z", "x"]), ([0, 0], ["x"]), ([None], [])]
    chunks = [pa.DictionaryArray.from_arrays(pa.array(i, pa.int32()), pa.array(d, pa.string())) for i, d in parts]
    rows = pa.table({"pod": pa.chunked_array(chunks), "one": pa.chunked_array([chunks[2].take(pa.array([0] * 11))])})
    frame, polars = to_pandas(rows), to_polars(rows)
    assert polars["pod"].to_list() == rows["pod"].to_pylist() and polars["one"].to_list() == ["x"] * 11
    assert [None if pd.isna(v) else v for v in frame["pod"]] == rows["pod"].to_pylist()
    assert frame["one"].tolist() == ["x"] * 11 and polars.columns == ["pod", "one"]


def test_ranks_roles_and_attempts_are_in_the_order_of_their_numbers() -> None:
    values_of = {
        "rank": ["2-10", "10", "0", "", "2-9", "1", "0-3", "9" * 5000],
        "role": ["worker-10", "worker-9", "launcher", "", "worker-9"],
        "attempt": ["1", "0", "11", "2"],
        "pod": ["p-10", "p-9"],
    }
    ordered = {
        "rank": ["", "0", "0-3", "1", "2-9", "2-10", "10", "9" * 5000],
        "role": ["", "launcher", "worker-9", "worker-10"],
        "attempt": ["0", "1", "2", "11"],
        "pod": ["p-10", "p-9"],
    }
    for name, values in values_of.items():
        chunks = [pa.array([*part, None]).dictionary_encode() for part in (values, values[::-1], values[:2])]
        column = pa.chunked_array(chunks)
        series = to_pandas(pa.table({name: column}))[name]
        assert series.cat.categories.tolist() == ordered[name]
        assert [None if pd.isna(v) else v for v in series] == column.to_pylist()
        if name != "pod":
            assert series.dropna().sort_values().drop_duplicates().tolist() == ordered[name]
            assert [rank for rank, _ in series.groupby(series, observed=True)] == ordered[name]


def mixed(rng: random.Random, n: int) -> list[list[Line]]:
    clock, batches = [0, 0, 0], []
    for start in range(0, n, 50):
        batch: list[Line] = []
        for i in range(start, min(n, start + 50)):
            source = rng.randrange(3)
            clock[source] += rng.randrange(-3, 40)
            batch.append((source + 1, clock[source], f"INFO line {i}"))
        batches.append(batch)
    return batches


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_pages(filled: Filled, seed: int) -> None:
    for batch in mixed(random.Random(seed), 700):
        filled.lines(batch)
    page = newest(filled.store, filled.id, limit=10_000)
    found = table(filled)
    assert found["seq"].to_pylist() == [r.seq for r in page.records]
    assert found["text"].to_pylist() == [r.text for r in page.records]
    assert found["pod"].to_pylist() == [r.source["pod"] for r in page.records]
    whole = LogQuery.parse({})
    views = read(filled.store, filled.id, whole, shared=True)
    assert to_polars(views)["message"].to_list() == found["message"].to_pylist()
    assert [r.seq for r in ordered(filled.store, filled.id, whole)] == found["seq"].to_pylist()
    assert [r.seq for r in ordered(filled.store, filled.id, LogQuery.parse({"tail": 9}))] == found["seq"].to_pylist()[
        -9:
    ]
    for query, tail in itertools.product(({}, {"grep": "7"}, {"grep": "nothing"}), (0, 1, 30, 200, 5000)):
        every = [r.seq for r in ordered(filled.store, filled.id, LogQuery.parse(query))]
        last = ordered(filled.store, filled.id, LogQuery.parse({**query, "tail": tail}))
        assert [r.seq for r in last] == every[max(0, len(every) - tail) :]
    part = ordered(filled.store, filled.id, whole, 100, 203)
    assert [r.seq for r in part] == [seq for seq in found["seq"].to_pylist() if 100 <= seq < 203]


@pytest.mark.parametrize("parameters", [{}, {"grep": "INFO"}])
@pytest.mark.parametrize("clock", ["equal", "ahead", "overlapping"])
def test_the_last_lines_cost_no_more_than_their_batches_and_never_more_than_one_pass(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, clock: str, parameters: dict[str, str]
) -> None:
    batches = 64
    for i in range(batches):
        at = 0 if clock == "equal" else i * 100
        filled.lines([(1, at + j * (clock != "equal"), f"INFO {i} {j}") for j in range(50)])
        if clock == "ahead" and i == 1:
            filled.lines([(2, 10**12, "INFO a clock that is ahead")])
        if clock == "overlapping":
            filled.lines([(2, at + j - 70, f"INFO {i} {j}") for j in range(50)])
    whole = [record.seq for record in ordered(filled.store, filled.id, LogQuery.parse(parameters))]
    scanned: list[int] = []
    batch_of = Scan.batch

    def counted(scan: Scan, part: EntryPart) -> Batch | None:
        scanned.append(part.entry.n)
        return batch_of(scan, part)

    monkeypatch.setattr(Scan, "batch", counted)
    for tail in (1, 20, 120):
        scanned.clear()
        last = ordered(filled.store, filled.id, LogQuery.parse({**parameters, "tail": tail}))
        assert [record.seq for record in last] == whole[-tail:]
        assert sum(scanned) <= (len(whole) if clock == "ahead" else 4 * tail + 300)


def test_window_tail_and_filter(filled: Filled) -> None:
    for at in range(0, 1000, 10):
        filled.lines([(1, at + i, f"{'WARNING' if i == 3 else 'INFO'} {at + i}") for i in range(10)])
    since, until = "2026-01-01T00:00:00.000000205Z", "2026-01-01T00:00:00.000000224Z"
    window = table(filled, since=since, until=until)
    assert [int(t.split()[1]) for t in window["text"].to_pylist()] == list(range(205, 225))
    assert table(filled, tail=3)["text"].to_pylist() == ["INFO 997", "INFO 998", "INFO 999"]
    assert table(filled, level="warning", tail=2)["seq"].to_pylist() == [984, 994]
    assert len(table(filled, grep="9$")) == 100 and len(table(filled, pod="train-1-bb")) == 0


def test_the_statement_travels_with_the_file(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> None:
    gap = {"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:00:04Z", "reason": "rotated away"}
    filled.lines([(1, i, f"line {i}") for i in range(10)]).notice("gap", "lines are missing", **gap).end()
    path = tmp_path_factory.mktemp("out") / "log.parquet"
    to_parquet(filled.store, filled.id, LogQuery.parse({"tail": 4}), path)
    assert [p.name for p in path.parent.iterdir()] == ["log.parquet"]
    back = pa.parquet.read_table(path)
    said = orjson.loads(back.schema.metadata[STATEMENT])
    assert set(COLUMNS) - {"message", "fields"} <= set(back.schema.names) and back.num_rows == 4
    assert (said["records"], said["done"], said["query"]) == (10, True, {"tail": "4"})
    assert said["gaps"][0]["reason"] == "rotated away"
    assert pl.read_parquet(path).height == 4


def test_a_file_that_cannot_be_written_says_so(filled: Filled) -> None:
    with pytest.raises(BadQuery, match="cannot be written"):
        to_parquet(filled.store, filled.id, LogQuery.parse({}), "/no/such/folder/x.parquet")


def test_batches_merged_while_reading_are_read_once(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        filled.lines([(1, i, f"line {i}")])
    whole, entries, calls = filled.store.entries, filled.store.entries, []

    def overlapping(recording: int, after: int, most: int) -> list[object]:
        calls.append(after)
        found = whole(recording, max(0, after - 3), most)
        return found[: 5 + (3 if after else 0)]

    monkeypatch.setattr(filled.store, "entries", overlapping)
    assert table(filled)["seq"].to_pylist() == list(range(1, 21))
    assert len(calls) > 1 and entries


def test_only_lines_whose_place_is_uncertain_are_in_memory(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(50):
        filled.lines([(1 + i % 2, 10 * i + j, f"line {10 * i + j}") for j in range(10)])
    found = ordered(filled.store, filled.id, LogQuery.parse({}))
    decoded = []
    whole = Batch.decode.__func__
    monkeypatch.setattr(Batch, "decode", classmethod(lambda cls, data: decoded.append(1) or whole(cls, data)))
    first = [next(found) for _ in range(10)]
    assert [r.seq for r in first] == list(range(1, 11)) and len(decoded) == 1
    found.close()


def test_the_form_of_a_text_file_depends_on_its_window_alone(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other containers may be silent; to find that out, no more is read than what the file holds."""
    filled.lines([(2, 0, "of another pod")])
    for i in range(1, 30):
        filled.lines([(1, i * 10**9, f"line {i}")])
    scanned: list[int] = []
    batch_of = Scan.batch
    monkeypatch.setattr(Scan, "batch", lambda scan, part: scanned.append(part.entry.n) or batch_of(scan, part))
    late = LogQuery.parse({"since": rfc3339(T0 + 28 * 10**9)})
    assert not TextFormat.of(filled.store, filled.id, late).labels and len(scanned) == 2
    assert TextFormat.of(filled.store, filled.id, LogQuery.parse({})).labels


@pytest.mark.parametrize("padding", ["", " " * 200])
def test_the_order_of_time_keeps_few_lines_in_memory_if_it_is_told_to(filled: Filled, padding: str) -> None:
    """A container that is recorded long after the others holds back their lines, but not more than the limit."""
    for i in range(50):
        filled.lines([(1, 1000 + i, f"line {i:03}{padding}")])
    filled.lines([(2, 0, f"late 000{padding}")])
    index, consumed = filled.store.index(filled.id), [0]

    def batches() -> Iterator[Batch]:
        for i in range(51):
            consumed[0] += 1
            yield next(Scan(filled.store, filled.id, after=i).batches()).take([0])

    whole = [record.text.rstrip() for _, _, record in reading_order(batches(), index)]
    assert whole == ["late 000", *(f"line {i:03}" for i in range(50))]
    consumed[0] = 0
    # Short lines take memory too.
    bounded = reading_order(batches(), index, max_size=10 * (8 + len(padding) + 256))
    assert next(bounded)[2].text.rstrip() == "line 000" and consumed[0] == 11
    rest = [record.text.rstrip() for _, _, record in bounded]
    assert sorted(rest) == sorted(whole[:1] + whole[2:]) and rest.index("late 000") == 40 - 1
