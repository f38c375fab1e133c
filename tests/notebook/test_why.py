from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from analysis.test_errors import TRACE

import cortex_jupyter as cortex

if TYPE_CHECKING:
    from pathlib import Path

    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.notebook.tasklog import TaskLog


# The tests write recordings without a cluster.
pytestmark = pytest.mark.filterwarnings("ignore:The cluster cannot be asked")


def ended(filled: Filled, code: int, reason: str) -> None:
    source = filled.sources[2].public
    filled.notice("status", "bb ended", 10**10, notice="ended", exit_code=code, reason=reason, source=source)


def test_a_failed_task(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(20)])
    filled.lines([(2, 100 + i, text.format(3)) for i, text in enumerate(["INFO step 7", *TRACE])])
    filled.notice("status", "train-1-bb: BackOff: restarting", notice="event", reason="BackOff", level="warning")
    first = filled.sources[1].public
    filled.notice("status", "aa ended", 2 * 10**9, notice="ended", exit_code=143, reason="Error", source=first)
    ended(filled, 1, "Error")
    filled.end(1, "failed", "Job failed exit 1").update(reason="BackoffLimitExceeded")
    why = cortex.logs("ml:train-1").why()
    assert (
        why.summary
        == "main of train-1-bb in its run 1 ended with exit code 1, after RuntimeError: CUDA error at step 3: <b>assert</b>"
    )
    assert why.exit_code == 1 and why.reason == "BackoffLimitExceeded" and why.error is not None
    assert why.culprit is not None and why.culprit.last[-1].startswith("RuntimeError")
    assert [e["reason"] for e in why.events] == ["BackOff"]
    assert "main of train-1-bb" in str(why) and "INFO step 7" in str(why) and "BackOff: restarting" in str(why)
    assert "<b>assert" not in why._repr_html_()


def test_a_task_that_used_too_much_memory(filled: Filled, engine: Runtime) -> None:
    filled.lines([(2, 0, "loading")])
    ended(filled, 137, "OOMKilled")
    filled.end(137, "failed", "Job failed exit 137")
    why = cortex.logs("ml:train-1").why()
    assert why.summary == "main of train-1-bb in its run 1 was killed for using more memory than its limit (OOMKilled)"
    assert why.error is None and why.culprit is not None and why.culprit.last == ["loading"]


def test_a_redrawn_progress_bar_is_shown_in_its_newest_state(filled: Filled, engine: Runtime) -> None:
    bar = "".join(f"\rvalidating epoch 6: {i:3d}%|{'#' * (i // 5):20}| {5 * i}/500" for i in range(0, 101, 5))
    newest = f"validating epoch 6: 100%|{'#' * 20}| 500/500"
    texts = [bar, *(text.format(3) for text in TRACE), f"{bar}\x1b[0m\r   \r"]
    filled.lines([(2, i, text) for i, text in enumerate(texts)])
    source, message = filled.sources[2].public, f"the end:\n{bar}"
    fields = {"exit_code": 1, "reason": "Error", "termination_message": message}
    filled.notice("status", "bb ended", 10**10, notice="ended", source=source, **fields)
    filled.end(1, "failed", "Job failed exit 1")
    why = cortex.logs("ml:train-1").why()
    assert why.culprit is not None and why.error is not None
    assert why.culprit.last[0] == why.culprit.last[-1] == newest
    assert why.error.context == [newest] and why.culprit.message == f"the end:\n{newest}"
    for shown in (why.summary, str(why), why._repr_html_()):
        assert "100%" in shown and " 95%" not in shown and "\r" not in shown


def test_tasks_that_succeeded_run_or_never_started(filled: Filled, engine: Runtime) -> None:
    filled.notice("status", "x: FailedScheduling: no node", notice="event", reason="FailedScheduling", level="warning")
    filled.update(state="pending", message="Log not available yet: Unschedulable", caught_up=1)
    assert running().why().summary == "it has not started: Log not available yet: Unschedulable"
    filled.update(state="running", message="Running")
    assert running().why().summary == "it has not ended: Running"
    filled.end()
    assert cortex.logs("ml:train-1").why().summary == "it ended well: Job complete exit 0"


def test_an_error_that_a_successful_task_has_handled_is_not_what_ended_it(filled: Filled, engine: Runtime) -> None:
    filled.lines([(2, i, text.format(3)) for i, text in enumerate([*TRACE, "ERROR shard 3 is read again", "done"])])
    ended(filled, 0, "Completed")
    filled.end()
    why = cortex.logs("ml:train-1").why()
    assert why.error is None and why.culprit is None and [e.count for e in why.errors] == [1, 1]
    for shown in (str(why), why._repr_html_()):
        assert "it ended well" in shown and "last error" not in shown.lower()


def test_a_task_that_succeeded_when_it_ran_again_shows_the_error_of_the_run_that_failed(
    filled: Filled, engine: Runtime
) -> None:
    filled.lines([(1, i, text.format(3)) for i, text in enumerate(TRACE)])
    filled.lines([(2, 100, "ERROR shard 4 is read again"), (2, 101, "done")])
    first = filled.sources[1].public
    filled.notice("status", "aa ended", 2 * 10**9, notice="ended", exit_code=1, reason="Error", source=first)
    ended(filled, 0, "Completed")
    filled.end()
    why = cortex.logs("ml:train-1").why()
    assert why.summary == "it ended well: Job complete exit 0, after 1 run that failed"
    assert why.error is not None and why.error.type == "RuntimeError"
    assert "the last error of a run that failed (1x, in 1 pod)" in str(why)
    assert "The last error of a run that failed" in why._repr_html_() and "shard 4" not in str(why)


def test_a_file_shows_its_last_error_and_its_last_lines(engine: Runtime, tmp_path: Path) -> None:
    """Nobody knows how the program that wrote it ended."""
    (tmp_path / "old.log").write_text("\n".join(["INFO step 7", *(text.format(3) for text in TRACE), "bye"]))
    log = cortex.open(tmp_path / "old.log")
    log.to_parquet(tmp_path / "old.parquet")
    for opened in (log, cortex.open(tmp_path / "old.parquet")):
        why = opened.why()
        assert why.error is not None and why.error.type == "RuntimeError"
        assert "\nthe last error (1x, in 1 pod)" in str(why) and "a file has no exit status" in str(why)
        html = why._repr_html_()
        assert ">The last error<" in html and ">The last lines<" in html and "bye" in html and "succeeded" not in html


async def _no_obstacle() -> None: ...


def running() -> TaskLog:
    log = cortex.logs("ml:train-1")
    log._reader.recording.workload = object()  # type: ignore[assignment]
    log._reader.recording.obstacle = _no_obstacle  # type: ignore[method-assign]
    log._reader.recording.caught_up = log._reader.recording.info  # type: ignore[method-assign] - no recorder lives here
    return log
