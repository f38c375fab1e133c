"""Times are the node's: the clock offset is measured and reported, and durations are counted by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from recorder.test_recorder import COUNT, open_session
from support.hand import Hand, until
from support.kube import python_job

from cortex_jupyter.cluster.session import Clock
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.store import Commit

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube import Kube

    from cortex_jupyter.store import Store


async def test_a_node_that_is_an_hour_ahead(sandbox: Any, kube: Kube, unique: Any, tmp_path: Path) -> None:
    name = unique("ahead")
    sandbox.fault("clock", pod=f"{name}.*", offset=3600)
    kube.create(python_job(name, COUNT.format(n=3000, pause=0.02)))
    async with open_session(sandbox, tmp_path) as recordings:
        recording = await recordings.find(TaskRef.parse(name))
        async with recording.keep_wanted():
            await until(lambda: (info := recordings.store.info(recording.id)) and info.clock_ms)
        info = await recording.info()
        assert 3500_000 < info.clock_ms <= 3_600_500
        assert abs(recording.clock_ahead(info) / 1e9 - 3600) < 100
        said = [orjson.loads(e.data) for e in recordings.store.entries(recording.id, 0, 1 << 20) if e.event == "status"]
        (clock,) = [d for d in said if d.get("notice") == "clock"]
        assert "ahead of this machine's" in clock["message"] and clock["clock_offset_ms"] == info.clock_ms
    kube.delete("jobs", name)


async def test_the_clock_offset_comes_from_the_recorder_or_else_the_api_server(store: Store, hand: Hand) -> None:
    cluster: Any = type("Api", (), {"clock": Clock()})()
    recordings = Session(store, cluster)
    workload: Any = object()
    recording = Recording(recordings, hand.id, TaskRef("default", "job", "a"), workload)
    assert recording.clock_ahead(await recording.info()) == 0
    # Until a recorder has measured the offset, the API server's is used.
    cluster.clock._low = cluster.clock._high = -600.0
    assert recording.clock_ahead(await recording.info()) == -600 * 10**9
    store.commit(hand.lease, Commit(update={"clock_ms": 7000}))
    assert recording.clock_ahead(await recording.info()) == 7 * 10**9
