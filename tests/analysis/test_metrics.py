from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from cortex_jupyter.analysis.chart import chart
from cortex_jupyter.analysis.curves import panels
from cortex_jupyter.analysis.incremental import IncrementalMetrics
from cortex_jupyter.analysis.metrics import Carried, metrics
from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, str]  # pod, text


def table(rows: Sequence[Row], task: str = "ml:job/train") -> Any:
    """Return records one second apart."""
    coded = [pa.array(column, pa.string()).dictionary_encode() for column in ([r[0] for r in rows], [task] * len(rows))]
    columns = {
        "time": pa.array([i * 1_000_000_000 for i in range(len(rows))], pa.timestamp("ns", "UTC")),
        "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
        "task": pa.chunked_array([coded[1]]),
        "pod": pa.chunked_array([coded[0]]),
        "text": pa.chunked_array([pa.array([r[1] for r in rows], pa.large_string())]),
    }
    return pa.table(columns)


def values(found: Any) -> list[tuple[float | None, str, float, int | None]]:
    return [(r["step"], r["name"], r["value"], r["rank"]) for r in found.to_pylist()]


def test_the_frame_has_its_columns_also_without_a_row() -> None:
    for rows in ([], [("train-0-abcde", "nothing"), ("train-0-abcde", "")]):
        found = metrics(table(rows))
        assert found.num_rows == 0
        assert found.schema.names == ["time", "step", "name", "value", "task", "pod", "rank", "seq"]
        assert found.schema.field("value").type == pa.float64() and found.schema.field("rank").type == pa.int32()


def test_steps_ranks_and_epochs_carry_over_within_a_source() -> None:
    rows = [
        ("train-0-abcde", "Epoch 1/5"),
        ("train-1-abcde", "Epoch 2/5"),
        ("train-0-abcde", "100/100 - 2s - loss: 0.5"),
        ("train-1-abcde", "- loss: 0.4"),
        ("other", "rank=7 step=3 loss=0.1"),
        ("other", "loss=0.2"),
        ("other", "loss=nan"),
    ]
    found = metrics(table(rows), ("loss",))
    assert values(found.slice(0, 4)) == [
        (100, "loss", 0.5, 0),
        (2, "loss", 0.4, 1),
        (3, "loss", 0.1, 7),
        (None, "loss", 0.2, 7),
    ]
    assert math.isnan(found["value"][4].as_py()) and found["seq"].to_pylist() == [3, 4, 5, 6, 7]


def test_a_log_that_is_read_in_pieces_keeps_the_ranks_that_its_lines_name() -> None:
    """As of torchrun, whose processes all write into the log of one pod."""
    records = table([("p", "rank=0 loss=0.1"), ("p", "rank=1 loss=0.2"), ("p", "loss=0.3"), ("p", "rank=1 loss=0.4")])
    carried = Carried()
    pieces = [metrics(records.slice(i, 1), ("loss",), carried=carried) for i in range(4)]
    assert [value for piece in pieces for value in values(piece)] == values(metrics(records, ("loss",)))


def test_a_growing_log_has_the_ranks_that_its_lines_name() -> None:
    texts = ["rank=0 loss=0.1", "rank=1 loss=0.2", "loss=0.3", "rank=1 loss=0.4", "step=7 rank=2 loss=0.5", "loss=0.6"]
    records, starts = table([("p", text) for text in texts]), []

    def read(first: int) -> tuple[Any, int]:
        starts.append(first)
        return records.slice(max(0, first - 1), written - max(0, first - 1)), written

    growing = IncrementalMetrics(read, lambda: LogQuery.parse({"since": "all"}))
    for written in range(1, len(texts) + 1):
        assert values(growing.update()) == values(metrics(records.slice(0, written)))
    assert starts == [0, 2, 3, 4, 5, 6], "no line is read twice"


def test_rows_of_a_table_have_the_step_that_a_later_row_names_also_if_it_comes_later() -> None:
    texts = ["----", "| time/ | |", "|    fps | 9 |", "|    total_timesteps | 20 |", "|    time_elapsed | 3 |", "----"]
    records, starts = table([("p", text) for text in texts]), []

    def read(first: int) -> tuple[Any, int]:
        starts.append(first)
        return records.slice(max(0, first - 1), written - max(0, first - 1)), written

    growing = IncrementalMetrics(read, lambda: LogQuery.parse({"since": "all"}))
    for written in range(1, len(texts) + 1):
        assert values(growing.update()) == values(metrics(records.slice(0, written)))
    assert values(growing.update()) == [(20, "time/fps", 9, None), (20, "time/time_elapsed", 3, None)]
    assert starts.count(0) == 2, "all lines are read again only when the step has come"


