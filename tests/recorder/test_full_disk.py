"""The recorder reports a store that is full, busy, read-only or damaged.

If that can pass, the recorder waits, and no line is lost or duplicated.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from recorder.test_recorder import Seen, counted, open_session
from support.hand import CLUSTER, Hand, on_sqlite, recorder, source, until
from support.kube import python_job

from cortex_jupyter.errors import LeaseLost, RecorderError, StoreBusy, StoreError, StoreFull
from cortex_jupyter.model import Batch, TaskRef, rfc3339
from cortex_jupyter.recorder import heartbeat
from cortex_jupyter.recorder import recorder as recorder_module
from cortex_jupyter.recorder.process import launch
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.recorder.writing import commit_retrier
from cortex_jupyter.recorder.writing.batch import PendingNotice
from cortex_jupyter.recorder.writing.commit_retrier import STOPPED
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import HEARTBEAT_S, Anchor, Commit
from cortex_jupyter.store.sqlite import leases
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kube import Kube

T0 = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for waits in (commit_retrier, heartbeat, recorder_module):
        monkeypatch.setattr(waits, "RETRY_S", 0.02)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", path], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path: Path) -> None:
    """Fill a disk to its last byte."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def lines(first: int, n: int) -> bytes:
    # Text that does not compress, so that a few thousand lines fill the disk.
    return b"".join(f"{rfc3339(T0 + i)} {i} {os.urandom(700).hex()}\n".encode() for i in range(first, first + n))


def numbers(store: SqliteStore, recording: int) -> list[int]:
    """Return the numbers in the lines; check that each `seq` occurs exactly once."""
    entries = store.entries(recording, 0, 1 << 30)
    assert [e.seq for e in entries] == [1, *(e.last + 1 for e in entries)][: len(entries)]
    assert all(b"%d" % e.seq in e.data[:80] for e in entries)  # the encoded batch has the same `seq`
    return [int(t.split()[0]) for e in entries if e.event == "log" for t in Batch.decode(e.data).texts]


async def test_a_full_disk_pauses_reading_and_is_reported(small: Path) -> None:
    store = SqliteStore(small / "r.sqlite")
    assert store.keep_reserve()
    (small / "rest").write_bytes(bytes(9 << 20))
    hand, quiet = Hand(store), Hand(store, TaskRef("default", "job", "quiet"), owner="me")
    store.commit(hand.lease, Commit(update={"state": "running", "message": "Running", "reason": ""}))
    try:
        with Writer(store) as writer:
            channel, other = (writer.open(h.lease, "t", 0) for h in (hand, quiet))
            sid = hand.source()
            channel.add_source(sid, source(), Anchor())
            given = 0

            async def write() -> None:
                nonlocal given
                for first in range(0, 12_000, 100):
                    await channel.put_lines(sid, lines(first, 100))
                    given = first + 100

            writing = asyncio.create_task(write())
            await until(lambda: store.info(hand.id).message == STOPPED)  # type: ignore[union-attr]
            assert writer.retrier.is_full and not writing.done() and given < 12_000
            # A task that has something to write meanwhile reports the full disk as well.
            other.put_notice(PendingNotice("status", "something"))
            await until(lambda: store.info(quiet.id).message == STOPPED)  # type: ignore[union-attr]
            # A heartbeat can still be written, so no recorder tries to take over.
            store.beat(recorder())
            before = numbers(store, hand.id)
            assert before == list(range(len(before)))
            command = ["mount", "-o", "remount,size=80m", str(small)]
            await asyncio.to_thread(subprocess.run, command, check=True)
            await writing
            await channel.flush()
            await other.flush()
            assert not writer.retrier.is_full
            assert channel.anchor(sid).last == T0 + 11_999
        assert numbers(store, hand.id) == list(range(12_000))
        assert store.sources(hand.id)[sid][1].last == T0 + 11_999
        for task, message in ((hand, "Running"), (quiet, "Log not available yet: the recorder is starting")):
            assert store.info(task.id).message == message  # type: ignore[union-attr]
        notices = [e.data for e in store.entries(hand.id, 0, 1 << 30) if e.event == "status"]
        assert [STOPPED.encode() in notice for notice in notices] == [True, False]
    finally:
        store.close()


@on_sqlite
async def test_a_writer_that_ends_at_a_full_disk_gives_up(store: SqliteStore, hand: Hand) -> None:
    """A limit of SQLite's page count plays the full disk."""
    writer = Writer(store)
    with writer, limited(store):
        channel = writer.open(hand.lease, "t", 0)
        channel.add_source(1, source(), Anchor())
        await channel.put_lines(1, lines(0, 300))
        await until(lambda: writer.retrier.is_full)
    assert isinstance(channel.error, StoreFull)
    assert numbers(store, hand.id) == []


