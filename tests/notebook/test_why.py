from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from analysis.test_errors import TRACE
from support.filled import T0

import cortex_jupyter as cortex
from cortex_jupyter.model import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from support.filled import Filled

    from cortex_jupyter.analysis.why import Why
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
        == "main of train-1-bb in its run 1 failed first: it ended with exit code 1, after RuntimeError: CUDA error at step 3: "
        "<b>assert</b>; then, within 2.0 s, 1 other was stopped"
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


# ------------------------------------------------------------- several ranks

LOST = [
    "Traceback (most recent call last):",
    '  File "train.py", line 40, in all_reduce',
    "    work.wait()",
    "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.3]:2211",
]
OWN = ["Traceback (most recent call last):", '  File "train.py", line 9, in step', "    x[9]", "IndexError: no x"]
SECOND = 10**9


class Ranks:
    """A distributed task whose ranks write lines and end, by the clocks of their nodes.

    Parameters
    ----------
    filled : Filled
    count : int
    clocks : sequence of float
        How far the clock of each rank's node is ahead of the recorder's (seconds).
    """

    def __init__(self, filled: Filled, count: int = 4, clocks: Sequence[float] = ()) -> None:
        self.filled, self.clocks = filled, [*clocks, *[0.0] * (count - len(clocks))]
        self.sids = [
            filled.add(
                Source(f"bert-{rank}", f"u{rank}", "main", f"c{rank}", "main", 0, f"n{rank}", 0, "worker", str(rank))
            )
            for rank in range(count)
        ]
        self.say(range(count), 0, "INFO step 1 loss=0.5")

    def say(self, ranks: Iterable[int], at: float, *texts: str) -> Ranks:
        for rank in ranks:
            ns = round((at + self.clocks[rank]) * SECOND)
            self.filled.lines([(self.sids[rank], ns + i * 1000, text) for i, text in enumerate(texts)])
        return self

    def end(self, at: float, codes: dict[int, int], **fields: Any) -> Ranks:
        for rank, code in codes.items():
            ns = int(at + self.clocks[rank]) * SECOND
            source, clock_ms = self.filled.sources[self.sids[rank]].public, round(self.clocks[rank] * 1000)
            more = {"reason": "Error", "clock_ms": clock_ms} | fields
            self.filled.notice("status", "ended", ns, notice="ended", source=source, exit_code=code, **more)
        return self

    def why(self) -> Why:
        self.filled.end(1, "failed", "PyTorchJob failed exit 1")
        return cortex.logs("ml:train-1").why()


def test_the_rank_that_failed_by_itself_is_named_and_not_the_ones_that_lost_it(filled: Filled, engine: Runtime) -> None:
    """The others report their lost connection before the cause is written: its traceback takes longer."""
    task = Ranks(filled).say([0, 1], 10, *LOST).say([2], 10.2, *OWN)
    why = task.end(10.3, {0: 1, 1: 1, 2: 1}).end(12, {3: 143}).why()
    assert why.summary == (
        "worker-2 failed first: main of bert-2 ended with exit code 1, after IndexError: no x; "
        "then, within 1.8 s, 2 others lost a peer and 1 was stopped"
    )
    assert [(e.who, e.what) for e in why.evidence] == [
        ("worker-2", "cause"),
        ("worker-0", "lost a peer"),
        ("worker-1", "lost a peer"),
        ("worker-3", "was stopped"),
    ]
    log = cortex.logs("ml:train-1")
    cause = why.evidence[0]
    assert cause.seq is not None and log.seq[cause.seq].text == OWN[0] and log.seq[cause.seq].rank == "2"
    assert f"log.seq[{cause.seq}]" in str(why) and f"<code>log.seq[{cause.seq}]</code>" in why._repr_html_()
    assert why.error is not None and why.error.type == "IndexError"


