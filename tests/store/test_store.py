"""The guarantees of a store: atomic commits, a single writer, and errors that name the store."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.hand import CLUSTER, REF, Hand, NewStore, on_sqlite, recorder, source, until

from cortex_jupyter.errors import LeaseLost, StoreError
from cortex_jupyter.model import Entry, TaskRef
from cortex_jupyter.store import Anchor, Commit, RecorderInfo, default_url, liveness
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.changes import Changes
from cortex_jupyter.store.sqlite.store import SqliteStore


def test_a_url_names_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite://{tmp_path}/a%20b/r.sqlite"
    store = open_store(url)
    assert (tmp_path / "a b" / "r.sqlite").stat().st_mode & 0o077 == 0
    assert store.url == url
    store.close()
    more = open_store(f"sqlite:///{tmp_path}/x.sqlite")
    assert more.url == f"sqlite://{tmp_path}/x.sqlite", "an additional slash changes the store's URL"
    more.close()
    monkeypatch.setenv("CORTEX_STORE", url)
    assert default_url() == url
    monkeypatch.delenv("CORTEX_STORE")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert default_url() == f"sqlite://{tmp_path}/cortex/recordings.sqlite"
    for bad in ("redis://me:secret@x", "/tmp/x", "sqlite:", "sqlite://"):
        with pytest.raises(StoreError) as caught:
            open_store(bad)
        assert "secret" not in str(caught.value)


def test_a_recording_is_found_by_name(store: SqliteStore) -> None:
    one = store.open(CLUSTER, REF, "u1")
    assert store.open(CLUSTER, REF, "u1") == one
    two = store.open(CLUSTER, REF, "u2")  # the task was started again
    other = store.open("https://other", REF, "u1")
    pod = store.open(CLUSTER, TaskRef("default", "pod", "train-1"), "u3")
    assert [i.id for i in store.recordings()] == [pod, other, two, one]
    assert store.find(TaskRef("default", "", "train-1"), CLUSTER).id == two  # type: ignore[union-attr]
    assert store.find(TaskRef("default", "pod", "train-1")).id == pod  # type: ignore[union-attr]
    assert store.find(TaskRef("ml", "", "train-1")) is None
    assert store.info(99) is None
    info = store.info(one)
    assert info is not None and (info.state, info.done, info.caught_up, info.last_seq) == ("pending", False, False, 0)


def test_wishes(store: SqliteStore, hand: Hand) -> None:
    assert store.wanted(CLUSTER) == []
    store.want(hand.id, 30)
    store.want(hand.id, 1)  # a shorter wish does not shorten it
    assert [i.id for i in store.wanted(CLUSTER)] == [hand.id] and store.wanted("https://other") == []
    hand.end()
    assert store.wanted(CLUSTER) == []


@pytest.mark.parametrize("unaudited", [False, True])
def test_a_commit_is_atomic(store: SqliteStore, hand: Hand, unaudited: bool) -> None:
    sid = hand.source(1)
    anchor = Anchor(1, 2, 3, ended=True, top=4, unaudited=unaudited)
    store.commit(hand.lease, Commit(anchors={sid: anchor}, update={"state": "running", "exit_code": 3}))
    assert store.sources(hand.id) == {sid: (source(1), anchor)}
    entry = hand.lines([(1, sid, "a")])
    # The same number again: afterwards nothing of this commit is there.
    with pytest.raises(StoreError):
        store.commit(hand.lease, Commit([Entry(9, 1, "log", 0, 0, b""), entry], {sid: Anchor()}, {"state": "failed"}))
    assert store.sources(hand.id)[sid][1] == anchor
    info = store.info(hand.id)
    assert info is not None and (info.state, info.exit_code, info.last_seq) == ("running", 3, 1)
    assert [e.seq for e in store.entries(hand.id, 0, 1 << 20)] == [1]


def test_a_commit_under_an_old_lease_is_refused(store: SqliteStore, hand: Hand) -> None:
    store.beat(recorder("other"))
    assert store.lease(hand.id, "other") is None  # its holder lives
    again = store.lease(hand.id, "me")
    assert again is not None and again.epoch > hand.lease.epoch
    for write in (
        lambda: store.commit(hand.lease, Commit(update={"state": "failed"})),
        lambda: store.add_source(hand.lease, source(1)),
        lambda: hand.lines([(1, 1, "a")]),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert store.index(hand.id) == [] and store.sources(hand.id) == {}
    store.leave("me")
    assert store.lease(hand.id, "other")
    assert store.lease(99, "other") is None


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_living_recorders(store: SqliteStore, hand: Hand) -> None:
    assert store.recorder(CLUSTER).id == "me"  # type: ignore[union-attr]
    store.leave("me")
    store.beat(recorder("dead", dead_pid()))
    assert store.recorder(CLUSTER) is None
    store.beat(recorder("far", 1, host="another-host"))
    assert store.recorder(CLUSTER).id == "far"  # type: ignore[union-attr]
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    assert os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # ended, with no reader
    store.beat(RecorderInfo("zombie", "https://z", socket.gethostname(), zombie.pid, time.time()))
    assert store.recorder("https://z") is None
    zombie.wait()


def test_a_process_with_the_same_pid_elsewhere_is_not_ours(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers with one host name that see different processes: only the heartbeat counts."""
    monkeypatch.setattr(liveness, "MACHINE", "another boot")
    hand = Hand(store, owner="far")
    store.beat(recorder("far", dead_pid()))
    monkeypatch.undo()
    assert store.recorder(CLUSTER).id == "far" and store.lease(hand.id, "me") is None  # type: ignore[union-attr]
    assert store.holders([hand.id]) == {hand.id: "far"}
    store.beat(recorder("far", dead_pid()))
    assert store.recorder(CLUSTER) is None and store.lease(hand.id, "me") is not None


