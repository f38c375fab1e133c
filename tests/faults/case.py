"""One row of the matrix while it runs: a Job, a reader, and what is done to them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import pytest
from faults.oracle import Disk
from faults.seen import Seen
from support.jupyter import counter
from support.kube import python_job

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Recordings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from support.valkey import Place

#: Lines of each pod of an ordinary row, and how many a second.
LINES, RATE = 6000, 2000


@dataclass
class Row:
    """A fault, and what must hold."""

    name: str
    fault: Callable[[Case], Awaitable[None]]
    allowed: Literal["exact", "gaps"] = "exact"
    program: str = counter(LINES, per_second=RATE, until="STRUCK")
    job: dict[str, Any] = field(default_factory=lambda: {"parallelism": 2})
    read: Callable[[Case], Awaitable[None]] | None = None
    restart: str = "Never"
    #: Called before the Job is created.
    before: Callable[[Case], None] | None = None
    #: Whether secrets are masked before lines are stored.
    masked: bool = False
    #: In which form what was written and what was read are compared.
    form: Callable[[str], str] = str
    #: Checks what else must hold at the end.
    after: Callable[[Case], None] | None = None
    #: The size of the store's own disk in MiB; 0 where it has none.
    disk: int = 0
    #: Instead of a SQLite file: the servers that are the store, made in a folder.
    place: Callable[[Path], AbstractContextManager[Place]] | None = None
    xfail: str = ""


class Case:
    """What a row's functions act on."""

    def __init__(self, sandbox: Any, recordings: Recordings, disk: Disk, name: str, folder: Path) -> None:
        self.sandbox, self.recordings, self.disk, self.name, self.folder = sandbox, recordings, disk, name, folder
        self.task = name
        #: A program that names it in its text, `STRUCK`, writes until it is there: until the last fault has struck. So
        #: a row means the same on a machine that takes long to start a recorder.
        self.struck = folder / "struck"
        self.seen = Seen()
        self.hit_at = 0.0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server: Any = None  # of rows that read through one
        self.place: Any = None  # the servers that are the store

    # ------------------------------------------------------------ waiting

    async def until(self, test: Callable[[], object], what: str) -> None:
        """Wait until something holds; an error if the task ends before."""
        while not test():
            assert self.seen.end is None, f"the task ended before this came: {what}"
            await asyncio.sleep(0.01)

    async def lines(self, n: int) -> None:
        """Wait for that many more lines at the reader."""
        at = self.seen.count + n
        await self.until(lambda: self.seen.count >= at, f"{at} lines, {self.seen.count} came")

    async def written(self, n: int) -> None:
        """Wait for that many more lines on disk."""
        at = self.disk.records() + n
        await self.until(lambda: self.disk.records() >= at, f"{at} lines on disk")

    async def lasts(self, seconds: float) -> None:
        """Let a fault last that long: it is a part of the fault, nothing is waited for."""
        await asyncio.sleep(seconds)

    # ------------------------------------------------------------ faults

    def fault(self, kind: str, **options: Any) -> int:
        """Put a fault in force; on the row's own pods, unless it names a path."""
        if not options.keys() & {"path", "resource"} and kind != "expire":
            options["pod"] = f"{self.name}.*"
        self.disk.keep()
        self.hit()
        return int(self.sandbox.fault(kind, **options)["id"])

    def hit(self) -> None:
        """Note that a fault strikes now."""
        self.hit_at = time.monotonic()

    def mend(self, fault: int) -> None:
        """End a fault."""
        self.sandbox.kube.request("DELETE", f"/sandbox/faults/{fault}")

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Keep the logs out of reach while the block runs; the API answers."""
        fault = self.fault("status", code=503, path="/log\\?")
        self.fault("abort", count=2)
        yield
        self.mend(fault)
        self.hit()

    def recorder(self) -> int:
        """Return the process id of the recorder that lives, 0 if none does."""
        assert self.recordings.cluster is not None
        found = self.recordings.store.recorder(self.recordings.cluster.host)
        return found.pid if found else 0

    async def kill_recorder(self, number: int = signal.SIGKILL) -> int:
        """Send the recorder a signal."""
        await self.until(self.recorder, "a recorder")
        pid = self.recorder()
        self.hit()
        os.kill(pid, number)
        return pid

    @staticmethod
    def pids(url: str) -> list[int]:
        """Return the recorders of a store."""
        found = []
        for proc in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (proc / "cmdline").read_bytes()
                state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
                if b"--store" in line and url.encode() in line and state != "Z":
                    found.append(int(proc.name))
        return found

    @classmethod
    async def end_recorders(cls, url: str) -> None:
        """End every process that belongs to a store, however often one is started anew."""
        while left := cls.pids(url):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """End every process that belongs to this row's store."""
        await self.end_recorders(self.recordings.store.url)
        for process in self.processes:
            process.wait(120)

    # ------------------------------------------------------------ reading

    async def read(self) -> None:
        """Read the recording to its end."""
        recording = await self.recordings.find(TaskRef.parse(self.task))
        async with recording.wanted():
            async for frame in recording.feed.frames():
                self.seen.take(frame.event, orjson.loads(frame.entry.data))

    def create(self, row: Row) -> None:
        """Create the Job."""
        if row.before is not None:
            row.before(self)
        job = python_job(self.name, row.program.replace("STRUCK", str(self.struck)), **row.job)
        job["spec"]["template"]["spec"]["restartPolicy"] = row.restart
        self.sandbox.kube.create(job)


@asynccontextmanager
async def begun(
    sandbox: Any,
    name: str,
    folder: Path,
    disk: int = 0,
    *,
    masked: bool = False,
    make: Callable[[Path], AbstractContextManager[Place]] | None = None,
) -> AsyncIterator[Case]:
    """Return a case with a store of its own; nothing of it is left afterwards."""
    with (
        _store(folder / "store", disk),
        make(folder) if make else nullcontext() as place,
        Disk(sandbox.root, name) as wrote,
    ):
        url = place.url if place else f"sqlite://{folder}/store/r.sqlite"
        recordings = await Recordings.connect(url, str(sandbox.kubeconfig), mask=masked)
        case = Case(sandbox, recordings, wrote, name, folder)
        case.place = place
        try:
            yield case
        finally:
            await case.recordings.close()
            await case.end()
            sandbox.clear()
            sandbox.kube.delete("jobs", name)


@contextmanager
def _store(folder: Path, disk: int) -> Iterator[None]:
    folder.mkdir()
    if not disk:
        yield
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={disk}m", "none", folder]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
