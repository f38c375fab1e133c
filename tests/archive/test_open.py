from __future__ import annotations

import datetime as dt
import gzip
import math
import os
import re
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from archive.made import GAP, archived, lively
from tables.test_derive import by_line

import cortex_jupyter as cortex
from cortex_jupyter.archive import layout
from cortex_jupyter.errors import ArchiveDamaged, ArchiveNotFound, ArchiveTooNew, BadQuery
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.tables.convert import to_pandas, to_polars
from cortex_jupyter.tables.read import read
from cortex_jupyter.tables.schema import COLUMNS, schema

if TYPE_CHECKING:
    from pathlib import Path

    from support.filled import Filled

LINES = ["2026-01-31 12:00:00,500 INFO on", "no time", '{"ts": 1769860802.25, "level": "error", "msg": "hot"}', "é"]
TIMES = [1_769_860_800_500_000_000, 1_769_860_800_500_000_000, 1_769_860_802_250_000_000, 1_769_860_802_250_000_000]


def rows(log: Any) -> list[tuple[int, str]]:
    table = log.to_arrow()
    return list(zip(table["time"].cast(pa.int64()).to_pylist(), table["text"].to_pylist(), strict=True))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_compressed_and_plain_text(tmp_path: Path, suffix: str, ending: str) -> None:
    data = ("\ufeff" + ending.join(LINES)).encode()
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path = tmp_path / f"Old Run.log{suffix}"
    path.write_bytes(pack(data))
    log = cortex.open(path)
    assert rows(log) == list(zip(TIMES, LINES, strict=True))
    assert log.complete.records == 4 and log.complete.done and log.over and log.state == "succeeded"
    assert [r.text for r in log.filter(level="error")] == LINES[2:3]
    assert repr(log.filter(level="error")) == f"cortex_jupyter.open({str(path)!r}, level='error')"
    assert [r.text for r in log.follow()] == LINES and log.wait("hot").seq == 3


def test_viewer_options_work_as_for_a_task(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\n")
    viewer = cortex.open(tmp_path / "a.log", time="utc", wrap=True).viewer
    assert (viewer.time, viewer.wrap, viewer.transport) == ("utc", True, "comm")
    viewer.close()
    with pytest.raises(BadQuery, match="the viewer does not know"):
        cortex.open(tmp_path / "a.log", time="noon")


def test_leading_times_are_removed_if_all_lines_have_one(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("2026-01-31T12:00:00.000000005Z one\n2026-01-31T13:00:01+01:00 two\n")
    assert rows(cortex.open(tmp_path / "a.log")) == [
        (1_769_860_800_000_000_005, "one"),
        (1_769_860_801_000_000_000, "two"),
    ]


def test_our_own_exports_can_be_opened(filled: Filled, tmp_path: Path) -> None:
    _, held = archived(lively(filled, 600), str(tmp_path / "archive"))
    log = cortex.open(held.file.path)
    whole = read(filled.store, filled.id, LogQuery.parse({}))
    assert log.to_arrow().equals(whole) and log.task == "ml:job/train-1" and log.complete.gaps
    log.filter(level="warning").to_parquet(tmp_path / "some.parquet")
    part = cortex.open(tmp_path / "some.parquet")
    assert part.to_arrow()["text"].to_pylist() == log.filter(level="warning").to_arrow()["text"].to_pylist()
    (tmp_path / "a.ndjson").write_bytes(b"".join(orjson.dumps(r.as_dict()) + b"\n" for r in log))
    back = cortex.open(tmp_path / "a.ndjson").to_arrow()
    for name in ("time", "pod", "container", "kind", "run", "node", "stream", "level", "text"):
        assert back[name].to_pylist() == whole[name].to_pylist(), name


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        (
            {"message": ["a", "b"], "timestamp": pd.to_datetime(["2026-01-31 12:00:00", "2026-01-31 12:00:01"])},
            ["a", "b"],
        ),
        ({"ts": [1_769_860_800_000, 1_769_860_801_000], "line": [b"a", b"\xff"]}, ["a", "\\xff"]),
        ({"Time": ["2026-01-31T12:00:00Z", None], "Msg": ["a", None], "pod": ["p", "q"]}, ["a", ""]),
        ({"n": [1, 2], "x": [0.5, math.nan]}, ['{"n":1,"x":0.5}', '{"n":2,"x":null}']),
    ],
)
def test_foreign_parquet(tmp_path: Path, columns: dict[str, Any], texts: list[str]) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    log = cortex.open(tmp_path / "x.parquet")
    assert log.to_arrow()["text"].to_pylist() == texts and log.to_arrow().schema.equals(schema())
    if "n" not in columns:
        assert log.to_arrow()["time"][0].as_py() == pd.Timestamp("2026-01-31 12:00:00Z")