@contextmanager
def limited(store: SqliteStore) -> Iterator[None]:
    """Keep the store's file from growing while the block runs."""
    opened = store._file._connect

    def connect() -> sqlite3.Connection:
        db = opened()
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    store._file._connect = connect  # type: ignore[method-assign]
    try:
        yield
    finally:
        store._file._connect = opened  # type: ignore[method-assign]


def test_a_full_store_can_be_read_and_its_recorder_lives(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(small / "r.sqlite")
    try:
        hand = Hand(store)
        hand.lines([(1, 1, "a")])
        fill(small / "rest")
        with pytest.raises(StoreFull) as caught:
            hand.lines([(2, 1, os.urandom(50_000).hex())])
        assert "make room" in caught.value.hint
        # The heartbeat cannot be written either, but the process exists, so no other recorder is started.
        monkeypatch.setattr(leases, "HEARTBEAT_S", -1.0)
        assert store.recorder(CLUSTER) is not None
        (small / "rest").unlink()
        assert store.recorder(CLUSTER) is None
        (entry,) = store.entries(hand.id, 0, 1 << 20)
        assert Batch.decode(entry.data).texts == ["a"]
    finally:
        store.close()


@on_sqlite
async def test_a_recorder_outlives_a_busy_store(
    store: SqliteStore, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store is locked for longer than SQLite waits, the recorder and its tasks go on."""
    store.leave("me")
    failures = 3
    wanted = store.wanted

    def busy(cluster: str) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreBusy("database is locked")
        return wanted(cluster)

    monkeypatch.setattr(store, "wanted", busy)
    cluster: Any = type("Api", (), {"id": CLUSTER})()
    await asyncio.wait_for(Recorder(store, cluster, idle=0).run(), 120)
    assert not failures


@on_sqlite
def test_a_commit_waits_for_a_long_lock(store: SqliteStore, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = store._file._connect

    def impatient() -> sqlite3.Connection:
        db = opened()
        db.execute("PRAGMA busy_timeout = 1")
        return db

    monkeypatch.setattr(store._file, "_connect", impatient)
    tried = threading.Event()
    commit = store.commit

    def watched(*arguments: Any) -> None:
        try:
            commit(*arguments)
        except StoreBusy:
            tried.set()
            raise

    monkeypatch.setattr(store, "commit", watched)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        with Writer(store) as writer:
            channel = writer.open(hand.lease, "t", 0)
            channel.add_source(1, source(), Anchor())
            await channel.put_lines(1, lines(0, 3))
            await asyncio.to_thread(tried.wait, 60)
            other.execute("ROLLBACK")
            await channel.flush()

    asyncio.run(write())
    other.close()
    assert tried.is_set() and numbers(store, hand.id) == [0, 1, 2]


def test_a_damaged_page_is_an_error_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store = SqliteStore(path)
    hand = Hand(store)
    for i in range(50):
        hand.lines([(i, 1, os.urandom(2000).hex())])
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught, closing(SqliteStore(path)) as damaged:
        damaged.entries(hand.id, 0, 1 << 30)
    assert "CORTEX_STORE" in caught.value.hint and not isinstance(caught.value, StoreFull | StoreBusy)


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store = SqliteStore(path)
    hand = Hand(store)
    for i in range(50):
        hand.lines([(i, 1, os.urandom(2000).hex())])
    store.close()
    os.truncate(path, 40_000)
    with pytest.raises(StoreError, match=r"r\.sqlite"), closing(SqliteStore(path)) as damaged:
        damaged.entries(hand.id, 0, 1 << 30)


def test_a_read_only_store_can_be_read(small: Path) -> None:
    store = SqliteStore(small / "r.sqlite")
    hand = Hand(store)
    hand.lines([(1, 1, "a")])
    hand.end()
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    try:
        store = SqliteStore(small / "r.sqlite")
        try:
            assert store.complete(hand.id).records == 1
            with pytest.raises(StoreError) as caught:
                store.want(hand.id, 10)
            assert "writable" in caught.value.hint
        finally:
            store.close()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)


@on_sqlite
def test_a_failing_recorder_is_not_started_again_and_again(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def spawn(command: list[str], log: Path, env: dict[str, str] | None = None) -> int:
        started.append(command)
        log.write_text("the file is damaged\n")
        return os.posix_spawn(sys.executable, [sys.executable, "-c", "raise SystemExit(1)"], os.environ)

    monkeypatch.setattr(launch, "spawn", spawn)
    launch.ensure_recorder(store, CLUSTER)
    (key,) = (k for k in launch._started if k[0] == store.url)
    pid = launch._started[key][0]
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for _ in range(3):
        with pytest.raises(RecorderError, match="the file is damaged"):
            launch.ensure_recorder(store, CLUSTER)
    assert len(started) == 1
    # After the wait another recorder is started.
    monkeypatch.setattr(launch, "_FIRST_WAIT_S", 0.0)
    words, times, _ = launch._failed[key]
    launch._failed[key] = words, times, 0.0
    launch.ensure_recorder(store, CLUSTER)
    assert len(started) == 2
    os.waitid(os.P_PID, launch._started[key][0], os.WEXITED)


@on_sqlite
def test_a_recorder_that_lost_its_lease_while_waiting_writes_nothing(store: SqliteStore, hand: Hand) -> None:
    async def write() -> Exception | None:
        with Writer(store) as writer:
            channel = writer.open(hand.lease, "t", 0)
            channel.add_source(1, source(), Anchor())
            with limited(store):
                await channel.put_lines(1, lines(0, 300))
                await until(lambda: writer.retrier.is_full)
            store.leave("me")
            store.beat(recorder("other"))
            assert store.lease(hand.id, "other")
            with pytest.raises(StoreError):
                await channel.flush()
            return channel.error

    error = asyncio.run(write())
    assert isinstance(error, LeaseLost | StoreFull) and numbers(store, hand.id) == []


async def test_the_recorder_process_at_a_full_disk(sandbox: Any, kube: Kube, unique: Any, small: Path) -> None:
    """From end to end: the process reports the full disk, waits, stays alive, and records every line once there is room."""
    name = unique("full")
    kube.create(python_job(name, "import os\nfor i in range(6000): print(f'line {i:08}', os.urandom(700).hex())"))
    async with open_session(sandbox, small) as recordings:
        assert recordings.cluster is not None
        store, host = recordings.store, recordings.cluster.id
        assert store.keep_reserve()
        (small / "rest").write_bytes(bytes(13 << 20))
        recording = await recordings.find(TaskRef.parse(name))
        reading = asyncio.create_task(Seen().read(recording))
        await until(lambda: store.info(recording.id).message == STOPPED, 30)  # type: ignore[union-attr]
        before = store.recorder(host)
        assert before is not None
        # Longer than a heartbeat is valid.
        await asyncio.sleep(HEARTBEAT_S + 1)
        assert store.recorder(host).pid == before.pid and not reading.done()  # type: ignore[union-attr]
        (small / "rest").unlink()
        seen = await asyncio.wait_for(reading, 120)
        (texts,) = seen.lines.values()
        assert [text[:13] for text in texts] == counted(6000)
        assert STOPPED in seen.of("status") and not seen.of("gap")
        assert seen.of("end") == ["Job complete exit 0"]
        assert store.recorder(host).pid == before.pid  # type: ignore[union-attr]
    kube.delete("jobs", name)


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from support.hand import Hand, source, until
from recorder.test_full_disk import lines, numbers
from cortex_jupyter.recorder.writing import commit_retrier
from cortex_jupyter.recorder.writing.commit_retrier import STOPPED
from cortex_jupyter.store.sqlite.store import SqliteStore
from cortex_jupyter.store import Anchor
from cortex_jupyter.recorder.writing.writer import Writer

async def main():
    commit_retrier.RETRY_S = 0.02
    hand = Hand(store := SqliteStore(Path(sys.argv[1])))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))
    with Writer(store) as writer:
        channel = writer.open(hand.lease, "t", 0)
        channel.add_source(sid := hand.source(), source(), Anchor())
        async def write():
            for first in range(0, 12_000, 100):
                await channel.put_lines(sid, lines(first, 100))
        writing = asyncio.create_task(write())
        await until(lambda: writer.retrier.is_full)
        await until(lambda: store.info(hand.id).message == STOPPED)
        assert not writing.done() and numbers(store, hand.id) != []
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await writing
        await channel.flush()
        assert not writer.retrier.is_full
    assert numbers(store, hand.id) == list(range(12_000))
    store.close()

asyncio.run(main())
"""


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    """A batch system limits file sizes (`ulimit -f`). A quota (EDQUOT) has the same effect."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "r.sqlite")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
