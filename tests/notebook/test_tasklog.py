from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.filled import T0, Filled

import cortex_jupyter as cortex
from cortex_jupyter.errors import BadQuery, ContainerNotFound, NoCluster, RecordNotFound
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook import recording_reader
from cortex_jupyter.notebook.record import Record, Status
from cortex_jupyter.store import RecorderInfo

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.notebook.tasklog import TaskLog


ENDS = (None, 0, 3, 25, 500, -1, -7, -500)


def ended(filled: Filled, code: int = 0) -> TaskLog:
    filled.lines([(1, i, f"INFO step {i}") for i in range(100)])
    filled.notice("status", "started", notice="started")
    filled.lines([(2, 200 + i, f"WARNING slow {i}") for i in range(50)])
    filled.end(code, "failed" if code else "succeeded", f"Job failed exit {code}" if code else "Job complete exit 0")
    return cortex.logs("ml:train-1")


def test_state_and_completeness_of_a_log(filled: Filled, engine: Runtime) -> None:
    log = ended(filled, 3)
    assert (log.task, log.state, log.exit_code, log.over) == ("ml:job/train-1", "failed", 3, True)
    assert len(log) == 150 and log.complete.records == 150 and log.complete.done
    assert str(log.complete) == "150 lines, 00:00:00 to 00:00:00 UTC, 3 sources, complete"
    assert repr(log.filter(level="warning", tail=3)) == "cortex_jupyter.logs('ml:job/train-1', level='warning', tail=3)"


def test_every_library_reads_a_log(filled: Filled, engine: Runtime, tmp_path: Path) -> None:
    log = ended(filled)
    assert len(log.to_pandas()) == len(log.to_polars()) == len(log.to_arrow()) == 150
    assert pl.DataFrame(log).height == pa.table(log).num_rows == 150
    if hasattr(pd.DataFrame, "from_arrow"):  # pandas 3
        assert len(pd.DataFrame.from_arrow(log)) == 150
    assert duckdb.sql("select count(*) from log").fetchall() == [(150,)]
    log.to_parquet(tmp_path / "x.parquet")
    same = ["time", "seq", "task", "pod", "run", "level", "text"]  # without message and fields, which are derived again
    assert pl.read_parquet(tmp_path / "x.parquet").select(same).equals(log.to_polars().select(same))


def test_filters_combine_and_later_ones_override(filled: Filled, engine: Runtime) -> None:
    log = ended(filled).filter(grep="slow").filter(tail=10)
    assert type(log).__name__ == "TaskLog" and len(log) == 10
    assert len(log.filter(tail=None)) == 50 and len(log.filter(grep="step", tail=None)) == 100
    assert all(r.level == "warning" for r in log)


def texts(log: TaskLog) -> list[str]:
    return [record.text for record in log]