def test_kind_and_node_of_a_foreign_file(tmp_path: Path) -> None:
    """One container name may occur with several kinds or nodes. What is no kind or node of a pod is left out."""
    rows = [("init", "n1"), ("main", "n1"), ("main", "n2"), ("Event", None), (None, "")]
    kinds, nodes = zip(*rows, strict=True)
    pq.write_table(
        pa.table({"msg": list("abcde"), "pod": ["p"] * 5, "kind": kinds, "node": nodes}), tmp_path / "x.parquet"
    )
    records = [
        {"seq": 1, "time": "2026-01-31T12:00:00Z", "pod": "p", "text": "a", "kind": k, "node": n} for k, n in rows
    ]
    (tmp_path / "x.ndjson").write_bytes(b"\n".join(map(orjson.dumps, records)))
    for name in ("x.parquet", "x.ndjson"):
        found = cortex.open(tmp_path / name).to_arrow()
        assert found["kind"].to_pylist() == ["init", "main", "main", "main", "main"], name
        assert found["node"].to_pylist() == ["n1", "n1", "n2", "", ""], name
    for odd in ({"pod": ["p"], "kind": [["init"]], "node": [7]}, {"kind": ["init"], "node": ["of a tree"]}):
        pq.write_table(pa.table({"msg": ["a"], **odd}), tmp_path / "x.parquet")
        found = cortex.open(tmp_path / "x.parquet").to_arrow()
        assert found.select(["kind", "node"]).to_pylist() == [{"kind": "main", "node": ""}]


def test_parquet_without_logs(tmp_path: Path) -> None:
    """Invalid times, times beyond 64 bits of ns, invalid runs, a duplicate name: the lines are still there."""
    far = [dt.datetime(year, 1, 31, 12, tzinfo=dt.UTC) for year in (9999, 2026, 1)]
    steps = [math.inf, 1_769_860_800.0, math.nan]
    for times in (far, steps, pa.array(["no", "2026-01-31T12:00:00Z", None])):
        table = pa.table(
            {"time": times, "msg": ["a", "b", "c"], "run": [1 << 40, -1, None], "container": [{"a": 1}] * 3}
        )
        pq.write_table(table, tmp_path / "x.parquet")
        os.utime(tmp_path / "x.parquet", (1_769_000_000,) * 2)
        found = cortex.open(tmp_path / "x.parquet").to_arrow()
        assert found.schema.equals(schema()) and set(found["run"].to_pylist()) == {0}
        assert sorted(found["text"].to_pylist()) == ["a", "b", "c"]
        assert set(found["time"].cast(pa.int64()).to_pylist()) == {1_769_000_000 * 10**9, 1_769_860_800 * 10**9}
    pq.write_table(pa.table([["a"], ["b"]], names=["msg", "msg"]), tmp_path / "x.parquet")
    assert cortex.open(tmp_path / "x.parquet").to_arrow()["text"].to_pylist() == ["a"]


@pytest.mark.parametrize("count", [2, 200])
def test_an_export_that_was_cut_off_or_extended(filled: Filled, tmp_path: Path, count: int) -> None:
    filled.lines([(1, i, f"line {i}") for i in range(count)])
    _, held = archived(filled.end(), str(tmp_path / "archive"))
    exported = [orjson.dumps(r.as_dict()) for r in cortex.open(held.file.path)]
    odd = [b"plain", b'{"seq":1,"time":null,"pod":"a","run":"x","text":null}'] if count > 2 else []
    more = [*odd, exported[0][:40]]
    (tmp_path / "a.ndjson").write_bytes(b"\n".join([*exported, *more]))
    found = cortex.open(tmp_path / "a.ndjson").to_arrow()
    assert found["text"].to_pylist() == [*(f"line {i}" for i in range(count)), *(x.decode() for x in more)]


def test_invalid_times(tmp_path: Path) -> None:
    none = ["9999-12-31T23:59:59Z a", "1600-01-01T00:00:00Z b", "2026-02-31 00:00:00 c", f'{{"ts": {"9" * 5000}}}']
    (tmp_path / "a.log").write_text("\n".join([LINES[0], *none]))
    assert rows(cortex.open(tmp_path / "a.log")) == [(TIMES[0], line) for line in (LINES[0], *none)]


def test_an_export_of_a_newer_version_is_read_as_foreign_parquet(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "VERSION", 2)
    _, held = archived(lively(filled, 600), str(tmp_path / "archive"))
    monkeypatch.undo()
    with pytest.raises(ArchiveTooNew, match="layout 2, here 1"):
        type(held)(held.file).info  # noqa: B018 - as it is read
    log = cortex.open(held.file.path)
    whole = read(filled.store, filled.id, LogQuery.parse({}))
    names = ["time", "pod", "container", "kind", "run", "node", "stream", "text"]
    assert log.to_arrow().select(names).to_pydict() == whole.select(names).to_pydict()


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, ArchiveNotFound, "is not there"),
        (gzip.compress(b"x" * 100_000)[:-20], ArchiveDamaged, "cut off"),
        (b"PAR1" + b"x" * 50, ArchiveDamaged, "cut off|not a Parquet"),
        ("folder", BadQuery, "is a folder"),
    ],
)
def test_unreadable_files_are_reported(tmp_path: Path, content: Any, error: type[Exception], match: str) -> None:
    path = tmp_path / "x.log"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=match):
        cortex.open(path)


