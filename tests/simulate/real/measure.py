"""Measure the model's costs with the real parts."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from archive.s3 import gate, seaweed
from bench import pipe, server_store
from bench.report import cpu, resident
from conftest import run_sandbox
from simulate.parameters import Parameters
from simulate.real.small import SmallFleet, Usage, growth_kb, run_small_fleet
from support.counting import counting_proxy
from support.kube import python_job
from support.valkey import Server
from tqdm import tqdm

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.cluster.pods import without_bulk
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from conftest import SandboxProcess

TASKS, CONTAINERS = 20, 5
SECONDS, _ASKED_S = 10.0, 7.0
#: Number of tasks for the cost of sharing, and of pods for the memory of a watch.
FLEET = 2000


def measure() -> Parameters:
    """Measure all costs.

    Returns
    -------
    Parameters
    """
    costs: dict[str, Any] = {"about": _about()}
    with tqdm(total=12, desc="measuring", unit="step") as bar:

        def done(what: str, **figures: float) -> None:
            costs.update(figures)
            bar.set_postfix_str(what)
            bar.update()

        done("backlog", **_backlog())
        done("sharing", **_sharing())
        done("requests", **_requests())
        with run_small_fleet(served=True) as small_fleet:
            _live(small_fleet, done, costs)
    return Parameters(**costs)


def _about() -> dict[str, str]:
    model = next(re.finditer(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()), ["", "unknown"])[1]
    version = subprocess.run(["valkey-server", "--version"], capture_output=True, text=True, check=True).stdout
    valkey = version.split()[2]
    return {
        "machine": f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, Valkey {valkey.removeprefix('v=')}",
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": "make simulate ARGS=--measure",
    }


def _backlog() -> dict[str, float]:
    """Measure the costs of lines that arrive in large chunks, and of archiving them."""
    lines = server_store.LINES
    with pipe.backlog(lines) as (_, home, _):
        idle = _cpu_of(["-m", "cortex_jupyter.recorder", "--idle", "0"], home.env)
        with server_store._new_store("valkey") as (url, server):
            figure = asyncio.run(server_store._ingest(home.kubeconfig, url, server))
            us = (figure["cpu"] - idle) / lines * 1e6
            valkey_us = figure["server"] / lines * 1e6
            costs = {"line_us": us, "line_bytes": figure["bytes"] / lines, "valkey_line_us": valkey_us}
            return costs | _archive(url, lines)


def _archive(url: str, lines: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, seaweed(Path(folder)) as port, gate(port) as bucket:
        env = os.environ | bucket.env
        command = ["-m", "cortex_jupyter.cli", "archive", "--store", url, "--to", "s3://logs/sizing"]
        whole, requests = _cpu_of(command, env), list(bucket.requests)
        idle = _cpu_of(command, env)
        os.environ.update(bucket.env)
        size = sum(held.file.size for held in Catalog(ObjectStore("s3://logs/sizing")).all())
        return {
            "archive_start_ms": idle * 1000,
            "archive_line_us": (whole - idle) / lines * 1e6,
            "archive_bytes": size / lines,
            "archive_requests": len(requests),
        }


def _cpu_of(command: list[str], env: dict[str, str]) -> float:
    process = subprocess.Popen(
        [sys.executable, *command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _sharing() -> dict[str, float]:
    """Measure the cost of reading which collector records which task, and a collector's memory per pod."""
    passes = 20
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "v") as server:
        store = open_store(server.url)
        ids = [store.open("c", TaskRef("default", "job", f"t{i}"), f"u{i}") for i in range(FLEET)]
        assert server.process
        used, spent = time.process_time(), cpu(server.process.pid)
        for _ in range(passes):
            store.holders(ids)
        used, spent = time.process_time() - used, cpu(server.process.pid) - spent
        store.close()
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "s") as sandbox:
        pod = _pod(sandbox)
    kept, before = [], resident(os.getpid())
    for _ in range(FLEET):
        kept.append(without_bulk(orjson.loads(pod)))  # noqa: PERF401 - the removed parts must be freed at once
    return {
        "share_us": used / passes / FLEET * 1e6,
        "valkey_share_us": spent / passes / FLEET * 1e6,
        "pod_kb": max(growth_kb(os.getpid(), before), 0.0) / FLEET,
    }


def _pod(sandbox: SandboxProcess) -> bytes:
    sandbox.kube.create(python_job("one", "print()", containers=2))
    sandbox.kube.wait_job("one")
    return orjson.dumps(sandbox.kube.pods_of("one")[0])


