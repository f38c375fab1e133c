"""The recorder alone: a hundred sources, a quiet source, a takeover, and the cost of anchors and of masking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import pipe
from bench.report import Report, peak, resident
from conftest import run_sandbox
from support.counting import counting_proxy
from support.hand import until
from support.kube import python_job

from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.reader.session import Session
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from conftest import SandboxProcess

LINES, ROUNDS = 300_000, 3
_ONE_A_SECOND = "import time\nfor i in range(100_000):\n    print(f'line {i}', flush=True)\n    time.sleep(1)"
_HUNDRED_A_SECOND = _ONE_A_SECOND.replace("time.sleep(1)", "time.sleep(0.01)")
_QUIET = "import time\nprint('once', flush=True)\ntime.sleep(3600)"
#: The long intervals of a recorder are divided by this, so that a minute takes six seconds.
_FAST, MINUTE_S = 10, 6.0
HASTE = f"""
from cortex_jupyter.cluster import watch
from cortex_jupyter.recorder.source import audit
from cortex_jupyter.recorder.source import stream
from cortex_jupyter.recorder import task
stream._SILENT_S /= {_FAST}; stream._LONGEST_SILENT_S /= {_FAST}; stream._OLD_S /= {_FAST}
task._CHECK_S /= {_FAST}; watch.WATCH_S //= {_FAST}
names = [n for n in vars(audit) if n.endswith("_S") and isinstance(getattr(audit, n), (int, float))]
[setattr(audit, n, getattr(audit, n) / {_FAST}) for n in names]
"""
_COMPRESSED = f"import sys{HASTE}from cortex_jupyter.recorder.__main__ import main\nsys.exit(main())"
#: A recorder that neither computes nor writes anchors.
_WITHOUT_ANCHORS = """
import sys
from cortex_jupyter.recorder.writing import batch
from cortex_jupyter.store.sqlite.store import SqliteStore
from cortex_jupyter.store import Anchor
def advance(self, lines, numbers):
    self.last = lines.times[-1]
    self.recent.extend(zip(lines.times[-8:], lines.texts[-8:], strict=True))
batch.SourceProgress.advance = advance
batch.SourceProgress.anchor = property(lambda self: Anchor(last=self.last, ended=self.ended))
commit = SqliteStore.commit
def without(self, lease, one):
    one.anchors = {k: a for k, a in one.anchors.items() if a.ended}
    commit(self, lease, one)
