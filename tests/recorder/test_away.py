"""A store was away for longer than a heartbeat holds: each living recorder keeps its tasks."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from recorder.test_leaving import Away as NoCluster
from store.test_store import dead_pid
from support.hand import Hand, recorder, until

from cortex_jupyter.errors import StoreUnreachable
from cortex_jupyter.recorder import __main__ as main
from cortex_jupyter.recorder import heartbeat
from cortex_jupyter.recorder import recorder as lib
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cortex_jupyter.store import Lease, Store

FAR = recorder("far", 1, host="another-host")


def run_out(store: Any, name: str) -> None:
    """Have a heartbeat run out, as it does while the store is away."""
    if isinstance(store, SqliteStore):
        with store._file.writing() as db:
            db.execute("UPDATE recorder SET heartbeat=heartbeat-60 WHERE id=?", (name,))
    else:
        store._link.ask("DEL", f"cortex:recorder:{name}")


def test_in_doubt_the_holder_keeps_its_task(store: Store) -> None:
    hand = Hand(store, owner="far")
    store.beat(FAR)
    run_out(store, "far")
    assert store.lease(hand.id, "me", assume_alive=True) is None
    own = store.lease(hand.id, "far", assume_alive=True)
    assert own is not None, "he himself has no doubt"
    store.release(own)
    assert store.lease(hand.id, "me", assume_alive=True) is not None, "nobody has it"
    dead = recorder("dead", dead_pid())
    store.leave("me")
    store.beat(dead)
    # What is seen to be dead is.
    assert store.lease(hand.id, "dead") and store.lease(hand.id, "me", assume_alive=True) is not None


class Away:
    """Calls to a store that are refused, or hang, for a while.

    Attributes
    ----------
    tried : list of bool
        Of each attempt to take a task, whether it was patient.
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
            monkeypatch.setattr(store, name, self._way(getattr(store, name)))
        monkeypatch.setattr(store, "lease", counted)

    def _way(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def way(*arguments: Any) -> Any:
            self.beats += call.__name__ == "beat"
            self.flows.wait()
            if self.refused:
                raise StoreUnreachable("it does not answer")
            return call(*arguments)

        return way


@asynccontextmanager
async def running(store: Store, health: Health | None = None) -> AsyncIterator[Any]:
    cluster: Any = NoCluster()
    recording = Recorder(store, cluster, health=health)
    run = asyncio.create_task(recording.run())
    try:
        yield recording
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@pytest.mark.parametrize("how", ["refused", "hangs", "at start"])
async def test_the_first_to_find_the_store_takes_no_task_of_a_living_recorder(
    store: Store, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(lib, "RETRY_S", 0.05)
    hand = Hand(store, owner="far")
    store.beat(FAR)
    lease = store.lease(hand.id, "far")
    assert lease is not None
    hand.lease = lease
    store.want(hand.id, 600)
    away = Away(store, monkeypatch)
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
        run_out(store, "far")
        away.tried.clear()
        away.refused = False
        away.flows.set()
        await until(lambda: away.tried)
        assert away.tried[0]
        store.beat(FAR)
        hand.lines([(1, 1, "his still")])
        # Who does not come back has died.
        run_out(store, "far")
        await until(lambda: not away.tried[-1] and store.holders([hand.id]) != {hand.id: ""})
        assert store.holders([hand.id]).get(hand.id) not in ("", "far")


async def test_a_collector_remembers_that_it_waited_for_its_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [StoreUnreachable("it does not answer"), store]

    def opened(*_: Any, **__: Any) -> Store:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(main, "open_store", opened)
    monkeypatch.setattr(main, "RETRY_S", 0.01)
    health = Health()
    assert await main._open_store(main.parser().parse_args(["--all"]), health) is store and health.waited_for_store
