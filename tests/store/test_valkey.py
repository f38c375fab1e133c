"""Failures that only a server can cause: it forgets, refuses, fails over or loses its connection. The promises hold.

Each test runs on Valkey and on Redis.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from store.test_compact import records
from support import valkey as servers
from support.hand import CLUSTER, REF, Hand, recorder, until
from support.ports import free_port
from support.relay import Relay
from support.valkey import Server

from cortex_jupyter.errors import CursorNotHeld, LeaseLost, StoreBusy, StoreError, StoreFull, StoreUnreachable
from cortex_jupyter.model import Batch, TaskRef, notice
from cortex_jupyter.reader import session
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.recorder import tasks as lib
from cortex_jupyter.recorder.process.launch import ensure_recorder
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.trimming import trim
from cortex_jupyter.store.valkey import changes, link, retention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cortex_jupyter.store import Commit
    from cortex_jupyter.store.valkey.store import ValkeyStore


@pytest.fixture(params=["valkey-server", "redis-server"], autouse=True)
def server(
    request: pytest.FixtureRequest, server_of: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch
) -> Server:
    """Yield the server that all tests of a kind share; tests that start their own use that kind too."""
    monkeypatch.setattr(servers, "PROGRAM", request.param)
    found = server_of(request.param)
    found.ask("FLUSHALL")
    return found


@pytest.fixture
def store(server: Server) -> Iterator[ValkeyStore]:
    with closing(open_store(server.url)) as one:
        yield one  # type: ignore[misc]


def test_the_server_is_the_expected_one(server: Server, request: pytest.FixtureRequest) -> None:
    name = server.client().info("server").get("server_name", "redis")
    assert f"{name}-server" == request.node.callspec.params["server"]


@pytest.mark.parametrize(
    "url", ["valkey://", "valkey:/x", "valkey://h:port", "valkey://h/x", "valkey://h?maxlen=1", "valkey://:s@cret/@h"]
)
def test_a_wrong_address_is_not_shown(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "cret" not in str(caught.value) and "valkey://[USER@]HOST" in caught.value.hint


def test_only_the_server_sees_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with Server(tmp_path / "v", requirepass="s@cret") as server:
        for wrong in (server.url, server.url.replace("//", "//:wrong@")):
            monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
            with pytest.raises(StoreError, match="refuses the user or the password") as caught:
                open_store(wrong)
            assert "CORTEX_STORE_PASSWORD" in caught.value.hint and "wrong" not in str(caught.value)
        with closing(open_store(server.url.replace("//", "//:s%40cret@"))) as store:
            assert "cret" not in store.url
            commands: list[list[str]] = []
            monkeypatch.setattr(
                "cortex_jupyter.recorder.process.launch.spawn", lambda *c: commands.append(c[0]) or os.getpid()
            )
            ensure_recorder(store, CLUSTER)
            assert "cret" not in str(commands)
            # A process that is started with that command line can connect too.
            code = f"from cortex_jupyter.store.open import open_store; open_store({store.url!r}).recordings()"
            subprocess.run([sys.executable, "-c", code], check=True)
            server.kill()
            with pytest.raises(StoreUnreachable) as away:
                store.recordings()
            assert "cret" not in str(away.value)


def test_an_unfit_server_is_refused(server: Server, tmp_path: Path) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match="evicts recordings") as caught:
        open_store(server.url)
    assert "noeviction" in caught.value.hint
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    with Server(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}") as replica:
        with pytest.raises(StoreError, match="read-only replica") as caught:
            open_store(replica.url)
        assert "primary" in caught.value.hint
    with pytest.raises(StoreUnreachable), Relay(1) as nowhere:
        open_store(f"valkey://127.0.0.1:{nowhere.port}")


@pytest.mark.parametrize("answer", [True, False], ids=["answer", "request"])
def test_an_interrupted_request_takes_effect_once(server: Server, answer: bool) -> None:
    """A script with a lost answer has run; one whose request was cut has not. Both requests are repeated."""
    with Relay(server.port) as relay, closing(open_store(f"valkey://127.0.0.1:{relay.port}")) as far:

        def cut(ask: Callable[[], Any]) -> Any:
            relay.break_next(answer=answer)
            found = ask()
            assert relay._break_next is None
            return found

        id_ = cut(lambda: far.open(CLUSTER, REF, "u1"))
        cut(lambda: far.beat(recorder()))
        hand = cut(lambda: Hand(far))
        assert hand.id == id_ and [info.id for info in far.recordings()] == [id_]
        hand.lease = cut(lambda: far.lease(id_, "me"))
        sid = cut(hand.source)
        for i in range(10):
            cut(lambda i=i: hand.lines([(i, sid, os.urandom(50).hex())]))
        assert records(far, id_) == hand.written and [*far.sources(id_)] == [sid]
        used = far.used_bytes()
        cut(lambda: compact(far, hand.lease, done=True))
        assert records(far, id_) == hand.written and len(far.index(id_)) == 1 and far.used_bytes() < used
        hand.lines([(20, sid, "more")])
        gap, used = notice(REF.key, 1, 0, "gap", "m"), far.recording_bytes(id_)
        gap.n = 10
        assert cut(lambda: far.trim(hand.lease, gap, b""))
        assert [row[:3] for row in far.index(id_)] == [(1, 10, "gap"), (11, 1, "log")] and far.recording_bytes(
            id_
        ) < used
        cut(lambda: far.want(id_, 30))
        cut(hand.end)
        assert far.info(id_).last_seq == 12 and not far.forget(id_)  # type: ignore[union-attr]
        far.want(id_, 0)
        server.ask("ZREM", "cortex:wanted", id_)
        cut(lambda: far.forget(id_))
        assert far.recordings() == [] and far.used_bytes() == 0
        cut(lambda: far.leave("me"))
        assert far.recorders(CLUSTER) == []


def test_a_server_whose_clock_is_set_back_or_forward(server: Server, store: ValkeyStore) -> None:
    """Keys expire by the server's clock: an hour late, or at once."""
    far = recorder("far", host="another-host")
    hand = Hand(store)
    store.leave("me")
    store.beat(far)
    lease = store.lease(hand.id, "far")
    assert lease is not None and store.lease(hand.id, "me") is None
    # The clock goes back by an hour just when the recorder dies: no task waits for an hour.
    server.ask("PEXPIRE", "cortex:recorder:far", 3_600_000)
    ahead = lease.epoch + 3_600_000_000
    server.ask("HSET", f"cortex:{hand.id}", "epoch", ahead)
    assert store.recorders(CLUSTER) == [] and store.holders([hand.id]) == {hand.id: ""}
    store.beat(far)  # unless it lives
    assert [one.id for one in store.recorders(CLUSTER)] == ["far"] and store.lease(hand.id, "me") is None
    server.ask("PEXPIRE", "cortex:recorder:far", 3_600_000)
    store.beat(recorder())
    taken = store.lease(hand.id, "me")
    assert taken is not None and taken.epoch == ahead + 1, "an epoch was given twice"
    # The clock goes forward: every heartbeat has expired. The first recorder takes the task, and the former holder
    # cannot write.
    server.ask("DEL", "cortex:recorder:me")
    store.beat(far)
    again = store.lease(hand.id, "far")
    assert again is not None and again.epoch > taken.epoch
    hand.lease = taken
    with pytest.raises(LeaseLost):
        hand.lines([(1, 1, "late")])