@pytest.mark.parametrize("near", [5, 20_000])  # positions that are sought record by record; others by column
def test_positions_count_the_lines_of_the_filtered_log_in_the_order_of_time(
    filled: Filled, engine: Runtime, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.notebook.recording_reader._NEAR", near)
    filled.lines([(1, 50 + i, f"INFO step {i}") for i in range(40)])
    filled.notice("status", "started", notice="started")
    filled.lines([(2, 2 * i, f"WARNING slow {i}") for i in range(40)])  # recorded later, written before and between
    filled.end()
    log = cortex.logs("ml:train-1")
    for view in (log, log.filter(level="warning"), log.filter(grep="[05]$"), log.filter(tail=30), log.filter(grep="x")):
        lines = [record.seq for record in view]
        assert view.to_pandas().seq.tolist() == lines
        for place in range(-len(lines), len(lines)):
            assert view[place].seq == lines[place]
        for place in (len(lines), -len(lines) - 1):
            with pytest.raises(RecordNotFound, match=f"no line at position {place}: the log has {len(lines)} line"):
                view[place]
        for start, stop, step in itertools.product(ENDS, ENDS, (None, 1, 7)):
            part = view[start:stop:step]
            assert [record.seq for record in part] == lines[start:stop:step], (start, stop, step)
            assert len(part) == len(lines[start:stop:step])
    assert log[0].text == "WARNING slow 0" and log[-1].text == "INFO step 39"
    assert [record.seq for record in reversed(log)] == [record.seq for record in log][::-1]
    with pytest.raises(IndexError):
        log[500]
    with pytest.raises(BadQuery, match="step"):
        log[::-1]


def test_numbers_are_those_of_the_recording(filled: Filled, engine: Runtime) -> None:
    log = ended(filled)
    assert [r.seq for r in log.seq[10:13]] == [10, 11, 12] and log.seq[1].text == "INFO step 0"
    assert [r.seq for r in log.seq[99:104]] == [99, 100, 102, 103]  # a notice has the number between
    assert [r.seq for r in log.filter(grep="0$").seq[1:30]] == [1, 11, 21]
    assert [r.seq for r in log.filter(tail=3).seq[100:151]] == [149, 150]
    assert (
        [r.seq for r in log.seq[-3:3]] == [1, 2]
        and [r.seq for r in log.seq[:5:2]] == [2, 4]
        and len(log.seq[140:]) == 12
        and len(log.seq[900:]) == 0
    )
    for view, number in ((log, 101), (log, 500), (log.filter(grep="slow"), 3), (log.filter(tail=3), 3)):
        with pytest.raises(RecordNotFound, match=f"no line of this log has the number {number}") as caught:
            view.seq[number]
        assert isinstance(caught.value, IndexError)
    for wrong in (-1, slice(-3, None), slice(1, 9, -1)):
        with pytest.raises(BadQuery):
            log.seq[wrong]
    assert [r.seq for r in log] == [r.seq for r in log.follow()] == [*range(1, 101), *range(102, 152)]


def test_a_part_of_a_log_is_a_log(filled: Filled, engine: Runtime, tmp_path: Path) -> None:
    log = ended(filled)
    log.to_parquet(tmp_path / "whole.parquet")
    for whole in (log, cortex.open(tmp_path / "whole.parquet")):
        for part in (
            whole[98:102],
            whole.seq[99:104],
            whole[90:110][8:12],
            whole[95:].seq[99:104],
            whole[96::2][1:4:2],
        ):
            seqs = [record.seq for record in part]
            assert seqs == ([99, 104] if len(seqs) == 2 else [99, 100, 102, 103])
            assert isinstance(part, cortex.TaskLog) and len(part) == len(seqs)
            for frame in (
                part.to_pandas(),
                part.to_polars().to_pandas(),
                part.to_polars(lazy=True).collect().to_pandas(),
            ):
                assert frame.seq.tolist() == seqs
            assert part.sql("select seq from log order by seq").fetchall() == [(seq,) for seq in seqs]
            part.to_parquet(tmp_path / "part.parquet")
            assert pl.read_parquet(tmp_path / "part.parquet")["seq"].to_list() == seqs
            assert texts(cortex.open(tmp_path / "part.parquet")) == texts(part)
            for metadata in (part.to_arrow().schema.metadata, pq.read_schema(tmp_path / "part.parquet").metadata):
                stating = orjson.loads(metadata[b"cortex_jupyter.complete"])
                assert stating["query"]["numbers"].startswith(f"{seqs[0]}-{seqs[-1]} (")
            assert [r.seq for r in part.follow()] == seqs
            slow = part.filter(level="warning")
            assert [r.seq for r in slow] == [seq for seq in seqs if seq > 101]
            for pod, wanted in (
                ("train-1-aa", [s for s in seqs if s < 101]),
                ("train-1-b*", [s for s in seqs if s > 101]),
            ):
                of_pod = part.filter(pod=pod)
                assert [r.seq for r in of_pod] == of_pod.to_pandas().seq.tolist() == wanted
            scan = cortex.scan([part])
            assert scan.to_pandas().seq.tolist() == scan.to_dask().compute().seq.tolist() == seqs
            assert len(part.patterns()) and len(part.compare(slow))
    part = log.filter(level="warning")[3:5]
    assert repr(part) == "cortex_jupyter.logs('ml:job/train-1', level='warning')[3:5]"
    assert repr(part.filter(grep="x")) == repr(part) + ".filter(grep='x')"
    assert repr(log.seq[3:5]) == "cortex_jupyter.logs('ml:job/train-1').seq[3:5]"
    with pytest.raises(BadQuery, match="has no viewer"):
        part.viewer  # noqa: B018 - a property


def test_a_part_stays_while_the_log_goes_on(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(10)]).update(caught_up=1, state="running")
    filled.store.beat(RecorderInfo("tests", "test", "here", 1, time.time()))
    log = cortex.logs("ml:train-1")
    log._reader.recording.workload = _Unneeded()  # type: ignore[assignment]
    log._reader.recording.want = _nothing  # type: ignore[method-assign]
    log._reader.recording.problem = None
    last, later = log[-2:], log.seq[9:]
    filled.lines([(1, 100, "INFO step 10")])
    assert texts(last) == texts(later) == ["INFO step 8", "INFO step 9"]
    assert texts(log[-2:]) == ["INFO step 9", "INFO step 10"]


