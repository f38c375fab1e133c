from __future__ import annotations

import re

import pytest
from support.rows import Row, table

from cortex_jupyter.analysis.compare import compare
from cortex_jupyter.analysis.comparison import Comparison
from cortex_jupyter.analysis.pattern_table import Patterns
from cortex_jupyter.analysis.patterns import BINS, patterns


def run(pods: str = "ab", slow: float = 1.0, steps: int = 30, bad: int | None = None) -> list[Row]:
    """Return a run of two pods; `bad` is the step at which the second one fails."""
    rows: list[Row] = []
    for index, suffix in enumerate(pods):
        at, pod = index * 0.01, f"train-{index}-{suffix * 5}"
        rows.append((at, pod, f"mounting s3://demo/7f3a{index}{pods} (read only)"))
        at += 2 * slow
        rows.append((at, pod, f"INFO data ready, {200 + index} MiB"))
        for step in range(steps):
            at += 0.1 * slow
            if step == bad and index == 1:
                rows += [(at, pod, "WARNING gradient exploded"), (at, pod, "RuntimeError: device-side assert")]
                break
            rows.append((at, pod, f"INFO step {step} loss={1 / (step + 1):.3f}"))
        else:
            rows.append((at + 1, pod, "INFO finished"))
    return sorted(rows, key=lambda row: row[0])


def test_equal_lines_are_one_pattern_with_counts_over_time() -> None:
    found = patterns(table(run(bad=20))).to_pylist()
    assert [(r["pattern"], r["count"], r["level"], r["pods"]) for r in found[:3]] == [
        ("step <*> loss=<*>", 50, "info", 2),
        ("mounting s3://demo/<*> (read only)", 2, None, 2),
        ("data ready, <*> MiB", 2, "info", 2),
    ]
    assert all(len(r["counts"]) == BINS and sum(r["counts"]) == r["count"] for r in found)
    assert sum(r["count"] for r in found) == 57 and sum(r["share"] for r in found) == pytest.approx(1)
    step = found[0]
    assert step["example"] == "INFO step 0 loss=1.000" and step["first"].timestamp() == pytest.approx(2.1)
    assert {r["level"] for r in found} == {"info", "warning", "error", None}


def test_words_without_digits_can_vary_and_prose_is_not_merged() -> None:
    rows = [
        (i, "p", f"user {name} logged in from {place}")
        for i, (name, place) in enumerate([("alice", "home"), ("bob", "work"), ("carol", "train")])
    ]
    rows += [(5, "p", "the disk is full"), (6, "p", "all workers have joined the ring")]
    assert [r["pattern"] for r in patterns(table(rows)).to_pylist()] == [
        "user <*> logged in from <*>",
        "the disk is full",
        "all workers have joined the ring",
    ]


def test_all_states_of_a_progress_bar_are_one_pattern() -> None:
    rows: list[Row] = [
        (float(i), "p", f"train: {i * 10}%|{'#' * i}{' ' * (10 - i)}| {i}/10 [00:0{i}<00:09,  1.00it/s]")
        for i in range(10)
    ]
    rows += [(20.0 + i, "p", f"{i}/9 {'━' * (i + 5)} 2s 20ms/step") for i in range(9)]
    assert [r["count"] for r in patterns(table(rows)).to_pylist()] == [10, 9]


def test_a_patterns_expression_finds_its_lines() -> None:
    rows = run(bad=20)
    found = Patterns(patterns(table(rows)))
    for place, row in enumerate(found):
        pattern = re.compile(found.grep(place))
        assert sum(bool(pattern.search(text)) for _, _, text in rows) == row["count"]


@pytest.mark.parametrize(
    "rows", [[], [(0.0, "p", "")], [(0.0, "p", "\r\r"), (0.0, "p", "\x00\x01 \x1b[31m")], [(0.0, "p", "x " * 9000)]]
)
def test_odd_logs_give_a_frame(rows: list[Row]) -> None:
    found = patterns(table(rows))
    assert found.num_rows == len({text for *_, text in rows}) and found.schema.names[0] == "pattern"
    Patterns(found)._repr_html_()
    Comparison(compare(table(rows), table(run())), ("x", "y"))._repr_html_()
    assert repr(Comparison(compare(table(rows), table(rows)), ("x", "y"))).endswith("except for numbers and ids")


def test_runs_with_equal_lines_do_not_differ() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy"))), ("one", "two"))
    assert found.first is None and not found.only_a and not found.only_b
    assert [r["kind"] for r in found.durations] == ["run"]
    assert "The same lines" in found._repr_html_()


def test_the_first_difference_and_the_patterns_of_one_run() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy", bad=20))), ("one", "two"))
    assert found.first is not None and found.first.a is not None and found.first.b is not None
    assert found.first.a["text"].startswith("INFO step 20") and found.first.b["text"] == "WARNING gradient exploded"
    assert found.first.b["pod"] == "train-1-yyyyy" and found.first.before[-1].startswith("INFO step 19")
    assert [(r["pattern"], r["count_a"], r["count_b"]) for r in found.only_b] == [
        ("gradient exploded", 0, 1),
        ("RuntimeError: device-side assert", 0, 1),
    ]
    assert not found.only_a and found.to_pandas()["in"].tolist()[:3] == ["b", "b", "both"]
    html = found._repr_html_()
    assert "WARNING gradient exploded" in html and "<script" not in html


def test_durations_that_differ() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy", slow=2))), ("one", "two"))
    assert found.first is None
    kinds = {(r["kind"], r["what"]): (round(r["a"], 2), round(r["b"], 2)) for r in found.durations}
    assert kinds["every", "step <*> loss=<*>"] == (0.1, 0.2)
    assert kinds["phase", "mounting s3://demo/<*> (read only) → data ready, <*> MiB"] == (2.0, 4.0)
    assert kinds["run", "the whole log"] == (6.01, 11.01)


def test_a_late_pod_does_not_count_as_diverging_late() -> None:
    """The other pod is killed four lines after this one fails, which by the run's clock is much earlier."""

    def late(rows: list[Row]) -> list[Row]:
        return [(at + 5 * ("-1-" in pod), pod, text) for at, pod, text in rows]

    killed = [row for row in run("xy", bad=20) if not ("-0-" in row[1] and row[0] > 2 + 24.5 * 0.1)]
    found = Comparison(compare(table(late(run("ab"))), table(late(killed))), ("one", "two"))
    assert found.first is not None and found.first.b is not None
    assert found.first.b["text"] == "WARNING gradient exploded"


def test_a_run_that_ends_early_diverges_at_its_end() -> None:
    found = Comparison(compare(table(run()), table(run(steps=10)[:-2])), ("one", "two"))
    assert found.first is not None and found.first.b is None and "has ended" in found._repr_html_()
