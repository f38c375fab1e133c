"""Two recorders never write the same task. They are real processes; one is stopped for longer than its lease."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from recorder.test_recorder import COUNT, Seen, exactly, open_session
from support.hand import until
from support.kube import python_job

from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube import Kube


def run(store: str, kubeconfig: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", store, "--kubeconfig", str(kubeconfig)]
    with log.open("ab") as file:
        return subprocess.Popen([*command, "--idle", "2"], stdout=file, stderr=file)


def stop_between_transactions(pid: int, database: Path) -> None:
    """Stop a recorder while it does not hold the database's lock, which it would keep until it continues."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=1)) as db:
        while True:
            os.kill(pid, signal.SIGSTOP)
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
            else:
                db.execute("ROLLBACK")
                return


async def test_a_recorder_stopped_for_longer_than_its_lease_cannot_commit(
    sandbox: Any, kube: Kube, unique: Any, tmp_path: Path
) -> None:
    name = unique("fence")
    kube.create(python_job(name, COUNT.format(n=1500, pause=0.01)))
    async with open_session(sandbox, tmp_path) as recordings:
        assert recordings.cluster is not None
        host = recordings.cluster.id
        store, log = recordings.store, tmp_path / "both.log"
        both = [run(store.url, sandbox.kubeconfig, log) for _ in range(2)]  # started at the same time
        try:
            # Wait for a heartbeat, so that readers start no third recorder.
            await until(lambda: store.recorder(host) is not None)
            recording = await recordings.find(TaskRef.parse(name))
            reading = asyncio.create_task(Seen().read(recording))
            await until(lambda: store.complete(recording.id).records > 50)
            db = store._file._db  # type: ignore[attr-defined]

            def holder() -> tuple[int, int]:
                query = "SELECT r.pid, epoch FROM recording JOIN recorder r ON r.id=owner WHERE recording.id=?"
                return tuple(db.execute(query, (recording.id,)).fetchone() or (0, 0))

            first, epoch = holder()
            assert first in {p.pid for p in both}
            stop_between_transactions(first, tmp_path / "r.sqlite")
            stopped = store.complete(recording.id).records
            await until(lambda: holder()[0] not in (0, first))
            await until(lambda: store.complete(recording.id).records > stopped + 50)
            os.kill(first, signal.SIGCONT)
            await until(lambda: "another recorder has taken over" in log.read_text())
            second, newer = holder()
            assert newer > epoch and second in {p.pid for p in both} - {first}
            seen = await asyncio.wait_for(reading, 120)
            assert exactly(seen, 1500) and not seen.of("gap")
            # With nothing wanted and nothing running both end by themselves.
            for process in both:
                assert await asyncio.to_thread(process.wait, 60) == 0
            assert store.recorder(host) is None
        finally:
            for process in both:
                if process.poll() is None:
                    process.kill()
                process.wait()
    kube.delete("jobs", name)


async def test_a_task_deleted_while_no_recorder_ran_gets_an_end(
    sandbox: Any, kube: Kube, unique: Any, tmp_path: Path
) -> None:
    name = unique("went")
    kube.create(python_job(name, COUNT.format(n=100_000, pause=0.01)))
    async with open_session(sandbox, tmp_path) as recordings:
        assert recordings.cluster is not None
        host, store = recordings.cluster.id, recordings.store
        recording = await recordings.find(TaskRef.parse(name))
        reading = asyncio.create_task(Seen().read(recording))
        await until(lambda: store.complete(recording.id).records > 50)
        reading.cancel()
        recorder = store.recorder(host)
        assert recorder is not None
        os.kill(recorder.pid, signal.SIGKILL)
        kube.delete("jobs", name)
        await until(lambda: not kube.pods_of(name))
        again = await recordings.find(TaskRef.parse(name))
        assert again.id == recording.id and again.workload is None and again.is_gone
        seen = await asyncio.wait_for(Seen().read(again), 120)
        assert len(seen.of("end")) == 1 and seen.of("gap")
        info = store.info(again.id)
        assert info is not None and info.done and info.state == "gone"
