"""A recorder that ends gives up what it held, however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from recording.hand import CLUSTER, Hand, recorder, until

from cortex_jupyter.errors import ClusterUnreachable
from cortex_jupyter.recording.pods import Pods
from cortex_jupyter.recording.recorder import Recording

if TYPE_CHECKING:
    from cortex_jupyter.recording.sqlite import SqliteStore


class Away:
    """A cluster that does not answer."""

    host = CLUSTER

    async def json(self, *_: object, **__: object) -> Any:
        raise ClusterUnreachable("it does not answer")


async def test_a_recorder_that_is_stopped_leaves_at_once(store: SqliteStore, hand: Hand) -> None:
    store.leave("me")
    store.want(hand.id, 60)
    cluster: Any = Away()
    run = asyncio.create_task(Recording(store, cluster).run())
    await until(lambda: "does not answer" in store.info(hand.id).message)  # type: ignore[union-attr]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    # This process lives on, so only that it left lets another take its task.
    assert store.recorder(CLUSTER) is None
    store.beat(recorder("other"))
    assert store.lease(hand.id, "other") is not None


async def test_a_recorder_without_work_ends(store: SqliteStore) -> None:
    cluster: Any = Away()
    await asyncio.wait_for(Recording(store, cluster, idle=0).run(), 30)
    assert store.recorder(CLUSTER) is None


async def test_a_cancellation_that_comes_with_a_change_is_not_forgotten() -> None:
    pods = Pods()
    waiting = asyncio.create_task(pods.change(60))
    for _ in range(3):
        await asyncio.sleep(0)
    pods.touch()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
