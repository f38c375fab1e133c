"""Faults of the recorder and of its SQLite store."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from faults.case import LINES, RATE, Row
from faults.received import Received
from faults.row import parametrize_rows, run_row
from support.jupyter import counter

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session
from cortex_jupyter.recorder.process.launch import log_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import SandboxProcess
    from faults.case import Case

#: Number of commits at which a recorder dies, each in three ways.
COMMITS = 8
#: A file that makes a Job's pods end.
FLAG = "/tmp/cortex-{}-over"
UNTIL_FLAG = f"""
import os, time
name, number = os.environ['HOSTNAME'], 0
flag = '{FLAG}'.format(name.rpartition('-')[0])
while not os.path.exists(flag):
    print(*('%s line %08d' % (name, number + i) for i in range(50)), sep='\\n', flush=True)
    number += 50
    time.sleep(0.025)
"""


async def killed(case: Case) -> None:
    for _ in range(3):
        await case.wait_lines(2000)
        await case.kill_recorder()


async def killed_before_the_audit(case: Case) -> None:
    """Make the node's files unreachable, so that the check for skipped lines is still pending when all lines are read."""
    await case.wait_lines(2000)
    fault = case.fault("status", code=503, path="/proxy/logs/")
    await case.until(lambda: len(_ends(case)) == 2, "the end of both containers")
    await case.kill_recorder()
    case.end_fault(fault)


def audit_was_made(case: Case) -> None:
    assert len(_ends(case)) == 2
    assert not [n for n in case.received.notices if "cannot be checked" in n["message"]]


def _ends(case: Case) -> list[dict[str, object]]:
    return [n for n in case.received.notices if n.get("notice") == "ended"]


def start_two(case: Case) -> None:
    for _ in range(2):
        _start(case, "-m", "cortex_jupyter.recorder")


async def one_of_two_killed(case: Case) -> None:
    await case.wait_lines(4000)
    await case.kill_recorder()


async def stopped_beyond_its_lease(case: Case) -> None:
    await case.wait_lines(2000)
    pid = await _stop_between_transactions(case)
    await case.until(lambda: case.recorder_pid() not in (0, pid), "another recorder")
    await case.wait_lines(1000)
    os.kill(pid, signal.SIGCONT)
    log = log_path(case.recordings.store.url)
    await case.until(lambda: "another recorder has taken over" in log.read_text(), "the first one to notice")


async def killed_at_every_commit(case: Case) -> None:
    await case.until(lambda: case.processes, "the recorders")
    case.mark_fault()


async def read_while_recorders_die(case: Case) -> None:
    """Read without starting a recorder; start the dying recorders of `crashing.py` instead."""
    recordings = case.recordings
    workload = await recordings.resolve(TaskRef.parse(case.task))
    assert recordings.cluster is not None
    id_ = recordings.store.open(recordings.cluster.host, workload.ref, workload.uid)
    recordings.store.want(id_, 600)
    flag = Path(FLAG.format(case.name))
    try:
        process = _start(case, str(Path(__file__).with_name("crashing.py")), str(COMMITS), str(flag))
        async for event in recordings.feed(id_).events():
            case.received.add_event(event.event, orjson.loads(event.entry.data))
    finally:
        await asyncio.to_thread(flag.unlink, missing_ok=True)
    assert process.wait(120) == 0, "crashing.py failed: see recorder.log"


async def locked(case: Case) -> None:
    await case.wait_lines(3000)
    with closing(_database(case)) as db:
        db.execute("BEGIN IMMEDIATE")
        case.mark_fault()
        await case.wait_seconds(3)
        db.execute("ROLLBACK")


async def read_only(case: Case) -> None:
    """Make every write of lines fail for 3 s, as in a read-only database."""
    await case.wait_lines(3000)
    with closing(_database(case)) as db:
        db.execute(
            "CREATE TRIGGER readonly BEFORE INSERT ON entry BEGIN"
            " SELECT raise(ABORT, 'attempt to write a readonly database'); END"
        )
        case.mark_fault()
        await case.wait_seconds(3)
        db.execute("DROP TRIGGER readonly")


