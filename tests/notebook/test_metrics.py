from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from frames.filled import Filled

import cortex_jupyter as cortex
from cortex_jupyter.notebook.tasktable import TaskTable, _add_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.recording.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:.*ipykernel.*:DeprecationWarning")


def lines(first: int, last: int) -> list[tuple[int, int, str]]:
    return [(1 + i % 2, i * 10**9, f"INFO step {i} loss={1 / (i + 1):.4f} acc={i / 100}") for i in range(first, last)]


def test_metrics_of_a_log_are_a_frame_and_a_picture(filled: Filled, engine: Runtime) -> None:
    filled.lines(lines(0, 50)).end()
    found = cortex.logs("ml:train-1").metrics()
    assert found.names == ["loss", "acc"] and len(found) == 100 == len(found.to_pandas()) == pl.DataFrame(found).height
    assert duckdb.sql("select max(value) from found where name = 'loss'").fetchall() == [(1.0,)]
    assert found.summary()[0] == {"name": "loss", "values": 50, "first": 1.0, "last": 0.02, "least": 0.02, "most": 1.0}
    assert "<td" in found._repr_html_() and repr(found).splitlines()[1].split()[:2] == ["loss", "50"]
    shown = found.plot("loss")._repr_mimebundle_()
    assert shown.keys() == {"text/plain", "text/html"}, "nothing to follow, so no widget"
    assert "aa" in shown["text/html"] and "bb" in shown["text/html"] and "acc" not in shown["text/html"]
    assert not cortex.logs("ml:train-1").metrics("nothing")


def test_two_tasks_in_one_picture(store: Store, engine: Runtime) -> None:
    for name in ("train-1", "train-2"):
        Filled(store, name).lines(lines(0, 20)).end()
    both = cortex.logs("ml:train-1").metrics("loss") + cortex.logs("ml:train-2").metrics("loss")
    html = both.plot().html()
    assert len(both) == 40 and all(label in html for label in ("train-1 aa", "train-2 train-1-bb"))


def test_a_chart_follows_a_task_that_runs(filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortex_jupyter.notebook.chart._EVERY_S", 0.02)
    filled.lines(lines(0, 20)).update(caught_up=1, state="running")
    chart = cortex.logs("ml:train-1").metrics().plot()
    assert "application/vnd.jupyter.widget-view+json" in chart._repr_mimebundle_()
    assert "live" in chart._widget.value
    filled.lines(lines(20, 40))
    until(lambda: len(chart.metrics) == 80)
    filled.lines(lines(40, 50)).end()
    until(lambda: "live" not in chart._widget.value)
    assert len(chart.metrics) == 100
    chart._widget.close()


def until(test: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not test():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_list_of_tasks_says_how_far_they_are(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i * 10**9, f"epoch {i}/8") for i in range(1, 5)]).update(state="running", caught_up=1)
    found = [{"task": "ml:job/train-1", "state": "running"}, {"task": "ml:job/other", "state": "running"}]
    recordings = engine.run(engine.recordings())
    _add_progress(recordings, found)
    assert found[0]["progress"] == "epoch 50%, 4/8, 1 epoch/s, 4 s left" and "progress" not in found[1]
    assert "50%" in repr(TaskTable(found)) and "4 s left" in TaskTable(found)._repr_html_()
    assert "PROGRESS" not in repr(TaskTable(found[1:]))