def test_a_day_stays_the_same_day_after_midnight(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = ended(filled)
    log.to_parquet(tmp_path / "x.parquet")
    of_day = {"since": "yesterday", "until": "yesterday"}
    kept = (
        cortex.logs("ml:train-1", **of_day),
        log.filter(**of_day),
        cortex.open(tmp_path / "x.parquet", **of_day),
        *cortex.scan([log], **of_day).logs,
    )
    windows = [(kept_log.query.since, kept_log.query.until) for kept_log in kept]
    scan, now = cortex.scan(["ml:train-1"], **of_day), time.time_ns()
    minutes = log.filter(since="10m")
    monkeypatch.setattr("cortex_jupyter.query.language.time", SimpleNamespace(time_ns=lambda: now + 3 * 86400 * 10**9))
    assert [(kept_log.query.since, kept_log.query.until) for kept_log in kept] == windows
    assert "yesterday" not in repr(kept) + repr(scan) and "since='20" in repr(kept[0])
    assert minutes.query.since == now + (3 * 86400 - 600) * 10**9


def test_a_range_of_numbers_stays_while_its_window_moves(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i * 10**9, f"INFO step {i}") for i in range(10)]).end()
    since_start = (time.time_ns() - T0) // 10**6
    log = cortex.logs("ml:train-1", since=f"{since_start - 4000}ms")
    older = cortex.logs("ml:train-1", until=f"{since_start - 6000}ms")
    newer, old = log.seq[:], older.seq[2:]
    first, last = [r.seq for r in newer], [r.seq for r in old]
    assert first[0] > 3 and first[-1] == 10 and last[0] == 2 and last[-1] < 10
    log._reader.query = {"since": "1s"}  # an hour passes
    for part, seqs in ((newer, first), (old, last)):
        assert part._reader.query == {} and [r.seq for r in part] == seqs
    assert older.seq[2].text == "INFO step 1"


@pytest.mark.filterwarnings("ignore:The cluster cannot be asked")
def test_a_filter_for_the_newest_run_of_a_range_of_numbers(filled: Filled, engine: Runtime) -> None:
    """When a further run begins, the range keeps its lines."""
    filled.lines([(1, 0, "first")])
    log = cortex.logs("ml:train-1", run=-1, pod="train-1-aa", container="main")
    part = log.seq[:]
    filled.lines([(filled.add(replace(filled.sources[1], container_id="c9", run=1)), 1, "second")]).end()
    assert texts(part) == ["first"] and texts(log.seq[:]) == ["second"]


