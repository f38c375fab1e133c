"""Measures the model's parameters with the real parts; about three minutes."""

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
from simulate.real.small import Small, Spent, grown, small
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
#: Of a fleet, for what each collector does for every task of it; pods that are watched.
FLEET = 2000


def measure() -> Parameters:
    """Measure all of them.

    Returns
    -------
    Parameters
    """
    found: dict[str, Any] = {"about": _about()}
    with tqdm(total=12, desc="measuring", unit="step") as bar:

        def done(what: str, **figures: float) -> None:
            found.update(figures)
            bar.set_postfix_str(what)
            bar.update()

        done("backlog", **_backlog())
        done("sharing", **_sharing())
        done("requests", **_requests())
        with small(served=True) as one:
            _live(one, done, found)
    return Parameters(**found)


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
    """Measure lines that arrive in large pieces, and how they are archived."""
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
    """What a collector asks about all tasks of the fleet, and keeps of all its pods."""
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
        kept.append(without_bulk(orjson.loads(pod)))  # noqa: PERF401 - what is cut off must not pile up
    return {
        "share_us": used / passes / FLEET * 1e6,
        "valkey_share_us": spent / passes / FLEET * 1e6,
        "pod_kb": max(grown(os.getpid(), before), 0.0) / FLEET,
    }


def _pod(sandbox: SandboxProcess) -> bytes:
    sandbox.kube.create(python_job("one", "print()", containers=2))
    sandbox.kube.wait_job("one")
    return orjson.dumps(sandbox.kube.pods_of("one")[0])


def _requests() -> dict[str, float]:
    """What the API server is asked when containers start, and when they end."""
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
    """One stretch: how many containers, read by somebody or not, and what was spent."""

    reads: float
    spent: Spent


def _live(one: Small, done: Any, found: dict[str, Any]) -> None:
    """Containers that write little, which is most of them: read by nobody, by a viewer for each task, by ten."""
    collector, sources = one.collectors[0].pid, TASKS * CONTAINERS
    assert one.server
    time.sleep(3)
    rest = one.spend(SECONDS)
    done(
        "at rest", own_ms=rest.collectors[0] * 1000, valkey_own_ms=rest.valkey * 1000, server_own_ms=rest.server * 1000
    )
    before, used, spent = resident(collector), one.used(), cpu(collector)
    one.tasks("quiet", TASKS, CONTAINERS, None)
    time.sleep(5)
    # A silent log is asked 2, 6, 14 and 30 s after its last line.
    done(
        "containers that start",
        base_mb=before,
        start_ms=(cpu(collector) - spent) / sources * 1000,
        source_kb=grown(collector, before) / sources,
        task_kb=(one.used() - used) / TASKS / 1000,
    )
    time.sleep(3)
    asked = one.spend(_ASKED_S)
    runs = [_Run(0, one.spend(SECONDS))]
    probes = (asked.collectors[0] - runs[0].spent.collectors[0]) * _ASKED_S / sources
    done("quiet ones", probe_ms=max(probes, 0) * 1000)
    for pause in (1.0, 0.1):
        one.tasks(f"every-{pause:g}".replace(".", "-"), TASKS, CONTAINERS, pause)
        time.sleep(3)
        runs.append(_Run(sources / pause, one.spend(SECONDS)))
        done("read by nobody")
        with one.viewed(TASKS):
            runs.append(_Run(sources / pause, one.spend(SECONDS)))
            done("a viewer for each task", entry_bytes=runs[-1].spent.entry_bytes)
    single = runs[-1].spent
    with one.viewed(10 * TASKS):
        ten = one.spend(SECONDS)
    # Each by its own commits: under load they differ.
    of_one, of_ten = ((run.server - rest.server) / run.commits * 1e6 for run in (single, ten))
    send = max(of_ten - of_one, 0) / 9
    done("ten for each", send_us=send, event_us=max(of_one - send, 0))
    _fit(runs, sources, found)
    done("fitted")


def _fit(runs: list[_Run], sources: int, found: dict[str, Any]) -> None:
    """Find what a container, a piece and a commit cost such that each stretch is off by as little, in per cent."""
    own = np.array([run.spent.collectors[0] for run in runs]) - found["own_ms"] / 1e3
    theirs = np.array([run.spent.valkey for run in runs])
    lines = np.array([run.spent.lines for run in runs])
    work = np.array([[sources, run.reads, run.spent.commits] for run in runs])
    found["source_us"], found["read_us"], found["commit_us"] = _least(
        work, np.maximum(own - lines * found["line_us"] / 1e6, 1e-4)
    )
    rest = theirs - lines * found["valkey_line_us"] / 1e6
    found["valkey_commit_us"] = _least(work[1:, 2:], np.maximum(rest[1:] - rest[0], 1e-4))[0]


def _least(work: np.ndarray, spent: np.ndarray) -> list[float]:
    """Solve for costs that are not negative, us: what comes out below 0 costs nothing, and the others bear it."""
    keep = list(range(work.shape[1]))
    while True:
        costs = np.linalg.lstsq(work[:, keep] / spent[:, None], np.ones(len(spent)), rcond=None)[0]
        if (costs >= 0).all():
            break
        keep = [k for k, cost in zip(keep, costs, strict=True) if cost >= 0]
    found = np.zeros(work.shape[1])
    found[keep] = costs
    return [float(x) * 1e6 for x in found]
