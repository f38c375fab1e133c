from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive.made import archived, lively
from support.filled import Filled, new_store

import cortex_jupyter as cortex
from cortex_jupyter.archive import layout
from cortex_jupyter.cli.command_line import run
from cortex_jupyter.errors import BadQuery, ContainerNotFound
from cortex_jupyter.model import MEMBERSHIP, Source
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.tables.lazy import lazy
from cortex_jupyter.tables.ordered import ordered
from cortex_jupyter.tables.read import read
from cortex_jupyter.tables.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cortex_jupyter.store import Store


# There is no cluster: the tests write the recordings.
pytestmark = pytest.mark.filterwarnings("ignore:The cluster cannot be asked")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store and an archive for this test, and no cluster."""
    monkeypatch.setenv("CORTEX_STORE", f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    monkeypatch.setenv("CORTEX_ARCHIVE", str(tmp_path / "archive"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("CORTEX_NAMESPACE", "ml")
    yield tmp_path
    runtime = cortex.logs.__globals__["runtime"]()
    runtime.close()
    cortex.logs.__globals__["runtime"].__globals__["_current"] = None


@pytest.fixture
def file(filled: Filled, tmp_path: Path) -> str:
    return str(archived(lively(filled), str(tmp_path / "archive"))[1].file.path)


def test_lazy_frames_are_those_of_arrow(filled: Filled, file: str) -> None:
    log, query = cortex.open(file), LogQuery.parse({})
    whole = pl.from_arrow(read(filled.store, filled.id, query))
    for frame in (log.to_polars(lazy=True), lazy(filled.store, filled.id, query)):
        assert isinstance(frame, pl.LazyFrame) and frame.collect_schema().names() == list(COLUMNS)
        assert frame.collect().equals(whole)
        some = frame.filter(pl.col("level") == "error", pl.col("message").str.contains("no")).select("seq", "fields")
        assert some.collect().equals(
            whole.filter(pl.col("level") == "error", pl.col("message").str.contains("no")).select("seq", "fields")
        )
        assert frame.head(7).collect().equals(whole.head(7)) and frame.select(pl.len()).collect().item() == len(whole)
    part = log.filter(level="warning", tail=50)
    assert part.to_polars(lazy=True).collect()["seq"].to_list() == part.to_arrow()["seq"].to_pylist()


@pytest.mark.parametrize("query", [{}, {"level": "warning"}, {"grep": "no"}, {"tail": 50}])
def test_lazy_frames_equal_arrow_tables_even_if_clocks_go_back(file: str, query: dict[str, object]) -> None:
    log = cortex.open(file, **query)
    assert log.to_polars().equals(pl.from_arrow(log.to_arrow())) and len(log.to_polars()) > 10


@pytest.mark.parametrize("by_row", [100_000, -1_000_000])  # how many records are sought one by one at the end
def test_the_last_lines_and_positions_of_an_archive_are_those_of_its_store(
    filled: Filled, file: str, by_row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.tables.ordered._LAST_BY_ROW", by_row)
    for parameters in ({}, {"level": "warning"}, {"grep": "no"}, {"grep": "nowhere"}):
        log, query = cortex.open(file, **parameters), LogQuery.parse(parameters)
        seqs = [record.seq for record in ordered(filled.store, filled.id, query)]
        for tail in (1, 7, 100):
            assert [record.seq for record in log.filter(tail=tail)] == seqs[-tail:]
            assert [record.seq for record in log[-tail:]] == seqs[-tail:]
        assert [log[i].seq for i in (0, -1)] == [seqs[0], seqs[-1]] if seqs else len(log) == 0
        assert [record.seq for record in log[3:60:4]] == seqs[3:60:4]


@pytest.fixture
def roles(filled: Filled, tmp_path: Path) -> str:
    """An archived task with roles."""
    for i in range(4):
        role, rank = ("launcher", "") if i == 0 else ("worker", str(i - 1))
        sid = filled.add(Source(f"p-{i}", f"u-{i}", "main", f"c-{i}", role=role, rank=rank, attempt=str(i % 2)))
        filled.lines([(sid, i, f"INFO step {i}")])
    filled.lines([(1, 9, "of a pod without a role")]).end()
    return str(archived(filled, str(tmp_path / "archive"))[1].file.path)


def test_roles_are_archived(filled: Filled, roles: str) -> None:
    log = cortex.open(roles)
    members = [("launcher", "", "0"), ("worker", "0", "1"), ("worker", "1", "0"), ("worker", "2", "1"), ("", "", "")]
    assert [(record.role, record.rank, record.attempt) for record in log] == members
    for frame in (log.to_polars(), log.to_polars(lazy=True).collect()):
        assert frame.select("role", "rank", "attempt").rows() == members
        assert frame.equals(pl.from_arrow(read(filled.store, filled.id, LogQuery.parse({}))))
    for query, seqs in (
        ({"role": "worker"}, [2, 3, 4]),
        ({"rank": "0-1"}, [2, 3]),
        ({"role": "worker", "attempt": 1}, [2, 4]),
        ({"attempt": -1, "grep": "step"}, [1, 2, 3, 4]),
    ):
        chosen = log.filter(**query)
        assert chosen.to_arrow()["seq"].to_pylist() == [record.seq for record in chosen] == seqs, query
        assert chosen.to_polars(lazy=True).collect()["seq"].to_list() == seqs and len(chosen) == len(seqs)
    assert log.sql("select distinct role from log order by 1").fetchall() == [("",), ("launcher",), ("worker",)]


def test_files_from_before_have_no_roles(roles: str, tmp_path: Path) -> None:
    """Files that were written before there were roles lack the columns, and the fields of the sources."""
    now, path = pq.read_table(roles), tmp_path / "before.parquet"
    metadata = {k: v for k, v in pq.read_metadata(roles).metadata.items() if k != b"ARROW:schema"}
    about = orjson.loads(metadata[layout.RECORDING_INFO])
    for source in about["sources"]:
        for name in MEMBERSHIP:
            source.pop(name, None)
    before = now.drop_columns([*MEMBERSHIP]).replace_schema_metadata(
        metadata | {layout.RECORDING_INFO: orjson.dumps(about)}
    )
    pq.write_table(before, path)
    log = cortex.open(path)
    frame = log.to_polars()
    assert frame.columns == list(COLUMNS) and frame.select("role", "rank", "attempt").rows() == [("", "", "")] * 5
    assert log.to_polars(lazy=True).collect().equals(frame)
    both = pl.concat([log.to_polars(lazy=True), cortex.open(roles).to_polars(lazy=True)]).collect()
    assert both["rank"].to_list() == [""] * 5 + ["", "0", "1", "2", ""]
    assert log.to_arrow().select(["role"])["role"].to_pylist() == [""] * 5
    assert log.filter(grep="step").to_polars(lazy=True).collect()["role"].to_list() == [""] * 4
    assert len(log.filter(role="w*")) == 0 and len(log.filter(role="w*", grep="x")) == 0
    for query, hint in (({"role": "worker"}, "it has none"), ({"rank": "*", "grep": "x"}, "its ranks are none")):
        with pytest.raises(ContainerNotFound) as error:
            log.filter(**query)
        assert error.value.hint == hint
    assert len(log.filter(attempt=-1)) == 5 and [record.role for record in log.filter(attempt=0)] == [""] * 5
    assert log.sql("select role, count(*) from log group by 1").fetchall() == [("", 5)]


@pytest.mark.parametrize("suffix", [".ndjson", ".parquet"])
def test_an_export_keeps_the_roles(filled: Filled, roles: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"export{suffix}"
    if suffix == ".ndjson":
        path.write_bytes(b"".join(orjson.dumps(record.as_dict()) + b"\n" for record in cortex.open(roles)))
    else:
        pq.write_table(cortex.open(roles).to_arrow(), path)
    reopened = cortex.open(path)
    assert [(r.role, r.rank, r.attempt) for r in reopened] == [(r.role, r.rank, r.attempt) for r in cortex.open(roles)]
    assert [record.rank for record in reopened.filter(role="worker")] == ["0", "1", "2"]


def test_only_wanted_columns_are_computed(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    lively(filled, 600)
    monkeypatch.setattr("cortex_jupyter.tables.read.cut", lambda *_: pytest.fail("message is not needed"))
    table = read(filled.store, filled.id, LogQuery.parse({"grep": "no"}), columns=("level", "seq"))
    assert table.column_names == ["seq", "level"] and len(table)


def test_sql(file: str) -> None:
    log = cortex.open(file)
    counts = dict(log.sql("select level, count(*) from log group by 1").fetchall())
    assert counts == Counter(log.to_arrow()["level"].to_pylist())
    assert log.sql("from log").columns == list(COLUMNS)
    assert log.sql(
        "select date_trunc('second', time) as t, count(*) from log where time > '2026-01-01' group by 1"
    ).fetchall()
    assert log.filter(level="error").sql("select max(message) from log where fields->>'n' > '5'").fetchall()
    for wrong in ("selec", "select nothing from log", "drop table x"):
        with pytest.raises(BadQuery, match=r"DuckDB cannot run this|no rows"):
            log.sql(wrong)


def test_fields_have_types_and_conflicts_are_listed(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "loss": 0.5, "ok": true, "tag": "a"}',
        "text",
        '{"step": 2, "loss": 1, "tag": 7, "x": {"y": [1]}}',
    ]
    (tmp_path / "a.log").write_text("\n".join([*lines, "a=1 step=3", '{"level": "warn", "big": 18446744073709551615}']))
    found = cortex.open(tmp_path / "a.log").fields()
    assert len(found) == 4 and list(found.columns[:4]) == ["time", "seq", "pod", "level"]
    assert found["loss"].tolist()[:2] == [0.5, 1.0] and found["ok"].tolist()[0] is True
    assert found["x"].tolist()[1] == '{"y":[1]}' and found["level_"].tolist()[3] == "warn"
    assert found["big"].tolist()[3] == 18446744073709551615.0
    assert found.attrs["conflicts"] == {"step": {"int": 2, "text": 1}, "tag": {"text": 1, "int": 1}}
    (tmp_path / "b.log").write_text("\n".join(f'{{"k{i}": 1}}' for i in range(10_000)))
    many = cortex.open(tmp_path / "b.log").fields()
    assert many.shape[0] == 10_000 and many.attrs["left_out"] == 9_500
    assert len(cortex.open(tmp_path / "a.log", grep="nothing").fields()) == 0


def test_following_by_frames(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = new_store(home)
    filled = Filled(store).lines([(1, 0, "a"), (1, 1, "b")])
    log = cortex.logs("ml:train-1")
    frames = log.follow_frames("10ms", kind="arrow")
    assert next(frames)["text"].to_pylist() == ["a", "b"]
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(x for t in frames for x in t["text"].to_pylist()))
    reader.start()
    for i in range(20):
        filled.lines([(1, 2 + i, f"c{i}")])
    filled.end()
    reader.join(120)
    assert rest == [f"c{i}" for i in range(20)]
    assert [len(f) for f in log.follow_frames()] == [22]
    with pytest.raises(BadQuery, match="cannot follow with"):
        next(log.follow_frames("soon"))
    store.close()


@pytest.fixture
def several(home: Path) -> list[str]:
    """Three tasks, two of them archived and gone from the store."""
    store = new_store(home)
    for i, text in enumerate(("INFO fine", "ERROR hot", "INFO still here")):
        filled = Filled(store, f"run-{i}").lines([(1, i * 10**12, text), (2, i * 10**12 + 5, f"step {i}")]).end()
        if i < 2:
            archived(filled, str(home / "archive"))
            store.mark_archived(filled.id, str(home / "archive"))
            assert store.forget(filled.id)
    store.close()
    return ["ml:run-0", "ml:run-1", "ml:run-2"]


def test_many_tasks_as_one(several: list[str], home: Path) -> None:
    everything = cortex.scan()
    assert sorted(log.task for log in everything.logs) == [f"ml:job/run-{i}" for i in range(3)]
    assert [t["task"] for t in cortex.tasks("ml")] and len(cortex.tasks("ml")) == 3
    named = cortex.scan(several)
    assert len(named.to_pandas()) == len(named.to_polars(lazy=False)) == pa.table(named).num_rows == 6
    assert dict(named.sql("select task, count(*) from logs group by 1").fetchall()) == {
        f"ml:job/run-{i}": 2 for i in range(3)
    }
    filtered = named.to_polars().filter(pl.col("text").str.contains("step")).select("task", "text").collect()
    assert filtered["text"].to_list() == ["step 0", "step 1", "step 2"]
    dask = named.to_dask()
    assert dask.npartitions == 3 and len(dask) == 6
    assert dask.groupby("task").size().compute().to_dict() == {f"ml:job/run-{i}": 2 for i in range(3)}
    assert len(cortex.scan([next((home / "archive").rglob("*.parquet")), "ml:run-2"])) == 2
    assert len(cortex.scan([])) == 0 and cortex.scan([]).to_arrow().num_rows == len(cortex.scan([]).to_dask()) == 0


def test_archived_tasks_that_a_manifest_excludes_are_not_opened(
    several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    monkeypatch.setattr(
        "cortex_jupyter.archive.file.ParquetFile._range",
        lambda file, *_: reads.append(file.name) or pytest.fail("read"),
    )
    # run-2 is in the store, so it has no manifest.
    assert [log.task for log in cortex.scan(level="error").logs] == ["ml:job/run-2", "ml:job/run-1"]
    assert [log.task for log in cortex.scan(until="2026-01-01T00:00:00.5Z").logs] == ["ml:job/run-2", "ml:job/run-0"]
    assert not reads and several


def test_the_command_line_asks_too(several: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    statement = "select task, count(*) as n from logs where level is null group by 1 order by 1"
    assert run(["sql", statement, *several, "-o", "ndjson"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == '{"task":"ml:job/run-0","n":1}'
    assert run(["sql", statement]) == 0 and "ml:job/run-2" in capsys.readouterr().out
    assert run(["sql", "selec"]) == 2
