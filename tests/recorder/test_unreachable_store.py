"""A store was unreachable for longer than a heartbeat is valid: each running recorder keeps its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from recorder.test_leaving import UnreachableCluster
from store.test_store import dead_pid
from support.hand import CLUSTER, Hand, on_sqlite, recorder, until

from cortex_jupyter.errors import StoreError, StoreUnreachable
from cortex_jupyter.recorder import __main__ as main
from cortex_jupyter.recorder import heartbeat, upkeep
from cortex_jupyter.recorder import recorder as lib
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cortex_jupyter.store import Lease, Store

FAR = recorder("far", 1, host="another-host")


def expire_heartbeat(store: Any, name: str) -> None:
    """Let a heartbeat expire, as it does while the store is unreachable."""
    if isinstance(store, SqliteStore):
        with store._file.writing() as db:
            db.execute("UPDATE recorder SET heartbeat=heartbeat-60 WHERE id=?", (name,))
    else:
        store._link.ask("DEL", f"cortex:recorder:{name}")


def test_a_task_is_left_to_its_holder_if_the_holder_may_be_alive(store: Store) -> None:
    hand = Hand(store, owner="far")
    store.beat(FAR)
    expire_heartbeat(store, "far")
    assert store.lease(hand.id, "me", assume_alive=True) is None
    lease = store.lease(hand.id, "far", assume_alive=True)
    assert lease is not None, "the holder cannot renew its own lease"
    store.release(lease)
    assert store.lease(hand.id, "me", assume_alive=True) is not None, "a free task is not given out"
    dead = recorder("dead", dead_pid())
    store.leave("me")
    store.beat(dead)
    # A recorder of this host whose process is gone is not assumed to be alive.
    assert store.lease(hand.id, "dead") and store.lease(hand.id, "me", assume_alive=True) is not None


class UnreachableStore:
    """Lets calls to a store fail or hang for a while.

    Attributes
    ----------
    tried : list of bool
        `assume_alive` of each attempt to take a task.
    """

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused, self.flows, self.tried = False, threading.Event(), list[bool]()
        self.flows.set()
        self.beats = 0
        lease = store.lease

        def counted(id_: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
            self.tried.append(assume_alive)
            return lease(id_, owner, assume_alive=assume_alive, last_written=last_written)

        for name in ("beat", "wanted", "settings"):
            monkeypatch.setattr(store, name, self._interrupted(getattr(store, name)))
        monkeypatch.setattr(store, "lease", counted)

    def _interrupted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*arguments: Any) -> Any:
            self.beats += call.__name__ == "beat"
            self.flows.wait()
            if self.refused:
                raise StoreUnreachable("it does not answer")
            return call(*arguments)

        return interrupted


@asynccontextmanager
async def running(store: Store, health: Health | None = None) -> AsyncIterator[Any]:
    cluster: Any = UnreachableCluster()
    recording = Recorder(store, cluster, health=health)
    run = asyncio.create_task(recording.run())
    try:
        yield recording
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@pytest.mark.parametrize("how", ["refused", "hangs", "at start"])
async def test_the_first_recorder_to_reach_the_store_again_takes_no_task_of_a_running_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(lib, "RETRY_S", 0.05)
    hand = Hand(store, owner="far")
    store.beat(FAR)
    lease = store.lease(hand.id, "far")
    assert lease is not None
    hand.lease = lease
    store.want(hand.id, 600)
    away = UnreachableStore(store, monkeypatch)
    health = Health()
    away.refused = health.waited_for_store = how == "at start"
    async with running(store, health) as recording:
        await until(lambda: away.beats or away.tried)
        if how == "hangs":
            away.flows.clear()
            monkeypatch.setattr(heartbeat, "_AWAY_S", 0.05)
            await until(lambda: recording._heartbeat.waits_for_others)
        else:
            away.refused = True
            beats = away.beats
            await until(lambda: away.beats > beats or how == "at start")
        expire_heartbeat(store, "far")
        away.tried.clear()
        away.refused = False
        away.flows.set()
        await until(lambda: away.tried)
        assert away.tried[0]
        store.beat(FAR)
        hand.lines([(1, 1, "still written by the holder")])
        # A recorder that does not come back is dead: its task is taken.
        expire_heartbeat(store, "far")
        await until(lambda: not away.tried[-1] and store.holders([hand.id]) != {hand.id: ""})
        assert store.holders([hand.id]).get(hand.id) not in ("", "far")


async def test_an_outage_is_logged_once_and_its_end_with_its_duration(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Heartbeats, the search for tasks and the upkeep all fail, again and again."""
    monkeypatch.setattr(lib, "RETRY_S", 0.05)
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    monkeypatch.setattr(upkeep, "_SHORT_S", 0.05)
    away = UnreachableStore(store, monkeypatch)
    monkeypatch.setattr(store, "bytes_to_free", away._interrupted(store.bytes_to_free))
    async with running(store) as recording:
        await until(lambda: away.beats > 2)
        with caplog.at_level(logging.INFO):
            for _ in range(2):
                caplog.clear()
                away.refused = True
                enough = away.beats + 20
                await until(lambda: away.beats > enough)  # noqa: B023 - called before the next round
                away.refused = False
                await until(lambda: not recording._health.store_log._failing)
                first, last = (r for r in caplog.records if "answer" in r.getMessage())
                assert (first.levelname, first.getMessage().partition("\n")[0]) == ("WARNING", "it does not answer")
                assert last.getMessage().startswith("the store answers again: recording goes on, after ")
                assert 0 < vars(last)["seconds"] < 300


