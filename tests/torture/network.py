"""`make torture`: ten minutes of a bad network, with everything at once: `python tests/torture/network.py [MINUTES] [SEED]`.

Between us and the API server lie 200 ms, 1 MB/s, connections that fall silent, resets inside a chunk, and a load balancer that
ends answers cleanly; an equally bad network lies between the Jupyter server and its SSE clients. Meanwhile the recorder is
killed, logs are rotated, containers restart and pods are deleted. Four Jobs write slowly, in bursts, with restarts, and from
pods that are deleted; each is read in Python, as SSE, and by `cortex-jupyter logs -f`.

With KUBECONFIG it is that cluster, whose node must be this machine; else the sandbox. What containers wrote is known from the
files on the node. The exit code is 1 if a reader lacks a line that no gap names, or has one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import httpx
from faults.case import Case
from faults.oracle import Disk
from faults.rows_readers import Client
from faults.seen import Seen, judge
from support.jupyter import TOKEN, Home, Jupyter
from support.kube import Kube, python_job
from support.network import Chance, Network

from cortex_jupyter.errors import ClusterUnreachable, RecorderError
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.reader.session import Recordings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Each program writes until the file STRUCK is there.
SLOWLY = """
import os, time
i = 0
while not os.path.exists('STRUCK'):
    print('slow %08d' % i, flush=True)
    i += 1
    time.sleep(1)
"""
BURSTS = """
import os, random, sys, time
chance, i = random.Random(os.environ.get('HOSTNAME', '') + str(os.getpid())), 0
while not os.path.exists('STRUCK'):
    for _ in range(chance.randrange(1, MOST)):
        sys.stdout.write('burst %08d ' % i + 'x' * 80 + chr(10))
        i += 1
    sys.stdout.flush()
    end = time.time() + chance.uniform(1, 12)
    while time.time() < end and not os.path.exists('STRUCK'): time.sleep(0.2)
"""
RESTARTS = """
import os, random, sys, time
end, i = time.time() + random.uniform(3, 25), 0
while time.time() < end and not os.path.exists('STRUCK'):
    print('run %08d' % i, flush=True)
    i += 1
    time.sleep(0.05)
sys.exit(0 if os.path.exists('STRUCK') else 3)
"""
DELETED = """
import os, time
i = 0
while not os.path.exists('STRUCK'):
    print('pod %08d' % i, flush=True)
    i += 1
    time.sleep(0.02)
