"""A namespace of 200 custom tasks with 2 000 pods, and 200 Jobs with the same pods: the cost for a collector.

Half of the custom tasks are of a kind that the table has (PyTorchJob). The other half are of an unknown kind, with an object of a
third kind between task and pods.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import load
from bench.report import Report, cpu, peak, resident
from support.counting import counting_proxy
from support.kube import python_job
from support.operators import LINES, Operator, Part, Task, condition

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.kube import Kube


TASKS, PODS = 200, 10
_GROUP = "bench.example.org/v1"
_PREFIX = "training.kubeflow.org/"
#: The workers of a PyTorchJob. The other kind's workers have the same labels, so that all pods are of one size.
_WORKERS = tuple(
    Part(
        "Pod",
        f"{{name}}-worker-{rank}",
        "worker",
        str(rank),
        {
            f"{_PREFIX}job-name": "{name}",
            f"{_PREFIX}replica-type": "worker",
            f"{_PREFIX}replica-index": str(rank),
        },
    )
    for rank in range(PODS)
)
_STATES: dict[str, Any] = {
    "running": {"conditions": [condition("Running"), condition("Succeeded", "Unknown")]},
    "succeeded": {"conditions": [condition("Succeeded")]},
}
_KINDS = (
    Operator("kubeflow.org/v1", "PyTorchJob", _WORKERS, **_STATES),
    Operator(_GROUP, "Study", (Part(f"{_GROUP} Trial", "{name}-0", parts=_WORKERS),), **_STATES),
)
_PROGRAM = f'for i in {" ".join(map(str, range(LINES)))}; do echo "worker|0|0|$HOSTNAME $i"; done'


@dataclass
class Cost:
    """The resources that a collector used.

    Parameters
    ----------
    cpu : float
        CPU time (s).
    memory : float
        Its peak (MB).
    paths : list of str
        The paths of its requests.
    """

    cpu: float
    memory: float
    paths: list[str]

    @property
    def watches(self) -> int:
        """The number of collections that it watched."""
        return len({path.partition("?")[0] for path in self.paths if "watch=" in path})

    @property
    def others(self) -> int:
        """The number of its requests that open neither a watch nor a log."""
        return len([path for path in self.paths if "watch=" not in path and "/log?" not in path])


def run(report: Report) -> None:
    """Measure on the sandbox, because a real node does not run 2 000 pods."""
    jobs, custom = _measure(_run_jobs), _measure(_run_custom)
    prefix = f"{TASKS} custom tasks / Jobs: "
    for name, unit in (("cpu", "s"), ("memory", "MB"), ("others", "")):
        ours, theirs = getattr(custom, name), getattr(jobs, name)
        label = {"cpu": "CPU of a collector", "memory": "its memory", "others": "requests without logs and watches"}
        report.add(prefix + label[name], ours / theirs, 1.3, note=f"{ours:.1f} and {theirs:.1f} {unit}".strip())
    # Pods, Jobs, events, the namespace's own kinds: however many tasks there are.
    report.add(prefix + "watched collections more", custom.watches - jobs.watches, len(_KINDS) + 1, "")


def _measure(run_tasks: Callable[[Kube], None]) -> Cost:
    """Run the tasks in a new sandbox with a collector, until all are recorded."""
    with load.sandbox() as (kube, folder), counting_proxy(kube.kubeconfig, folder) as (kubeconfig, paths):
        for kind in _KINDS:
            kind.define(kube)
            kind.define_parts(kube)
        url = f"sqlite:///{folder}/r.sqlite"
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--all", "-n", kube.namespace]
        env = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(folder)}
        with (folder / "recorder.log").open("wb") as log, contextlib.closing(open_store(url)) as store:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            try:
                kube.wait_for(lambda: any("watch=" in path for path in paths), "the collector's first watch")
                resident(process.pid)
                run_tasks(kube)
                kube.wait_for(
                    lambda: sum(info.done for info in store.recordings()) == TASKS, f"the ends of {TASKS} tasks", 600
                )
                lines = sum(store.complete(info.id).records for info in store.recordings())
                assert lines == TASKS * PODS * LINES, f"{lines} lines"
                return Cost(cpu(process.pid), peak(process.pid), [*paths])
            finally:
                process.terminate()
                process.wait()


def _run_jobs(kube: Kube) -> None:
    command = ["busybox", "chroot", "/host", "/bin/sh", "-c", _PROGRAM]
    for number in range(TASKS):
        job = python_job(f"task-{number}", "", parallelism=PODS)
        job["spec"]["template"]["spec"]["containers"][0]["command"] = command
        kube.create(job)


def _run_custom(kube: Kube) -> None:
    tasks = [Task(kube, _KINDS[number % 2], f"task-{number}", kube.namespace) for number in range(TASKS)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Task.begin, tasks))

    def have_pods_ended() -> bool:
        return all(pod["status"].get("phase") == "Succeeded" for pod in kube.list("pods")["items"])

    kube.wait_for(have_pods_ended, f"the ends of {TASKS * PODS} pods", 600)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Task.end, tasks))
