"""A hundred viewers of one live task against one: 1 000 lines a second for ten seconds."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from conftest import run_sandbox
from report import Report, cpu, resident
from support.jupyter import TOKEN, Home, Jupyter, counter, jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from support.kube import Kube

LINES, PER_SECOND = 10_000, 1000


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "sandbox") as sandbox:
        home = Home(Path(folder) / "home", sandbox.kubeconfig)
        home.path.mkdir()
        try:
            with jupyter(home) as server:
                _watch(sandbox.kube, server, "warm", 1)  # imports, and what all viewers share
                one, shared = _watch(sandbox.kube, server, "one", 1)
                hundred, grown = _watch(sandbox.kube, server, "hundred", 100)
        finally:
            home.end()
    report.add("server CPU, 100 viewers / 1", hundred / one, 4, note=f"{hundred:.2f} s / {one:.2f} s")
    report.add("memory per viewer beyond the first", (grown - shared) * 1024 / 99, 50, "kB")


def _watch(kube: Kube, server: Jupyter, name: str, viewers: int) -> tuple[float, float]:
    """Give the server's CPU seconds and the MB it grew while so many viewers read a task to its end."""
    kube.create(python_job(name, counter(LINES, per_second=PER_SECOND, wait=3)))
    before, used = resident(server.process.pid), cpu(server.process.pid)
    grown = asyncio.run(_viewers(server, name, viewers, before))
    return cpu(server.process.pid) - used, grown


async def _viewers(server: Jupyter, name: str, viewers: int, before: float) -> float:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=None, limits=limits) as client:

        async def view() -> int:
            size = 0
            async with client.stream("GET", server.path(name), params={"since": "all"}) as response:
                async for chunk in response.aiter_raw():
                    size += len(chunk)
            return size

        tasks = [asyncio.create_task(view()) for _ in range(viewers)]
        _done, _ = await asyncio.wait(tasks, timeout=8)
        grown = resident(server.process.pid) - before
        sizes = await asyncio.gather(*tasks)
        assert min(sizes) > LINES * 60, "a viewer did not get everything"
        return grown
