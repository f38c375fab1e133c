from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from support.filled import T0, Filled

import cortex_jupyter as cortex
from cortex_jupyter.analysis.colours import hex_colour, source_colour
from cortex_jupyter.analysis.curves import panels
from cortex_jupyter.model import rfc3339
from cortex_jupyter.notebook import tasktable
from cortex_jupyter.notebook.tasktable import TaskTable, _add_progress
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*ipykernel.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The cluster cannot be asked"),  # the tests write recordings without a cluster
]


def lines(first: int, last: int) -> list[tuple[int, int, str]]:
    return [(1 + i % 2, i * 10**9, f"INFO step {i} loss={1 / (i + 1):.4f} acc={i / 100}") for i in range(first, last)]


def test_metrics_of_a_log_are_a_frame_and_a_chart(filled: Filled, engine: Runtime) -> None:
    filled.lines(lines(0, 50)).end()
    found = cortex.logs("ml:train-1").metrics()
    assert found.names == ["loss", "acc"] and len(found) == 100 == len(found.to_pandas()) == pl.DataFrame(found).height
    assert duckdb.sql("select max(value) from found where name = 'loss'").fetchall() == [(1.0,)]
    assert found.summary()[0] == {"name": "loss", "values": 50, "first": 1.0, "last": 0.02, "least": 0.02, "most": 1.0}
    assert "<td" in found._repr_html_() and repr(found).splitlines()[1].split()[:2] == ["loss", "50"]
    shown = found.plot("loss")._repr_mimebundle_()
    assert shown.keys() == {"text/plain", "text/html"}, "a completed log, which cannot be followed, gives a widget"
    assert "aa" in shown["text/html"] and "bb" in shown["text/html"] and "acc" not in shown["text/html"]
    assert not cortex.logs("ml:train-1").metrics("nothing")


def test_two_tasks_in_one_chart(store: Store, engine: Runtime) -> None:
    for name in ("train-1", "train-2"):
        Filled(store, name).lines(lines(0, 20)).end()
    both = cortex.logs("ml:train-1").metrics("loss") + cortex.logs("ml:train-2").metrics("loss")
    html = both.plot().html()
    assert len(both) == 40 and all(label in html for label in ("train-1 aa", "train-2 train-1-bb"))


def test_a_curve_has_the_colour_that_its_pod_or_rank_has_in_the_viewer(store: Store, engine: Runtime) -> None:
    filled = Filled(store, "train-1").lines(lines(0, 20)).end()
    pods = dict.fromkeys(source.pod for source, _ in store.sources(filled.id).values())
    html = cortex.logs("ml:train-1").metrics("loss").plot().html()
    colours = [hex_colour(source_colour(pod, "train-1")) for pod in pods]
    assert len(set(colours)) == 2 and all(f'stroke="{colour}"' in html for colour in colours)
    ranked = panels(
        cortex.logs("ml:train-1").metrics("loss").to_arrow(),
        members={("ml:job/train-1", pod): ("worker", str(rank)) for rank, pod in enumerate(pods)},
    )
    assert {curve.colour for curve in ranked[0].curves} == {hex_colour(0), hex_colour(1)}