async def test_a_server_emptied_under_readers_and_a_writer(server: Server, store: ValkeyStore) -> None:
    hand = Hand(store)
    hand.lines([(1, 1, "a")])
    events = Feed(store, hand.id).events()
    assert (await anext(events)).last == 1
    server.ask("FLUSHALL")
    with pytest.raises(LeaseLost):
        await asyncio.to_thread(hand.lines, [(2, 1, "b")])
    assert store.recordings() == [] and store.used_bytes() == 0
    with pytest.raises(CursorNotHeld):
        await anext(Feed(store, hand.id).events(after=1))
    new = await asyncio.to_thread(Hand, store)
    assert new.id > hand.id
    await events.aclose()


def test_a_stalled_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `appendfsync always` a commit waits for the disk, here longer than our timeout.

    Afterwards it is there once.
    """
    monkeypatch.setattr(link, "_TIMEOUT_S", 0.3)
    with (
        frozen(tmp_path) as (folder, freeze, thaw),
        Server(folder / "v", appendonly="yes", appendfsync="always") as slow,
        closing(open_store(slow.url)) as far,
    ):
        hand = Hand(far)
        hand.lines([(1, 1, "before")])
        freeze()
        try:
            with pytest.raises(StoreUnreachable):
                hand.lines([(2, 1, "meanwhile")])
        finally:
            thaw()
        hand.written.pop()
        hand.lines([(2, 1, "meanwhile")])
        slow.kill()
        slow.start()
        assert records(far, hand.id) == hand.written


@contextmanager
def frozen(folder: Path) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """Yield a disk of its own, and a context in which all writes to it stall."""
    image, place = folder / "disk", folder / "mounted"
    place.mkdir()
    image.write_bytes(bytes(16 << 20))
    commands = (["mkfs.ext4", "-q", image], ["mount", "-o", "loop", image, place])
    if os.getuid() or any(subprocess.run(one, check=False, capture_output=True).returncode for one in commands):
        pytest.skip("a disk of its own cannot be mounted here")
    try:
        yield place, *(lambda how=how: subprocess.run(["fsfreeze", how, place], check=True) for how in ("-f", "-u"))
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_commit_without_an_answer_can_be_repeated(store: ValkeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(store)
    sid = hand.source()
    commits: list[Commit] = []
    real = store.commit
    monkeypatch.setattr(store, "commit", lambda lease, commit: commits.append(commit) or real(lease, commit))
    for i in range(3):
        hand.lines([(i, sid, f"line {i}")])
    real(hand.lease, commits[-1])
    assert records(store, hand.id) == hand.written
    # But not a commit that is not the last one: it is another recorder's, or the store has lost what followed.
    commits[-1].entries[0].data = commits[0].entries[0].data
    with pytest.raises(LeaseLost):
        real(hand.lease, commits[-1])
    assert store.add_source(hand.lease, store.sources(hand.id)[sid][0]) == sid


def test_full_memory_is_a_temporary_error_with_a_notice(server: Server, store: ValkeyStore) -> None:
    hand = Hand(store)
    server.ask("CONFIG", "SET", "maxmemory", int(server.client().info("memory")["used_memory"]) + (1 << 21))
    try:

        def flood() -> None:
            for i in range(100):
                hand.lines([(i, 1, os.urandom(50_000).hex())])

        with pytest.raises(StoreFull) as caught:
            flood()
        assert "maxmemory" in caught.value.hint and not store.keep_reserve()
        before = records(store, hand.id)
        # Notices and heartbeats are still accepted.
        hand.notice("status", 1, "the store is full", reason="StoreFull")
        store.beat(recorder())
        store.want(hand.id, 5)
        compact(store, hand.lease, done=True)
        assert store.info(hand.id).reason == "StoreFull" and records(store, hand.id) == before  # type: ignore[union-attr]
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)
    assert store.keep_reserve()
    hand.lines([(1, 1, "room again")])
    assert records(store, hand.id)[-1][3] == "room again"


async def test_a_server_that_cannot_write_to_its_disk_refuses_and_readers_get_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a notice is accepted: a reader at the end gets an error, and continues from there later."""
    monkeypatch.setattr(session, "WANTED_S", 0.1)
    with Server(tmp_path / "v", save="3600 1") as server, closing(open_store(server.url)) as store:
        hand = Hand(store)
        hand.lines([(1, 1, "a")])
        (server.folder / "dump.rdb").mkdir()  # where its snapshot is written
        server.ask("BGSAVE")
        await until(lambda: server.client().info("persistence")["rdb_last_bgsave_status"] == "err")
        for write in (
            lambda: hand.lines([(2, 1, "b")]),
            lambda: store.beat(recorder()),
            lambda: store.want(hand.id, 5),
        ):
            with pytest.raises(StoreFull, match="cannot write to its disk") as caught:
                write()
            assert "make room on the disk" in caught.value.hint
        feed = Feed(store, hand.id)

        async def want() -> None:
            await asyncio.to_thread(store.want, hand.id, 5)

        reading: Any = SimpleNamespace(id=hand.id, ref=REF, workload=None, feed=feed, want=want)
        with session.KeepAlive().reading(reading):
            events = feed.events()
            assert (await anext(events)).last == 1
            with pytest.raises(StoreFull):
                await anext(events)
            (server.folder / "dump.rdb").rmdir()
            server.ask("SAVE")
            hand.written.pop()
            hand.lines([(2, 1, "b")])
            events = feed.events(after=1)
            assert (await anext(events)).last == 2
            await events.aclose()