def test_positions_up_to_the_end_are_found_by_the_column_of_numbers(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, read = ended(filled), list[object]()
    ordered = recording_reader.ordered
    monkeypatch.setattr(recording_reader, "ordered", lambda *given: map(read.append, ordered(*given)))
    for part, count in ((log[:-1], 149), (log[10:-10], 130), (log[-20:140], 10)):
        assert len(part) == count
    assert read == []


def test_a_part_shows_its_lines(filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ended(filled)
    part = log[98:101]
    lines = ["INFO step 98", "INFO step 99", "WARNING slow 0"]
    shown = part._repr_mimebundle_()["text/plain"].splitlines()
    assert shown[0] == "cortex_jupyter.logs('ml:job/train-1')[98:101]: 3 lines"
    assert [line.partition("/main ")[2] for line in shown[1:]] == lines
    monkeypatch.setattr("cortex_jupyter.notebook.tasklog.shows_html", lambda: True)
    bundle = part._repr_mimebundle_()
    assert all(line in bundle["text/html"] for line in lines) and "live view" not in bundle["text/html"]
    assert bundle.keys() == {"text/plain", "text/html"} and "150 lines" not in bundle["text/html"]
    filled_up = log[:]._repr_mimebundle_()["text/plain"].splitlines()
    assert filled_up[0].endswith("[:]: 150 lines") and len(filled_up) == 151
    monkeypatch.setattr("cortex_jupyter.notebook.tasklog.LINES", 20)
    shortened = log[:]._repr_mimebundle_()["text/plain"].splitlines()
    assert shortened[1] == "…" and shortened[2:] == filled_up[-20:]


def test_a_short_part_is_shown_without_reading_the_rest(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(50):
        filled.lines([(1, 10 * i + j, f"INFO step {10 * i + j}") for j in range(10)])
    filled.end()
    log, decoded = cortex.logs("ml:train-1"), list[bytes]()
    parts = log[0:3], log.seq[251:253], log[-2:]
    decode = Batch.decode
    monkeypatch.setattr(Batch, "decode", lambda data: decoded.append(data) or decode(data))
    for part, last in zip(parts, ("step 2", "step 251", "step 499"), strict=True):
        assert part._repr_mimebundle_()["text/plain"].endswith(last)
    assert 0 < len(decoded) <= 12
    assert log[:400].filter(tail=2)._repr_mimebundle_()["text/plain"].endswith("step 398\n" + repr(log[399]))
    assert log[0:3].filter(tail=0)._repr_mimebundle_()["text/plain"].endswith(": 0 lines")


async def test_follow_for_async_code(filled: Filled, engine: Runtime) -> None:
    log = await asyncio.to_thread(ended, filled)
    assert [r.text async for r in log.filter(pod="train-1-bb", tail=2).follow()] == [
        "WARNING slow 48",
        "WARNING slow 49",
    ]


def test_follow_continues_while_lines_are_written(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 0, "first")]).update(caught_up=1, state="running")
    filled.store.beat(RecorderInfo("tests", "test", "here", 1, time.time()))
    log, got, began = cortex.logs("ml:train-1"), [], threading.Event()
    # As with a cluster. Without one, an unfinished recording counts as abandoned.
    log._reader.recording.workload = _Unneeded()  # type: ignore[assignment]
    log._reader.recording.want = _nothing  # type: ignore[method-assign]
    log._reader.recording.problem = None

    def read() -> None:
        for record in log.follow():
            got.append(record.text)
            began.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(120)
    filled.lines([(1, 1, "second"), (2, 2, "third")])
    found = log.wait("thi", timeout=10)
    assert isinstance(found, Record) and found.text == "third"
    with pytest.raises(TimeoutError):
        log.wait("never", timeout=0.2)
    with pytest.raises(TimeoutError):
        log.wait(timeout=0.2)
    filled.end()
    reader.join(120)
    assert got == ["first", "second", "third"]
    assert log.wait() == Status("succeeded", "Job complete exit 0", 0, done=True)


class _Unneeded:
    obj: dict[str, object] = {}  # noqa: RUF012


async def _nothing() -> None: ...


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ({"contaner": "x"}, "container"),
        ({"follow": True}, ".follow()"),
        ({"since": "soon"}, "90s"),
        ({"tail": -1}, "0 or more"),
        ({"grep": "("}, "backslash"),
        ({"limit": 3}, "tail"),
        ({"stream": "x"}, "stdout"),
        ({"where": "loss<<3"}, "field op value"),
    ],
)
def test_a_bad_query_is_an_error_at_once(filled: Filled, engine: Runtime, query: dict[str, object], hint: str) -> None:
    ended(filled)
    with pytest.raises(BadQuery) as told:
        cortex.logs("ml:train-1", **query)
    assert hint in told.value.hint


def test_missing_records_and_tasks_are_errors(filled: Filled, engine: Runtime) -> None:
    ended(filled)
    with pytest.raises(ContainerNotFound, match="nginx"):
        cortex.logs("ml:train-1", container="nginx")
    with pytest.raises(NoCluster):
        cortex.logs("ml:train-2")
    with pytest.raises(NoCluster):
        cortex.tasks()
    for listed in (cortex.tasks, cortex.scan):
        with pytest.raises(BadQuery, match="is no namespace"):
            listed(namespace="ml/../../nodes/n1/proxy")
    with pytest.raises(NoCluster, match="/elsewhere"):
        cortex.logs("ml:train-1", kubeconfig="/elsewhere")


