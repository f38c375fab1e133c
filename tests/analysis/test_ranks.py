"""The ranks of a task: how far each is, which is slow, silent, or for which the others wait."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from analysis.training import Training

from cortex_jupyter.analysis.diagnosis import Container
from cortex_jupyter.analysis.errors import errors
from cortex_jupyter.analysis.hangs import hangs
from cortex_jupyter.analysis.ranks import compare_ranks
from cortex_jupyter.analysis.ranks_frame import Ranks
from cortex_jupyter.analysis.steps import read_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.analysis.diagnosis import Containers


def found(training: Training, containers: Containers | None = None, *, is_over: bool = False) -> Ranks:
    table = training.table()
    progress = read_progress(table)
    hang = hangs(table, progress, training.end, is_over=is_over).last
    behind = hang["behind"] if hang else ()
    return Ranks(compare_ranks(table, progress, containers or {}, errors(table), training.end, late_ranks=behind))


def notes(ranks: Ranks) -> dict[str, str]:
    return {f"{row['role']}-{row['rank']}": row["note"] for row in ranks if row["note"]}


def on_their_own(ranks: int, slow: Sequence[int] = (), silent: Sequence[int] = (), steps: int = 200) -> Training:
    """Return a training whose ranks do not wait for each other."""
    training, chance = Training(ranks), random.Random(3)
    training.now = 2.0 * steps
    for rank in range(ranks):
        at, step = 0.0, 0
        while (at := at + (3.2 if rank in slow else 2) * max(0.2, chance.gauss(1, 0.1))) < training.now:
            if rank in silent and at > training.now * 0.6:
                break
            step += 1
            training.lines.append((at, rank, f"INFO trainer: step {step} loss=0.5"))
    return training


def test_the_slow_and_the_silent_rank_stand_out() -> None:
    ranks = found(on_their_own(16, slow=[3], silent=[7]))
    assert notes(ranks) == {"worker-3": "slow", "worker-7": "silent"}
    rows = list(ranks)
    assert [row["rank"] for row in rows] == [str(i) for i in range(16)]
    assert abs(rows[0]["step_s"] - 2) < 0.1 and 2 < rows[0]["step_p95_s"] < 3 and abs(rows[3]["step_s"] - 3.2) < 0.2
    assert rows[3]["lag"] > 60 and rows[7]["lag"] > 60 and abs(rows[0]["lag"]) < 8
    assert 150 < rows[7]["silent_s"] < 165 and rows[0]["silent_s"] < 5
    assert repr(ranks.plot()) == "the progress of 16 ranks: worker-3 slow, worker-7 silent"


@pytest.mark.parametrize("ranks", [1, 2, 16, 200])
def test_ranks_that_keep_up_have_no_note(ranks: int) -> None:
    assert not notes(found(on_their_own(ranks, steps=60)))
    assert not notes(found(Training(ranks).run(60).wait(120).run(60)))


def test_a_rank_that_is_late_in_each_step_is_slow() -> None:
    """With an all-reduce all ranks take as long as the slowest one; only it writes its line late."""
    training = Training(8)
    for step in range(100):
        training.now += 2
        for rank in range(8):
            training.lines.append((training.now + (0.9 if rank == 5 else 0.01 * rank), rank, f"step {step} loss=1.0"))
    ranks = found(training)
    assert notes(ranks) == {"worker-5": "slow"} and abs(list(ranks)[5]["late_s"] - 0.87) < 0.05


def test_the_clock_of_a_node_makes_no_rank_late() -> None:
    training = Training(16)
    for step in range(100):
        training.now += 2
        for rank in range(16):
            training.lines.append((training.now + 0.01 * rank + (5 if rank >= 8 else 0), rank, f"step {step} loss=1.0"))
    containers = {
        (pod := f"bert-worker-{rank}", "pytorch", 0): Container(
            pod, "pytorch", "main", 0, node=f"node-{rank // 8}", clock_s=5.0 if rank >= 8 else 0.0
        )
        for rank in range(16)
    }
    assert max(abs(row["late_s"]) for row in found(training)) > 2
    assert max(abs(row["late_s"]) for row in found(training, containers)) < 0.2


def test_steps_with_thousands_separators_go_on_after_999() -> None:
    training = Training(1, form="Step {step:,}/5,000: loss {loss:.3f}").run(1200)
    [rank] = found(training)
    assert rank["step"] == 1200 and rank["step_s"] < 4
    table = training.wait(900).table()
    [hang] = hangs(table, read_progress(table), training.end, is_over=False)
    assert hang["last"] == 1200


def test_a_clock_that_is_set_back_makes_no_step_long() -> None:
    before = Training(1).run(100)
    after = Training(1, now=before.now - 80, step=100).run(100)
    table = pa.concat_tables([before.table(), after.table()])
    [rank] = Ranks(compare_ranks(table, read_progress(table), {}, [], after.end))
    assert rank["step"] == 200 and rank["step_p95_s"] < 5


def test_a_rank_that_did_not_reach_the_last_step_is_behind_in_a_hang() -> None:
    training = Training(8).run(300).run(1, ranks=[0, 1, 2, 3, 4, 6, 7]).wait(900)
    assert notes(found(training)) == notes(found(training, is_over=True)) == {"worker-5": "behind"}
    assert not notes(found(Training(8).run(300).wait(900)))


def test_a_rank_that_writes_lines_but_makes_no_steps_is_stuck() -> None:
    training = on_their_own(8, silent=[2])
    for at in range(250, 400, 3):
        training.lines.append((float(at), 2, "WARNING waiting for data"))
    assert notes(found(training)) == {"worker-2": "stuck"}


def test_a_rank_shows_its_first_error() -> None:
    training = Training(4).run(40).say("ERROR loss is nan at step 40", ranks=[2]).run(5).say("ERROR again", ranks=[2])
    ranks = found(training)
    row = list(ranks)[2]
    assert row["error"] == "ERROR: ERROR loss is nan at step 40"
    text = dict(zip(*(training.table()[name].to_pylist() for name in ("seq", "text")), strict=True))
    assert text[row["error_seq"]] == "ERROR loss is nan at step 40"
    assert [row["error"] for row in ranks if row["rank"] != "2"] == [None] * 3
    assert f"log.seq[{row['error_seq']}]" in repr(ranks) and f"log.seq[{row['error_seq']}]" in ranks._repr_html_()


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("[default{rank}]:", ["0", "1", "2", "3"]),
        ("[rank{rank}]: ", ["0", "1", "2", "3"]),
        ("[1,{rank}]<stdout>:", ["0", "1", "2", "3"]),
        ("(train_fn pid=70{rank}, ip=10.0.0.{rank}) ", [f"pid=70{i}, ip=10.0.0.{i}" for i in range(4)]),
    ],
)
def test_the_processes_of_one_container_are_ranks(prefix: str, names: list[str]) -> None:
    """As torchrun, PyTorch, Open MPI and Ray mark their lines."""
    lines = [
        (2.0 * step + rank / 100, prefix.format(rank=rank) + f"step {step} loss=0.5")
        for step in range(40)
        for rank in range(4)
    ]
    training = Training(1)
    training.lines, training.now = [(at, 0, text) for at, text in lines], 80
    table = training.table()
    for name in ("role", "rank"):
        empty = pa.array([""] * len(table)).dictionary_encode().cast(table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, empty)
    progress = read_progress(table)
    rows: list[dict[str, Any]] = compare_ranks(table, progress, {}, [], training.end).table.to_pylist()
    assert [row["rank"] for row in rows] == names and [row["step"] for row in rows] == [39.0] * 4


def test_a_number_in_brackets_that_counts_is_no_process() -> None:
    training = Training(1, form="[step{step}]: loss={loss:.4f}").run(60)
    assert len(found(training)) == 1


def test_only_the_newest_run_of_a_rank_counts() -> None:
    training = Training(2).run(50)
    table = training.table()
    later = Training(2, now=training.now + 10, step=20).run(10).table()
    later = later.set_column(later.schema.get_field_index("run"), "run", pa.array([1] * len(later), pa.int32()))
    both = pa.concat_tables([table, later]).unify_dictionaries()
    rows = compare_ranks(both, read_progress(both), {}, [], training.end).table.to_pylist()
    assert [(row["run"], row["step"]) for row in rows] == [(1, 30.0)] * 2


def test_the_picture_shows_which_rank_stands_out() -> None:
    html = found(on_their_own(16, slow=[3], silent=[7])).plot().html()
    assert html.count("<title>worker-") == 16 and "slow, step 12" in html and "silent 16" in html
    assert html.count('font-weight="600">worker-3<') == 1 and 'font-weight="600">worker-0<' not in html
    many = found(on_their_own(512, silent=[70], steps=40)).plot().html()
    assert len(many) < 250_000 and ">worker-70<" in many and ">worker-71<" not in many


def test_an_empty_log_has_no_ranks() -> None:
    ranks = found(Training(2))
    assert not ranks and repr(ranks) == ranks.nothing and "no ranks" in ranks.plot().html()
