from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.jupyter import Home
from support.kube import python_job

import cortex_jupyter as cortex
from cortex_jupyter.errors import HangWarning, TaskFailed, WaitTimeout
from cortex_jupyter.model import Source
from cortex_jupyter.notebook import tasklog
from cortex_jupyter.notebook.record import Record, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime


# The tests write recordings without a cluster.
pytestmark = pytest.mark.filterwarnings("ignore:The cluster cannot be asked")


def test_a_failed_task_raises_with_reason_and_last_lines(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(100)])
    filled.end(137, "failed", "Job failed exit 137").update(reason="OOMKilled")
    log = cortex.logs("ml:train-1")
    assert log.wait("step 7$", raise_on_failure=True).text == "INFO step 7"  # type: ignore[union-attr]
    with pytest.raises(TaskFailed) as told:
        log.wait(raise_on_failure=True)
    error = told.value
    assert (error.exit_code, error.reason, error.task) == (137, "OOMKilled", "ml:job/train-1")
    assert [r.text for r in error.records if isinstance(r, Record)] == [f"INFO step {i}" for i in range(50, 100)]
    assert "Job failed exit 137 (OOMKilled)" in str(error) and "INFO step 99" in str(error)
    assert log.wait() == Status("failed", "Job failed exit 137", 137, done=True, reason="OOMKilled")
    assert log.wait("never said") is None
    with pytest.raises(TaskFailed):
        log.wait("never said", raise_on_failure=True)


def test_a_task_that_succeeds_without_the_line_returns_none(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 0, "INFO step 0")]).end()
    log = cortex.logs("ml:train-1")
    assert log.wait("never said") is None and log.wait("never said", raise_on_failure=True) is None
    assert log.wait("step 0") == log.wait("step 0", raise_on_failure=True) == next(log.records())


def test_a_failure_names_its_reason_once() -> None:
    error = TaskFailed("ml:job/a", "Job failed exit 3: BackoffLimitExceeded", 3, "BackoffLimitExceeded", ())
    assert str(error).startswith("ml:job/a: Job failed exit 3: BackoffLimitExceeded; it wrote no line")
    other = TaskFailed("ml:job/a", "Job failed exit 128: StartError", 128, "Error", ())
    assert str(other).startswith("ml:job/a: Job failed exit 128: StartError (Error); it wrote no line")


def test_the_lines_of_a_failure_are_those_of_the_pod_that_failed_first(filled: Filled, engine: Runtime) -> None:
    ranks = {
        rank: filled.add(Source(f"w-{rank}", f"uid-{rank}", "main", f"c{rank}", role="worker", rank=str(rank)))
        for rank in range(3)
    }
    cause = [*(f"step {i}" for i in range(60)), "RuntimeError: CUDA out of memory"]
    filled.lines([(ranks[1], i, text) for i, text in enumerate(cause)])
    filled.lines([(ranks[rank], 100 + i, f"lost w-1 {i}") for i in range(60) for rank in (0, 2)])
    filled.end(1, "failed", "PyTorchJob failed exit 1: worker-1 (pod w-1) failed first", pod="w-1")

    def failure(**query: str) -> TaskFailed:
        with pytest.raises(TaskFailed) as caught:
            cortex.logs("ml:train-1", **query).wait(raise_on_failure=True)
        return caught.value

    error = failure()
    assert [r.text for r in error.records if isinstance(r, Record)] == cause[-50:]
    assert "the last 50 lines of w-1:\n" in str(error)
    # A query that leaves out that pod has other lines.
    for query in ({"role": "worker", "rank": "2"}, {"pod": "*-2"}):
        error = failure(**query)
        assert [r.text for r in error.records if isinstance(r, Record)] == [f"lost w-1 {i}" for i in range(10, 60)]
        assert "the last 50 lines:\n" in str(error)


def test_a_timeout_reports_the_present_state(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 0, "first"), (1, 1, "second")]).update(caught_up=1, state="running", message="Running")
    log = cortex.logs("ml:train-1")
    log._reader.recording.workload = _Running()  # type: ignore[assignment]
    log._reader.recording.want = log._reader.recording.obstacle = _nothing  # type: ignore[method-assign]
    for wait in (lambda: log.wait(timeout=0.1), lambda: log.wait("epoch 10", timeout=0.1)):
        with pytest.raises(TimeoutError) as told:
            wait()
        assert isinstance(told.value, WaitTimeout) and "2 lines so far" in str(told.value)
    assert "no line matches 'epoch 10' after 0.1 s; Running" in told.value.message


async def test_asynchronous_code_awaits_the_log(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 0, "first")]).update(caught_up=1, state="running")
    log = await asyncio.to_thread(cortex.logs, "ml:train-1")
    log._reader.recording.workload = _Running()  # type: ignore[assignment]
    log._reader.recording.want = _nothing  # type: ignore[method-assign]

    async def ended() -> Status:
        return await log

    waiting = asyncio.create_task(ended())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await log
    assert not waiting.done()
    filled.end()
    assert (await waiting).message == "Job complete exit 0"
    assert [r.text async for r in log.follow()] == ["first"]


class _Running:
    obj: dict[str, object] = {}  # noqa: RUF012


async def _nothing() -> None: ...


PROGRAM = """
import os, time
print("first", flush=True)
while not os.path.exists(%r): time.sleep(0.05)
print("last", flush=True)
"""
WAIT = """
import sys, cortex_jupyter as cortex
log = cortex.logs(sys.argv[1])
log.wait("first")
print("waiting", flush=True)
%s
"""


def test_an_interrupt_ends_the_wait_and_not_the_recording(
    sandbox: Any, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    home, name, gate = Home(tmp_path, sandbox.kubeconfig), unique("wait"), tmp_path / "gate"
    sandbox.kube.create(python_job(name, PROGRAM % str(gate)))
    running: list[subprocess.Popen[str]] = []
    try:
        ways = ("log.wait()", "log.wait('never')", "[r for r in log.follow()]")
        running += [
            subprocess.Popen(
                [sys.executable, "-c", WAIT % way, name],
                env=home.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for way in ways
        ]
        for waiting in running:
            assert waiting.stdout is not None and waiting.stdout.readline() == "waiting\n"
            waiting.send_signal(signal.SIGINT)
            _, err = waiting.communicate(timeout=10)
            # The interrupt may come before the wait has begun. Then a warning follows.
            assert waiting.returncode != 0 and "KeyboardInterrupt" in err.splitlines(), err
        gate.touch()
        sandbox.kube.wait_job(name)
        code = f"import cortex_jupyter as c; log = c.logs({name!r}); log.wait(); print([r.text for r in log])"
        assert home.python(code) == "['first', 'last']\n"
    finally:
        for waiting in running:
            if waiting.poll() is None:
                waiting.kill()
                waiting.communicate()
        home.end()
        sandbox.kube.delete("jobs", name)


def test_a_wait_warns_that_the_task_hangs(filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasklog, "HANG_CHECK_S", 0.0)
    filled.lines([(1, second * 10**9, f"INFO step {second}") for second in range(100)]).update(state="running")
    log = cortex.logs("ml:train-1")
    expected = "ml:job/train-1: no step since .*, usually every 1 s"
    with pytest.warns(HangWarning, match=expected) as warned, pytest.raises(WaitTimeout):
        log.wait(timeout=3)
    assert len([one for one in warned if one.category is HangWarning]) == 1
    watch = tasklog._HangWatch(log)
    with pytest.warns(HangWarning, match=expected):
        watch()
    watch()  # it says so once, and any warning fails a test
