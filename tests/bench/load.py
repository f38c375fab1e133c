"""A cluster, containers that write numbered lines on command, and readers that store what they receive."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import numpy as np
import orjson
import yaml
from conftest import run_sandbox
from support.kube import Kube, python_job

from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The kubeconfig of a real cluster, or "". Removed from the environment, because most parts of the bench need the sandbox.
REAL = os.environ.pop("KUBECONFIG", "")
#: Options of a server that accepts all of a bench's readers, although they are one user.
UNLIMITED = ("--CortexJupyter.max_streams=1000", "--CortexJupyter.max_streams_per_user=1000")
#: Bytes per second that a slow reader reads.
SLOW = 50_000
#: Waits until one file is unlocked, writes its lines, and waits until another is unlocked. A wait for a lock costs no CPU, and
#: all writers begin at the same moment.
_WRITER = """
import fcntl, sys, time
def wait(path):
    with open(path) as file: fcntl.flock(file, fcntl.LOCK_SH)
print('ready')
wait({begin!r})
begun = time.monotonic()
for i in range({lines}):
    sys.stdout.write('line %08d INFO trainer.loop epoch %d step %d loss=0.%04d lr=3.00e-04 grad_norm=1.%03d mem=%dMB ' % (i, i // 999, i, i * 7919 % 9973, i % 997, i % 9000) + 'x' * {pad} + chr(10))
    if i % {burst} == {burst} - 1:
        sys.stdout.flush()
        time.sleep(max(0, begun + (i + 1) / {rate} - time.monotonic()))
sys.stdout.flush()
wait({end!r})
"""
_NUMBER = re.compile(r"^line (\d{8}) ")


@contextlib.contextmanager
def sandbox(*options: str) -> Iterator[tuple[Kube, Path]]:
    """Yield a client of a new sandbox, and a temporary folder."""
    with tempfile.TemporaryDirectory() as name, run_sandbox(Path(name) / "sandbox", *options) as process:
        yield process.kube, Path(name)


@contextlib.contextmanager
def cluster(*options: str) -> Iterator[tuple[Kube, Path]]:
    """Yield a client of the real cluster in a temporary namespace, or else of a sandbox with these options; and a folder."""
    if not REAL:
        with sandbox(*options) as kube_and_folder:
            yield kube_and_folder
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = yaml.safe_load(Path(REAL).read_text())
        namespace = f"bench-{uuid.uuid4().hex[:6]}"
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        kube = Kube(folder / "kubeconfig")
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        try:
            yield kube, folder
        finally:
            kube.delete("namespaces", namespace, grace=None)
            kube.close()


@dataclass
class Writers:
    """Jobs whose containers write numbered lines after `begin` is called, and end after `end` is called.

    Parameters
    ----------
    kube : Kube
    folder : Path
        For the files that the containers wait for. The containers run on this machine.
    lines : int
        Lines per container.
    rate : float
        Lines per second and container.
    jobs : int
    pods : int
        Pods per Job.
    containers : int
        Containers per pod.
    pad : int
        Bytes that are added to each line of about 90.
    name : str
        Prefix of the Jobs' names.
    """

    kube: Kube
    folder: Path
    lines: int
    rate: float
    jobs: int = 1
    pods: int = 1
    containers: int = 1
    pad: int = 10
    name: str = "load"
    _gates: list[Any] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the Jobs."""
        return [f"{self.name}-{i}" for i in range(self.jobs)]

    @property
    def count(self) -> int:
        """Number of containers."""
        return self.jobs * self.pods * self.containers

    def __enter__(self) -> Self:
        paths = [self.folder / f"{self.name}.{what}" for what in ("begin", "end")]
        self._gates = [path.open("w") for path in paths]
        for gate in self._gates:
            fcntl.flock(gate, fcntl.LOCK_EX)
        begin, end = map(str, paths)
        burst = max(1, round(self.rate / 40))
        program = _WRITER.format(begin=begin, end=end, lines=self.lines, rate=self.rate, burst=burst, pad=self.pad)
        for name in self.names:
            job = python_job(
                name, program, parallelism=self.pods, containers=self.containers, namespace=self.kube.namespace
            )
            self.kube.create(job)
        self.kube.wait_for(lambda: self._running() == self.count, f"{self.count} running containers", 170)
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self._gates:
            gate.close()
        for name in self.names:
            self.kube.delete("jobs", name, self.kube.namespace)

    def _running(self) -> int:
        time.sleep(0.5)
        return sum(
            "running" in status["state"]
            for pod in self.kube.list("pods", self.kube.namespace)["items"]
            if pod["metadata"]["labels"].get("job") in self.names
            for status in pod["status"].get("containerStatuses") or []
        )

    def begin(self) -> None:
        """Let all containers write."""
        fcntl.flock(self._gates[0], fcntl.LOCK_UN)

    def end(self) -> None:
        """Let all containers end."""
        fcntl.flock(self._gates[1], fcntl.LOCK_UN)


# ---------------------------------------------------------------- readers


@dataclass
class Reader:
    """The events that one reader received, each with its time of arrival (ns since 1970)."""

    events: list[tuple[int, bytes]] = field(default_factory=list)

    def lines(self) -> int:
        """Return the number of received lines."""
        return sum(len(parsed(event)[0]) for _, event in self.events)


class Readers:
    """Readers of event streams in this process. An event that several of them receive is stored once."""

    def __init__(self) -> None:
        self._events: dict[bytes, bytes] = {}

    async def read(self, url: str, headers: dict[str, str], hurry: asyncio.Event | None = None) -> Reader:
        """Read a stream to its end; if `hurry` is given, read slowly until it is set."""
        reader, rest = Reader(), b""
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket_with_small_buffer if hurry else None)
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 14) as session,
            session.get(url, headers=headers) as response,
        ):
            assert response.status == 200, await response.text()
            while chunk := await response.content.readany():
                now = time.time_ns()
                *events, rest = (rest + chunk).split(b"\n\n")
                reader.events += [(now, self._events.setdefault(event, event)) for event in events]
                if hurry is not None and not hurry.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(hurry.wait(), len(chunk) / SLOW)
        return reader


