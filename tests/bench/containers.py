"""One recorder of many containers, busy and then at rest: 1 000 on the sandbox, 100 on the cluster that KUBECONFIG names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
from bench import load
from bench.load import Reader, Writers, count_errors
from bench.recorder import HASTE, MINUTE_S
from bench.report import Report, cpu, peak, resident
from support.hand import until
from support.ports import free_port

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cortex_jupyter.store import Store

#: The numbers of Jobs, of pods per Job and of containers per pod; lines, and lines per second, of each container.
SANDBOX: dict[str, Any] = {"jobs": 20, "pods": 10, "containers": 5, "lines": 40, "rate": 2.0}
REAL: dict[str, Any] = {"jobs": 5, "pods": 10, "containers": 2, "lines": 750, "rate": 50.0}
#: A recorder that counts its requests. After SIGUSR1 its long intervals are ten times shorter.
_COUNTING = f"""
import signal, sys
import aiohttp
from prometheus_client import Counter
made = Counter("bench_requests", "Requests to the API server", ["kind"])
request = aiohttp.ClientSession._request
async def counted(self, method, url, **options):
    query = options.get("params") or {{}}
    made.labels("watch" if "watch" in query else "follow" if "follow" in query else "other").inc()
    return await request(self, method, url, **options)
aiohttp.ClientSession._request = counted
def haste(*_):
    {"; ".join(HASTE.strip().splitlines())}
signal.signal(signal.SIGUSR1, haste)
from cortex_jupyter.recorder.__main__ import main
sys.exit(main())
"""


def run(report: Report) -> None:
    """Measure a busy recorder, then one at rest."""
    with load.cluster() as (kube, folder):
        shape = REAL if load.REAL else SANDBOX
        began = time.monotonic()
        with Writers(kube, folder, **shape) as writers:
            print(f"{writers.count} containers run after {time.monotonic() - began:.0f} s", flush=True)
            asyncio.run(_record(report, writers, folder))


async def _record(report: Report, writers: Writers, folder: Path) -> None:
    many, url = writers.count, f"sqlite://{folder}/r.sqlite"
    lines, seconds = writers.count * writers.lines, writers.lines / writers.rate
    async with _recorder(writers, folder, url) as (pid, ids, figures):
        with closing(open_store(url)) as store:
            began = time.monotonic()
            await until(lambda: figures()["cortex_jupyter_sources"] >= 0, 60)
            before = resident(pid)
            await until(lambda: figures()["cortex_jupyter_sources"] == many, 120)
            await until(lambda: all(_caught_up(store, id_) for id_ in ids), 120)
            opened, started = time.monotonic() - began, figures()
            report.add(
                f"{many} containers: until all are read",
                opened,
                None,
                "s",
                f"CPU {cpu(pid):.1f} s, {_requests(started)}",
            )
            used = cpu(pid)
            writers.begin()
            await asyncio.sleep(seconds)
            await until(lambda: figures()["cortex_jupyter_lines_total"] >= lines + many, 60)
            used, busy = cpu(pid) - used, figures()
            report.add(
                "CPU per million lines recorded",
                used / lines * 1e6,
                None,
                "s",
                f"{lines / used / 1000:.1f} k lines/s per core, {lines / seconds:.0f} lines/s",
            )
            report.add("streams open", busy["cortex_jupyter_sources"], many, "")
            report.add(
                "lag to the commit without a reader, p95 (upper bound)",
                _p95(started, busy, "cortex_jupyter_recording_lag_seconds") * 1000,
                100,
                "ms",
            )
            report.add(
                "memory of the recorder",
                peak(pid),
                150 if many <= 100 else None,
                "MB",
                f"{(peak(pid) - before) * 1024 / many:.0f} kB for each",
            )
            await _rest(report, pid, many, figures)
            writers.end()
            await until(lambda: all((info := store.info(id_)) and info.done for id_ in ids), 120)
            errors = [count_errors(_read(store, id_), lines // len(ids)) for id_ in ids]
            report.add("lines lost, doubled or moved", sum(map(sum, errors)), 0, "")


async def _rest(report: Report, pid: int, many: int, figures: Callable[[], dict[str, float]]) -> None:
    """Count the requests to the API server once the probes have backed off, with intervals ten times shorter."""
    os.kill(pid, signal.SIGUSR1)
    await asyncio.sleep(4 * MINUTE_S)
    before, used = figures(), cpu(pid)
    await asyncio.sleep(3 * MINUTE_S)
    after, used = figures(), cpu(pid) - used
    counted = {k: after[k] - before.get(k, 0) for k in after if k.startswith("bench_requests_total")}
    other = sum(n for k, n in counted.items() if "watch" not in k) / 3
    report.add(
        "requests a minute at rest, without watches",
        other,
        many,
        "",
        f"CPU {used / 3:.2f} s for them; {_requests(counted)} in 3 min",
    )


@contextlib.asynccontextmanager
async def _recorder(
    writers: Writers, folder: Path, url: str
) -> AsyncIterator[tuple[int, list[int], Callable[[], dict[str, float]]]]:
    """Run a recorder of these tasks; yield its process id, the recordings' ids, and a function that reads its metrics."""
    kubeconfig, port = str(writers.kube.kubeconfig), free_port()
    recordings = await Session.connect(url, kubeconfig)
    assert recordings.cluster is not None
    ids = []
    for name in writers.names:
        workload = await recordings.resolve(TaskRef.parse(name, writers.kube.namespace))
        ids.append(recordings.store.open(recordings.cluster.id, workload.ref, workload.uid))
        recordings.store.want(ids[-1], 600)
    await recordings.close()
    options = [
        "--store",
        url,
        "--kubeconfig",
        kubeconfig,
        "--port",
        str(port),
        "--streams-per-node",
        str(writers.count),
    ]
    with (folder / "recorder.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", _COUNTING, *options], stdout=log, stderr=log)  # noqa: ASYNC220

    def figures() -> dict[str, float]:
        with contextlib.suppress(httpx.TransportError):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")}
        assert process.poll() is None, (folder / "recorder.log").read_text()[-2000:]
        return {"cortex_jupyter_sources": -1}

    try:
        yield process.pid, ids, figures
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


def _caught_up(store: Store, id_: int) -> bool:
    info = store.info(id_)
    return info is not None and info.caught_up


def _read(store: Store, id_: int) -> Reader:
    """Return a recording as a reader receives it."""
    reader, at = Reader(), 0
    while entries := store.entries(id_, at, 1 << 20):
        reader.events += [(0, b"data: " + entry.data) for entry in entries]
        at = entries[-1].last
    return reader


def _requests(figures: dict[str, float]) -> str:
    kinds = {m[1]: int(n) for k, n in figures.items() if (m := re.match(r'bench_requests_total\{kind="(\w+)"', k))}
    return "requests: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))


def _p95(before: dict[str, float], after: dict[str, float], name: str) -> float:
    """Return the upper bound of the histogram bucket that contains the 95th percentile."""
    bounds = {
        float(m[1]): n - before.get(k, 0) for k, n in after.items() if (m := re.match(name + r'_bucket\{le="(.+)"', k))
    }
    return min(bound for bound, n in bounds.items() if n >= 0.95 * bounds[float("inf")])