def test_the_clocks_of_the_nodes_are_corrected(filled: Filled, engine: Runtime) -> None:
    """By the nodes' clocks rank 0 failed 4 s before rank 1; in truth 2 s after it."""
    task = (
        Ranks(filled, clocks=[-6, 0, 3])
        .say([1], 10, *OWN)
        .say([0], 12, "Traceback (most recent call last):", "E: late")
    )
    why = task.end(12, {0: 1, 1: 1}).end(13, {2: 143, 3: 143}).why()
    assert why.culprit is not None and why.culprit.name == "worker-1"
    assert [e.who for e in why.evidence][:2] == ["worker-1", "worker-0"]
    assert why.evidence[0].time.timestamp() == T0 / SECOND + 10
    assert abs(why.evidence[1].time.timestamp() - T0 / SECOND - 12) < 0.001


def test_a_rank_for_which_the_others_waited_in_vain_stood_still(filled: Filled, engine: Runtime) -> None:
    watchdog = (
        "[rank0]:[E626 06:24:44.9 ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=808, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600020 milliseconds before timing out."
    )
    task = Ranks(filled).say([0, 1, 3], 5, "INFO step 2 loss=0.4").say([0, 1, 3], 606, watchdog)
    why = task.end(607, {0: 134, 1: 134, 3: 134}).end(608, {2: 143}).why()
    assert why.summary == "worker-2 stood still: 3 others waited 600 s for it in ALLREDUCE, and gave up"
    assert why.culprit is not None and why.culprit.pod == "bert-2" and why.error is None
    last = why.evidence[0]
    assert last.seq is not None and cortex.logs("ml:train-1").seq[last.seq].text == "INFO step 1 loss=0.5"
    assert [e.what for e in why.evidence] == ["its last line", *["waited in vain"] * 3]


def test_a_rank_that_took_too_much_memory_is_the_cause_although_it_says_nothing(
    filled: Filled, engine: Runtime
) -> None:
    task = Ranks(filled).say([0, 2, 3], 10.4, *LOST).end(10, {1: 137}, reason="OOMKilled")
    why = task.end(11, {0: 1, 2: 1, 3: 1}).why()
    assert why.summary == (
        "worker-1 failed first: main of bert-1 was killed for using more memory than its limit (OOMKilled); "
        "then, within 0.4 s, 3 others lost a peer"
    )


def test_a_rank_that_was_killed_before_the_others_lost_it_is_the_cause(filled: Filled, engine: Runtime) -> None:
    """Its node was taken away: nothing failed, and the others lost a peer."""
    why = Ranks(filled).say([0, 1, 2], 10.4, *LOST).end(10, {3: 137}).end(11, {0: 1, 1: 1, 2: 1}).why()
    assert why.culprit is not None and why.culprit.name == "worker-3" and "killed (SIGKILL)" in why.summary


def test_an_error_that_a_rank_handled_long_before_is_not_the_cause(filled: Filled, engine: Runtime) -> None:
    task = (
        Ranks(filled)
        .say([0], 10, *OWN)
        .say([0], 200, "INFO step 2 loss=0.4")
        .say([1], 300, *OWN)
        .say([0, 2, 3], 301, *LOST)
    )
    why = task.end(302, {0: 1, 1: 1, 2: 1, 3: 1}).why()
    assert why.culprit is not None and why.culprit.name == "worker-1"


def test_an_earlier_attempt_is_not_what_ended_the_task(filled: Filled, engine: Runtime) -> None:
    task = Ranks(filled).say([0], 10, *OWN).end(11, {0: 1})
    for rank in (1, 2):
        source = filled.sources[task.sids[rank]].public
        filled.notice("status", "started", 20 * SECOND, notice="started", source=source)
    why = task.say([2], 50, "Traceback (most recent call last):", "KeyError: 3").end(51, {2: 1, 1: 143}).why()
    assert why.culprit is not None and why.culprit.name == "worker-2"