"""


#: Extensions that a soak has no use for, and that take seconds to import.
_ALONE = [
    f"--ServerApp.jpserver_extensions={name}=False"
    for name in ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim")
]


#: A recorder that is killed soon after each start is started ever more rarely; this one lives longer, in seconds.
_LIVES_S = 40.0


@dataclass
class Task:
    """One Job, and what its readers got."""

    name: str
    seen: Seen = field(default_factory=Seen)
    sse: Seen = field(default_factory=Seen)
    printed: Path = Path()
    errors: list[str] = field(default_factory=list)


class Soak:
    """The run, and its figures.

    Parameters
    ----------
    kube : Kube
        Reaches the cluster without the network.
    root : Path
        The root folder of its node.
    folder : Path
        For store, home and output.
    seed : int
    means : tuple of float
        Mean seconds until a connection falls silent, a connection is reset, an answer is ended, and something else strikes.
    burst : int
        Most lines of a burst; many fill the kubelet's files so that it rotates them.
    rotate : callable, optional
        Rotates the logs of pods whose names match: those that write in bursts. A real kubelet does it by their size.
    """

    def __init__(
        self, kube: Kube, root: Path, folder: Path, seed: int, means: tuple[float, float, float, float], burst: int,
        rotate: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        self.kube, self.folder, self.root, self.rotate = kube, folder, root, rotate
        self.chance = random.Random(seed)
        silent_s, reset_s, end_s, self.strike_s = means
        self.bad = Chance(seed, silent_s, reset_s, end_s)
        self.struck: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.rows: list[tuple[str, ...]] = []
        self.gate = folder / "gate"
        self.tag = uuid.uuid4().hex[:5]
        self.burst = burst
        self.tasks: list[Task] = []
        self.url = f"sqlite://{folder}/store/r.sqlite"
        self._deletable = ""
        self._killed = 0.0

    # ------------------------------------------------------------ the run

    async def run(self, seconds: float, patience_s: float) -> None:
        """Have everything strike for so long, let the Jobs end, and judge what was read.

        Parameters
        ----------
        seconds : float
        patience_s : float
            So long may readers take to the end, in seconds, when the Jobs may end; the network stays slow, and goes on striking.
        """
        network = Network(self.kube.kubeconfig, self.folder, balanced=True)
        with network, Disk(self.root, f"soak-{self.tag}") as disk:
            self._make_bad(network)
            home = Home(self.folder, network.kubeconfig, {"CORTEX_STORE": self.url})
            server = await asyncio.to_thread(Jupyter, home, "server", None, *_ALONE)
            recordings = await Recordings.connect(self.url, str(network.kubeconfig))
            try:
                with Network.to(server.port) as way:
                    self._make_bad(way)
                    await self._read(seconds, patience_s, recordings, home, way)
                    self.struck["SSE connections silent or reset"] += way.struck.total()
                self.struck.update(network.struck)
                self._judge(disk)
            finally:
                await recordings.close()
                await asyncio.to_thread(server.close)
                await Case.end_recorders(self.url)
                for task in self.tasks:
                    self.kube.delete("jobs", task.name)

    def _make_bad(self, network: Network) -> None:
        network.round_trip_s, network.bytes_per_s, network.chance = 0.2, 1e6, self.bad

    async def _read(self, seconds: float, patience_s: float, recordings: Recordings, home: Home, way: Network) -> None:
        self._create()
        readers = []
        for task in self.tasks:
            each = {
                "python": self._in_python(recordings, task),
                "SSE": self._as_sse(way, task),
                "logs -f": self._printed(home, task),
            }
            readers += [asyncio.create_task(reader, name=f"{task.name} by {how}") for how, reader in each.items()]
        while not all(task.seen.count and task.sse.count for task in self.tasks):  # noqa: ASYNC110 - readers of several kinds
            await asyncio.sleep(0.1)
        striking = asyncio.create_task(self._strike())
        try:
            await asyncio.sleep(seconds)
        finally:
            striking.cancel()
            await asyncio.gather(striking, return_exceptions=True)
            self.gate.touch()
        _, late = await asyncio.wait(readers, timeout=patience_s)
        for one in late:
            self.wrong.append(f"{one.get_name()} did not come to its end")
            one.cancel()
        for one in readers:
            (error,) = await asyncio.gather(one, return_exceptions=True)
            if isinstance(error, Exception):
                self.wrong.append(f"a reader failed: {error!r}")

    def _create(self) -> None:
        def job(what: str, program: str, restart: str = "Never", **options: Any) -> None:
            name = f"soak-{self.tag}-{what}"
            made = python_job(name, program.replace("STRUCK", str(self.gate)), backoff=1000, **options)
            made["spec"]["template"]["spec"]["restartPolicy"] = restart
            self.kube.create(made)
            self.tasks.append(Task(name))

        job("slow", SLOWLY, parallelism=2, containers=2)
        job("burst", BURSTS.replace("MOST", str(self.burst)), containers=2)
        job("again", RESTARTS, "OnFailure", parallelism=1, containers=2)
        job("deleted", DELETED, parallelism=2)
        self._deletable = self.tasks[-1].name

    # ------------------------------------------------------------ readers

    @staticmethod
    async def _in_python(recordings: Recordings, task: Task) -> None:
        """Read from where the last attempt ended, as a program would that takes an error for a reason to try again."""
        reached = 0
        while task.seen.end is None:
            try:
                recording = await recordings.find(TaskRef.parse(task.name))
                async with recording.wanted():
                    async for frame in recording.feed.frames(reached):
                        task.seen.take(frame.event, json.loads(frame.entry.data))
                        reached = frame.last
            except (ClusterUnreachable, RecorderError) as error:
                task.errors.append(error.message)
                await asyncio.sleep(0.5)

    @staticmethod
    async def _as_sse(way: Network, task: Task) -> None:
        """Read as the viewer does: by cursor, and again after 45 s without a heartbeat."""
        client = Client(task.sse, task.name)
        headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        base = f"http://127.0.0.1:{way.port}/"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=httpx.Timeout(10, read=45)) as http:
            while task.sse.end is None:
                client.broke_off()
                with contextlib.suppress(httpx.TransportError):
                    async with http.stream("GET", client.target) as response:
                        if response.status_code == httpx.codes.OK:
                            async for chunk in response.aiter_raw():
                                client.feed(chunk)
                await asyncio.sleep(0.2)

    async def _printed(self, home: Home, task: Task) -> None:
        """Have the command line follow; one that says it could not go on is started again, as a user would."""
        task.printed = self.folder / f"{task.name}.ndjson"
        command = [
            sys.executable,
            "-m",
            "cortex_jupyter.cli",
            "logs",
            "-f",
            task.name,
            "--since",
            "all",
            "-o",
            "ndjson",
        ]
        while True:
            with task.printed.open("wb") as out, task.printed.with_suffix(".err").open("ab") as err:
                process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=err, env=home.env)
                try:
                    code = await process.wait()
                finally:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
            if not code:
                return
            self.struck[f"logs -f ended with {code}"] += 1

    # ------------------------------------------------------------ what strikes besides the network

    async def _strike(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.strike_s))
            name, strike = self.chance.choice(
                [
                    ("recorder killed", self._kill_recorder),
                    ("pod deleted", self._delete_pod),
                    ("logs rotated", self._rotate if self.rotate else self._delete_pod),
                ]
            )
            if await asyncio.to_thread(strike):
                self.struck[name if self.rotate or name != "logs rotated" else "pod deleted"] += 1

    def _kill_recorder(self) -> bool:
        if time.monotonic() - self._killed < _LIVES_S:
            return False
        self._killed = time.monotonic()
        pids = Case.pids(self.url)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def _delete_pod(self) -> bool:
        pods = [p for p in self.kube.pods_of(self._deletable) if p["status"]["phase"] == "Running"]
        if pods:
            self.kube.delete("pods", self.chance.choice(pods)["metadata"]["name"])
        return bool(pods)

    def _rotate(self) -> bool:
        # A kubelet rotates by size (10 MiB by default). Of a log under 64 KiB the recorder takes it that it never was.
        assert self.rotate is not None
        self.rotate(f"soak-{self.tag}-burst-.*")
        return True

    # ------------------------------------------------------------ the judgement

    def _judge(self, disk: Disk) -> None:
        everything = disk.lines()
        self.struck["rotated files"] = disk.rotated()
        self.struck["errors told in python"] = sum(len(task.errors) for task in self.tasks)
        for task in self.tasks:
            wrote = {key: lines for key, lines in everything.items() if key[0].startswith(f"{task.name}-")}
            self.struck["restarts"] += sum(run > 0 for _, _, run in wrote)
            for reader, seen in (("python", task.seen), ("SSE", task.sse), ("logs -f", _printed(task))):
                if seen.holes and reader != "logs -f":
                    self.wrong.append(f"{task.name} by {reader}: numbers did not come: {seen.holes}")
                missing: int | str = "?"
                try:
                    missing = judge(wrote, seen)
                except AssertionError as error:
                    self.wrong.append(f"{task.name} by {reader}: {error}")
                if reader != "logs -f":
                    self.reasons.update(f"{reader}: {gap['reason']}" for gap in seen.gaps)
                count = sum(map(len, wrote.values()))
                self.rows.append(
                    (task.name, reader, *map(str, (count, seen.count, seen.doubled, missing, len(seen.gaps))))
                )

    def show(self) -> None:
        """Print what has come of it."""
        head = ("task", "reader", "lines in", "out", "doubled", "in named gaps", "gaps")
        table = [head, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        lines += [
            "",
            *(f"{n:>6} {what}" for what, n in sorted(self.struck.items())),
            "",
            *(f"{n:>6} gaps to {reason}" for reason, n in sorted(self.reasons.items())),
            *(f"WRONG {w}" for w in self.wrong),
        ]
        sys.stdout.write("\n".join([*lines, "", ""]))
        sys.stdout.flush()


def _printed(task: Task) -> Seen:
    """Take what the command line printed as any reader's events; its gaps are those of the recording."""
    seen = Seen()
    records = [json.loads(line) for line in task.printed.read_bytes().splitlines()]
    # It writes what is there already in the order of time.
    for record in sorted(records, key=itemgetter("seq")):
        source = {"pod": record["pod"], "container": record["container"], "run": record["run"]}
        at = str(parse_rfc3339(record["time"]))
        data = {"seq": record["seq"], "t0": at, "dt": [0], "s": [1], "m": [record["text"]], "sources": {"1": source}}
        seen.take("log", data)
    seen.gaps, seen.end = task.seen.gaps, task.seen.end
    return seen