DEEP = '{"a":' * 2000 + "1" + "}" * 2000
NESTED = '{"msg": "x", "a": ' + "[" * 400 + "]" * 400 + "}"
BAD: dict[str, list[str]] = {
    "empty": [],
    "a mixture": ['{"a": 1}', "plain", '{"a": "x"}', "a=1 b=2", "[1, 2]"],
    "long lines": ["x" * (1 << 20), '{"msg": "' + "y" * (1 << 20) + '"}'],
    "double fields": ['{"level": "info", "level": "error", "msg": "a", "msg": "b"}'],
    "numbers that JSON has not": ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": -Infinity, "msg": "x"}'],
    "depth": [DEEP, NESTED, f"worker 3: {NESTED}", '{"msg": "x", "a": ' + "[" * 800 + "]" * 800 + "}"],
    "many keys": [f'{{"k{i}": {i}, "msg": "m{i}"}}' for i in range(10_000)],
    "escapes": ["\x1b[31mERROR\x1b[0m", "a\x00b", '{"msg": "\\ud83d"}', '{"msg": "\\u0000"}', "\u2028", "\r"],
    "no text": ["", " ", "{}", "null", '""'],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_typed_frames(filled: Filled, tmp_path: Path, name: str) -> None:
    """Recorded, archived, and read from a text file: the same columns, and the original text."""
    lines = BAD[name]
    if lines:
        filled.lines([(1, (i * 7919) % 997, text) for i, text in enumerate(lines)])  # times out of order
    store, held = archived(filled.end(), str(tmp_path / "archive"))
    (tmp_path / "x.log").write_text("\n".join(lines) + "\n" if lines else "", newline="")
    query = LogQuery.parse({})
    tables = [
        read(filled.store, filled.id, query),
        read(store, held.info.id, query),
        cortex.open(tmp_path / "x.log").to_arrow(),
    ]
    for table in tables:
        assert table.schema.equals(schema())
        assert [t.rstrip("\r") for t in table["text"].to_pylist()] == [t.rstrip("\r") for t in lines]
        assert tuple(to_pandas(table).columns) == COLUMNS == tuple(to_polars(table).columns)
    found = [
        (m, None if f is None else orjson.loads(f))
        for m, f in zip(*(tables[1][n].to_pylist() for n in ("message", "fields")), strict=True)
    ]
    assert found == by_line(lines)


def everything(log: Any, other: Any) -> None:
    """Run every analysis of a log, as values and as displayed."""
    shown = [log.errors(), log.metrics(), log.patterns(), log.progress(), log.why(), log.compare(other)]
    for one in [*shown, log.metrics().plot(), log.complete, log.mask().complete, log]:
        assert repr(one)
    for one in shown:
        assert one._repr_html_() is not None
    lines = log.to_arrow()
    assert len(log.fields()) <= len(lines) == len(log.mask().to_arrow()) == len(log.to_polars(lazy=True).collect())
    assert sum(n for _, n in log.sql("select level, count(*) from log group by 1").fetchall()) == len(lines)
    assert all(re.search(r'\ba"?[=:] ?(1|Inf)', r.text) for r in log.filter(where="a>0"))


@pytest.mark.parametrize("name", BAD)
def test_every_analysis_accepts_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.log").write_text("\n".join(BAD[name]), newline="")
    (tmp_path / "y.log").write_text("a=1 step 3: loss=0.5\nERROR no\n")
    log, other = cortex.open(tmp_path / "x.log"), cortex.open(tmp_path / "y.log")
    everything(log, other)
    everything(other, log)


def test_every_analysis_accepts_a_log_of_notices_only(filled: Filled, tmp_path: Path) -> None:
    filled.notice("status", "Log not available yet: ContainerCreating")
    filled.notice("gap", "lines are missing", **GAP)
    _, held = archived(filled.end(1, "failed", "Job failed exit 1"), str(tmp_path / "archive"))
    log = cortex.open(held.file.path)
    everything(log, log)
    assert (log.exit_code, len(log.complete.gaps), "exit 1" in str(log.why())) == (1, 1, True)


def test_bytes_that_are_not_utf8_survive(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"a\xff\nb\n")
    assert [r.text for r in cortex.open(tmp_path / "x.log")] == ["a\\xff", "b"]
