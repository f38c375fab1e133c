"""A recorder that ends gives up its leases, however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import CLUSTER, Hand, on_sqlite, recorder, until
from support.kube import python_job

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import ClusterUnreachable
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder import tasks as lib
from cortex_jupyter.recorder.process.archiving import Archiving
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.recorder.upkeep import Upkeep
from cortex_jupyter.recorder.watching.pods import Pods

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cortex_jupyter.store import Store


class UnreachableCluster:
    """A cluster whose API server does not answer."""

    id = CLUSTER

    async def json(self, *_: object, **__: object) -> Any:
        raise ClusterUnreachable("it does not answer")


async def test_a_recorder_that_is_stopped_leaves_at_once(store: Store, hand: Hand) -> None:
    store.leave("me")
    store.want(hand.id, 60)
    cluster: Any = UnreachableCluster()
    run = asyncio.create_task(Recorder(store, cluster).run())
    await until(lambda: "does not answer" in store.info(hand.id).message)  # type: ignore[union-attr]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    # The process still runs, so another recorder can take the task only because the first one has left.
    assert store.recorder(CLUSTER) is None
    store.beat(recorder("other"))
    assert store.lease(hand.id, "other") is not None


@on_sqlite
@pytest.mark.parametrize("ticks", range(5))
async def test_a_recorder_stopped_just_when_a_task_has_completed_ends(store: Store, ticks: int) -> None:
    upkeep = Upkeep(store, {})
    archiving = asyncio.create_task(upkeep.archive())
    await until(lambda: upkeep.completed._waiters)  # type: ignore[attr-defined]
    upkeep.completed.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    archiving.cancel()
    done, _ = await asyncio.wait([archiving], timeout=5)
    archiving.cancel()
    assert done, "the cancellation was lost"


@on_sqlite
async def test_an_unexpected_error_does_not_end_the_upkeep(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    passes: list[Archiving] = []

    async def archive(archiving: Archiving) -> None:
        passes.append(archiving)
        if len(passes) == 1:
            raise KeyError("an unexpected error")

    monkeypatch.setattr(Archiving, "archive_completed", archive)
    upkeep = Upkeep(store, {})
    archiving = asyncio.create_task(upkeep.archive())
    await until(lambda: len(passes) == 1 and upkeep.completed._waiters)  # type: ignore[attr-defined]
    upkeep.completed.set()
    await until(lambda: len(passes) == 2)
    archiving.cancel()
    assert "an unexpected error" in caplog.text


async def test_a_recorder_without_work_ends(store: Store) -> None:
    cluster: Any = UnreachableCluster()
    await asyncio.wait_for(Recorder(store, cluster, idle=0).run(), 120)
    assert store.recorder(CLUSTER) is None


async def test_a_cancellation_together_with_a_change_is_not_lost() -> None:
    pods = Pods()
    waiting = asyncio.create_task(pods.wait_for_change(60))
    for _ in range(3):
        await asyncio.sleep(0)
    pods.wake()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_recorder_without_readers_ends_if_its_cluster_stays_unreachable(
    store: Store, new_sandbox: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "_AWAY_S", 0.2)
    with new_sandbox(tmp_path / "cluster") as sandbox:
        sandbox.kube.create(python_job("long", "import time; print('x', flush=True); time.sleep(600)"))
        cluster = await Cluster.open(str(sandbox.kubeconfig))
        uid = sandbox.kube.get("jobs", "long")["metadata"]["uid"]
        recording = store.open(cluster.id, TaskRef("default", "job", "long"), uid)
        store.want(recording, 3)
        run = asyncio.create_task(Recorder(store, cluster, idle=0).run())
        await until(lambda: store.complete(recording).records == 1)
    await asyncio.wait_for(run, 120)
    assert store.recorder(cluster.id) is None and not store.info(recording).done  # type: ignore[union-attr]
    await cluster.close()
