"""When a task hangs, and when it does not: trainings with made-up times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from analysis.training import Training

from cortex_jupyter.analysis.hangs import Hangs, hangs
from cortex_jupyter.analysis.steps import read_progress

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = {
    "words": "INFO trainer: step {step} loss={loss:.4f}",
    "json": '{{"level":"info","msg":"train","step":{step},"loss":{loss:.4f}}}',
    "nanogpt": "iter {step}: loss {loss:.4f}, time 312.01ms",
    "megatron": " iteration {step:8d}/  500000 | consumed samples: 2048 | lm loss: {loss:.6E} |",
    "tqdm": "train:   1%|▏         | {step}/100000 [00:10<10:00,  3.10it/s, loss={loss:.3f}]",
    "transformers": "{{'loss': {loss:.4f}, 'learning_rate': 2e-05, 'epoch': {step}}}",
    "lines": "batch of shard {step} is done",
}


def found(training: Training, *, is_over: bool = False) -> Hangs:
    table = training.table()
    return hangs(table, read_progress(table), training.end, is_over=is_over)


@pytest.mark.parametrize("form", FORMS)
def test_a_collective_that_never_ends_is_noticed_within_ten_minutes(form: str) -> None:
    """NCCL's watchdog ends the task after ten minutes."""
    training = Training(16, form=FORMS[form]).run(300)
    since = training.now
    [hang] = found(training.wait(590))
    assert hang["until"] is None and hang["message"].startswith("no ")
    assert "usually every 2" in hang["message"] and "(p99 2" in hang["message"]
    assert abs(hang["seconds"] - (training.now - since)) < 1 and 60 < hang["limit_s"] < 590
    assert found(training).now == hang["message"]


def test_the_longer_a_task_ran_the_sooner_a_hang_is_noticed() -> None:
    limits = [next(iter(found(Training(2).run(steps).wait(3000))))["limit_s"] for steps in (200, 2000, 20_000)]
    assert limits[0] > 2 * limits[1] > 4 * limits[2] and limits[2] < 60


def test_a_task_with_fast_steps_hangs_after_seconds_not_milliseconds() -> None:
    training = Training(1, step_s=0.01).run(60_000)
    [hang] = found(training.wait(300))
    assert 60 < hang["limit_s"] < 300 and "usually every 10 ms" in hang["message"]


def test_a_hang_names_the_rank_that_the_others_wait_for() -> None:
    [hang] = found(Training(8).run(300).run(1, ranks=[0, 1, 2, 3, 4, 6, 7]).wait(600))
    assert hang["behind"] == ["worker-5"] and hang["last"] == 301
    assert hang["message"].endswith("; worker-5 had not reached step 301")


def test_lines_without_steps_do_not_hide_a_hang() -> None:
    training = Training(4).run(300)
    for _ in range(40):
        training.wait(15).say("INFO heartbeat: alive").say("WARNING NCCL: waiting for rank 3", ranks=[0])
    [hang] = found(training)
    assert hang["seconds"] > 590 and hang["what"] == "step"


def test_lines_that_recur_are_a_rhythm_too() -> None:
    training = Training(4)
    for part in range(200):
        training.wait(2).say(f"INFO copied /data/part-{part}.parquet")
    [hang] = found(training.wait(900))
    assert hang["what"] == "line" and hang["message"].startswith("no line since ")


def test_a_hang_that_ended_is_listed_with_its_end() -> None:
    training = Training(4).run(300).wait(900).run(300)
    [hang] = found(training, is_over=True)
    assert hang["until"] is not None and 890 < hang["seconds"] < 910 and found(training).now == ""


def _slow_loader(training: Training) -> None:
    for rest in range(25):
        training.run(10, slow=1 + rest * 0.7).say("WARNING loader: the batch took long", ranks=[1])


def _spikes(training: Training) -> None:
    for index in range(30):
        training.run(4).run(1, slow=10 + index % 7)


