"""Metrics in TensorBoard and MLflow, written and read by their own libraries."""

from __future__ import annotations

import math
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import cortex_jupyter as cortex
from cortex_jupyter.errors import MissingExtra
from cortex_jupyter.notebook import metric_exports
from cortex_jupyter.notebook.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*ipykernel.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The cluster cannot be asked"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # MLflow's files, which need no database
]
S = 10**9


def lines(first: int, last: int) -> list[tuple[int, int, str]]:
    return [(1 + i % 2, i * S, f"step {i} loss={i / 4}") for i in range(first, last)]


def runs(folder: Path) -> dict[str, dict[str, list[tuple[float, int, float]]]]:
    """Return time, step and value by run and tag, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for run in folder.iterdir():
        events = accumulator.EventAccumulator(str(run), {"scalars": 0, "tensors": 0})
        events.Reload()
        tags = [*events.Tags()["scalars"]]
        found[run.name] = {tag: [(e.wall_time, e.step, e.value) for e in events.Scalars(tag)] for tag in tags}
    return found


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    library = pytest.importorskip("mlflow")
    before = library.get_tracking_uri()
    library.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield library
    library.set_tracking_uri(before)


def history(mlflow: Any, run: str, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in mlflow.MlflowClient().get_metric_history(run, name)]


def test_tensorboard_reads_a_run_for_each_pod_and_a_second_call_adds_only_what_is_new(
    filled: Filled, engine: Runtime, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    filled.lines(lines(0, 10)).update(caught_up=1, state="running")
    log = cortex.logs("ml:train-1")
    folder = tmp_path / "runs"
    assert log.metrics().to_tensorboard(folder) == 10
    assert log.metrics().to_tensorboard(folder) == 0
    filled.lines(lines(10, 14)).end()
    assert cortex.logs("ml:train-1").metrics().to_tensorboard(folder) == 4
    found = runs(folder)
    assert len(found) == 2 and all(name.startswith("train-1-") for name in found)
    values = sorted((step, value) for run in found.values() for _, step, value in run["loss"])
    assert values == [(i, i / 4) for i in range(14)]
    assert all(rows == sorted(rows) for run in found.values() for rows in run.values())


def test_a_folder_keeps_what_others_wrote(filled: Filled, engine: Runtime, tmp_path: Path) -> None:
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    filled.lines([(1, 0, "step 1 loss=1")]).end()
    log = cortex.logs("ml:train-1")
    writer.EventFileWriter(str(tmp_path)).close()
    before = [path.read_bytes() for path in tmp_path.glob("events*")]
    assert log.metrics().to_tensorboard(tmp_path) == 1
    assert [path.read_bytes() for path in tmp_path.glob("events*")] == before


def rows(*values: tuple[str, int | None, str, float | None, float]) -> Metrics:
    """Return metrics from (pod, rank, name, step, value), one second apart."""
    columns = list(zip(*values, strict=True))
    table = {
        "time": pa.array([i * S for i in range(len(values))], pa.timestamp("ns", "UTC")),
        "step": pa.array(columns[3], pa.float64()),
        "name": pa.array(columns[2]).dictionary_encode(),
        "value": pa.array(columns[4], pa.float64()),
        "task": pa.array(["ml:job/train"] * len(values)).dictionary_encode(),
        "pod": pa.array(columns[0]).dictionary_encode(),
        "rank": pa.array(columns[1], pa.int32()),
        "seq": pa.array(range(1, len(values) + 1), pa.int64()),
    }
    return Metrics(pa.table(table))


ODD = [
    ("a", None, "loss", None, 1.0),
    ("a", None, "loss", None, 2.0),
    ("a", 1, "eval/Acc@1", 7.0, math.nan),
    ("b", 0, "loss", 0.25, math.inf),
    ("b", 1, "loss", 9e300, 1e300),
    ("b", 0, "loss", 1.0, -3.0),
]


def test_values_without_a_whole_step_are_counted_and_ranks_of_a_pod_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert [rows(*ODD).to_tensorboard(tmp_path) for _ in range(2)] == [6, 0]
    found = {
        run: {tag: [(step, value) for _, step, value in rows] for tag, rows in tags.items()}
        for run, tags in runs(tmp_path).items()
    }
    assert found["a"]["loss"] == [(0, 1.0), (1, 2.0)]
    assert found["b"]["loss"] == [(0, math.inf), (1, -3.0)]
    assert found["b-rank-1"]["loss"] == [(0, math.inf)], "TensorBoard has 32 bits for a value"
    [(step, value)] = found["a-rank-1"]["eval/Acc@1"]
    assert step == 7 and math.isnan(value)


def test_mlflow_has_one_run_of_a_log_and_a_second_call_adds_only_what_is_new(
    filled: Filled, engine: Runtime, mlflow: Any
) -> None:
    filled.lines([(1, i * S // 4000, f"step {i} loss={i}") for i in range(2500)]).update(caught_up=1, state="running")
    first = cortex.logs("ml:train-1").metrics().to_mlflow()
    filled.lines([(1, 9 * S, "step 2500 loss=2500"), (2, 10 * S, "step 1 loss=7")]).end()
    assert [cortex.logs("ml:train-1").metrics().to_mlflow() for _ in range(2)] == [first, first]
    assert history(mlflow, first, "loss") == [(i, i) for i in range(2501)]
    run = mlflow.get_run(first)
    assert run.info.run_name == "train-1" and run.info.status == "FINISHED"
    [other] = run.data.metrics.keys() - {"loss"}
    assert other.endswith("/loss") and history(mlflow, first, other) == [(1, 7)]


def test_mlflow_takes_the_run_that_is_given_or_active(mlflow: Any) -> None:
    with mlflow.start_run() as run:
        assert rows(*ODD).to_mlflow() == run.info.run_id
        assert mlflow.active_run() is not None
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
    assert rows(*ODD, ("a", None, "loss", None, 5.0)).to_mlflow(run.info.run_id) == run.info.run_id
    assert history(mlflow, run.info.run_id, "loss") == [(0, 1.0), (1, 2.0), (2, 5.0)]
    assert history(mlflow, run.info.run_id, "b/loss") == [(0, math.inf), (1, -3.0)]
    [(step, value)] = history(mlflow, run.info.run_id, "a-rank-1/eval/Acc_1")
    assert step == 7 and math.isnan(value)


def test_two_runs_of_a_task_are_two_runs_of_mlflow(store: Store, engine: Runtime, mlflow: Any) -> None:
    one, two = (Metrics(rows(*ODD).to_arrow(), [Labelled(label)]) for label in ("ml:job/train 1", "ml:job/train 2"))
    assert one.to_mlflow() != two.to_mlflow()


class Labelled:
    """The source of a log that is complete."""

    def __init__(self, label: str) -> None:
        self._label = label

    def label(self) -> str:
        return self._label

    def mark(self) -> tuple[int, bool]:
        return 1, True

    def table(self) -> Any:
        raise AssertionError

    def members(self) -> dict[tuple[str, str], tuple[str, str]]:
        return {}


@pytest.mark.parametrize("target", ["tensorboard", "mlflow"])
def test_following_writes_what_comes_until_the_task_ends(
    filled: Filled, engine: Runtime, tmp_path: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(metric_exports, "_EVERY_S", 0.02)
    pytest.importorskip("tensorboard")
    filled.lines([(1, i * S, f"step {i} loss={i}") for i in range(5)]).update(caught_up=1, state="running")
    found = cortex.logs("ml:train-1").metrics()
    folder, result = tmp_path / "runs", []
    folder.mkdir()

    def follow() -> None:
        result.append(
            found.to_tensorboard(folder, follow=True) if target == "tensorboard" else found.to_mlflow(follow=True)
        )

    def count() -> int:
        if target == "tensorboard":
            return sum(len(tags["loss"]) for tags in runs(folder).values() if "loss" in tags)
        [*all_runs] = mlflow.search_runs(output_format="list")
        with suppress(mlflow.exceptions.MlflowException):  # the file of a run that begins is not whole yet
            return len(history(mlflow, all_runs[0].info.run_id, "loss")) if all_runs else 0
        return 0

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: count() == 5)
    filled.lines([(1, 9 * S, "step 5 loss=5")])
    until(lambda: count() == 6)
    assert thread.is_alive()
    filled.lines([(1, 10 * S, "step 6 loss=6")]).end()
    thread.join(120)
    assert result and count() == 7
    if target == "mlflow":
        assert mlflow.get_run(result[0]).info.status == "FINISHED"


def until(test: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not test():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("library", "extra"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, extra: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=f"needs {library}") as raised:
        rows(*ODD).to_tensorboard(tmp_path) if library == "tensorboard" else rows(*ODD).to_mlflow()
    assert raised.value.hint == f'pip install "cortex-jupyter[{extra}]"'


def test_a_call_after_one_that_was_cut_off_writes_the_rest(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    metrics = rows(*[("a", None, "loss", i, i / 2) for i in range(100)])
    metrics.to_tensorboard(tmp_path)
    [path] = (tmp_path / "a").iterdir()
    path.write_bytes(path.read_bytes()[:-1003])  # within an event
    missing = 100 - len(runs(tmp_path)["a"]["loss"])
    assert 0 < missing < 100
    assert [metrics.to_tensorboard(tmp_path) for _ in range(2)] == [missing, 0]
    assert sorted(step for _, step, _ in runs(tmp_path)["a"]["loss"]) == list(range(100))
