"""In a namespace of 1 000 pods: `cortex-jupyter tasks` beside `kubectl get pods`, and the memory of a collector."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import REAL
from conftest import run_sandbox
from support.crowd import LINES, TASKS, crowded
from support.kube import Kube, python_job

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report import Report
    from support.crowd import Crowd

    from cortex_jupyter.store import Store

_ROUNDS = 5


def run(report: Report) -> None:
    """Measure on the cluster that KUBECONFIG names, or else on a sandbox."""
    with tempfile.TemporaryDirectory() as folder, _crowd(Path(folder)) as crowd:
        env = os.environ | {
            "KUBECONFIG": str(crowd.kube.kubeconfig),
            "CORTEX_STORE": f"sqlite:///{folder}/store.sqlite",
            "HOME": folder,
        }
        ours = [str(Path(sys.executable).with_name("cortex-jupyter")), "tasks", "-n", crowd.namespace]
        kubectl = ["kubectl", "get", "pods", "-n", crowd.namespace]
        # In turn, so that both see the same load of the machine. The first round fills caches and is left out.
        times = [(_seconds(ours, env), _seconds(kubectl, env)) for _ in range(_ROUNDS + 1)][1:]
        ratio = min(a for a, _ in times) / min(b for _, b in times)
        # The budget applies to real clusters only: a sandbox is written in Python and takes most of the time itself.
        report.add("tasks of 1 000 pods / kubectl get pods", ratio, 1.3 if REAL else None, "x")
        crowd.kube.create(python_job("alone", f"import time; [print(i) for i in range({LINES})]; time.sleep(900)"))
        try:
            alone, in_crowd = (
                _memory(crowd, env, Path(folder), namespace, job, tasks)
                for namespace, job, tasks in (("default", "alone", 1), (crowd.namespace, crowd.job, TASKS))
            )
        finally:
            crowd.kube.delete("jobs", "alone", "default")
        report.add("memory that 1 000 pods add to a collector", in_crowd - alone, 60, "MB")


@contextlib.contextmanager
def _crowd(folder: Path) -> Iterator[Crowd]:
    if REAL:
        with contextlib.closing(Kube(REAL)) as kube, crowded(kube, real=True) as crowd:
            yield crowd
        return
    with run_sandbox(folder / "sandbox") as process, crowded(process.kube, real=False) as crowd:
        yield crowd


def _seconds(command: list[str], env: dict[str, str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def _memory(crowd: Crowd, env: dict[str, str], folder: Path, namespace: str, job: str, tasks: int) -> float:
    """Return the private memory of a collector that records all tasks of a namespace (MB)."""
    url = f"sqlite:///{folder}/{job}.sqlite"
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--all", "-n", namespace]
    with contextlib.closing(open_store(url)) as store:
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        try:
            crowd.kube.wait_for(
                lambda: _is_recorded(store, job, tasks),
                f"{job} to be recorded, and {tasks} tasks",
                240,
            )
            smaps = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in smaps if line.startswith("Private_")) / 1000
        finally:
            process.terminate()
            process.wait(60)


def _is_recorded(store: Store, job: str, tasks: int) -> bool:
    recordings = store.recordings()
    # A task's state is its first record.
    if sum(info.last_seq > 0 for info in recordings) < tasks:
        return False
    return any(i.ref.name == job and store.complete(i.id).records >= LINES for i in recordings)
