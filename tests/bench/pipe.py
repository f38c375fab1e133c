"""600 000 lines (90 MB) from Kubernetes to SSE, compared with curl and kubectl, which read the same bytes in the same run."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Report, cpu, peak, pings, resident, timed
from conftest import run_sandbox
from support.jupyter import TOKEN, Home, Jupyter, jupyter
from support.kube import Kube, python_job

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = 600_000
ROUNDS = 3

#: Writes the mix of lines behind the figures in `docs/explanation/architecture.md`: numbers, JSON, progress, tracebacks, klog.
PROGRAM = """
import random, sys
r = random.Random(7)
def line(i):
    k = i % 20
    if k < 11: return '2026-01-01 12:00:%02d,%03d INFO trainer.loop epoch %d step %d loss=%.4f lr=%.2e grad_norm=%.3f mem=%dMB rank=%d id=%08x' % (i % 60, i % 1000, i // 9999, i, r.random(), r.random(), r.random(), r.randrange(9000), i % 8, r.getrandbits(32))
    if k < 16: return '{"ts":%d,"level":"info","msg":"request handled","path":"/api/v1/items/%d","status":200,"ms":%.2f,"trace":"%016x","bytes":%d}' % (i, r.randrange(99999), r.random() * 90, r.getrandbits(64), r.randrange(99999))
    if k < 18: return 'train: %3d%%|%s%s| %d/2000 [%02d:%02d<04:05, %.2fit/s, loss=%.3f, acc=%.3f, note=progress-line-of-a-bar]' % (i % 100, chr(9608) * (i % 25), ' ' * (25 - i % 25), i % 2000, i % 60, i % 60, r.random() * 9, r.random(), r.random())
    if k < 19: return '  File "/usr/lib/python3/site-packages/torch/nn/modules/module.py", line %d, in _call_impl return forward_call(*args, **kwargs)' % (i % 2000)
    return 'I0102 12:00:%02d.%06d %7d reconciler.go:%d] "Reconciling object" controller="pod" namespace="ml" name="worker-%d" reason="resync interval"' % (i % 60, i % 999999, i, i % 999, i % 64)
block = 5000
for start in range(0, COUNT, block):
    sys.stdout.write('\\n'.join(map(line, range(start, min(start + block, COUNT)))) + '\\n')
"""


def program(lines: int) -> str:
    """Return a program that writes so many lines."""
    return PROGRAM.replace("COUNT", str(lines))


@contextmanager
def backlog(lines: int) -> Iterator[tuple[Kube, Home, str]]:
    """Yield a sandbox with a completed Job of so many lines, none of which is rotated away."""
    with (
        tempfile.TemporaryDirectory() as folder,
        run_sandbox(Path(folder) / "sandbox", "--log-max-size", str(2 << 30)) as sandbox,
    ):
        sandbox.kube.create(python_job("backlog", program(lines)))
        sandbox.kube.wait_job("backlog", timeout=300)
        home = Home(Path(folder) / "home", sandbox.kubeconfig)
        home.path.mkdir()
        try:
            yield sandbox.kube, home, sandbox.kube.pods_of("backlog")[0]["metadata"]["name"]
        finally:
            home.end()


def run(report: Report) -> None:
    """Measure our server, curl and kubectl in turn."""
    with backlog(LINES) as (kube, home, pod):
        url = f"{kube.server}/api/v1/namespaces/default/pods/{pod}/log?timestamps=true"
        bearer = f"Authorization: {kube.client.headers['Authorization']}"
        file = home.path / "file.log"
        curl = [timed(["curl", "-sSfN", "-H", bearer, "-o", str(file), url]) for _ in range(ROUNDS)]
        size = file.stat().st_size
        text = sum(len(line) - 31 for line in file.open("rb"))
        kubectl = []
        for _ in range(ROUNDS):
            with file.open("wb") as out:
                command = ["kubectl", "--kubeconfig", str(kube.kubeconfig), "logs", "--timestamps", pod]
                kubectl.append(timed(command, stdout=out))
        print(
            f"{LINES} lines, {size / 1e6:.0f} MB with times: kubectl {_median(kubectl)}, curl {_median(curl)} (wall, CPU)"
        )
        ours, stalls, longest, memory, disk = [], 0.0, 0.0, 0.0, 0.0
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                fresh = Home(Path(folder), home.kubeconfig)
                try:
                    wall, used, found, added, stored = _stream(kube, fresh)
                finally:
                    fresh.end()
            ours.append((wall, used))
            stalls, longest = (
                max(stalls, *(all_ - waited for all_, waited in found)),
                max(longest, *next(zip(*found, strict=True))),
            )
            memory, disk = max(memory, added), stored
        print(f"ours {_median(ours)}; rounds {[f'{w:.2f} s, CPU {c:.2f} s' for w, c in ours]}")
        wall, used = (statistics.median(x) for x in zip(*ours, strict=True))
        k_wall, k_cpu = (statistics.median(x) for x in zip(*kubectl, strict=True))
        c_wall, c_cpu = (statistics.median(x) for x in zip(*curl, strict=True))
        report.add("CPU, Kubernetes to SSE with the recording / kubectl to a file", used / k_cpu, 1.5)
        report.add("wall of the backlog through SSE / kubectl to a file", wall / k_wall, 1.4)
        report.add("wall / curl of the same bytes from the sandbox", wall / c_wall, None)
        report.add("CPU / curl of the same bytes", used / c_cpu, None)
        report.add("memory added while it passes, recorder and server", memory, 40, "MB")
        report.add("recording on disk / its text", disk / text, 0.35)
        clock = f"{longest:.1f} ms by the clock"
        report.add("the server's longest stall meanwhile, less waiting for a CPU", stalls, 50, "ms", note=clock)


def _stream(kube: Kube, home: Home) -> tuple[float, float, list[tuple[float, float]], float, float]:
    with jupyter(home) as server:
        _warm(kube, server)
        (recorder,) = home.recorders()
        pids = (server.process.pid, recorder)
        before = {pid: resident(pid) for pid in pids}
        url = server.url + server.path("backlog") + "?since=all"
        headers = [f"Authorization: token {TOKEN}", "Accept: text/event-stream"]
        command = ["curl", "-sSfN", "-o", "/dev/null", *(x for h in headers for x in ("-H", h)), url]
        with pings(server.url + "api", dict(server.client.headers), server.process.pid) as stalls:
            used = cpu(*pids)
            wall, _ = timed(command)
            used = cpu(*pids) - used
        added = sum(peak(pid) - before[pid] for pid in pids)
        store = sum(p.stat().st_size for p in home.path.rglob("recordings.sqlite"))
        longest, waited = max(stalls)
        print(
            f"  {len(stalls)} pings, the longest {longest:.1f} ms, {waited:.1f} of it for a CPU; used {used:.2f} s",
            flush=True,
        )
        return wall, used, stalls, added, store


def _warm(kube: Kube, server: Jupyter) -> None:
    """Record a small task, so that server and recorder have imported their modules."""
    kube.delete("jobs", "warm")
    kube.wait_for(lambda: not kube.pods_of("warm"), "the last warm-up is gone")
    kube.create(python_job("warm", "print('warm')"))
    for event in server.events("warm", headers={"Accept": "text/event-stream"}, since="all"):
        if event.event == "end":
            return


def _median(rounds: list[tuple[float, float]]) -> str:
    wall, used = (statistics.median(x) for x in zip(*rounds, strict=True))
    return f"{wall:.2f} s, {used:.2f} s"
