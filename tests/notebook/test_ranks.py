"""`log.ranks()` and `log.hangs()`, of recordings and of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from analysis.training import Training

import cortex_jupyter as cortex
from cortex_jupyter.model import Source, rfc3339

if TYPE_CHECKING:
    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime

# The tests write recordings without a cluster.
pytestmark = pytest.mark.filterwarnings("ignore:The cluster cannot be asked")

PROGRAMS = sorted((Path(__file__).parents[1] / "programs" / "logs").glob("*.log"))
SECOND = 10**9


def test_the_ranks_of_a_recording(filled: Filled, engine: Runtime) -> None:
    sids = [
        filled.add(Source(f"bert-{rank}", f"u{rank}", "main", f"c{rank}", "main", 0, "n", 0, "worker", str(rank)))
        for rank in range(6)
    ]
    for step in range(100):
        at = 2 * step * SECOND
        filled.lines(
            [
                (sid, at + rank * 10**7, f"INFO step {step} loss=0.5")
                for rank, sid in enumerate(sids)
                if rank != 4 or step < 50
            ]
        )
    filled.lines([(sids[3], 200 * SECOND, "ERROR the disk is gone")])
    for rank, sid in enumerate(sids):
        source = filled.sources[sid].public
        filled.notice(
            "status",
            "ended",
            (201 + (rank != 3)) * SECOND,
            notice="ended",
            source=source,
            exit_code=1 if rank == 3 else 143,
        )
    filled.end(1, "failed", "PyTorchJob failed exit 1")
    log = cortex.logs("ml:train-1")
    ranks = log.ranks()
    assert {row["rank"]: row["note"] for row in ranks} == {
        "0": "failed", "1": "failed", "2": "failed", "3": "failed first", "4": "silent", "5": "failed",
    }  # fmt: skip
    row = list(ranks)[3]
    assert (row["exit_code"], row["state"], row["step"]) == (1, "failed", 99.0)
    assert log.seq[row["error_seq"]].text == "ERROR the disk is gone" and log.seq[row["seq"]].rank == "3"
    assert ranks.to_pandas().step_s.round().tolist() == [2.0] * 6
    assert "worker-3 failed first" in repr(ranks.plot()) and "worker-4 silent" in repr(ranks.plot())


def test_the_rank_that_the_others_wait_for_is_behind(filled: Filled, engine: Runtime) -> None:
    sids = [
        filled.add(Source(f"bert-{rank}", f"u{rank}", "main", f"c{rank}", "main", 0, "n", 0, "worker", str(rank)))
        for rank in range(4)
    ]
    for step in range(200):
        at_work = [(rank, sid) for rank, sid in enumerate(sids) if rank != 2 or step < 199]
        filled.lines([(sid, (2 * step + rank) * SECOND, f"step {step} loss=0.5") for rank, sid in at_work])
    filled.lines([(sids[0], 1100 * SECOND, "ERROR gave up")])
    filled.end(1, "failed", "PyTorchJob failed exit 1")
    assert {row["rank"]: row["note"] for row in cortex.logs("ml:train-1").ranks()}["2"] == "behind"


def test_a_task_that_runs_shows_its_hang(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, second * SECOND, f"INFO step {second}") for second in range(100)]).update(
        state="running", message="Running"
    )
    log = cortex.logs("ml:train-1")
    log._reader.recording.caught_up = log._reader.recording.info  # type: ignore[method-assign] - no recorder lives here
    now, why = log.hangs().now, log.why()
    assert now.startswith("no step since 2026-01-01 ") and now.endswith(", usually every 1 s (p99 1 s)")
    assert why.hang == now and why.summary.startswith("it has not ended: ") and why.summary.endswith(f"; {now}")


def test_a_hang_in_a_file(engine: Runtime, tmp_path: Path) -> None:
    training = Training(1).run(400).wait(700).run(10)
    lines = [f"{rfc3339(1_767_225_600 * SECOND + int(at * SECOND))} {text}" for at, _, text in training.lines]
    (tmp_path / "train.log").write_text("\n".join(lines))
    hangs = cortex.open(tmp_path / "train.log").hangs()
    [hang] = hangs
    assert 690 < hang["seconds"] < 710 and hang["until"] is not None and not hangs.now
    assert hang["noticed"] < hang["until"] and "log.seq[" in repr(hangs)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_what_real_programs_print_gives_no_alarm(path: Path, engine: Runtime) -> None:
    log = cortex.open(path)
    assert not log.hangs() and not [row for row in log.ranks() if row["note"]]