SqliteStore.commit = without
from cortex_jupyter.recorder.__main__ import main
sys.exit(main())
"""
_WITH = "import sys\nfrom cortex_jupyter.recorder.__main__ import main\nsys.exit(main())"


def run(report: Report) -> None:
    """Measure each of them on a sandbox."""
    with _sandbox() as sandbox:
        asyncio.run(_hundred(report, sandbox))
        asyncio.run(_takeover(report, sandbox))
        asyncio.run(_quiet(report, sandbox))
    _anchors(report)


@contextlib.contextmanager
def _sandbox() -> Iterator[SandboxProcess]:
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "sandbox") as sandbox:
        yield sandbox


@contextlib.asynccontextmanager
async def _recordings(kubeconfig: Path, program: str = _WITH) -> AsyncIterator[tuple[Session, Any]]:
    """Yield a session with a new store whose recorder is `program`, and the recorder's process."""
    with tempfile.TemporaryDirectory() as folder:
        session = await Session.connect(f"sqlite://{folder}/r.sqlite", str(kubeconfig))
        assert session.cluster is not None
        host = session.cluster.id
        process = _start(session.store.url, kubeconfig, program, Path(folder))
        try:
            await until(lambda: session.store.recorder(host) is not None)
            yield session, process
        finally:
            for pid in {process.pid, getattr(session.store.recorder(host), "pid", process.pid)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            await asyncio.to_thread(process.wait)
            await session.close()


def _start(url: str, kubeconfig: Path, program: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, "--store", url, "--kubeconfig", str(kubeconfig), *options]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


async def _hundred(report: Report, sandbox: SandboxProcess) -> None:
    """Measure the memory for a Job of ten pods with ten containers each. A container writes one line per second."""
    sandbox.kube.create(python_job("hundred", _ONE_A_SECOND, parallelism=10, containers=10))
    async with _recordings(sandbox.kubeconfig) as (recordings, process):
        before = resident(process.pid)
        recording = await recordings.find(TaskRef.parse("hundred"))
        async with recording.keep_wanted():
            await until(lambda: recordings.store.complete(recording.id).sources == 100, 180)
            await asyncio.sleep(20)
        largest = peak(process.pid)
    report.add("memory of a recorder of 100 sources", largest, 150, "MB", note=f"{before:.0f} MB before")
    sandbox.kube.delete("jobs", "hundred")


async def _takeover(report: Report, sandbox: SandboxProcess) -> None:
    """Measure the time from a recorder's death to the first line that is written after it and read."""
    sandbox.kube.create(python_job("killed", _HUNDRED_A_SECOND))
    took: list[float] = []
    async with _recordings(sandbox.kubeconfig) as (recordings, _):
        assert recordings.cluster is not None
        recording = await recordings.find(TaskRef.parse("killed"))
        killed, before = 0, time.monotonic()
        async with recording.keep_wanted(), contextlib.aclosing(recording.feed.events()) as events:
            async for event in events:
                if event.event != "log":
                    continue
                if killed and max(Batch.decode(event.entry.data).times) > killed:
                    took.append(time.monotonic() - before)
                    killed = 0
                    if len(took) == ROUNDS:
                        break
                    await asyncio.sleep(2)
                if not killed and (recorder := recordings.store.recorder(recordings.cluster.id)):
                    os.kill(recorder.pid, signal.SIGKILL)
                    killed, before = time.time_ns(), time.monotonic()
    report.add("takeover after kill -9, to the next line", max(took), 3, "s", note=str([round(t, 2) for t in took]))
    sandbox.kube.delete("jobs", "killed")


async def _quiet(report: Report, sandbox: SandboxProcess) -> None:
    """Count the requests for a container that writes nothing, once the probes have backed off."""
    sandbox.kube.create(python_job("quiet", _QUIET))
    with (
        tempfile.TemporaryDirectory() as folder,
        counting_proxy(sandbox.kubeconfig, Path(folder)) as (kubeconfig, seen),
    ):
        async with _recordings(kubeconfig, _COMPRESSED) as (recordings, _):
            recording = await recordings.find(TaskRef.parse("quiet"))
            async with recording.keep_wanted():
                await recording.caught_up()
                await asyncio.sleep(4 * MINUTE_S)
                seen.clear()
                await asyncio.sleep(6 * MINUTE_S)
                asked = [*seen]
    # Without watches: we reopen them every four minutes, per task and not per source.
    of_source = [path for path in asked if "watch=1" not in path]
    paths = sorted({re.sub(r"\?.*", "", path).rpartition("/")[2] for path in of_source})
    report.add("requests a minute for a quiet source", len(of_source) / 6, 1, "", note=f"{paths}, {len(asked)} in all")
    sandbox.kube.delete("jobs", "quiet")


def _anchors(report: Report) -> None:
    """Measure the CPU for a backlog: with anchors, without them, and with its secrets masked."""
    costs: dict[str, list[float]] = {"with": [], "without": [], "masked": []}
    with pipe.backlog(LINES) as (_, home, _):
        for _ in range(ROUNDS):
            for name, program in (("with", _WITH), ("without", _WITHOUT_ANCHORS), ("masked", _WITH)):
                costs[name].append(asyncio.run(_ingest(home.kubeconfig, program, masked=name == "masked")))
    cost, bare, masked = (statistics.median(costs[name]) for name in ("with", "without", "masked"))
    report.add("ingest CPU, with anchors / without", cost / bare, 1.1, note=f"{cost:.2f} s / {bare:.2f} s")
    speeds = f"{LINES / masked:,.0f} lines a second of CPU, {LINES / cost:,.0f} as written"
    report.add("ingest CPU, secrets masked / as written", masked / cost, None, note=speeds)


async def _ingest(kubeconfig: Path, program: str, *, masked: bool = False) -> float:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite://{folder}/r.sqlite"
        recordings = await Session.connect(url, str(kubeconfig))
        assert recordings.cluster is not None
        workload = await recordings.resolve(TaskRef.parse("backlog"))
        host = recordings.cluster.id
        await recordings.close()
        store = open_store(url)
        id_ = store.open(host, workload.ref, workload.uid)
        store.want(id_, 600)
        store.set_setting("mask", str(int(masked)))
        process = _start(url, kubeconfig, program, Path(folder), "--idle", "0")
        _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        info = store.info(id_)
        assert info is not None and info.done, (Path(folder) / "log").read_text()
        assert store.complete(id_).records == LINES
        store.close()
        return usage.ru_utime + usage.ru_stime
