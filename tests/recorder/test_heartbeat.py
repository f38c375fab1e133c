"""A recorder's heartbeats arrive in time even if other calls wait for the store. No probe ends a recorder that waits."""

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
    """Return an event that a hanging server waits for."""
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
    """Each of many tasks can have a call that waits for the server or its replicas, so they can occupy all threads."""
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
    """If the name server is unreachable too, each attempt takes minutes. A restarted recorder would have the same problem."""
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
        assert set(turns[:5]) == {3}, "the heartbeat was tried again while the first attempt waits"


async def test_a_heartbeat_in_progress_does_not_outlive_leaving(
    store: Store, hangs: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the heartbeat is written after the recorder left, and others wait for it to expire before they take its tasks."""
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
