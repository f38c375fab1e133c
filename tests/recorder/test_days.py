"""What a recorder keeps in memory does not grow with the days."""

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
from cortex_jupyter.recorder.writing.batch import Batcher, Note, Piece, Track
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
    pods.put(large(1))
    pods.drop(large(1))
    assert len(orjson.dumps(pods.deleted["uid-1"])) < 1000
    assert pods.last_known(source(1)).end.exit_code == 0  # type: ignore[union-attr]


def test_pods_that_nobody_asks_for_are_forgotten_but_known() -> None:
    pods = Pods()
    for number in range(3000):
        pods.put(large(number))
        pods.drop(large(number))
        pods.forget({"uid-7"})
    assert set(pods.deleted) == {"uid-7"}
    assert pods.known("uid-2999") and pods.known("uid-7") and not pods.known("uid-0")
    pods.put(large(2999))  # a late answer
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
        pods.put(pod())  # that of number 1
        sources.forget()
        assert sources.count == 1 and sources.reading == set()
        await sources.take(pod())
        assert sources.count == 1  # it is not read again


def test_a_run_that_has_ended_keeps_no_lines() -> None:
    batcher = Batcher("t", 1)
    batcher.tracks[1] = Track(source(), Anchor())
    batcher.build([Piece(1, b"%s %s\n" % (rfc3339(T0).encode(), b"x" * 100_000))])
    assert batcher.tracks[1].recent
    batcher.build([Note("status", "ended", sid=1, ended=True)])
    assert not batcher.tracks[1].recent
