"""`make torture`: ten minutes of all faults together on a bad network: `python tests/torture/network.py [MINUTES] [SEED]`.

The network to the API server has 200 ms latency, 1 MB/s, connections that fall silent, resets inside a chunk, and a load
balancer that ends answers cleanly. The network between the Jupyter server and its SSE clients is equally bad. Meanwhile the
recorder is killed, logs are rotated, containers restart, and pods are deleted. Four Jobs write: one slowly, one in bursts, one
with restarts, and one from pods that are deleted. Each is read in Python, as SSE, and by `cortex-jupyter logs -f`.

With KUBECONFIG the test runs on that cluster, which must have this machine as its node; without, on the sandbox. The received
lines are compared with the files on the node. The exit code is 1 if a reader lacks a line outside a gap, or has one twice.
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
from conftest import run_sandbox
from faults.case import Case
from faults.oracle import NodeLogs
from faults.received import Received, SseClient, check_received
from support.jupyter import TOKEN, Home, Jupyter
from support.kube import Kube, python_job
from support.network import FaultRates, Network

from cortex_jupyter.errors import ClusterUnreachable, RecorderError
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.reader.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Each program writes until the file FAULTS_DONE exists.
SLOWLY = """
import os, time
i = 0
while not os.path.exists('FAULTS_DONE'):
    print('slow %08d' % i, flush=True)
    i += 1
    time.sleep(1)
"""
BURSTS = """
import os, random, sys, time
chance, i = random.Random(os.environ.get('HOSTNAME', '') + str(os.getpid())), 0
while not os.path.exists('FAULTS_DONE'):
    for _ in range(chance.randrange(1, MAX_BURST)):
        sys.stdout.write('burst %08d ' % i + 'x' * 80 + chr(10))
        i += 1
    sys.stdout.flush()
    end = time.time() + chance.uniform(1, 12)
    while time.time() < end and not os.path.exists('FAULTS_DONE'): time.sleep(0.2)
"""
RESTARTS = """
import os, random, sys, time
end, i = time.time() + random.uniform(3, 25), 0
while time.time() < end and not os.path.exists('FAULTS_DONE'):
    print('run %08d' % i, flush=True)
    i += 1
    time.sleep(0.05)
sys.exit(0 if os.path.exists('FAULTS_DONE') else 3)
"""
DELETED = """
import os, time
i = 0
while not os.path.exists('FAULTS_DONE'):
    print('pod %08d' % i, flush=True)
    i += 1
    time.sleep(0.02)
