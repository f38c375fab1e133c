"""A task of 16 ranks of which one is slow, one falls silent, and one fails: what Python says, and when.

All ranks stand still in the end, until one of them fails and the others lose their connection to it. That they do is known after as
long as they made steps, so only the test of a real cluster waits for it; `tests/analysis/test_hangs.py` has made-up times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from support.operators import OPERATORS, Custom, condition, create_pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Target
    from support.jupyter import Home

RANKS, SLOW, SILENT, DIES = 16, 5, 7, 3
PACE_S = 0.05

#: The ranks go on when files exist. Where the node is another machine they never do, so each wait has an end.
RANK = """
import os, sys, time
rank, folder, begin = {rank}, {folder!r}, time.time()
def told(what):
    return os.path.exists(os.path.join(folder, what)) or time.time() > begin + {patience}
print("INFO trainer: loading", flush=True)
count = 0
while not told("stop"):
    time.sleep({pace} * (2 if rank == {slow} else 1) - time.time() % {pace})
    if rank != {silent} or not told("silent"):
        count += 1
        print(f"INFO trainer: step {{count}} loss={{2 / (1 + count / 50):.4f}}", flush=True)
# They do not wait for each other: when all stand still, many lack a few steps, so no rank is the one that they wait for.
if rank not in ({slow}, {silent}):
    for _ in range((rank - {dies}) % 5 * 6):
        time.sleep({pace})
        count += 1
        print(f"INFO trainer: step {{count}} loss={{2 / (1 + count / 50):.4f}}", flush=True)
while not told("fail"):
    time.sleep(0.05)
if rank == {silent}:
    time.sleep(1)
    sys.exit(143)
def step():
    if rank == {dies}:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    time.sleep(0.5)
    raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.3]:2211")
step()
"""

USER = """
import json, time
import cortex_jupyter as cortex
from cortex_jupyter.parsing import rhythm
rhythm.FIRST_S = 20  # else the first pause of a task may last five minutes
log = cortex.logs({task!r}, namespace={namespace!r})
def say(**what):
    print(json.dumps(what | {{"at": time.time()}}), flush=True)
def until(ask, enough, patience_s=100):
    end = time.monotonic() + patience_s
    while not enough(found := ask()) and time.monotonic() < end:
        time.sleep(0.3)
    return found
def notes():
    return {{f"{{row['role']}}-{{row['rank']}}": row["note"] for row in log.ranks() if row["note"]}}
until(lambda: [row["step"] or 0 for row in log.ranks()], lambda steps: len(steps) == {ranks} and min(steps) >= 40)
open({folder!r} + "/silent", "w").close()
say(running=until(notes, lambda notes: set(notes) == {{"worker-{slow}", "worker-{silent}"}}))
until(lambda: max(row["step"] or 0 for row in log.ranks()), lambda step: step >= {steps})
open({folder!r} + "/stop", "w").close()
say(stopped=True)
say(hang=until(lambda: log.hangs().now, bool) if {waits} else "")
open({folder!r} + "/fail", "w").close()
log.wait(timeout=100)
why = log.why()
say(why=why.summary, text=str(why), evidence=[(e.seq, e.who, e.what) for e in why.evidence],
    cause=log.seq[why.evidence[0].seq].text, ends={{c.name: c.exit_code for c in why.containers}},
    clocks=[c.clock_s for c in why.containers])
say(ended=notes(), hangs=[row["message"] for row in log.hangs()], plot=repr(log.ranks().plot()))
"""


def test_sixteen_ranks_of_which_one_is_slow_one_is_silent_and_one_dies(
    target: Target, unique: Callable[[str], str], home: Home, tmp_path: Path
) -> None:
    kube, name, namespace = target.kube, "bert", unique("ranks")
    OPERATORS["pytorchjob.kubeflow.org"].define(kube)
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    if target.real:  # pods cannot be created before the namespace has its service account
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        kube.wait_for(lambda: kube.request("GET", account).json().get("secrets"), "the service account")
    try:
        task = Custom(kube, "kubeflow.org/v1", "PyTorchJob", "pytorchjobs", name, namespace=namespace)
        for rank in range(RANKS):
            prefix = "training.kubeflow.org/"
            labels = {f"{prefix}job-name": name, f"{prefix}replica-type": "worker", f"{prefix}replica-index": str(rank)}
            labels[f"{prefix}operator-name"] = "pytorchjob-controller"
            program = RANK.format(
                rank=rank, folder=str(tmp_path), patience=300, pace=PACE_S, slow=SLOW, silent=SILENT, dies=DIES
            )
            create_pod(kube, f"{name}-worker-{rank}", program, task.reference, labels, namespace=namespace)
        task.set_status(conditions=[condition("Running")])
        said = _ask(home, task, namespace, tmp_path, waits=target.real)
    finally:
        kube.delete("namespaces", namespace)
    (tmp_path / "said.json").write_text(json.dumps(said, indent=1))  # what it said, and when
    assert said["running"] == {f"worker-{SLOW}": "slow", f"worker-{SILENT}": "silent"}
    if target.real:
        assert said["hang"].startswith("no step since ") and "usually every " in said["hang"]
        assert said["hang"].partition(",")[0] == said["hangs"][-1].partition(",")[0]
    lost = RANKS - 2
    assert said["why"].startswith(
        f"worker-{DIES} failed first: main of {name}-worker-{DIES} ended with exit code 1, after RuntimeError: CUDA error"
    )
    assert f"{lost} others lost a peer and 1 was stopped" in said["why"]
    assert said["cause"] == "Traceback (most recent call last):"
    assert said["evidence"][0][1:] == [f"worker-{DIES}", "cause"]
    assert said["ends"] == {f"worker-{i}": 143 if i == SILENT else 1 for i in range(RANKS)}
    # The node is this machine, so its clock is ours: lines took some time to be read.
    known = [clock for clock in said["clocks"] if clock is not None]
    assert len(known) == RANKS and max(map(abs, known)) < 1
    assert {rank: note for rank, note in said["ended"].items() if note != "failed"} == {
        f"worker-{DIES}": "failed first",
        f"worker-{SLOW}": "slow",
        f"worker-{SILENT}": "silent",
    }


def _ask(home: Home, task: Custom, namespace: str, folder: Path, *, waits: bool) -> dict[str, Any]:
    """Return what a user's Python says of the task, which ends as its operator would end it."""
    code = USER.format(
        task=f"pytorchjob/{task.name}",
        namespace=namespace,
        folder=str(folder),
        ranks=RANKS,
        slow=SLOW,
        silent=SILENT,
        steps=500 if waits else 100,
        waits=waits,
    )
    said: dict[str, Any] = {}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            at = answer.pop("at")
            said |= answer | {f"{next(iter(answer))}_at": at}
            if "hang" in answer:
                _end(task, namespace)
    finally:
        process.kill()
        error = process.communicate()[1]
    assert "plot" in said, error
    return said


def _end(task: Custom, namespace: str) -> None:
    """Set the end of the task when all pods have failed, as its operator does."""

    def have_failed() -> bool:
        pods = task.kube.list("pods", namespace)["items"]
        return all(pod["status"].get("phase") == "Failed" for pod in pods)

    task.kube.wait_for(have_failed, "all ranks to fail")
    task.set_status(conditions=[condition("Failed", reason="PyTorchJobFailed", message="2 Worker replicas failed.")])