def test_space_is_freed_before_memory_is_full(tmp_path: Path) -> None:
    """Completed recordings leave first, then the oldest lines of the largest running one; no line is refused."""
    with Server(tmp_path / "v") as server, closing(open_store(server.url)) as store:
        done, small, large = (Hand(store, TaskRef("default", "job", n), n) for n in ("done", "small", "large"))
        small.lines([(1, 1, "short")])
        server.ask("CONFIG", "SET", "maxmemory", int(server.client().info("memory")["used_memory"]) + (10 << 20))
        store.set_budget(Budget(max_bytes=1 << 30))
        leases = {one.id: (one.lease, "t") for one in (small, large)}
        for i in range(100):
            done.lines([(i, 1, os.urandom(20_000).hex())])
        done.end()
        for i in range(800):
            large.lines([(i, 1, os.urandom(20_000).hex())])
            if i % 20 == 0:
                kept = enforce_retention(store)
                trimmed = trim(store, leases)
                # The server frees memory in a thread of its own, which a busy machine delays.
                with server.client() as client:
                    while client.info("memory")["lazyfree_pending_objects"]:
                        pass
                assert not (kept.removed and trimmed) and (not trimmed or store.info(done.id) is None)
        assert store.info(done.id) is None and records(store, small.id) == small.written
        (gap,) = store.complete(large.id).gaps
        assert "memory of the store's server was nearly full" in gap["reason"] and "`maxmemory`" in gap["hint"]
        assert 200 < store.complete(large.id).records == 800 - gap["lines"] and records(store, large.id)[-1][0] == 800