def test_tables_of_two_pods_are_told_apart() -> None:
    rows = [("a", "epoch  loss"), ("b", "epoch  acc"), ("a", "1      0.5"), ("b", "2      0.6")]
    assert values(metrics(table(rows), ("loss", "acc"))) == [(1, "loss", 0.5, None), (2, "acc", 0.6, None)]


def test_pods_of_a_plain_job_have_no_rank() -> None:
    assert values(metrics(table([("train-1-x7k2p", "loss=1")], "ml:job/train-1"))) == [(None, "loss", 1.0, None)]
    assert values(metrics(table([("db-2", "loss=1")], "ml:statefulset/db"))) == [(None, "loss", 1.0, 2)]


def test_a_rank_that_the_operator_shows_counts_if_no_line_names_one() -> None:
    records = table([("bert-worker-3", "loss=1"), ("bert-worker-4", "rank=5 loss=2"), ("bert-master", "loss=3")])
    ranks = pa.array(["3", "4", "1-2"]).dictionary_encode()
    rows = metrics(records.append_column("rank", pa.chunked_array([ranks])))
    assert values(rows) == [(None, "loss", 1.0, 3), (None, "loss", 2.0, 5), (None, "loss", 3.0, None)]


def test_each_state_of_a_progress_bar_counts_and_colours_do_not() -> None:
    bar = "\x1b[32m" + "\r".join(f" {i}0%|# | {i}/10 [00:01<00:02, 3.6it/s, loss=0.{i}]" for i in (1, 2, 3)) + "\x1b[0m"
    assert values(metrics(table([("p", bar)]))) == [
        (1, "loss", 0.1, None),
        (2, "loss", 0.2, None),
        (3, "loss", 0.3, None),
    ]


def test_a_users_own_pattern_or_path() -> None:
    rows = [
        ("p", "took 3.5s at 7"),
        ("p", '{"train": {"loss": 0.5}, "loss": 9}'),
        ("p", "took long at 8"),
        ("p", "took nan at 9"),
    ]
    found = metrics(table(rows), pattern=r"took (?P<took>\S+) at (?P<step>\d+)")
    assert values(found.slice(0, 1)) == [(7, "took", 3.5, None)] and found.num_rows == 2
    assert values(metrics(table(rows), path="$.train")) == [(None, "train.loss", 0.5, None)]
    assert values(metrics(table(rows), ("train.*",))) == [(None, "train.loss", 0.5, None)]
    for pattern in ("took (", r"took (\S+)", r"(?P<step>\d+)"):
        with pytest.raises(BadQuery):
            metrics(table(rows), pattern=pattern)


@pytest.mark.parametrize(
    "text",
    [
        "=" * 5000,
        "a=1 " * 3000,
        '{"a":' * 2000 + "1" + "}" * 2000,
        "1" * 5000,
        "\x00\x00=1",
        "loss=0.5 step" + " " * 8000 + "x",
        "é=1 ☃: 2",
        "x" * (1 << 21) + " loss=1",
        "- " * 4000 + "1e",
        "{'a': " + "9" * 400 + "}",
        "[" * 3000 + "}",
        "-" * 100_000 + "x",
        "|" * 900 + "x",
        "a  " * 5000,
        "loss 1 " * 5000 + "x",
        "step 1 " + "a b c d " * 2000,
        "[" + "1" * 3000 + "] " * 3000,
    ],
)
def test_odd_lines_do_no_harm(text: str) -> None:
    found = metrics(table([("p", "loss=1"), ("p", text), ("p", "loss=2")]), ("loss",))
    assert next(v for _, _, v, _ in values(found)) == 1.0 and found["value"][-1].as_py() == 2.0


def test_a_null_byte_is_no_number() -> None:
    """Others stand in a file that was cut while its writer went on."""
    found = metrics(table([("p", "\0\0loss=0.5 step=4"), ("p", "\0loss=\0 step=5")]))
    assert values(found) == [(4, "loss", 0.5, None)]


def test_block_boundaries_never_mix_lines() -> None:
    lines = ["5", "-", "3", "", "e-4", "x7", "7x", "1e", "-5"] * 50
    found = shapes(pa.chunked_array([pa.array(lines[:7], pa.large_string()), pa.array(lines[7:], pa.large_string())]))
    got = [found.texts[s].replace("\0", "#") for s in found.shape.tolist()]
    assert got == ["#", "-", "#", "", "e-#", "#", "#", "#", "#"] * 50
    assert found.tokens(range(5)).to_pylist() == ["5", "3", "4", "x7", "7x"]