def _requests() -> dict[str, float]:
    """Count the requests to the API server when containers start, and when they end."""
    tasks, flag = 4, f"/tmp/sizing-{os.getpid()}"
    program = f"import os, time\nprint('once', flush=True)\nwhile not os.path.exists({flag!r}): time.sleep(0.2)\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        run_sandbox(Path(folder) / "s") as sandbox,
        counting_proxy(sandbox.kubeconfig, Path(folder)) as (kubeconfig, seen),
        Server(Path(folder) / "v") as server,
    ):
        command = ["-m", "cortex_jupyter.recorder", "--all", "--store", server.url]
        collector = subprocess.Popen([sys.executable, *command, "--kubeconfig", kubeconfig], stderr=subprocess.DEVNULL)
        store = open_store(server.url)
        try:
            sandbox.kube.wait_for(lambda: sum("watch=1" in path for path in seen) >= 2, "its watches")
            seen.clear()
            for i in range(tasks):
                sandbox.kube.create(python_job(f"t{i}", program, containers=CONTAINERS))
            ready = lambda: [i.caught_up for i in store.recordings()] == [True] * tasks  # noqa: E731
            sandbox.kube.wait_for(ready, "all to be read")
            started = _asked(seen)
            Path(flag).touch()
            sandbox.kube.wait_for(lambda: all(i.done for i in store.recordings()), "their ends")
            ended = _asked(seen) - started
        finally:
            collector.terminate()
            collector.wait()
            store.close()
            Path(flag).unlink(missing_ok=True)
    return {"start_requests": started / tasks / CONTAINERS, "end_requests": ended / tasks / CONTAINERS}


def _asked(seen: list[str]) -> int:
    return sum("watch=1" not in path for path in seen)


@dataclass
class _Run:
    """A measured period: chunks per second that arrive, and what was used."""

    reads: float
    usage: Usage


def _live(small_fleet: SmallFleet, done: Any, costs: dict[str, Any]) -> None:
    """Measure containers that write little, as most do: without a viewer, with one per task, and with ten per task."""
    collector, sources = small_fleet.collectors[0].pid, TASKS * CONTAINERS
    assert small_fleet.server
    time.sleep(3)
    rest = small_fleet.measure(SECONDS)
    done(
        "at rest", own_ms=rest.collectors[0] * 1000, valkey_own_ms=rest.valkey * 1000, server_own_ms=rest.server * 1000
    )
    before, used, spent = resident(collector), small_fleet.valkey_bytes(), cpu(collector)
    small_fleet.run_tasks("quiet", TASKS, CONTAINERS, None)
    time.sleep(5)
    # A silent log is probed 2, 6, 14 and 30 s after its last line.
    done(
        "containers that start",
        base_mb=before,
        start_ms=(cpu(collector) - spent) / sources * 1000,
        source_kb=growth_kb(collector, before) / sources,
        task_kb=(small_fleet.valkey_bytes() - used) / TASKS / 1000,
    )
    time.sleep(3)
    asked = small_fleet.measure(_ASKED_S)
    runs = [_Run(0, small_fleet.measure(SECONDS))]
    probes = (asked.collectors[0] - runs[0].usage.collectors[0]) * _ASKED_S / sources
    done("quiet ones", probe_ms=max(probes, 0) * 1000)
    for pause in (1.0, 0.1):
        small_fleet.run_tasks(f"every-{pause:g}".replace(".", "-"), TASKS, CONTAINERS, pause)
        time.sleep(3)
        runs.append(_Run(sources / pause, small_fleet.measure(SECONDS)))
        done("read by nobody")
        with small_fleet.viewers(TASKS):
            runs.append(_Run(sources / pause, small_fleet.measure(SECONDS)))
            done("a viewer for each task", entry_bytes=runs[-1].usage.entry_bytes)
    single = runs[-1].usage
    with small_fleet.viewers(10 * TASKS):
        ten = small_fleet.measure(SECONDS)
    # Divide by the commits of each run, because their number depends on the load.
    of_one, of_ten = ((run.server - rest.server) / run.commits * 1e6 for run in (single, ten))
    send = max(of_ten - of_one, 0) / 9
    done("ten for each", send_us=send, event_us=max(of_one - send, 0))
    _fit(runs, sources, costs)
    done("fitted")


def _fit(runs: list[_Run], sources: int, costs: dict[str, Any]) -> None:
    """Fit the costs of a container, a chunk and a commit so that the relative error of the runs is smallest."""
    collector = np.array([run.usage.collectors[0] for run in runs]) - costs["own_ms"] / 1e3
    valkey = np.array([run.usage.valkey for run in runs])
    lines = np.array([run.usage.lines for run in runs])
    work = np.array([[sources, run.reads, run.usage.commits] for run in runs])
    costs["source_us"], costs["read_us"], costs["commit_us"] = _least_squares(
        work, np.maximum(collector - lines * costs["line_us"] / 1e6, 1e-4)
    )
    rest = valkey - lines * costs["valkey_line_us"] / 1e6
    costs["valkey_commit_us"] = _least_squares(work[1:, 2:], np.maximum(rest[1:] - rest[0], 1e-4))[0]


def _least_squares(work: np.ndarray, spent: np.ndarray) -> list[float]:
    """Return the non-negative costs with the smallest relative error (us). A negative cost is set to 0 and the rest solved again."""
    keep = list(range(work.shape[1]))
    while True:
        costs = np.linalg.lstsq(work[:, keep] / spent[:, None], np.ones(len(spent)), rcond=None)[0]
        if (costs >= 0).all():
            break
        keep = [k for k, cost in zip(keep, costs, strict=True) if cost >= 0]
    all_costs = np.zeros(work.shape[1])
    all_costs[keep] = costs
    return [float(x) * 1e6 for x in all_costs]