def _checkpoints(training: Training) -> None:
    for _ in range(4):
        training.run(400).say("INFO saving checkpoint to /ckpt", ranks=[0]).wait(240)


def _silent_checkpoints(training: Training) -> None:
    for _ in range(4):
        training.run(400).wait(180)


def _fast_steps(training: Training) -> None:
    training.step_s = 0.002
    for _ in range(8):
        training.run(3000).wait(0.5).run(3000).wait(4)
    training.say("INFO evaluating").wait(30).run(1000)


def _evaluations(training: Training) -> None:
    for epoch in range(5):
        training.run(150).say("INFO evaluating")
        training.wait(200).say(f"INFO epoch {epoch} val_loss=0.31", ranks=[0])


def _silent_evaluations(training: Training) -> None:
    for epoch in range(5):
        training.run(100).wait(90).say(f"INFO epoch {epoch} val_loss=0.31", ranks=[0])


def _counted_evaluations(training: Training) -> None:
    for _ in range(4):
        training.run(150)
        for batch in range(60):
            training.wait(5).say(f"INFO eval batch {batch}/60")


def _epochs_that_start_over(training: Training) -> None:
    for _ in range(6):
        training.step = 0
        training.run(120).wait(20)


def _ranks_that_end_one_after_another(training: Training) -> None:
    training.run(100)
    for rank in range(training.ranks - 1):
        training.say("INFO finished", ranks=[rank]).run(60, ranks=range(rank + 1, training.ranks))


def _a_fast_start(training: Training) -> None:
    for shard in range(40):
        training.wait(0.02).say(f"loading step {shard} of the plan")
    training.wait(300).run(200)


def _a_bar_before_the_training(training: Training) -> None:
    for done in range(0, 20_001, 50):
        training.wait(0.1).say(f"Map: {done // 200:3d}%|####  | {done}/20000 [00:10<00:10, 500.00 examples/s]")
    training.wait(600).say("INFO compiled").run(200)


def _a_job_that_only_writes_at_its_start(training: Training) -> None:
    for part in range(50):
        training.wait(0.1).say(f"copied /data/part-{part}.parquet")
    training.wait(1800).say("done")


def _a_long_end(training: Training) -> None:
    training.run(400).say("INFO training finished, writing the model").wait(700).say("INFO done")


@pytest.mark.parametrize(
    "phases",
    [
        _slow_loader,
        _spikes,
        _checkpoints,
        _silent_checkpoints,
        _fast_steps,
        _evaluations,
        _silent_evaluations,
        _counted_evaluations,
        _epochs_that_start_over,
        _ranks_that_end_one_after_another,
        _a_fast_start,
        _a_bar_before_the_training,
        _a_job_that_only_writes_at_its_start,
        _a_long_end,
    ],
)
@pytest.mark.parametrize("ranks", [1, 16])
def test_a_clean_run_gives_no_alarm(phases: Callable[[Training], None], ranks: int) -> None:
    training = Training(ranks)
    phases(training)
    assert not found(training, is_over=True), found(training, is_over=True).to_arrow().to_pylist()
    assert not found(training)


@pytest.mark.parametrize("text", ["", "***** Running Evaluation *****"])
def test_the_first_evaluation_may_come_soon(text: str) -> None:
    training = Training(4, step_s=1).run(25)
    if text:
        training.say(text)
    assert not found(training.wait(240).run(25), is_over=True)


def test_a_hang_after_checkpoints_is_noticed_earlier_than_a_checkpoint_lasts() -> None:
    training = Training(8)
    _checkpoints(training)
    [hang] = found(training.run(50).wait(600))
    assert hang["limit_s"] < 240


def test_a_task_without_a_rhythm_has_no_hang() -> None:
    few = found(Training(4).run(10).wait(3600))
    assert not few and repr(few) == "no hang: this log has too few steps for a rhythm"
    assert "a step every 2" in repr(found(Training(4).run(100)))
    assert not found(Training(4).say("INFO loading").wait(3600))
