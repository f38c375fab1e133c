"""A recorder's heartbeats arrive in time whatever else waits for the store, and no probe ends a recorder that waits."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import CLUSTER, until

from cortex_jupyter.recorder import heartbeat
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cortex_jupyter.store import RecorderInfo, Store


@pytest.fixture
def hangs() -> Iterator[threading.Event]:
    """Give what a server that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


@asynccontextmanager
async def running(store: Store, health: Health | None = None) -> AsyncIterator[asyncio.Task[None]]:
    cluster: Any = type("Api", (), {"id": CLUSTER})()
    run = asyncio.create_task(Recorder(store, cluster, health=health).run())
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_heartbeat_never_queues_behind_another_call_to_the_store(
    store: Store, hangs: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many tasks each may have a call that waits for a server, or for its replicas: more than there are threads."""
    beats: list[RecorderInfo] = []
    real = store.beat
    monkeypatch.setattr(store, "beat", lambda me: beats.append(me) or real(me))
    async with running(store):
        await until(lambda: beats)
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(None, hangs.wait) for _ in range(100)]
        beats.clear()
        try:
            await until(lambda: len(beats) > 2, 20)
        finally:
            hangs.set()
        await asyncio.gather(*calls)


async def test_a_recorder_whose_store_hangs_does_not_count_as_hanging(
    store: Store, hangs: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that is away as well has each attempt take minutes; started anew it could do no more."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    beats: list[RecorderInfo] = []
    turns: list[int] = []
    real, health = store.beat, Health()

    def beat(me: RecorderInfo) -> None:
        beats.append(me)
        if len(beats) > 2:
            hangs.wait()
        real(me)

    monkeypatch.setattr(store, "beat", beat)
    async with running(store, health):
        await until(lambda: len(beats) > 2)
        monkeypatch.setattr(health, "heartbeat_tried", lambda: turns.append(len(beats)))
        try:
            await until(lambda: len(turns) > 5, 10)
        finally:
            hangs.set()
        assert set(turns[:5]) == {3}, "it is one attempt"


async def test_a_heartbeat_in_progress_does_not_outlive_leaving(
    store: Store, hangs: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else others wait for it to go cold before they take what was left."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    beats: list[str] = []
    real = store.beat

    def beat(me: RecorderInfo) -> None:
        beats.append("begun")
        if len(beats) > 2:
            hangs.wait()
        real(me)
        beats.append("done")

    monkeypatch.setattr(store, "beat", beat)
    async with running(store) as run:
        await until(lambda: beats[-1:] == ["begun"] and len(beats) > 2)
        run.cancel()
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, hangs.set)
        await asyncio.gather(run, return_exceptions=True)
    await until(lambda: beats[-1] == "done")
    assert store.recorders(CLUSTER) == []
