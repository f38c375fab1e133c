"""A small fleet of real parts: the sandbox, Valkey, collectors, a Jupyter server, viewers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from bench.report import cpu, resident
from conftest import run_sandbox
from support.jupyter import TOKEN, Home, Jupyter, jupyter
from support.kube import python_job
from support.ports import free_port
from support.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess

_LINE = "2026-01-01 12:00:00,123 INFO trainer.loop epoch {i} step {i} loss={l:.4f} lr=1e-04 grad_norm=0.123 mem=1234MB rank=1 id=0badcafe"
_WRITES = f"""
import random, time
time.sleep(random.random())
i = 0
while True:
    l = random.random()
    print(f{_LINE!r}, flush=True)
    time.sleep(PAUSE)
    i += 1
"""
#: Allowed streams per user, because all viewers here are one user.
_STREAMS = 500
_QUIET = "import time\nprint('once', flush=True)\ntime.sleep(3600)"


@dataclass
class Usage:
    """Lines, commits and CPU per second during a period, and memory of Valkey per commit."""

    lines: float
    commits: float
    collectors: list[float]
    valkey: float
    server: float
    entry_bytes: float


class SmallFleet:
    """The running parts of a small fleet."""

    def __init__(self, sandbox: SandboxProcess, valkey: Server, folder: Path, collectors: int) -> None:
        self.sandbox, self.valkey, self.folder = sandbox, valkey, folder
        self.ports = [free_port() for _ in range(collectors)]
        self.collectors: list[subprocess.Popen[bytes]] = []
        self.server: Jupyter | None = None
        self._jobs: list[str] = []

    def start(self, port: int, *options: str) -> None:
        """Start a collector."""
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", self.valkey.url, "--all", *options]
        with (self.folder / f"collector-{port}.log").open("ab") as log:
            env = os.environ | {"KUBECONFIG": str(self.sandbox.kubeconfig)}
            made = subprocess.Popen([*command, "--port", str(port)], env=env, stdout=log, stderr=log)
        self.collectors.append(made)
        self.until(lambda: self.metrics(port), "a collector")

    def metrics(self, port: int) -> dict[str, float]:
        """Return a collector's metrics; none if it does not answer yet."""
        with contextlib.suppress(httpx.TransportError):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            return {name: float(value) for name, value in re.findall(r"^(cortex_\w+) (\S+)$", text, re.MULTILINE)}
        return {}

    def sum_metric(self, name: str) -> float:
        """Return the sum of a metric over all collectors."""
        return sum(self.metrics(port)[name] for port in self.ports)

    def valkey_bytes(self) -> int:
        """Return Valkey's used memory (bytes)."""
        with self.valkey.client() as client:
            return int(client.info("memory")["used_memory"])

    def run_tasks(self, name: str, tasks: int, containers: int, pause: float | None) -> None:
        """Replace the running tasks by others, and wait until the collectors read all containers."""
        for job in self._jobs:
            self.sandbox.kube.delete("jobs", job)
        self.until(lambda: self.sum_metric("cortex_jupyter_sources") == 0, "the end of what ran")
        program = _QUIET if pause is None else _WRITES.replace("PAUSE", str(pause))
        self._jobs = [f"{name}-{i}" for i in range(tasks)]
        for job in self._jobs:
            self.sandbox.kube.create(python_job(job, program, containers=containers))
        self.until(lambda: self.sum_metric("cortex_jupyter_sources") == tasks * containers, "all containers")

    def measure(self, seconds: float) -> Usage:
        """Wait for some time, and return what was used during it."""
        pids = [p.pid for p in self.collectors]
        store = self.valkey.process
        assert store
        server = self.server.process.pid if self.server else store.pid
        names = ("cortex_jupyter_lines_total", "cortex_jupyter_commit_seconds_count")

        def now() -> list[float]:
            return [
                time.monotonic(),
                *map(self.sum_metric, names),
                cpu(store.pid),
                cpu(server),
                self.valkey_bytes(),
                *map(cpu, pids),
            ]

        before = now()
        time.sleep(seconds)
        took, lines, commits, valkey, served, used, *ours = (b - a for a, b in zip(before, now(), strict=True))
        return Usage(
            lines / took,
            commits / took,
            [one / took for one in ours],
            valkey / took,
            served / took,
            used / max(commits, 1),
        )

    @contextlib.contextmanager
    def viewers(self, viewers: int) -> Iterator[None]:
        """Run viewers while the block runs; they share the tasks evenly."""
        assert self.server is not None
        server, ready, stop = self.server, threading.Event(), asyncio.Event()
        reading: list[int] = []
        refused: list[str] = []
        loop = asyncio.new_event_loop()

        async def view(client: httpx.AsyncClient, name: str) -> None:
            params = {"follow": "true", "since": "1m"}
            async with client.stream("GET", server.path(name), params=params) as response:
                if response.status_code != 200:
                    refused.append((await response.aread()).decode())
                    ready.set()
                    return
                chunks = response.aiter_raw()
                await anext(chunks)
                reading.append(1)
                if len(reading) == viewers:
                    ready.set()
                async for _ in chunks:
                    pass

        async def run() -> None:
            headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=None, limits=limits) as client:
                tasks = [asyncio.create_task(view(client, self._jobs[i % len(self._jobs)])) for i in range(viewers)]
                await stop.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        try:
            assert ready.wait(60) and not refused, refused[:1]
            time.sleep(3)  # lines from before have been sent by then
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    def until(self, test: Callable[[], object], what: str) -> None:
        """Wait until `test` holds."""
        self.sandbox.kube.wait_for(test, what, timeout=90)


@contextlib.contextmanager
def run_small_fleet(collectors: int = 1, *, served: bool = False) -> Iterator[SmallFleet]:
    """Run a small fleet without tasks while the block runs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sandbox = stack.enter_context(run_sandbox(folder / "sandbox"))
        valkey = stack.enter_context(Server(folder / "valkey", appendonly="yes"))
        made = SmallFleet(sandbox, valkey, folder, collectors)
        if served:
            home = Home(folder / "home", sandbox.kubeconfig, {"CORTEX_STORE": valkey.url})
            home.path.mkdir()
            made.server = stack.enter_context(
                jupyter(home, "server", f"--CortexJupyter.max_streams_per_user={_STREAMS}")
            )
        try:
            for port in made.ports:
                made.start(port)
            yield made
        finally:
            for collector in made.collectors:
                collector.terminate()
            for collector in made.collectors:
                collector.wait(60)


def growth_kb(pid: int, before: float) -> float:
    """Return by how much the resident memory of a process has grown (kB)."""
    return (resident(pid) - before) * 1e6 / 1000 * 1.048576
