"""Compare our server and recorder with two other ways to read the same lines: a gateway that sends one event per line, and kubectl.

There are four loads: live lines with one viewer, with ten, a backlog, and a log that is rotated while it is read. CPU is the
sum over all serving processes; ours includes the recorder. The gateway is in gateway/; npm installs its packages on demand,
into the user's cache.
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
from bench.load import Reader, Readers, Writers, count_errors, delays, percentile
from bench.report import Report, cpu, peak, resident
from support.jupyter import TOKEN, Home, Jupyter
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kube import Kube

#: Live lines: two pods with five containers each, 300 lines per second and container.
LIVE: Final[dict[str, Any]] = {"pods": 2, "containers": 5, "lines": 2400, "rate": 300.0}
#: The same containers, which write 30 000 lines each at full speed.
BACKLOG: Final[dict[str, Any]] = {"pods": 2, "containers": 5, "lines": 30_000, "rate": 1e9}
#: One container, which writes 18 MB.
ROTATED: Final[dict[str, Any]] = {"lines": 60_000, "rate": 3000.0, "pad": 200}
VIEWERS: Final = (1, 10)


class Rival(Protocol):
    """A program that serves the lines of a Job."""

    @property
    def pids(self) -> list[int]:
        """Process ids of the serving processes."""

    async def read(self, job: str, viewers: int) -> list[Reader]:
        """Return what each of `viewers` readers received until the log ended."""


@dataclass
class StreamServer:
    """A server of event streams."""

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
    """`kubectl logs -f`, started once per viewer as in a terminal."""

    kube: Kube
    pids: list[int]
    cpu_s: float = 0.0
    memory_mb: float = 0.0

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
        self.cpu_s, self.memory_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        return reader


@dataclass
class Figures:
    """The CPU and memory that serving took, and what the readers received."""

    cpu_s: float
    memory_mb: float
    readers: list[Reader]

    @property
    def per_million(self) -> float:
        """CPU seconds per million lines delivered."""
        return self.cpu_s / sum(r.lines() for r in self.readers) * 1e6


def run(report: Report) -> None:
    """Measure all loads with all rivals, and add the results to the report."""
    options = ("--log-max-size", str(8 << 20), "--log-check", "2")
    with load.cluster(*options) as (kube, folder), _rivals(kube, folder) as rivals:
        for name in rivals:
            _live(rivals[name], Writers(kube, folder, 100, 100.0, name=f"warm-{name}"), 1)
        for viewers in VIEWERS:
            figures = {
                name: _live(rival, Writers(kube, folder, **LIVE, name=f"live{viewers}-{name}"), viewers)
                for name, rival in rivals.items()
                if viewers == 1 or name != "kubectl"
            }
            _add_to_report(report, f"live, {viewers} viewer{'s'[: viewers > 1]}", figures, _lines(LIVE))
        with Writers(kube, folder, **BACKLOG, name="backlog") as writers:
            writers.begin()
            writers.end()
            kube.wait_job(writers.names[0], namespace=kube.namespace, timeout=120)
            figures = {name: asyncio.run(_measure(rival, writers, 1)) for name, rival in rivals.items()}
        _add_to_report(report, "backlog", figures, _lines(BACKLOG), 0.45)
        _rotated(report, kube, folder, rivals)


def _add_to_report(
    report: Report, title: str, figures: dict[str, Figures], lines: int, budget: float | None = None
) -> None:
    for name, figure in figures.items():
        p95 = percentile(delays(figure.readers), 0.95)
        note = "" if title == "backlog" else f"delivery p95 {p95:.0f} ms, "
        errors = [sum(counts) for counts in zip(*(count_errors(r, lines) for r in figure.readers), strict=True)]
        note += f"{figure.memory_mb:.0f} MB, {1 / figure.per_million * 1e3:.0f} k lines/s per core; lost {errors[0]}, doubled {errors[1]}"
        report.add(f"{title}, {name}: CPU per million lines delivered", figure.per_million, None, "s", note)
    ours, gateway = figures["ours"], figures["gateway"]
    report.add(f"{title}: CPU / the gateway's", ours.per_million / gateway.per_million, budget)
    report.add(f"{title}: our lines lost or doubled", sum(sum(count_errors(r, lines)[:2]) for r in ours.readers), 0, "")


def _lines(shape: dict[str, Any]) -> int:
    return int(shape["pods"] * shape["containers"] * shape["lines"])


def _live(rival: Rival, writers: Writers, viewers: int) -> Figures:
    with writers:
        return asyncio.run(_measure(rival, writers, viewers, live=True))


async def _measure(rival: Rival, writers: Writers, viewers: int, *, live: bool = False) -> Figures:
    pids = rival.pids
    for pid in pids:
        resident(pid)
    cpu_before = cpu(*pids)
    reading = asyncio.create_task(rival.read(writers.names[0], viewers))
    if live:
        await asyncio.sleep(1.5)
        writers.begin()
        await asyncio.sleep(writers.lines / writers.rate + 1)
        writers.end()
    readers = await reading
    if isinstance(rival, Kubectl):
        return Figures(rival.cpu_s, rival.memory_mb, readers)
    now = rival.pids
    return Figures(cpu(*now) - cpu_before, sum(map(peak, now)), readers)


def _rotated(report: Report, kube: Kube, folder: Path, rivals: dict[str, Rival]) -> None:
    """Let all rivals read the same container at once while its log is rotated: at 8 MiB, or as the real cluster is configured."""
    if not load.REAL:  # its `follow` streams then miss some rotations, as a kubelet's do
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
            lost, doubled, _ = count_errors(reader, lines)
            report.add(
                f"rotated, {name}: lines lost of {lines}", lost, 0 if name == "ours" else None, "", f"doubled {doubled}"
            )


# ---------------------------------------------------------------- the rivals


@contextmanager
def _rivals(kube: Kube, folder: Path) -> Iterator[dict[str, Rival]]:
    gateway_folder, port = _install_gateway(), free_port()
    home = Home(folder / "home", kube.kubeconfig)
    home.path.mkdir()
    with ExitStack() as stack:
        stack.callback(home.end)
        server = Jupyter(home)
        stack.callback(server.close)
        env = os.environ | {"KUBECONFIG": str(kube.kubeconfig), "PORT": str(port)}
        gateway = subprocess.Popen(
            ["node", "gateway.js"], cwd=gateway_folder, env=env, stdout=subprocess.PIPE, text=True
        )
        stack.callback(gateway.wait)
        stack.callback(gateway.terminate)
        assert gateway.stdout is not None
        assert gateway.stdout.readline().strip() == "listening"
        namespace = kube.namespace
        ours = f"{server.url}{server.path('{}', namespace=namespace)}?since=all"
        headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
        yield {
            "ours": StreamServer(ours, headers, home, server.process.pid),
            "gateway": StreamServer(f"http://127.0.0.1:{port}/logs/{namespace}/{{}}", {}, gateway, gateway.pid),
            "kubectl": Kubectl(kube, []),
        }


def _install_gateway() -> Path:
    """Install the gateway and its npm packages if needed; return its folder."""
    source = Path(__file__).parent / "gateway"
    gateway_folder = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cortex-jupyter" / "bench-gateway"
    )
    gateway_folder.mkdir(parents=True, exist_ok=True)
    wanted_packages, installed_marker = (source / "package.json").read_text(), gateway_folder / "installed"
    shutil.copy(source / "gateway.js", gateway_folder)
    if not installed_marker.exists() or installed_marker.read_text() != wanted_packages:
        shutil.copy(source / "package.json", gateway_folder)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev"]
        subprocess.run(npm, cwd=gateway_folder, check=True)
        installed_marker.write_text(wanted_packages)
    return gateway_folder
