"""A row of the fault matrix, and the running case that its functions act on: a Job, its recorder and a reader."""

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
from faults.oracle import NodeLogs
from faults.received import Received
from support.jupyter import counter
from support.kube import python_job

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from support.valkey import ValkeySetup

#: Lines that each pod of an ordinary row writes, and lines per second.
LINES, RATE = 6000, 2000


@dataclass
class Row:
    """A fault, and what must hold in spite of it."""

    name: str
    fault: Callable[[Case], Awaitable[None]]
    allowed: Literal["exact", "gaps"] = "exact"
    program: str = counter(LINES, per_second=RATE, until="FAULTS_DONE")
    job: dict[str, Any] = field(default_factory=lambda: {"parallelism": 2})
    read: Callable[[Case], Awaitable[None]] | None = None
    restart: str = "Never"
    #: Called before the Job is created.
    before: Callable[[Case], None] | None = None
    #: Whether secrets are masked before lines are stored.
    masked: bool = False
    #: Applied to written and received lines before they are compared.
    normalize: Callable[[str], str] = str
    #: Checks what else must hold at the end.
    after: Callable[[Case], None] | None = None
    #: Size of a separate disk for the store (MiB); 0 for none.
    store_disk_mib: int = 0
    #: Starts Valkey servers in a folder, for a store on Valkey. The default store is a SQLite file.
    valkey: Callable[[Path], AbstractContextManager[ValkeySetup]] | None = None
    xfail: str = ""


class Case:
    """A running row: its Job, recorder, store and reader."""

    def __init__(self, sandbox: Any, recordings: Session, node_logs: NodeLogs, name: str, folder: Path) -> None:
        self.sandbox, self.recordings, self.node_logs, self.name, self.folder = (
            sandbox,
            recordings,
            node_logs,
            name,
            folder,
        )
        self.task = name
        #: Created after the last fault. A program that contains `FAULTS_DONE` writes until this file exists, so a row also
        #: works on a machine that starts a recorder slowly.
        self.faults_done = folder / "faults-done"
        self.received = Received()
        self.fault_time = 0.0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server: Any = None  # the Jupyter server, in rows that read through one
        self.valkey: Any = None  # the `ValkeySetup`, in rows with a store on Valkey

    # ------------------------------------------------------------ waiting

    async def until(self, test: Callable[[], object], what: str) -> None:
        """Wait until `test` holds; fail if the task ends first."""
        while not test():
            assert self.received.end is None, f"the task ended before: {what}"
            await asyncio.sleep(0.01)

    async def wait_lines(self, n: int) -> None:
        """Wait until the reader has received `n` more lines."""
        total = self.received.count + n
        await self.until(
            lambda: self.received.count >= total, f"{total} lines at the reader ({self.received.count} so far)"
        )

    async def wait_written(self, n: int) -> None:
        """Wait until the containers have written `n` more lines."""
        total = self.node_logs.count_records() + n
        await self.until(lambda: self.node_logs.count_records() >= total, f"{total} lines on the node's disk")

    async def wait_seconds(self, seconds: float) -> None:
        """Let a fault last for a fixed time; the time is part of the fault."""
        await asyncio.sleep(seconds)

    # ------------------------------------------------------------ faults

    def fault(self, kind: str, **options: Any) -> int:
        """Put a fault in force for the row's pods, or for what its options name."""
        if not options.keys() & {"path", "resource"} and kind != "expire":
            options["pod"] = f"{self.name}.*"
        self.node_logs.open_new_files()
        self.mark_fault()
        return int(self.sandbox.fault(kind, **options)["id"])

    def mark_fault(self) -> None:
        """Record that a fault begins now."""
        self.fault_time = time.monotonic()

    def end_fault(self, fault: int) -> None:
        """Remove a fault of the sandbox."""
        self.sandbox.kube.request("DELETE", f"/sandbox/faults/{fault}")

    @asynccontextmanager
    async def logs_unreachable(self) -> AsyncIterator[None]:
        """Make the log requests fail while the block runs; the rest of the API works."""
        fault = self.fault("status", code=503, path="/log\\?")
        self.fault("abort", count=2)
        yield
        self.end_fault(fault)
        self.mark_fault()

    def recorder_pid(self) -> int:
        """Return the process id of the running recorder, or 0."""
        assert self.recordings.cluster is not None
        recorder = self.recordings.store.recorder(self.recordings.cluster.host)
        return recorder.pid if recorder else 0

    async def kill_recorder(self, number: int = signal.SIGKILL) -> int:
        """Wait for a recorder, and send it a signal; return its process id."""
        await self.until(self.recorder_pid, "a recorder")
        pid = self.recorder_pid()
        self.mark_fault()
        os.kill(pid, number)
        return pid

    @staticmethod
    def recorder_pids(url: str) -> list[int]:
        """Return the process ids of a store's recorders."""
        pids = []
        for proc in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (proc / "cmdline").read_bytes()
                state = (proc / "stat").read_text().rpartition(")")[2].split()[0]
                if b"--store" in line and url.encode() in line and state != "Z":
                    pids.append(int(proc.name))
        return pids

    @classmethod
    async def end_recorders(cls, url: str) -> None:
        """Kill the recorders of a store until none is left or started again."""
        while pids := cls.recorder_pids(url):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Kill the recorders of this row's store, and wait for the processes that the row started."""
        await self.end_recorders(self.recordings.store.url)
        for process in self.processes:
            process.wait(120)

    # ------------------------------------------------------------ reading

    async def read(self) -> None:
        """Read the recording to its end."""
        recording = await self.recordings.find(TaskRef.parse(self.task))
        async with recording.keep_wanted():
            async for event in recording.feed.events():
                self.received.add_event(event.event, orjson.loads(event.entry.data))

    def create(self, row: Row) -> None:
        """Create the row's Job."""
        if row.before is not None:
            row.before(self)
        job = python_job(self.name, row.program.replace("FAULTS_DONE", str(self.faults_done)), **row.job)
        job["spec"]["template"]["spec"]["restartPolicy"] = row.restart
        self.sandbox.kube.create(job)


@asynccontextmanager
async def running_case(
    sandbox: Any,
    name: str,
    folder: Path,
    store_disk_mib: int = 0,
    *,
    masked: bool = False,
    make_valkey: Callable[[Path], AbstractContextManager[ValkeySetup]] | None = None,
) -> AsyncIterator[Case]:
    """Set up a case with a new store; afterwards, end its processes and delete its Job."""
    with (
        _store(folder / "store", store_disk_mib),
        make_valkey(folder) if make_valkey else nullcontext() as valkey,
        NodeLogs(sandbox.root, name) as node_logs,
    ):
        url = valkey.url if valkey else f"sqlite://{folder}/store/r.sqlite"
        recordings = await Session.connect(url, str(sandbox.kubeconfig), mask=masked)
        case = Case(sandbox, recordings, node_logs, name, folder)
        case.valkey = valkey
        try:
            yield case
        finally:
            await case.recordings.close()
            await case.end()
            sandbox.clear()
            sandbox.kube.delete("jobs", name)


@contextmanager
def _store(folder: Path, size_mib: int) -> Iterator[None]:
    folder.mkdir()
    if not size_mib:
        yield
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", folder]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk: mounting a tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