def test_a_commit_counts_once_a_replica_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_WAIT_MS", 4000)
    with (
        Server(tmp_path / "a", repl_diskless_sync_delay=0) as primary,
        Server(tmp_path / "b", replicaof=f"127.0.0.1 {primary.port}") as replica,
    ):
        with replica.client() as client:
            while client.info("replication")["master_link_status"] != "up":
                pass
        with closing(open_store(f"{primary.url}?replicas=1")) as store:
            hand = Hand(store)
            hand.lines([(1, 1, "a")])
            replica.kill()
            monkeypatch.setattr(link, "_WAIT_MS", 100)
            with pytest.raises(StoreBusy, match="0 of 1 replicas"):
                hand.lines([(2, 1, "b")])
            monkeypatch.setattr(link, "_WAIT_MS", 4000)
            replica.start()
            # The same again: it was written, but is on no replica yet.
            hand.written.pop()
            hand.lines([(2, 1, "b")])
            primary.kill()
            replica.ask("REPLICAOF", "NO", "ONE")
        with closing(open_store(replica.url)) as store:
            assert records(store, hand.id) == hand.written


def test_a_transaction_cut_off_in_the_file_is_lost_as_a_whole(tmp_path: Path) -> None:
    """Lines and anchor are kept or lost together, wherever the file ends after a power cut."""
    with Server(tmp_path / "v", appendonly="yes", appendfsync="no") as server:
        with closing(open_store(server.url)) as store:
            hand = Hand(store)
            sid = hand.source()
            (file,) = (tmp_path / "v/appendonlydir").glob("*.incr.aof")
            sizes = []
            for i in range(4):
                hand.lines([(i, sid, f"line {i}")])
                sizes.append(file.stat().st_size)
        for cut in (sizes[3] - 1, sizes[2] + 60, sizes[2] + 1, sizes[1] + 100):
            server.kill()
            os.truncate(file, cut)
            server.start()
            with closing(open_store(server.url)) as store:
                held = [row[0] for row in records(store, hand.id)]
                assert held == list(range(1, 4 if cut > sizes[2] else 3))
                info, index = store.info(hand.id), store.index(hand.id)
                assert info is not None and info.last_seq == len(held) == len(index)