def test_a_name_is_a_task_wherever_a_task_is_taken(filled: Filled, engine: Runtime, tmp_path: Path) -> None:
    good = ended(filled)
    bad = Filled(filled.store, "bad", "trial1").lines([(1, 0, "INFO step 0"), (1, 1, "ERROR broken"), (2, 2, "x")])
    bad.end(1, "failed", "Job failed exit 1")
    by_name = good.compare("trial1:bad")
    assert by_name.names == ("ml:job/train-1", "trial1:job/bad")
    assert repr(by_name) == repr(good.compare(cortex.logs("trial1:bad")))
    # A name alone is in the same namespace, and the parameters are those of this log.
    assert cortex.logs("trial1:bad").compare("bad").first is None
    assert cortex.logs("trial1:bad", grep="INFO").compare("ml:train-1").only_b.to_pandas().pattern.tolist() == []
    with pytest.raises(NoCluster):
        good.compare("trial1:other")
    (tmp_path / "old.log").write_text("INFO step 0")
    assert cortex.open(tmp_path / "old.log").compare("trial1:bad").names[1] == "trial1:job/bad"
    assert [log.task for log in cortex.scan(["trial1:bad", good]).logs] == ["trial1:job/bad", "ml:job/train-1"]


SCRIPT = """
import sys, cortex_jupyter as cortex
log = cortex.logs("ml:train-1")
heavy = {"pyarrow", "pandas", "polars", "kubernetes", "IPython", "anywidget", "jupyter_server"} & set(sys.modules)
print(sorted(heavy))
print(len(log), log.exit_code, [r.text for r in log.filter(tail=1)], log.wait("slow 7").text)
print(len(log.to_pandas()))
"""


def test_a_log_in_a_script(filled: Filled) -> None:
    ended(filled, 4)
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert "pyarrow" not in first and "IPython" not in first and "anywidget" not in first
    assert rest == ["150 4 ['WARNING slow 49'] WARNING slow 7", "150"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_runtime_of_its_own(filled: Filled, engine: Runtime) -> None:
    log = ended(filled)
    assert len(log) == 150
    pid = os.fork()
    if pid == 0:
        os._exit(0 if len(cortex.logs("ml:train-1")) == 150 else 1)
    for _ in range(300):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    assert done == pid and os.waitstatus_to_exitcode(status) == 0
    assert len(log) == 150


TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "train.py", line 3, in <module>',
    "    step()",
    "RuntimeError: loss is NaN",
]


@pytest.mark.parametrize("archived", [False, True])
def test_a_filter_by_level_keeps_tracebacks_whole(
    filled: Filled, engine: Runtime, tmp_path: Path, *, archived: bool
) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(5)])
    for i, text in enumerate(TRACEBACK):  # two pods write at once, each line is a batch
        filled.lines([(1, 10 + i, text), (2, 10 + i, f"INFO step {i}")])
    filled.lines([(2, 20, "ERROR lost a peer"), (1, 21, "INFO bye")])
    filled.end(1, "failed", "Job failed exit 1")
    log = cortex.logs("ml:train-1")
    if archived:
        log.to_parquet(tmp_path / "train.parquet")
        log = cortex.open(tmp_path / "train.parquet")
    errors = log.filter(level="error")
    wanted = [*TRACEBACK, "ERROR lost a peer"]
    assert texts(errors) == errors.to_pandas().text.tolist() == wanted
    assert (len(errors), [record.text for record in errors.follow()]) == (5, wanted)
    assert [errors[i].text for i in (0, 3, -1)] == [wanted[0], wanted[3], wanted[-1]]
    assert texts(log.filter(level="error", tail=2)) == wanted[-2:]
    assert texts(log.filter(level="error", grep="NaN")) == wanted[3:4]
    assert texts(log.filter(level="=info")) == [f"INFO step {i}" for i in (*range(5), *range(4))] + ["INFO bye"]
