"""A comparison shows first which settings of two runs differ, and takes no step, time or loss for one."""

from __future__ import annotations

import pytest
from support.rows import Row, table

from cortex_jupyter.analysis.compare import compare
from cortex_jupyter.analysis.comparison import Comparison


def run(head: list[str], *, loss: float, pods: int = 2, tail: tuple[str, ...] = ()) -> list[Row]:
    """Return the lines of a training: its settings, steps with their loss, and what it writes at its end."""
    rows: list[Row] = []
    for pod in range(pods):
        steps = [
            f"step={i} loss={loss / (i + 1):.4f} lr_now={loss / (i + 2):.5f} took {i + loss:.2f}s" for i in range(9)
        ]
        texts = [f"rank={pod} pid={100 * pods + pod} host=10.0.{pods}.{pod}", *head, *steps, *tail]
        rows += [(pod * 0.001 + i, f"train-{pod}", text) for i, text in enumerate(texts)]
    return sorted(rows)


def differing(a: list[Row], b: list[Row]) -> list[tuple[str, str, str]]:
    comparison = Comparison(compare(table(a), table(b)), ("a", "b"))
    return [(row["name"], row["a"], row["b"]) for row in comparison.hyperparameters]


def test_a_hyperparameter_that_differs_comes_first() -> None:
    a = run(["INFO starting lr=3e-4 batch_size=64 seed=7", "loaded 1000 rows in 3.2 s"], loss=1.5)
    b = run(["INFO starting lr=3e-2 batch_size=64 seed=7", "loaded 1000 rows in 4.1 s"], loss=9.5)
    comparison = Comparison(compare(table(a), table(b)), ("ml:job/a", "ml:job/b"))
    [row] = comparison.hyperparameters
    assert (row["name"], row["a"], row["b"]) == ("lr", "3e-4", "3e-2")
    assert row["line_a"] == "INFO starting lr=3e-4 batch_size=64 seed=7" and "lr=3e-2" in row["line_b"]
    lines = repr(comparison).splitlines()
    assert lines[1:3] == ["hyperparameters that differ:", "  lr: 3e-4 -> 3e-2"]
    html = comparison._repr_html_()
    assert html.index("Hyperparameters that differ") < html.index("3e-2") < html.index("<svg")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("args: Namespace(lr=0.0003, wd=0.1)", "args: Namespace(lr=0.03, wd=0.1)"),
        ('{"event": "config", "lr": 0.0003, "wd": 0.1}', '{"event": "config", "lr": 0.03, "wd": 0.1}'),
        ("{'lr': 0.0003, 'wd': 0.1}", "{'lr': 0.03, 'wd': 0.1}"),
        ("  lr: 0.0003", "  lr: 0.03"),
        ("+ python train.py --lr 0.0003 --wd 0.1", "+ python train.py --lr 0.03 --wd 0.1"),
        ("+ python train.py --lr=0.0003 --wd=0.1", "+ python train.py --lr=0.03 --wd=0.1"),
    ],
)
def test_the_forms_of_settings(a: str, b: str) -> None:
    assert differing(run([a], loss=1), run([b], loss=2)) == [("lr", "0.0003", "0.03")]


def test_words_are_values_and_equal_numbers_are_equal() -> None:
    a = run(["optimizer=adam lr=0.0003 amp=True"], loss=1)
    b = run(["optimizer=sgd lr=3e-4 amp=False"], loss=2)
    assert differing(a, b) == [("optimizer", "adam", "sgd"), ("amp", "True", "False")]


def test_what_a_run_measures_is_no_hyperparameter() -> None:
    """Also not what is written once: at the end, or before the first step."""
    a = run(["epoch=0 val_loss=7.1 load_time=3.2", "started=2026-01-01T12:00:00Z run_id=4f3a9c1e"], loss=1)
    b = run(["epoch=0 val_loss=8.9 load_time=4.9", "started=2026-01-02T12:00:00Z run_id=77aa0b3c"], loss=2)
    assert differing(a, b) == []
    ends = [(f"best=0.{i} checkpoint=/out/{i}.pt", f"total={i}") for i in (4, 9)]
    assert differing(run([], loss=1, tail=ends[0]), run([], loss=1, tail=ends[1])) == []


def test_a_value_that_stays_the_same_in_all_steps_is_a_hyperparameter() -> None:
    def steps(lr: str, loss: float) -> list[Row]:
        return [(float(i), "p", f"step={i} lr={lr} loss={loss / (i + 1)}") for i in range(1, 20)]

    assert differing(steps("3e-4", 1.0), steps("3e-2", 2.0)) == [("lr", "3e-4", "3e-2")]


def test_a_setting_that_differs_between_pods_of_one_run_is_none() -> None:
    a = [(0.0, "p-0", "shard=3 world_size=2"), (0.1, "p-1", "shard=4 world_size=2")]
    b = [(0.0, "p-0", "shard=5 world_size=3"), (0.1, "p-1", "shard=6 world_size=3")]
    assert differing(a, b) == [("world_size", "2", "3")]
    assert differing([], []) == differing(a, a) == []


def test_names_that_stand_in_several_lines_are_told_apart_by_their_line() -> None:
    a = run(["optimizer lr=0.1", "scheduler lr=5"], loss=1)
    b = run(["optimizer lr=0.2", "scheduler lr=5"], loss=1)
    assert differing(a, b) == [("lr", "0.1", "0.2")]


def test_the_first_lines_of_a_setting_are_shown_whatever_the_order_of_a_set() -> None:
    names = [f"name_{letter}" for letter in "abcdefghijklmnopqrst"]

    def lines(value: int) -> list[Row]:
        texts = [f"{name}={value}" for name in names] + [f"again {name}={value}" for name in names]
        return [(float(i), "p", text) for i, text in enumerate(texts)]

    rows = Comparison(compare(table(lines(1)), table(lines(2))), ("a", "b")).hyperparameters
    assert [(row["name"], row["line_a"]) for row in rows] == [(name, f"{name}=1") for name in names]


@pytest.mark.parametrize("counters", ["epoch 1/1 step {}", "Epoch: 1 batch={} round 2", "step={} epoch=1"])
def test_results_after_the_steps_are_none_if_lines_have_several_counters(counters: str) -> None:
    def lines(loss: float) -> list[Row]:
        steps = [f"{counters.format(i)} loss={loss / (i + 1):.4f}" for i in range(1, 9)]
        texts = [f"lr={loss}", *steps, f"wer={loss + 1} f1=0.{loss:.0f} dice={loss}"]
        return [(float(i), "p", text) for i, text in enumerate(texts)]

    assert differing(lines(3.0), lines(5.0)) == [("lr", "3.0", "5.0")]