def test_a_takeover_says_from_whom(store: Store) -> None:
    hand = Hand(store, owner="far")
    store.beat(FAR)
    expire_heartbeat(store, "far")
    lease = store.lease(hand.id, "me")
    assert lease is not None and lease.previous == "far"
    api: Any = type("Api", (), {"host": CLUSTER, "id": CLUSTER})()
    tasks = Recorder(store, api)._tasks
    assert tasks._previous_holder(lease) == " from recorder far, which has died"
    store.release(lease)
    lease = store.lease(hand.id, "me")
    assert lease is not None and lease.previous == "" == tasks._previous_holder(lease)
    tasks.note_holders({hand.id: "another-recorder"})
    tasks.note_holders({hand.id: ""})
    assert tasks._previous_holder(lease) == " from recorder another-, which gave it up"
    again = store.lease(hand.id, "me")
    assert again is not None and again.previous == ""


async def test_a_collector_remembers_that_it_waited_for_its_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [StoreUnreachable("it does not answer"), store]

    def opened(*_: Any, **__: Any) -> Store:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(main, "open_store", opened)
    monkeypatch.setattr(main, "RETRY_S", 0.01)
    health = Health()
    assert await main._open_store(main.parser().parse_args(["--all"]), health) is store and health.waited_for_store


async def test_a_recorder_for_readers_ends_if_its_store_stays_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can ask it for anything, and a reader who reaches the store again starts another one."""
    monkeypatch.setattr(lib, "RETRY_S", 0.05)
    monkeypatch.setattr(lib, "STORELESS_S", 0.5)
    hand = Hand(store, owner="far")
    store.leave("far")
    store.want(hand.id, 600)
    away, cluster = UnreachableStore(store, monkeypatch), UnreachableCluster()
    run = asyncio.create_task(Recorder(store, cluster).run())  # type: ignore[arg-type]
    await until(lambda: away.tried)
    away.refused = True
    await asyncio.wait_for(run, 60)
    assert "the recorder ends" in caplog.text and "readers start another" in caplog.text


@on_sqlite
@pytest.mark.parametrize("what", ["removed", "replaced"])
async def test_a_recorder_for_readers_ends_if_its_file_is_gone(
    store: Store, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would go on to write into a file that nobody can open."""
    monkeypatch.setattr(lib, "STORELESS_S", 0.5)
    assert isinstance(store, SqliteStore)
    hand = Hand(store, owner="far")
    store.leave("far")
    store.want(hand.id, 600)
    cluster: Any = UnreachableCluster()
    run = asyncio.create_task(Recorder(store, cluster).run())
    await until(lambda: store.recorders(CLUSTER))
    if what == "replaced":
        shutil.copy(store.path, store.path.with_name("other"))
        store.path.with_name("other").rename(store.path)
    else:
        for path in store.path.parent.iterdir():
            path.unlink(missing_ok=True)
    # SQLite may notice itself that the file was removed.
    with contextlib.suppress(StoreError):
        await asyncio.wait_for(run, 60)
        assert "the recorder ends" in caplog.text
    assert run.done()