async def full(case: Case) -> None:
    await case.wait_lines(3000)
    filler = case.folder / "store/filler"
    case.mark_fault()
    _fill(filler)
    await case.until(
        lambda: any("store is full" in n["message"] for n in case.received.notices), "that the store is full"
    )
    await case.wait_written(2000)
    filler.unlink()


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


async def truncated(case: Case) -> None:
    await _damage(case, lambda path: os.truncate(path, path.stat().st_size // 2 // 4096 * 4096))


async def overwritten(case: Case) -> None:
    def overwrite(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (path.stat().st_size - 8192))

    await _damage(case, overwrite)


async def _damage(case: Case, how: Callable[[Path], None]) -> None:
    """Damage the database and kill the recorder, so that the next recorder opens a damaged one.

    The recorder is stopped meanwhile and keeps its lease. If it were killed first, the next one could open the database before the damage.
    """
    await case.wait_lines(4000)
    pid = await _stop_between_transactions(case)
    how(case.folder / "store/r.sqlite")
    os.kill(pid, signal.SIGKILL)


async def _stop_between_transactions(case: Case) -> int:
    """Stop the recorder while it does not hold the database's lock, which it would keep; return its process id."""
    with closing(_database(case)) as db:
        db.execute("PRAGMA busy_timeout=200")
        while True:
            pid = await case.kill_recorder(signal.SIGSTOP)
            (is_locked, _pages, _moved) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not is_locked:
                return pid
            os.kill(pid, signal.SIGCONT)
            await case.wait_lines(1)


async def read_again(case: Case) -> None:
    """Read until the store is reported as damaged; then follow the hint, move it away, and read again."""
    with pytest.raises(CortexError) as caught:
        await case.read()
    assert "move the file away" in str(caught.value)
    await case.recordings.close()
    for path in (case.folder / "store").glob("r.sqlite*"):
        with suppress(FileNotFoundError):  # a recorder that tried to open it removed the write-ahead log
            path.rename(case.folder / path.name)
    case.recordings = await Session.connect(case.recordings.store.url, str(case.sandbox.kubeconfig))
    case.received = Received()
    await case.read()


def _database(case: Case) -> sqlite3.Connection:
    return sqlite3.connect(case.folder / "store/r.sqlite", isolation_level=None, timeout=10)


def _start(case: Case, *arguments: str) -> subprocess.Popen[bytes]:
    options = ["--store", case.recordings.store.url, "--kubeconfig", str(case.sandbox.kubeconfig), "--idle", "1"]
    with (case.folder / "store/recorder.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *arguments, *options], stdout=log, stderr=log)
    case.processes.append(process)
    return process


LONG = counter(14_000, per_second=2000, until="FAULTS_DONE")
ROWS = [
    Row("recorder killed three times", killed, program=LONG),
    Row(
        f"recorder killed at {3 * COMMITS} commit points",
        killed_at_every_commit,
        program=UNTIL_FLAG,
        read=read_while_recorders_die,
    ),
    Row(
        "recorder killed between a log's end and the audit",
        killed_before_the_audit,
        program=counter(LINES, per_second=RATE),
        after=audit_was_made,
    ),
    Row("two recorders at once, one killed", one_of_two_killed, before=start_two),
    Row("recorder stopped for longer than its lease", stopped_beyond_its_lease, program=LONG),
    Row("store locked for 3 s", locked),
    Row("store read-only for 3 s", read_only),
    Row("disk of the store full", full, program=LONG, store_disk_mib=24),
    Row("store truncated, moved away", truncated, read=read_again),
    Row("store's pages corrupt, moved away", overwritten, read=read_again),
]


@parametrize_rows(ROWS)
async def test_row(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