def test_torchrun_in_one_pod_names_the_rank(filled: Filled, engine: Runtime) -> None:
    tagged = [f"[rank5]: {text}" for text in OWN]
    lost = [f"[rank2]: {text}" for text in LOST]
    summary = [
        "Traceback (most recent call last):",
        '  File "torchrun", line 8, in <module>',
        "    sys.exit(main())",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "train.py FAILED",
        "Root Cause (first observed failure):",
        "  rank      : 5 (local_rank: 5)",
    ]
    filled.lines([(2, i, text) for i, text in enumerate([*tagged, *lost, *summary])])
    ended(filled, 1, "Error")
    filled.end(1, "failed", "Job failed exit 1")
    why = cortex.logs("ml:train-1").why()
    assert why.summary == "main of train-1-bb (rank 5) in its run 1 ended with exit code 1, after IndexError: no x"
    assert not why.evidence


def test_a_task_that_succeeded_has_no_failure_to_explain(filled: Filled, engine: Runtime) -> None:
    Ranks(filled).say([0, 1], 10, *LOST).say([2], 11, *OWN).end(12, {0: 1, 1: 1, 2: 1, 3: 0})
    filled.end()
    why = cortex.logs("ml:train-1").why()
    assert "failed first" not in str(why) and not why.evidence and why.summary.startswith("it ended well")


def test_ranks_that_something_else_stopped_did_not_fail(filled: Filled, engine: Runtime) -> None:
    Ranks(filled).end(12, dict.fromkeys(range(4), 143))
    filled.end(143, "failed", "Job failed exit 143").update(reason="DeadlineExceeded")
    why = cortex.logs("ml:train-1").why()
    assert why.summary == "main of bert-0 ended with exit code 143 (terminated (SIGTERM)); DeadlineExceeded"
    assert not why.evidence


def test_a_sidecar_that_ends_badly_is_not_the_cause(filled: Filled, engine: Runtime) -> None:
    task = Ranks(filled).say([1], 10, *OWN).say([0, 2, 3], 10.5, *LOST).end(11, {0: 1, 1: 1, 2: 1, 3: 1})
    proxy = filled.add(Source("bert-0", "u0", "proxy", "c9", "sidecar", 0, "n0", 0, "worker", "0"))
    filled.notice("status", "ended", 9 * SECOND, notice="ended", source=filled.sources[proxy].public, exit_code=2)
    assert (why := task.why()).culprit is not None and why.culprit.name == "worker-1"


def test_a_task_that_still_runs_names_the_rank_that_failed(filled: Filled, engine: Runtime) -> None:
    """Nothing ran again: each rank has one run, and the others never stopped."""
    task = Ranks(filled).say([0, 1, 2], 10, "INFO step 2 loss=0.4").say([3], 10, *OWN).end(11, {3: 1})
    failed = "worker-3 failed first: main of bert-3 ended with exit code 1, after IndexError: no x"
    message = "1 of 4 pods failed: worker-3 (pod bert-3) with exit 1, Error"
    for reason, text in (("PodFailed", message), ("Running", "Running")):
        filled.update(state="running", message=text, reason=reason)
        assert running().why().summary == f"it still runs; {failed}"
    task.end(20, {0: 0, 1: 0, 2: 0}, reason="Completed")
    filled.update(state="running", message="Every pod has ended, and the PyTorchJob shows no end yet", reason="Ended")
    assert running().why().summary == f"every pod has ended, and it has no end yet; {failed}"


def test_a_task_runs_again_if_a_new_run_has_begun(filled: Filled, engine: Runtime) -> None:
    Ranks(filled).say([3], 10, *OWN).end(11, {3: 1})
    filled.update(state="running", message="Running: the last pod ended with exit 1", reason="Retrying")
    assert running().why().summary.startswith("it waits to run again; before, main of bert-3 ended with exit code 1")
    again = filled.add(Source("bert-3", "u3", "main", "d3", "main", 1, "n3", 0, "worker", "3"))
    filled.lines([(again, 15 * SECOND, "INFO step 1 loss=0.5")])
    filled.update(state="running", message="Running", reason="Running")
    assert running().why().summary.startswith("it runs again; before, main of bert-3 ended with exit code 1")