def test_a_chart_follows_a_running_task(filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortex_jupyter.notebook.metrics._EVERY_S", 0.02)
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


S = 10**9


@pytest.mark.parametrize(
    ("later", "query", "reads"),
    [
        pytest.param([(1, 9 * S, "loss=0.5"), (2, 9 * S, "loss=0.6 acc=1")], {}, 1, id="new lines"),
        pytest.param(
            [(1, 9 * S, "nothing"), (2, 10 * S, "Epoch 4/5"), (2, 11 * S, "loss=0.1")], {}, 1, id="a new epoch"
        ),
        pytest.param([(2, 5 * S, "loss=3"), (2, 6 * S, "loss=4")], {}, 1, id="of another pod, in between"),
        pytest.param([(1, 5 * S, "loss=3")], {}, 2, id="older than those before them"),
        pytest.param([(1, 9 * S, "rank=3 loss=0.5")], {}, 2, id="a rank that is told late"),
        pytest.param([(1, 9 * S, "loss=0.5")], {"tail": 4}, 1, id="the last lines"),
        pytest.param([(1, 9 * S, "loss=0.5")], {"grep": "loss"}, 1, id="a filter"),
        pytest.param([], {}, 1, id="nothing new"),
    ],
)
def test_growing_metrics_equal_those_of_the_whole_log(
    filled: Filled, engine: Runtime, later: list[tuple[int, int, str]], query: dict[str, Any], reads: int
) -> None:
    filled.lines(
        [(1, 0, "Epoch 1/5"), (1, S, "loss=1"), (2, 2 * S, "step=7 loss=2"), (1, 7 * S, "loss=1.5"), (1, 8 * S, "-")]
    )
    filled.update(caught_up=1, state="running")
    log = cortex.logs("ml:train-1", **query)
    grown = log.metrics()
    [source] = grown.sources
    asked: list[int] = []
    read = source._growing._read
    source._growing._read = lambda start: asked.append(start) or read(start)
    if later:
        filled.lines(later)
    columns = ("time", "step", "name", "value", "task", "pod", "rank", "seq")
    for _ in range(2):
        whole = log.metrics().to_arrow().select(columns).to_pylist()
        assert grown.reread().to_arrow().select(columns).to_pylist() == whole
    assert len(asked) == reads + 1
    assert (asked[0] == 0) == ("tail" in query), "not only new lines are read"
    filled.end()


def test_metrics_of_lines_that_leave_the_window_are_dropped(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i * S, f"step={i} loss={i}") for i in range(10)]).update(caught_up=1, state="running")
    [source] = cortex.logs("ml:train-1", since=rfc3339(T0)).metrics().sources
    # The window moves with the clock. The test moves it instead of waiting.
    source._growing._query = lambda: LogQuery.parse({"since": rfc3339(T0 + 3 * S)})
    assert source.table()["value"].to_pylist() == [3, 4, 5, 6, 7, 8, 9]
    filled.end()


def until(test: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not test():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_list_of_many_tasks_looks_back_only_for_a_limited_time(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = [f"eval: {i // 50}%|##| {i}/5000 [00:01<00:01, 800it/s]" for i in range(5001)]
    texts = ["step 700/900 loss=1.5", *evaluation]
    rows = [(1, i * 10**9, text) for i, text in enumerate(texts)]
    for i in range(0, len(rows), 200):
        filled.lines(rows[i : i + 200])
    filled.update(state="running", caught_up=1)
    recordings = engine.run(engine.recordings())
    times = iter([0.0, 1.0, 9.0])
    monkeypatch.setattr(tasktable, "time", SimpleNamespace(monotonic=lambda: next(times)), raising=False)
    found = [{"task": filled.ref.key, "state": "running", "recorded": True} for _ in range(2)]
    _add_progress(recordings, found)
    assert [task.get("progress", "").split(",")[0] for task in found] == ["step 78%", ""]


def test_the_list_of_tasks_shows_their_progress(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i * 10**9, f"epoch {i}/8") for i in range(1, 5)]).update(state="running", caught_up=1)
    found = [
        {"task": f"ml:job/{name}", "state": "running", "recorded": held}
        for name, held in (("train-1", True), ("other", False))
    ]
    recordings = engine.run(engine.recordings())
    _add_progress(recordings, found)
    assert found[0]["progress"] == "epoch 50%, 4/8, 1 epoch/s, 4 s left" and "progress" not in found[1]
    assert "50%" in repr(TaskTable(found)) and "4 s left" in TaskTable(found)._repr_html_()
    assert "PROGRESS" not in repr(TaskTable(found[1:]))