async def test_a_rolled_back_store_gets_a_notice(store: ValkeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers may have seen the lost numbers, so they are not used again."""
    hand = Hand(store)
    hand.lines([(1, 1, "a"), (2, 1, "b")])

    class RolledBackTaskRecorder:
        """A `TaskRecorder` that finds that the store has lost its last records."""

        unreachable_s, last_committed, last = 0.0, 7, 0

        def __init__(self, *arguments: Any, **_: Any) -> None:
            RolledBackTaskRecorder.last = arguments[4].last_seq

        async def run(self) -> None:
            raise LeaseLost("the store ends at record 2, not before 8")

    monkeypatch.setattr(lib, "TaskRecorder", RolledBackTaskRecorder)
    cluster: Any = type("Api", (), {"host": CLUSTER, "id": CLUSTER})()
    recording: Any = Recorder(store, cluster)
    info = store.info(hand.id)
    store.leave("me")
    for _ in range(2):
        await recording._tasks.start(None, info.id, masked=False)
        await recording._tasks.running[hand.id].task
    (entry,) = store.entries(hand.id, 7, 1 << 20)
    assert (entry.seq, entry.last, RolledBackTaskRecorder.last) == (3, 8, 8)
    assert b'"seq":8' in entry.data and b"lost its last 5" in entry.data


async def test_subscribers_are_called_after_a_broken_connection(server: Server, store: ValkeyStore) -> None:
    with Relay(server.port) as relay, closing(open_store(f"valkey://127.0.0.1:{relay.port}")) as far:
        hand = Hand(store)
        calls: list[int] = []
        end = far.subscribe(lambda: calls.append(1), hand.id)
        await until(lambda: calls)
        relay.cut()
        hand.lines([(1, 1, "meanwhile")])
        calls.clear()
        relay.restore()
        await until(lambda: calls)
        assert len(far.entries(hand.id, 0, 1 << 20)) == 1
        end()


async def test_a_reader_does_not_wait_for_a_lost_message(server: Server, store: ValkeyStore) -> None:
    """The message is lost with its connection, and no later commit would wake the reader."""
    hand = Hand(store)
    with Relay(server.port) as relay, closing(open_store(f"valkey://127.0.0.1:{relay.port}")) as far:
        seen: list[int] = []

        async def read() -> None:
            async for event in Feed(far, hand.id).events():
                seen.append(event.last)  # noqa: PERF401 - it is looked at meanwhile

        reading = asyncio.create_task(read())
        for i in range(6):
            if i % 2:
                relay.cut()
            elif i:
                server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.to_thread(hand.lines, [(i, 1, "a")])
            relay.restore()
            await until(lambda i=i: len(seen) > i)
        assert seen == [*range(1, 7)]
        hand.end()
        await reading


async def test_a_hanging_connection_is_replaced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection never ends, and what was sent arrives in the end: the commit is there once."""
    monkeypatch.setattr(link, "_TIMEOUT_S", 0.3)
    monkeypatch.setattr(changes, "_SILENT_S", 0.2)
    with Relay(server.port) as relay, closing(open_store(f"valkey://127.0.0.1:{relay.port}")) as far:
        hand = Hand(far)
        hand.lines([(1, 1, "before")])
        calls: list[int] = []
        end = far.subscribe(lambda: calls.append(1), hand.id)
        await until(lambda: calls)
        relay.hang()
        with pytest.raises(StoreUnreachable):
            await asyncio.to_thread(hand.lines, [(2, 1, "meanwhile")])
        calls.clear()
        relay.restore()
        hand.written.pop()
        hand.lines([(2, 1, "meanwhile")])
        await until(lambda: calls)
        assert records(far, hand.id) == hand.written
        end()


def test_a_store_closed_under_a_reader_raises_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_TIMEOUT_S", 0.3)
    found: list[Exception] = []
    with Relay(server.port) as relay:
        store = open_store(f"valkey://127.0.0.1:{relay.port}")

        def read() -> None:
            try:
                while True:
                    store.recordings()
            except Exception as error:  # noqa: BLE001 - which it is, is what is asked
                found.append(error)

        readers = [threading.Thread(target=read) for _ in range(8)]
        for one in readers:
            one.start()
        store.close()
        for one in readers:
            one.join()
    assert len(found) == 8 and all(isinstance(error, StoreError) for error in found), found


def test_entries_can_be_read_while_a_merge_moves_them(store: ValkeyStore) -> None:
    """Entries that cannot be merged move before those that can, a few at a time."""
    hand = Hand(store)
    for _ in range(70):
        hand.notice()
    for i in range(10):
        hand.lines([(i, 1, str(i))])
    compact(store, hand.lease, done=True)
    assert [e.seq for e in store.entries(hand.id, 0, 1 << 20)] == list(range(1, 72))
    assert [len(Batch.decode(e.data)) for e in store.entries(hand.id, 72, 1 << 20)] == [10]
    live, kept = (store._link.ask("XLEN", f"cortex:{hand.id}:{part}") for part in ("live", "kept"))
    assert (live, kept) == (0, 71)


def test_a_user_with_few_permissions_suffices(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    rules = ["on", ">pw", "~cortex:*", "&cortex:*", "+@all", "-@dangerous", "+info"]
    server.ask("ACL", "SETUSER", "few", *rules)
    try:
        with closing(open_store(server.url.replace("//", "//few:pw@"))) as store:
            assert store.url == f"{server.url.replace('//', '//few@')}/0"
            hand, seen = Hand(store), threading.Event()
            end = store.subscribe(seen.set, hand.id)
            for i in range(10):
                hand.lines([(i, 1, str(i))])
            compact(store, hand.lease, done=True)
            hand.end()
            assert seen.wait(120) and len(store.index(hand.id)) == 2
            assert store.oldest_removable() and store.size() and store.budget() and store.forget(hand.id)
            end()
        server.ask("ACL", "SETUSER", "few", "resetkeys", "~others:*")
        with pytest.raises(StoreError) as caught:
            open_store(server.url.replace("//", "//few:pw@"))
        assert "~cortex:*" in caught.value.hint
    finally:
        server.ask("ACL", "DELUSER", "few")


def test_removable_recordings_are_searched_in_small_requests(
    server: Server, store: ValkeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers no other request while it searches, and thousands may wait for their archive."""
    hands = [Hand(store, TaskRef("default", "job", f"t{i}"), f"u{i}") for i in range(25)]
    for hand in hands:
        hand.end()
        store.want(hand.id, 600)
    monkeypatch.setattr(retention, "_PER_REQUEST", 10)
    looks: list[Any] = []
    left: list[int] = []
    real = store._link.call

    def call(script: str, *arguments: Any) -> Any:
        answer = real(script, *arguments)
        if script == "oldest":
            looks.append(answer)
            if not left:  # the recording to continue after leaves, so the next request begins again
                left.append(hands[9].id)
                server.ask("ZREM", "cortex:wanted", hands[9].id)
                assert store.forget(left[0])
        return answer

    monkeypatch.setattr(store._link, "call", call)
    assert store.oldest_removable() is None and len(looks) == 4
    server.ask("ZREM", "cortex:wanted", hands[20].id, hands[24].id)
    looks.clear()
    oldest = store.oldest_removable()
    assert oldest is not None and oldest[0] == hands[20].id and len(looks) == 2


def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    subject = "-x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost"
    names = "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", "req", *f"{subject} {names}".split()], check=True, cwd=tmp_path, capture_output=True)
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    tls = {"tls_cert_file": cert, "tls_key_file": key, "tls_ca_cert_file": cert, "tls_auth_clients": "no"}
    with Server(tmp_path / "v", tls_port=free_port(), **tls) as server:
        secure = f"valkeys://127.0.0.1:{server.tls_port}"
        with pytest.raises(StoreUnreachable, match="certificate"):
            open_store(secure)
        with closing(open_store(f"{secure}?ca={cert}")) as store:
            hand = Hand(store)
            hand.lines([(1, 1, "a")])
            assert records(store, hand.id) == hand.written and "ca=" in store.url


async def test_renewing_a_wish_wakes_no_recorder(server: Server, store: ValkeyStore) -> None:
    one, other = (store.open(CLUSTER, TaskRef("default", "job", name), name) for name in ("one", "other"))
    calls: list[int] = []
    end = store.subscribe(lambda: calls.append(1))
    await until(lambda: calls)  # the subscription is active
    calls.clear()
    store.want(one, 600)
    await until(lambda: calls)
    for _ in range(20):
        store.want(one, 600)
    store.want(other, 600)
    await until(lambda: len(calls) > 1)
    assert len(calls) == 2  # messages arrive in order
    server.ask("ZADD", "cortex:wanted", 1, str(one))  # the wish has expired
    store.want(one, 600)
    await until(lambda: len(calls) > 2)
    end()
