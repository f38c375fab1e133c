"""Our server with its recorder beside a gateway of the classic kind (gateway/) and kubectl, of the same lines in one run.

Live with one viewer and with ten, a backlog, and a log that is rotated while it is read. CPU is that of all processes that
serve: for us also what records. The gateway's packages come from npm, on demand, into the user's cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bench import load
from bench.load import Reader, Readers, Writers, astray, delays, percentile
from bench.report import Report, cpu, peak, resident
from support.jupyter import TOKEN, Home, Jupyter
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kube import Kube

#: Two pods of five containers, 300 lines a second each; ten times as many lines as a backlog; 18 MB of one.
LIVE: Final[dict[str, Any]] = {"pods": 2, "containers": 5, "lines": 2400, "rate": 300.0}
BACKLOG: Final[dict[str, Any]] = {"pods": 2, "containers": 5, "lines": 30_000, "rate": 1e9}
ROTATED: Final[dict[str, Any]] = {"lines": 60_000, "rate": 3000.0, "pad": 200}
VIEWERS: Final = (1, 10)


class Rival(Protocol):
    """Serves the lines of a Job."""

    @property
    def pids(self) -> list[int]:
        """The processes that serve."""

    async def read(self, job: str, viewers: int) -> list[Reader]:
        """Give what so many viewers get until it ends."""


@dataclass
class Served:
    """By a server of event streams."""

    url: str
    headers: dict[str, str]
    processes: Home | subprocess.Popen[str]
    server: int

    @property
    def pids(self) -> list[int]:
        return [self.server, *(self.processes.recorders() if isinstance(self.processes, Home) else [])]

    async def read(self, job: str, viewers: int) -> list[Reader]:
        readers, url = Readers(), self.url.format(job)
        return await asyncio.gather(*(readers.read(url, self.headers) for _ in range(viewers)))


@dataclass
class Kubectl:
    """By `kubectl logs -f`, a process of its own for each viewer, as one has it in a terminal."""

    kube: Kube
    pids: list[int]
    used: float = 0.0
    memory: float = 0.0

    async def read(self, job: str, viewers: int) -> list[Reader]:
        return [await asyncio.to_thread(self._read, job) for _ in range(viewers)]

    def _read(self, job: str) -> Reader:
        options = ["-f", "--all-containers", "--prefix", "--timestamps", "--tail=-1", "--max-log-requests=100"]
        command = ["kubectl", "--kubeconfig", str(self.kube.kubeconfig), "logs", "-l", f"job-name={job}", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        reader, rest = Reader(), b""
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            now = time.time_ns()
            *lines, rest = (rest + chunk).split(b"\n")
            reader.events += [(now, line) for line in lines]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.used, self.memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        return reader


@dataclass
class Figures:
    """What serving cost, and what came."""

    used: float
    memory: float
    readers: list[Reader]

    @property
    def per_million(self) -> float:
        """CPU seconds for a million lines delivered."""
        return self.used / sum(r.lines() for r in self.readers) * 1e6


def run(report: Report) -> None:
    """Measure."""
    options = ("--log-max-size", str(8 << 20), "--log-check", "2")
    with load.cluster(*options) as (kube, folder), _rivals(kube, folder) as rivals:
        for name in rivals:
            _live(rivals[name], Writers(kube, folder, 100, 100.0, name=f"warm-{name}"), 1)
        for viewers in VIEWERS:
            found = {
                name: _live(rival, Writers(kube, folder, **LIVE, name=f"live{viewers}-{name}"), viewers)
                for name, rival in rivals.items()
                if viewers == 1 or name != "kubectl"
            }
            _tell(report, f"live, {viewers} viewer{'s'[: viewers > 1]}", found, _lines(LIVE))
        with Writers(kube, folder, **BACKLOG, name="backlog") as writers:
            writers.begin()
            writers.end()
            kube.wait_job(writers.names[0], namespace=kube.namespace, timeout=120)
            found = {name: asyncio.run(_measure(rival, writers, 1)) for name, rival in rivals.items()}
        _tell(report, "backlog", found, _lines(BACKLOG), 0.45)
        _rotated(report, kube, folder, rivals)


def _tell(report: Report, title: str, found: dict[str, Figures], lines: int, budget: float | None = None) -> None:
    for name, one in found.items():
        p95 = percentile(delays(one.readers), 0.95)
        note = "" if title == "backlog" else f"delivery p95 {p95:.0f} ms, "
        stray = [sum(counts) for counts in zip(*(astray(r, lines) for r in one.readers), strict=True)]
        note += f"{one.memory:.0f} MB, {1 / one.per_million * 1e3:.0f} k lines/s per core; lost {stray[0]}, doubled {stray[1]}"
        report.add(f"{title}, {name}: CPU per million lines delivered", one.per_million, None, "s", note)
    ours, gateway = found["ours"], found["gateway"]
    report.add(f"{title}: CPU / the gateway's", ours.per_million / gateway.per_million, budget)
    report.add(f"{title}: our lines lost or doubled", sum(sum(astray(r, lines)[:2]) for r in ours.readers), 0, "")


def _lines(shape: dict[str, Any]) -> int:
    return int(shape["pods"] * shape["containers"] * shape["lines"])


def _live(rival: Rival, writers: Writers, viewers: int) -> Figures:
    with writers:
        return asyncio.run(_measure(rival, writers, viewers, live=True))


async def _measure(rival: Rival, writers: Writers, viewers: int, *, live: bool = False) -> Figures:
    pids = rival.pids
    for pid in pids:
        resident(pid)
    used = cpu(*pids)
    reading = asyncio.create_task(rival.read(writers.names[0], viewers))
    if live:
        await asyncio.sleep(1.5)
        writers.begin()
        await asyncio.sleep(writers.lines / writers.rate + 1)
        writers.end()
    readers = await reading
    if isinstance(rival, Kubectl):
        return Figures(rival.used, rival.memory, readers)
    now = rival.pids
    return Figures(cpu(*now) - used, sum(map(peak, now)), readers)


def _rotated(report: Report, kube: Kube, folder: Path, rivals: dict[str, Rival]) -> None:
    """All at once, of one container whose log is rotated at 8 MiB (sandbox) or as the cluster does."""
    if not load.REAL:  # its follows then miss some rotations, as a kubelet's do
        kube.request("POST", "/sandbox/faults", json={"kind": "blind"})
    lines = int(ROTATED["lines"])

    async def read(writers: Writers) -> list[list[Reader]]:
        reading = [asyncio.create_task(rival.read(writers.names[0], 1)) for rival in rivals.values()]
        await asyncio.sleep(1.5)
        writers.begin()
        await asyncio.sleep(lines / ROTATED["rate"] + 8)
        writers.end()
        return await asyncio.gather(*reading)

    with Writers(kube, folder, **ROTATED, name="rotated") as writers:
        for name, (reader,) in zip(rivals, asyncio.run(read(writers)), strict=True):
            lost, doubled, _ = astray(reader, lines)
            report.add(
                f"rotated, {name}: lines lost of {lines}", lost, 0 if name == "ours" else None, "", f"doubled {doubled}"
            )


# ---------------------------------------------------------------- who serves


@contextmanager
def _rivals(kube: Kube, folder: Path) -> Iterator[dict[str, Rival]]:
    place, port = _installed(), free_port()
    home = Home(folder / "home", kube.kubeconfig)
    home.path.mkdir()
    with ExitStack() as stack:
        stack.callback(home.end)
        server = Jupyter(home)
        stack.callback(server.close)
        env = os.environ | {"KUBECONFIG": str(kube.kubeconfig), "PORT": str(port)}
        gateway = subprocess.Popen(["node", "gateway.js"], cwd=place, env=env, stdout=subprocess.PIPE, text=True)
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        assert gateway.stdout is not None
        assert gateway.stdout.readline().strip() == "listening"
        namespace = kube.namespace
        ours = f"{server.url}{server.path('{}', namespace=namespace)}?since=all"
        headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
        yield {
            "ours": Served(ours, headers, home, server.process.pid),
            "gateway": Served(f"http://127.0.0.1:{port}/logs/{namespace}/{{}}", {}, gateway, gateway.pid),
            "kubectl": Kubectl(kube, []),
        }


def _installed() -> Path:
    """Give the folder of the gateway with its packages."""
    source = Path(__file__).parent / "gateway"
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cortex-jupyter" / "bench-gateway"
    place.mkdir(parents=True, exist_ok=True)
    wanted, done = (source / "package.json").read_text(), place / "installed"
    shutil.copy(source / "gateway.js", place)
    if not done.exists() or done.read_text() != wanted:
        shutil.copy(source / "package.json", place)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev"]
        subprocess.run(npm, cwd=place, check=True)
        done.write_text(wanted)
    return place