@contextlib.asynccontextmanager
async def world(folder: Path, seed: int, means: tuple[float, float, float, float]) -> AsyncIterator[Soak]:
    """Return a soak on the cluster that KUBECONFIG names, else on a sandbox."""
    if config := os.environ.get("KUBECONFIG"):
        kube = Kube(config)
        yield Soak(kube, Path("/"), folder, seed, means, 8000)
        kube.close()
        return
    from conftest import run_sandbox  # noqa: PLC0415

    with run_sandbox(folder / "s", "--log-check", "1") as sandbox:
        yield Soak(
            sandbox.kube, sandbox.root, folder, seed, means, 3000, lambda pods: sandbox.fault("rotate", pod=pods)
        )


async def main(minutes: float, seed: int) -> int:
    """Run one soak."""
    with tempfile.TemporaryDirectory() as name:
        async with world(Path(name), seed, (90, 45, 20, 8)) as soak:
            begun = time.monotonic()
            await soak.run(minutes * 60, 240)
            sys.stdout.write(f"{(time.monotonic() - begun) / 60:.1f} min, seed {seed}\n")
            soak.show()
            return 1 if soak.wrong else 0


if __name__ == "__main__":
    minutes, seed = (float(a) for a in (sys.argv[1:] + ["10", "1"][len(sys.argv) - 1 :])[:2])
    sys.exit(asyncio.run(main(minutes, int(seed))))