"""


#: How often the server sends a heartbeat, and after how long without one a reader reconnects (seconds). With the default of
#: 15 s and three times as long, a few connections that fall silent one after the other take minutes.
_HEARTBEAT_S, _SILENCE_S = 3, 10
#: Options of the server; server extensions that this test does not need are disabled, because importing them takes seconds.
_SERVER_OPTIONS = [
    f"--CortexJupyter.heartbeat_s={_HEARTBEAT_S}",
    *(
        f"--ServerApp.jpserver_extensions={name}=False"
        for name in ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim")
    ),
]


#: Least time between two kills of the recorder (seconds): after a quick death it is started again with growing delays.
_RECORDER_LIFE_S = 40.0


@dataclass
class Task:
    """A Job, and the lines that each of its readers received."""

    name: str
    received: Received = field(default_factory=Received)
    sse: Received = field(default_factory=Received)
    cli_output: Path = Path()
    errors: list[str] = field(default_factory=list)


class Soak:
    """The soak test with its figures.

    Parameters
    ----------
    kube : Kube
        Client of the cluster that bypasses the bad network.
    root : Path
        The node's root folder.
    folder : Path
        Folder for the store, the home and the output.
    seed : int
    means : tuple of float
        Mean times (seconds) until a connection falls silent, a connection is reset, an answer ends, and another fault follows.
    burst : int
        Largest number of lines in a burst; with many, the kubelet rotates its files.
    rotate : callable, optional
        Rotates the logs of the pods that match a regular expression; a real kubelet rotates by size.
    """

    def __init__(
        self,
        kube: Kube,
        root: Path,
        folder: Path,
        seed: int,
        means: tuple[float, float, float, float],
        burst: int,
        rotate: Callable[[str], object] | None = None,
    ) -> None:
        self.kube, self.folder, self.root, self.rotate = kube, folder, root, rotate
        self.random = random.Random(seed)
        silent_s, reset_s, end_s, self.fault_interval_s = means
        self.fault_rates = FaultRates(seed, silent_s, reset_s, end_s)
        self.injected: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.errors: list[str] = []
        self.rows: list[tuple[str, ...]] = []
        self.gate = folder / "gate"
        self.tag = uuid.uuid4().hex[:5]
        self.burst = burst
        self.tasks: list[Task] = []
        self.url = f"sqlite://{folder}/store/r.sqlite"
        self._deletable = ""
        self._last_kill = 0.0

    # ------------------------------------------------------------ the run

    async def run(self, seconds: float, patience_s: float) -> None:
        """Inject faults for some time, let the Jobs end, and check what the readers received.

        Parameters
        ----------
        seconds : float
            How long faults other than the network's are injected.
        patience_s : float
            How long readers may take after that (seconds); the network stays bad.
        """
        network = Network(self.kube.kubeconfig, self.folder, balanced=True)
        with network, NodeLogs(self.root, f"soak-{self.tag}") as node_logs:
            self._degrade(network)
            home = Home(self.folder, network.kubeconfig, {"CORTEX_STORE": self.url})
            server = await asyncio.to_thread(Jupyter, home, "server", None, *_SERVER_OPTIONS)
            recordings = await Session.connect(self.url, str(network.kubeconfig))
            try:
                with Network.to_port(server.port) as sse_network:
                    self._degrade(sse_network)
                    await self._read(seconds, patience_s, recordings, home, sse_network)
                    self.injected["SSE connections silent or reset"] += sse_network.injected.total()
                self.injected.update(network.injected)
                self._check(node_logs)
            finally:
                await recordings.close()
                await asyncio.to_thread(server.close)
                await Case.end_recorders(self.url)
                for task in self.tasks:
                    self.kube.delete("jobs", task.name)

    def _degrade(self, network: Network) -> None:
        network.round_trip_s, network.bytes_per_s, network.fault_rates = 0.2, 1e6, self.fault_rates

    async def _read(
        self, seconds: float, patience_s: float, recordings: Session, home: Home, sse_network: Network
    ) -> None:
        self._create()
        readers = []
        for task in self.tasks:
            readers_by_name = {
                "python": self._in_python(recordings, task),
                "SSE": self._as_sse(sse_network, task),
                "logs -f": self._by_cli(home, task),
            }
            readers += [
                asyncio.create_task(reader, name=f"{task.name} by {name}") for name, reader in readers_by_name.items()
            ]
        while not all(task.received.count and task.sse.count for task in self.tasks):  # noqa: ASYNC110 - readers of several kinds
            await asyncio.sleep(0.1)
        injecting = asyncio.create_task(self._inject_faults())
        try:
            await asyncio.sleep(seconds)
        finally:
            injecting.cancel()
            await asyncio.gather(injecting, return_exceptions=True)
            self.gate.touch()
        _, unfinished = await asyncio.wait(readers, timeout=patience_s)
        for reader in unfinished:
            self.errors.append(f"{reader.get_name()} did not receive the end")
            reader.cancel()
        for reader in readers:
            (error,) = await asyncio.gather(reader, return_exceptions=True)
            if isinstance(error, Exception):
                self.errors.append(f"a reader failed: {error!r}")

    def _create(self) -> None:
        def job(name_suffix: str, program: str, restart: str = "Never", **options: Any) -> None:
            name = f"soak-{self.tag}-{name_suffix}"
            manifest = python_job(name, program.replace("FAULTS_DONE", str(self.gate)), backoff=1000, **options)
            manifest["spec"]["template"]["spec"]["restartPolicy"] = restart
            self.kube.create(manifest)
            self.tasks.append(Task(name))

        job("slow", SLOWLY, parallelism=2, containers=2)
        job("burst", BURSTS.replace("MAX_BURST", str(self.burst)), containers=2)
        job("again", RESTARTS, "OnFailure", parallelism=1, containers=2)
        job("deleted", DELETED, parallelism=2)
        self._deletable = self.tasks[-1].name

    # ------------------------------------------------------------ readers

    @staticmethod
    async def _in_python(recordings: Session, task: Task) -> None:
        """Read the recording; after an error, continue from the last `seq` received."""
        last_seq = 0
        while task.received.end is None:
            try:
                recording = await recordings.find(TaskRef.parse(task.name))
                async with recording.keep_wanted():
                    async for event in recording.feed.events(last_seq):
                        task.received.add_event(event.event, json.loads(event.entry.data))
                        last_seq = event.last
            except (ClusterUnreachable, RecorderError) as error:
                task.errors.append(error.message)
                await asyncio.sleep(0.5)

    @staticmethod
    async def _as_sse(sse_network: Network, task: Task) -> None:
        """Read as the viewer does: reconnect with the cursor, also after `_SILENCE_S` without a heartbeat."""
        client = SseClient(task.sse, task.name)
        headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        base = f"http://127.0.0.1:{sse_network.port}/"
        async with httpx.AsyncClient(
            base_url=base, headers=headers, timeout=httpx.Timeout(10, read=_SILENCE_S)
        ) as http:
            while task.sse.end is None:
                client.drop_incomplete()
                with contextlib.suppress(httpx.TransportError):
                    async with http.stream("GET", client.target) as response:
                        if response.status_code == httpx.codes.OK:
                            async for chunk in response.aiter_raw():
                                client.feed(chunk)
                await asyncio.sleep(0.2)

    async def _by_cli(self, home: Home, task: Task) -> None:
        """Follow with the command line; start it again when it exits with an error, as a user would."""
        task.cli_output = self.folder / f"{task.name}.ndjson"
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
            with task.cli_output.open("wb") as out, task.cli_output.with_suffix(".err").open("ab") as err:
                process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=err, env=home.env)
                try:
                    code = await process.wait()
                finally:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
            if not code:
                return
            self.injected[f"logs -f ended with {code}"] += 1

    # ------------------------------------------------------------ faults besides the network's

    async def _inject_faults(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / self.fault_interval_s))
            name, inject = self.random.choice(
                [
                    ("recorder killed", self._kill_recorder),
                    ("pod deleted", self._delete_pod),
                    ("logs rotated", self._rotate if self.rotate else self._delete_pod),
                ]
            )
            if await asyncio.to_thread(inject):
                self.injected[name if self.rotate or name != "logs rotated" else "pod deleted"] += 1

    def _kill_recorder(self) -> bool:
        if time.monotonic() - self._last_kill < _RECORDER_LIFE_S:
            return False
        self._last_kill = time.monotonic()
        pids = Case.recorder_pids(self.url)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def _delete_pod(self) -> bool:
        pods = [p for p in self.kube.pods_of(self._deletable) if p["status"]["phase"] == "Running"]
        if pods:
            self.kube.delete("pods", self.random.choice(pods)["metadata"]["name"])
        return bool(pods)

    def _rotate(self) -> bool:
        # A kubelet rotates by size (10 MiB by default), and the recorder assumes that a log under 64 KiB was never rotated.
        assert self.rotate is not None
        self.rotate(f"soak-{self.tag}-burst-.*")
        return True

    # ------------------------------------------------------------ the check

    def _check(self, node_logs: NodeLogs) -> None:
        written_by_run = node_logs.lines()
        self.injected["rotated files"] = node_logs.count_rotated_files()
        self.injected["errors raised in Python"] = sum(len(task.errors) for task in self.tasks)
        for task in self.tasks:
            written = {key: lines for key, lines in written_by_run.items() if key[0].startswith(f"{task.name}-")}
            self.injected["restarts"] += sum(run > 0 for _, _, run in written)
            for reader, received in (("python", task.received), ("SSE", task.sse), ("logs -f", _received_by_cli(task))):
                if received.missing_numbers and reader != "logs -f":
                    self.errors.append(f"{task.name} by {reader}: numbers are missing: {received.missing_numbers}")
                missing: int | str = "?"
                try:
                    missing = check_received(written, received)
                except AssertionError as error:
                    self.errors.append(f"{task.name} by {reader}: {error}")
                if reader != "logs -f":
                    self.reasons.update(f"{reader}: {gap['reason']}" for gap in received.gaps)
                count = sum(map(len, written.values()))
                self.rows.append(
                    (
                        task.name,
                        reader,
                        *map(str, (count, received.count, received.duplicates, missing, len(received.gaps))),
                    )
                )

    def show(self) -> None:
        """Print the figures."""
        head = ("task", "reader", "lines in", "out", "doubled", "in named gaps", "gaps")
        table = [head, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        lines += [
            "",
            *(f"{n:>6} {name}" for name, n in sorted(self.injected.items())),
            "",
            *(f"{n:>6} gaps to {reason}" for reason, n in sorted(self.reasons.items())),
            *(f"WRONG {w}" for w in self.errors),
        ]
        sys.stdout.write("\n".join([*lines, "", ""]))
        sys.stdout.flush()


def _received_by_cli(task: Task) -> Received:
    """Return the lines that the command line printed; the gaps are those of the Python reader."""
    received = Received()
    records = [json.loads(line) for line in task.cli_output.read_bytes().splitlines()]
    # It prints the lines that exist at its start in order of time.
    for record in sorted(records, key=itemgetter("seq")):
        source = {"pod": record["pod"], "container": record["container"], "run": record["run"]}
        at = str(parse_rfc3339(record["time"]))
        data = {"seq": record["seq"], "t0": at, "dt": [0], "s": [1], "m": [record["text"]], "sources": {"1": source}}
        received.add_event("log", data)
    received.gaps, received.end = task.received.gaps, task.received.end
    return received


@contextlib.asynccontextmanager
async def soak_on_cluster(folder: Path, seed: int, means: tuple[float, float, float, float]) -> AsyncIterator[Soak]:
    """Yield a soak test on the cluster of KUBECONFIG, or else on a sandbox."""
    if config := os.environ.get("KUBECONFIG"):
        kube = Kube(config)
        yield Soak(kube, Path("/"), folder, seed, means, 8000)
        kube.close()
        return
    with run_sandbox(folder / "s", "--log-check", "1") as sandbox:
        yield Soak(
            sandbox.kube, sandbox.root, folder, seed, means, 3000, lambda pods: sandbox.fault("rotate", pod=pods)
        )


async def main(minutes: float, seed: int) -> int:
    """Run one soak test."""
    with tempfile.TemporaryDirectory() as name:
        async with soak_on_cluster(Path(name), seed, (90, 45, 20, 8)) as soak:
            start = time.monotonic()
            await soak.run(minutes * 60, 240)
            sys.stdout.write(f"{(time.monotonic() - start) / 60:.1f} min, seed {seed}\n")
            soak.show()
            return 1 if soak.errors else 0


if __name__ == "__main__":
    minutes, seed = (float(a) for a in (sys.argv[1:] + ["10", "1"][len(sys.argv) - 1 :])[:2])
    sys.exit(asyncio.run(main(minutes, int(seed))))