def _socket_with_small_buffer(address: Any) -> socket.socket:
    """Return a socket with a small receive buffer, so that the server soon notices a slow reader."""
    small = socket.socket(address[0], address[1], address[2])
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return small


@lru_cache(1 << 18)
def parsed(event: bytes) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Return (container, number) of each numbered line, and the lines' times.

    `event` is an event of our server or of the gateway, or a line of kubectl.
    """
    if event.startswith(b"[pod/"):
        prefix, stamp, text = event.decode().split(" ", 2)
        number = _NUMBER.match(text)
        return ([(prefix, int(number[1]))], np.array([parse_rfc3339(stamp)])) if number else ([], np.empty(0, np.int64))
    data = next((line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")), b"")
    if not data.startswith(b"{"):
        return [], np.empty(0, np.int64)
    doc = orjson.loads(data)
    if "line" in doc:  # an event of the gateway
        stamp, _, text = doc["line"].partition(" ")
        rows = [(parse_rfc3339(stamp), f"{doc['pod']}/{doc['container']}", text)]
    elif "m" in doc:
        names = {int(sid): f"{s['pod']}/{s['container']}" for sid, s in doc["sources"].items()}
        times = (int(doc["t0"]) + dt for dt in doc["dt"])
        rows = [(at, names[sid], text) for at, sid, text in zip(times, doc["s"], doc["m"], strict=True)]
    else:
        return [], np.empty(0, np.int64)
    numbered = [(at, name, int(m[1])) for at, name, text in rows if (m := _NUMBER.match(text))]
    return [(name, n) for _, name, n in numbered], np.array([at for at, _, _ in numbered], np.int64)


def count_errors(reader: Reader, expected: int) -> tuple[int, int, int]:
    """Return how many lines a reader lacks, how many came twice, and how many came after a later line of the same container."""
    rows = [row for _, event in reader.events for row in parsed(event)[0]]
    distinct, last, moved = len(set(rows)), dict[str, int](), 0
    for name, number in rows:
        moved += number < last.get(name, -1)
        last[name] = number
    return expected - distinct, len(rows) - distinct, moved


def delays(readers: Iterable[Reader]) -> np.ndarray:
    """Return the time from each line's Kubernetes timestamp to its arrival (ms), over all readers, in ascending order."""
    delays_ms = [
        (at - times) / 1e6 for reader in readers for at, event in reader.events if len(times := parsed(event)[1])
    ]
    return np.sort(np.concatenate(delays_ms)) if delays_ms else np.zeros(1)


def percentile(ordered: np.ndarray, share: float) -> float:
    """Return a percentile of values in ascending order."""
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def longest_pause(reader: Reader) -> float:
    """Return the longest time between two events (s)."""
    return max((b - a for (a, _), (b, _) in pairwise(reader.events)), default=0) / 1e9
