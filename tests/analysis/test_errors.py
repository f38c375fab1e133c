from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from support.rows import Row, table

from cortex_jupyter.analysis.error_list import Errors
from cortex_jupyter.analysis.errors import errors
from cortex_jupyter.analysis.progress import latest_progress
from cortex_jupyter.analysis.progress import progress_bars as progress
from cortex_jupyter.analysis.progress_table import ProgressFrame, progress_text

if TYPE_CHECKING:
    from support.filled import Filled

TRACE = [
    "Traceback (most recent call last):",
    '  File "/app/train.py", line 88, in <module>',
    "    main()",
    '  File "/app/train.py", line 40, in step',
    "    loss.backward()",
    "RuntimeError: CUDA error at step {}: <b>assert</b>",
]


def failing(pods: int) -> list[Row]:
    rows: list[Row] = []
    for pod in range(pods):
        rows += [(pod * 0.1 + i, f"train-{pod}-abcde", f"INFO step {i}") for i in range(8)]
        rows += [(9 + pod * 0.001, f"train-{pod}-abcde", text.format(pod)) for text in TRACE]
        rows.append((10 + pod, f"train-{pod}-abcde", f"ERROR worker {pod} gave up"))
    return sorted(rows, key=lambda row: row[0])


def test_one_traceback_in_many_pods_is_one_error() -> None:
    first, second = errors(table(failing(64)))
    assert (first.kind, first.type, first.count, len(first.pods)) == ("python", "RuntimeError", 64, 64)
    assert first.title == "RuntimeError: CUDA error at step 0: <b>assert</b>" and first.pods[0] == "train-0-abcde"
    assert [(f.file, f.line, f.function) for f in first.frames] == [
        ("/app/train.py", 88, "<module>"),
        ("/app/train.py", 40, "step"),
    ]
    assert first.text.splitlines()[0] == TRACE[0] and first.context == [f"INFO step {i}" for i in range(3, 8)]
    assert (second.kind, second.type, second.message, second.count) == ("line", "ERROR", "worker 0 gave up", 64)
    assert first.first is not None and first.last is not None and first.last > first.first


def test_errors_are_a_sequence_a_frame_and_harmless_html() -> None:
    found = Errors(errors(table(failing(2))))
    assert len(found) == 2 and found[0].type == "RuntimeError" and [e.count for e in found] == [2, 2]
    frame = pl.DataFrame(found)
    assert frame["file"].to_list() == ["/app/train.py", None] and frame["line"].to_list() == [40, None]
    assert frame["frames"][0].len() == 2 and frame["pods"].list.len().to_list() == [2, 2]
    html = found._repr_html_()
    assert "<b>assert" not in html and "&lt;b&gt;assert" in html and "INFO step 7" in html
    assert "2x" in repr(found) and not Errors(errors(table([]))) and len(Errors([]).to_pandas().columns) == 15


def test_many_different_errors_are_all_listed() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefghijklm" for b in "nopqrstuvwxyz" for c in "abcdefgh"]
    rows = [(float(i), "p", f"ERROR cannot {word}") for i, word in enumerate(words)]
    assert [e.message for e in errors(table(rows))] == [f"cannot {word}" for word in words]


def test_progress_of_bars_and_counts() -> None:
    rows: list[Row] = [
        (0, "p", " 10%|#         | 10/100 [00:10<01:30,  1.00it/s]\r 62%|######    | 62/100 [01:02<00:38,  1.00it/s]"),
        *[(float(i), "q", f"INFO epoch {1 + i // 10}/4 loss=1 {10 * i}") for i in range(25)],
        (30, "p", "of the shards 3/4 are here"),
        (31, "p", "shard 5/5 verified"),
        (32, "p", "see /part/3/of/9"),
    ]
    found = progress(table(rows)).to_pylist()
    assert [(r["pod"], r["label"], r["step"], r["total"], r["remaining"]) for r in found] == [
        ("q", "epoch", 3, 4, 12.0),
        ("p", "", 62, 100, 38.0),
        ("p", "shard", 5, 5, 0.0),
        ("p", "shard", 3, 4, None),
    ]
    shown = ProgressFrame(progress(table(rows)))
    assert "62%, 62/100, 1 it/s, 38 s left" in repr(shown) and "62.0%" in shown._repr_html_()
    assert repr(ProgressFrame(progress(table([])))) == "no progress bars"