def drawn(rows: Sequence[Row], *names: str, x: str | None = None) -> str:
    return chart(panels(metrics(table(rows)), names, x))


def test_a_chart_marks_non_finite_values_and_escapes_text() -> None:
    rows = [("train-0-abcde", f'{{"step": {i}, "<b>loss": {"NaN" if i > 7 else i}}}') for i in range(10)]
    html = drawn(rows)
    assert "NaN from step 8" in html and "&lt;b&gt;loss" in html and "<b>" not in html and "<script" not in html


def uneven(*nan: int, ends: int = 20) -> list[Row]:
    """Return the lines of two ranks: the first ends early, the second has no number at some steps."""
    return [
        (f"train-{rank}-abcde", f"step={i} loss={'nan' if rank and i in nan else 100 + 100 * rank + i}")
        for i in range(60)
        for rank in (0, 1)
        if rank or i < ends
    ]


def tips(html: str) -> dict[str, list[str]]:
    """Return the values of the crosshair's positions by their headings."""
    stops = [re.findall(r"<text[^>]*>([^<]*)", part) for part in html.split('<g class="stop">')[1:]]
    return {heading: rows for heading, *rows in stops}


@pytest.mark.parametrize("ends", [20, 59])
def test_the_crosshair_names_only_the_curves_that_reach_it(ends: int) -> None:
    shown = tips(drawn(uneven(ends=ends)))
    assert shown["step 0"] == ["rank 0 100", "rank 1 200"] and shown["step 59"][-1] == "rank 1 259"
    assert len(shown["step 59"]) == (1 if ends == 20 else 2) and 30 <= len(shown) <= 40


def test_the_crosshair_reaches_the_end_of_a_curve_with_fewer_points() -> None:
    slow = [("train-1-abcde", f"step={i} loss={i}") for i in range(0, 100, 5)]
    shown = tips(drawn([*[("train-0-abcde", f"step={i} loss={i}") for i in range(40)], *slow]))
    assert shown["step 95"] == ["rank 1 95"]


def test_the_crosshair_names_a_value_that_is_no_number() -> None:
    assert tips(drawn(uneven(58, 59)))["step 59"] == ["rank 1 NaN"]


def test_the_number_of_a_chart_is_the_median_of_the_curves_that_go_on() -> None:
    html = drawn(uneven())
    assert ">median 259<" in html and "last values of 1 of 2 curves; the others have ended" in html
    html = drawn([row for row in uneven() if row[0].startswith("train-0")])
    assert ">119<" in html and "Last value" in html and "median" not in html


@pytest.mark.parametrize(
    ("nan", "words"),
    [
        ((30,), "NaN at step 30, rank 1<"),
        ((30, 33), "NaN at step 30, rank 1, and more<"),
        ((58, 59), "NaN from step 58, rank 1<"),
    ],
)
def test_a_nan_among_numbers_is_told_from_one_that_stays(nan: tuple[int, ...], words: str) -> None:
    assert words in drawn(uneven(*nan))


def test_steps_that_restart_are_drawn_over_time() -> None:
    again = [("p", f"epoch {i // 5} step {i % 5} loss={i}") for i in range(20)]
    [panel] = panels(metrics(table(again)), ("loss",))
    assert panel.by_time and not panels(metrics(table(again)), ("loss",), "step")[0].by_time
    [panel] = panels(metrics(table([("p", f"step {i} loss={i}") for i in range(20)])))
    assert not panel.by_time and panel.last == 19


def test_an_outlier_among_many_pods_is_drawn() -> None:
    rows = [
        (f"train-{p}-abcde", f"step={s} loss={1 / (s + 1) + p * 0.001 + (5 if p == 40 else 0)}")
        for s in range(20)
        for p in range(64)
    ]
    [panel] = panels(metrics(table(rows)))
    assert panel.band is not None and [c.label for c in panel.apart] == ["rank 40"]
    assert "64 sources" in chart([panel]) and len(chart([panel])) < 60_000


def test_constant_or_non_finite_metrics_still_give_a_chart() -> None:
    assert "no numbers that vary" in drawn([("p", "step=1 lr=1"), ("p", "step=2 lr=1")])
    assert "no finite values" in drawn([("p", "step=1 loss=nan"), ("p", "step=2 loss=nan")], "loss")
    assert ">loss<" in drawn([("p", "loss=3")], "loss")
