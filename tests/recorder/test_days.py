"""The memory of a recorder does not grow over days."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
from support.hand import Hand, source
from support.node import T0, pod

from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.sources import Sources
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.batch import Batcher, PendingNotice, RawLines, SourceProgress
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import Anchor

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cortex_jupyter.store import Store


def large(number: int) -> dict[str, Any]:
    one = pod("terminated")
    one["metadata"] |= {"uid": f"uid-{number}", "managedFields": ["x" * 10_000]}
    one["spec"]["containers"][0]["env"] = [{"name": "A", "value": "x" * 10_000}]
    return one


def test_a_pod_that_is_gone_is_kept_small() -> None:
    pods = Pods()
    pods.update(large(1))
    pods.remove(large(1))
    assert len(orjson.dumps(pods.deleted["uid-1"])) < 1000
    assert pods.last_known(source(1)).end.exit_code == 0  # type: ignore[union-attr]


def test_unneeded_pods_are_forgotten_but_still_known() -> None:
    pods = Pods()
    for number in range(3000):
        pods.update(large(number))
        pods.remove(large(number))
        pods.forget({"uid-7"})
    assert set(pods.deleted) == {"uid-7"}
    assert pods.is_known("uid-2999") and pods.is_known("uid-7") and not pods.is_known("uid-0")
    pods.update(large(2999))  # a late answer
    assert not pods.present
    assert sys.getsizeof(pods._forgotten) < 100_000


async def test_runs_of_forgotten_pods_are_forgotten(store: Store, hand: Hand) -> None:
    def spawn(reading: Coroutine[Any, Any, None]) -> None:
        reading.close()

    for number in (1, 2):
        hand.source(number, Anchor(ended=True))
    cluster: Any = None
    pods = Pods()
    with Writer(store) as writer:
        channel = writer.open(hand.lease, "t", 0)
        sources = Sources(Context(cluster, "default", store, hand.lease, channel), pods, spawn)
        await sources.load()
        pods.update(pod())  # pod number 1
        sources.forget()
        assert sources.count == 1 and sources.pods_being_read == set()
        await sources.update(pod())
        assert sources.count == 1  # the run is not read again


def test_a_run_that_has_ended_keeps_no_lines() -> None:
    batcher = Batcher("t", 1)
    batcher.progress[1] = SourceProgress(source(), Anchor())
    batcher.build([RawLines(1, b"%s %s\n" % (rfc3339(T0).encode(), b"x" * 100_000))])
    assert batcher.progress[1].recent
    batcher.build([PendingNotice("status", "ended", sid=1, ended=True)])
    assert not batcher.progress[1].recent