TAKE_OVER = """
import sys
from cortex_jupyter.store.open import open_store
print(open_store(sys.argv[1]).lease(int(sys.argv[2]), "other"))
"""
_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode != 0,
    reason="this user may make no process namespace",
)
def test_a_container_with_our_host_name_does_not_take_our_tasks(store: SqliteStore, hand: Hand) -> None:
    """It sees none of our processes, and its own have the same process ids."""
    store.beat(recorder("me"))
    command = [*_UNSHARE, sys.executable, "-c", TAKE_OVER, store.url, str(hand.id)]
    beating = threading.Event()

    def beat() -> None:
        while not beating.wait(0.5):
            store.beat(recorder("me"))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "None\n"
    finally:
        beating.set()
        thread.join()
    hand.lines([(1, 1, "it is still ours")])


def test_the_task_of_a_dead_recorder_is_taken_over(store: SqliteStore) -> None:
    hand = Hand(store, owner="dead")
    store.commit(hand.lease, Commit(update={"caught_up": 1}))
    assert store.info(hand.id).caught_up  # type: ignore[union-attr]
    store.beat(recorder("dead", dead_pid()))
    taken = store.lease(hand.id, "me")
    assert taken is not None
    assert not store.info(hand.id).caught_up  # type: ignore[union-attr]
    with pytest.raises(LeaseLost):
        hand.lines([(1, 1, "a")])


def test_entries_by_number(store: SqliteStore, hand: Hand) -> None:
    hand.lines([(i, 1, "x" * 100) for i in range(10)])
    hand.notice("gap", 5, "rotated")
    hand.lines([(i, 1, "y") for i in range(3)])
    assert [e.seq for e in store.entries(hand.id, 0, 1 << 20)] == [1, 11, 12]
    assert [e.seq for e in store.entries(hand.id, 9, 1 << 20)] == [1, 11, 12]
    assert [e.seq for e in store.entries(hand.id, 10, 1 << 20)] == [11, 12]
    assert [e.seq for e in store.entries(hand.id, 0, 1)] == [1]
    assert store.entries(hand.id, 14, 1) == [] == store.entries(99, 0, 1)
    assert [store.entry(hand.id, n) is not None for n in (0, 1, 10, 11, 14, 15)] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]
    assert store.index(hand.id)[1] == (11, 1, "gap", 5, 5)
    complete = store.complete(hand.id)
    assert (complete.records, complete.first, complete.last) == (13, 0, 9)
    assert [g["message"] for g in complete.gaps] == ["rotated"]
    assert store.complete(99).records == 0
    assert store.size() > 0


@pytest.mark.parametrize(
    "damage", [b"this is no database at all, but a text of some length" * 99, b"SQLite format 3\0" + b"\xff" * 2000]
)
def test_a_file_that_is_not_a_store(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "r.sqlite").write_bytes(damage)
    with pytest.raises(StoreError, match=r"r\.sqlite") as caught:
        SqliteStore(tmp_path / "r.sqlite")
    assert "CORTEX_STORE" in caught.value.hint


@on_sqlite
def test_a_damaged_page(store: SqliteStore, hand: Hand) -> None:
    hand.lines([(1, 1, "a")])
    db = sqlite3.connect(store.path)
    with db:
        db.execute("UPDATE entry SET data = x'0011223344'")
    db.close()
    for read in (lambda: store.entries(hand.id, 0, 1), lambda: store.entry(hand.id, 1)):
        with pytest.raises(StoreError):
            read()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "r.sqlite", tmp_path / "file" / "deeper" / "r.sqlite"):
        with pytest.raises(StoreError, match="cannot create"):
            SqliteStore(path)


