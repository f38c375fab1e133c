from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import orjson
from cli.conftest import job
from support.kube import python_job

from cortex_jupyter.model import rfc3339
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.conftest import Cli
    from support.kube import Kube


def test_a_task_is_followed_to_its_end(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("follow")
    job(kube, name, "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; exit 3")
    done = live("logs", name, "-f")
    assert done.stdout.splitlines() == [f"line {i}" for i in range(1, 6)]
    assert done.returncode == 3
    assert "Job failed exit 3" in done.stderr and "5 lines" in done.stderr and done.stderr.endswith("complete\n")


def test_following_a_task_that_is_deleted_before_it_ends_fails(
    live: Cli, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("deleted")
    job(kube, name, "echo first; exec sleep 600")
    process = live.start("logs", name, "-f", "--since", "all")
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    kube.delete("jobs", name)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "") and "Job was deleted before it ended" in err
    second_run = live("logs", name, "-f")
    assert (second_run.returncode, second_run.stdout) == (
        1,
        "first\n",
    ) and "Job was deleted before it ended" in second_run.stderr
    assert live("logs", name).returncode == 0  # the recorded lines were written


def test_why_a_task_waits_is_reported_to_later_readers_too(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("waits")
    kube.create(python_job(name, "print('never')", image="docker.io/local/missing:1"))
    try:
        kube.wait_for(lambda: "ErrImageNeverPull" in str(kube.pods_of(name)), "the state of its pod")
        for since in ("all", None):
            window = ["--since", since or rfc3339(time.time_ns())]
            process = live.start("logs", name, "-f", *window)
            assert process.stderr is not None
            said = next(line for line in process.stderr if "ErrImageNeverPull" in line)
            assert said.startswith("Log not available yet: ErrImageNeverPull")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    finally:
        kube.delete("jobs", name)


def test_tasks_and_doctor(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("listed")
    job(kube, name, "echo done")
    shown = live("tasks").stdout
    assert shown.splitlines()[0].split() == [
        "TASK",
        "STATE",
        "STATUS",
        "RESTARTS",
        "STARTED",
        "FINISHED",
        "EXIT_CODE",
        "PODS",
    ]
    assert f"default:job/{name}" in shown
    tasks = orjson.loads(live("tasks", "-o", "json").stdout)["tasks"]
    assert name in {t["name"] for t in tasks}
    done = live("doctor", "--timeout", "60")
    assert done.returncode == 0, done.stdout
    assert "✓ cluster: http" in done.stdout and "✓ cluster: you may get pods/log in namespace default" in done.stdout


def test_a_missing_namespace_is_an_error(live: Cli) -> None:
    done = live("tasks", "-n", "nosuch")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith('error: namespaces "nosuch" not found\n')


def test_an_unknown_task_is_reported_with_a_suggestion(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("misspelt")
    job(kube, name, "echo done")
    done = live("logs", name + "x")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: there is no task '{name}x'") and f"did you mean '{name}'?" in done.stderr


def test_following_continues_when_the_recorder_is_killed(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("killed")
    job(kube, name, "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.05; done")
    process = live.start("logs", name, "-f", "--since", "all")
    assert process.stdout is not None and process.stderr is not None
    seen = [process.stdout.readline() for _ in range(10)]
    recorder = _recorder(live.env["CORTEX_STORE"])
    os.kill(recorder, signal.SIGKILL)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(120) == 0, err
    process.stdout.close(), process.stderr.close()
    assert "".join(seen) + out == "".join(f"line {i}\n" for i in range(60))


def test_an_interrupt_is_quiet(live: Cli, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("interrupted")
    job(kube, name, "echo first; sleep 60")
    process = live.start("logs", name, "-f")
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err and "rror" not in err
    kube.request("DELETE", f"/apis/batch/v1/namespaces/default/jobs/{name}")


def _recorder(url: str) -> int:
    store = open_store(url)
    try:
        host = store.recordings()[0].cluster
        for _ in range(100):
            if found := store.recorder(host):
                return found.pid
            time.sleep(0.1)
    finally:
        store.close()
    raise AssertionError("no recorder")