def evaluated(step: int) -> list[str]:
    """Return the lines of a training that evaluates every 100 steps, up to an evaluation."""
    lines = []
    for done in range(100, step + 1, 100):
        lines.append(
            f"train:  {done // 9}%|###   | {done}/900 [{done // 600:02}:{done // 10 % 60:02}<00:20, 10.00it/s]"
        )
        lines += [f"eval: {share}%|#####| {share * 40}/4000 [00:0{share // 20}<00:00, 800it/s]" for share in range(101)]
    return lines


def test_progress_is_of_what_runs_and_not_of_the_part_that_has_just_finished(filled: Filled) -> None:
    rows: list[Row] = [(float(i), "p", text) for i, text in enumerate(evaluated(700))]
    shown = progress_text(progress(table(rows)).to_pylist()[0])
    assert shown == "train 78%, 700/900, 10 it/s, 20 s left"
    filled.lines([(1, i * 10**9, text) for i, text in enumerate(evaluated(700))])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and progress_text(row) == shown
    # While the evaluation runs, the training that it belongs to is the progress of the task.
    filled.lines([(1, 10**12 + i, text) for i, text in enumerate(evaluated(800)[-102:-60])])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and (row["label"], row["step"]) == ("train", 800)


def test_progress_of_a_training_whose_evaluation_writes_thousands_of_lines(filled: Filled) -> None:
    texts = ["step 700/900 loss=1.5", *(f"eval: {i // 50}%|##| {i}/5000 [00:01<00:01, 800it/s]" for i in range(5001))]
    found = progress(table([(float(i), "p", text) for i, text in enumerate(texts)])).to_pylist()
    assert [(r["label"], r["step"]) for r in found] == [("step", 700), ("eval", 5000)]
    filled.lines([(1, i * 10**9, text) for i, text in enumerate(texts)])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and (row["label"], row["step"]) == ("step", 700)


def test_progress_of_a_task_that_has_finished_its_bars(filled: Filled) -> None:
    filled.lines([(1, i, f"shard {i}/9 verified") for i in range(1, 10)])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and (row["label"], row["fraction"]) == ("shard", 1)


def test_latest_progress_reads_only_the_last_lines(filled: Filled) -> None:
    assert latest_progress(filled.store, filled.id, 0) is None
    assert latest_progress(filled.store, filled.id + 1, 5) is None, "it has left the store"
    filled.lines([(1, i * 10**9, f"INFO epoch {1 + i // 100}/8 loss=1") for i in range(400)])
    filled.lines([(2, 400 * 10**9 + i, f"{i}%|#  | {i}/100 [00:10<01:30,  1.00it/s]") for i in range(3, 90)])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and progress_text(row) == "epoch 50%, 4/8, 0.00752 epoch/s, 8 min 52 s left"


def test_latest_progress_reads_on_to_the_newest_line_behind_a_large_entry(filled: Filled) -> None:
    """The first entry that holds one of the last lines is larger than what the store returns at once."""
    filled.lines([(1, i, f"INFO epoch 1/10 loss={i} {'x' * 400}") for i in range(4096)])
    filled.lines([(1, 10**9, "INFO epoch 9/10 loss=1")])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and (row["label"], row["step"]) == ("epoch", 9)


def test_latest_progress_keeps_the_containers_of_a_pod_apart(filled: Filled) -> None:
    """The main container and the init container of one pod count by turns."""
    texts = [(1, "epoch 1/10"), (3, "epoch 5/10"), (1, "epoch 2/10"), (3, "epoch 6/10")]
    filled.lines([(source, i * 10**9, text) for i, (source, text) in enumerate(texts)])
    row = latest_progress(filled.store, filled.id, filled.next - 1)
    assert row is not None and (row["step"], row["rate"], row["remaining"]) == (2, 0.5, 16)