@on_sqlite
def test_a_full_disk_is_a_temporary_error(store: SqliteStore, hand: Hand) -> None:
    db = store._file._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match="full"):
        hand.lines([(1, 1, os.urandom(50_000).hex())])
    db.execute("PRAGMA max_page_count = 1000000")
    hand.lines([(1, 1, "room again")])
    assert store.complete(hand.id).records == 1


WRITER = """
import sys; sys.path.insert(0, sys.argv[2])
from cortex_jupyter.store.open import open_store
from cortex_jupyter.model import TaskRef
from support.hand import Hand
hand = Hand(open_store(sys.argv[1]), TaskRef("default", "job", sys.argv[3]), owner=sys.argv[3])
for i in range(150): hand.lines([(i, 1, str(i))])
hand.end()
hand.store.want(hand.id, 1)
"""


async def test_writers_and_readers_in_several_processes(new_store: NewStore) -> None:
    """They also create the file at the same moment."""
    with new_store() as place:
        url = place.url.replace("/new/", "/newer/")
    tests = str(Path(__file__).parents[1])
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, tests, f"t{i}"]) for i in range(3)]  # noqa: ASYNC220
    store, seen = open_store(url), threading.Event()
    end = store.subscribe(seen.set)
    await until(lambda: all(w.poll() is not None for w in writers))
    assert [w.returncode for w in writers] == [0, 0, 0]
    await until(seen.is_set)
    for info in store.recordings():
        assert info.done and [e.seq for e in store.entries(info.id, 0, 1 << 30)] == list(range(1, 152))
    assert len(store.recordings()) == 3
    end()
    store.close()


async def test_a_change_of_a_recording_wakes_only_its_readers(new_store: NewStore) -> None:
    """Otherwise each of 200 open tasks in a server would look for news after every commit of any task."""
    with new_store() as store:
        hands = [Hand(store, TaskRef("default", "job", name)) for name in "abc"]
        calls: list[str] = []
        for hand, name in zip(hands, "abc", strict=True):
            store.subscribe(lambda name=name: calls.append(name), hand.id)
        await until(lambda: set(calls) == set("abc"))  # once at the beginning
        for _ in range(20):
            calls.clear()
            hands[1].notice()
            await until(lambda: "b" in calls)
            assert set(calls) == {"b"}


async def test_a_subscription_while_changes_are_being_read_misses_none(tmp_path: Path) -> None:
    file = tmp_path / "changes.sqlite"
    calls: list[str] = []
    ends: list[Any] = []
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE recording AS SELECT 1 AS last_seq")

        def rows(db: sqlite3.Connection, _: object) -> dict[int, Any]:
            if not ends:  # after the subscriptions were looked up, and before the rows are read
                ends.append(changes.subscribe(lambda: calls.append("late"), 1))
                writer.execute("UPDATE recording SET last_seq = 2")
            return {1: db.execute("SELECT last_seq FROM recording").fetchone()}

        changes = Changes(lambda: sqlite3.connect(file), rows)
        changes.subscribe(lambda: calls.append("first"), 1)
        try:
            await until(lambda: "late" in calls, 20)
        finally:
            changes.close()


async def test_a_subscription_lasts_until_it_is_ended(store: SqliteStore, hand: Hand) -> None:
    calls: list[str] = []
    ends = [store.subscribe(lambda n=n: calls.append(n)) for n in "ab"]

    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    ends.append(store.subscribe(closed))
    await until(lambda: calls)  # a later subscriber is called only after a change
    ends[0]()
    calls.clear()
    other = open_store(store.url)
    other.want(hand.id, 1)
    await until(lambda: "b" in calls)
    assert "a" not in calls
    ends[1](), ends[2]()
    other.close()


def test_a_recorder_is_listed_until_it_leaves(store: SqliteStore) -> None:
    me = replace(recorder(), version="1.2.3", since=1000.0, port=9464, namespaces=("ml",), selection="a", rights="r")
    for refused in ((), ("ml", "nlp"), ()):
        me = replace(me, refused=refused)
        store.beat(me)
        (found,) = store.recorders(CLUSTER)
        assert replace(found, heartbeat=0) == replace(me, heartbeat=0) and abs(found.heartbeat - time.time()) < 2
    store.leave(me.id)
    assert store.recorders(CLUSTER) == []
    assert not any(store.setting(f"{key}:{me.id}") for key in ("recorder", "recorder-takes"))
