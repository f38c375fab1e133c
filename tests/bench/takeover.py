"""Collectors that share a Valkey store: the time from the stop of a collector's machine until its tasks' lines are committed again."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import run_sandbox
from support.hand import until
from support.kube import python_job
from support.valkey import Server

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from bench.report import Report
    from conftest import SandboxProcess

    from cortex_jupyter.store import Store

TASKS, ROUNDS, TEAM = 20, 4, "shared"
_CLUSTER = "bench"
_TEN_A_SECOND = "import time\nfor i in range(100_000):\n    print(f'line {i}', flush=True)\n    time.sleep(0.1)"


def run(report: Report) -> None:
    """Measure the takeover of each task."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_sandbox(Path(folder) / "sandbox") as sandbox,
        Server(Path(folder) / "valkey") as server,
        closing(open_store(server.url)) as store,
    ):
        asyncio.run(_rounds(report, sandbox, store, Path(folder)))


async def _rounds(report: Report, sandbox: SandboxProcess, store: Store, folder: Path) -> None:
    chosen = "--all", "-l", f"team={TEAM}"
    # Recorders for users: they run, but do not take tasks without readers.
    users = [_start(sandbox, store.url, folder, "--idle", "600") for _ in range(2)]
    processes = [_start(sandbox, store.url, folder, *chosen) for _ in range(2)]
    waits: list[list[float]] = []
    try:
        for i in range(TASKS):
            job = python_job(f"{TEAM}-{i}", _TEN_A_SECOND)
            job["metadata"]["labels"] = {"team": TEAM}
            sandbox.kube.create(job)
        for _ in range(ROUNDS):
            await until(lambda: _even(store), 120)
            await asyncio.sleep(3)  # lines read again are committed by then, and commits have their normal rhythm
            stopped = processes.pop(0)
            waits.append(await _stop(store, stopped))
            stopped.kill()
            stopped.wait()
            processes.append(_start(sandbox, store.url, folder, *chosen))
    finally:
        for process in users + processes:
            process.terminate()
        for process in users + processes:
            process.wait()
    worst, note = max(map(max, waits)), "each round's median, worst: "
    note += ", ".join(f"{statistics.median(one):.1f} {max(one):.1f}" for one in waits)
    report.add("collector stopped, its tasks' next lines committed", worst, 5, "s", note=note)


def _start(sandbox: SandboxProcess, url: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, *options]
    env = os.environ | {"KUBECONFIG": str(sandbox.kubeconfig), "CORTEX_CLUSTER": _CLUSTER, "HOME": str(folder)}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def _holders(store: Store) -> dict[int, str]:
    return store.holders(info.id for info in store.recordings())


def _even(store: Store) -> bool:
    counts = Counter(_holders(store).values())
    return "" not in counts and [*counts.values()] == [TASKS // 2] * 2 and all(i.caught_up for i in store.recordings())


async def _stop(store: Store, process: subprocess.Popen[bytes]) -> list[float]:
    """Stop a collector as if its machine had gone; return for each of its tasks the time until a new commit (s)."""
    (me,) = [one.id for one in store.recorders(_CLUSTER) if one.pid == process.pid]
    left = {info.id: info.last_seq for info in store.recordings() if _holders(store)[info.id] == me}
    process.send_signal(signal.SIGSTOP)
    stopped, begun, waits = time.time_ns(), time.monotonic(), list[float]()
    while left:
        for id_, seq in [*left.items()]:
            if any(event == "log" and last > stopped for _, _, event, _, last in store.index(id_, seq)):
                waits.append(time.monotonic() - begun)
                del left[id_]
        assert time.monotonic() - begun < 60, "the tasks were not taken over"
        await asyncio.sleep(0.02)
    return waits
