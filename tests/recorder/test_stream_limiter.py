"""If more logs are open than the limit allows, they take turns. The limit holds, and each log gets its turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.hand import until
from support.kube import python_job

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.recorder.source.stream_limiter import StreamLimiter
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube


class Readers:
    """Readers of endless logs. They count the slots in use, the maximum in use, and the slots that each log got."""

    def __init__(self, limiter: StreamLimiter) -> None:
        self._limiter = limiter
        self.in_use: Counter[str] = Counter()
        self.max_in_use: Counter[str] = Counter()
        self.slots_got: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, task: str, name: str, node: str = "n", *, yields: bool = True) -> None:
        self.tasks.append(asyncio.create_task(self._read(task, name, node, yields)))

    async def _read(self, task: str, name: str, node: str, yields: bool) -> None:
        while True:
            async with self._limiter.slot(task, node, yields=yields) as slot:
                for key in (node, "", f"task {task}"):
                    self.in_use[key] += 1
                    self.max_in_use[key] = max(self.max_in_use[key], self.in_use[key])
                self.slots_got[name] += 1
                try:
                    while not slot.is_over:
                        await asyncio.sleep(0)  # process what has arrived
                        try:
                            async with slot.timeout(60):
                                await (asyncio.Event().wait() if name[-1] in "02468" else asyncio.sleep(0.001))
                        except TimeoutError:
                            assert slot.is_over
                finally:
                    for key in (node, "", f"task {task}"):
                        self.in_use[key] -= 1

    async def until(self, test: object) -> None:
        async with asyncio.timeout(120):
            while not test():  # type: ignore[operator]
                assert not [t for t in self.tasks if t.done()]
                await asyncio.sleep(0.002)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_every_log_gets_a_slot_and_the_limit_holds() -> None:
    limiter = StreamLimiter(5, 3, 0.005)
    readers = Readers(limiter)
    for i in range(12):
        readers.start(f"t{i % 4}", f"r{i}", f"n{i % 3}")
    await readers.until(lambda: len(readers.slots_got) == 12 and min(readers.slots_got.values()) >= 5)
    assert readers.max_in_use[""] == 5 and max(readers.max_in_use[f"n{i}"] for i in range(3)) <= 3
    await readers.end()
    readers = Readers(limiter)
    for i in range(5):
        readers.start("t", f"r{i}", f"n{i}")
    await readers.until(lambda: readers.in_use[""] == 5)  # the cancelled readers have released their slots
    await readers.end()


async def test_a_task_of_many_containers_does_not_crowd_out_the_others() -> None:
    readers = Readers(StreamLimiter(4, 4, 0.005))
    for i in range(40):
        readers.start("large", f"large{i}")
    readers.start("small", "small")
    await readers.until(lambda: readers.slots_got["small"] >= 20)
    large = sum(n for name, n in readers.slots_got.items() if name != "small")
    assert large < 20 * 8, "the small task gets too few turns"
    await readers.end()


async def test_no_slot_ends_while_there_is_room() -> None:
    readers = Readers(StreamLimiter(4, 2, 0.001))
    for i in range(4):
        readers.start("t", f"r{i}", f"n{i % 2}")
    await readers.until(lambda: readers.in_use[""] == 4)
    await asyncio.sleep(0.02)
    assert readers.slots_got == dict.fromkeys(("r0", "r1", "r2", "r3"), 1)
    # One more log on a full node: the slots of the other node are not touched.
    readers.start("t", "r4", "n0")
    await readers.until(lambda: min(readers.slots_got[name] for name in ("r0", "r2", "r4")) >= 3)
    assert readers.slots_got["r1"] == readers.slots_got["r3"] == 1
    await readers.end()


@pytest.mark.parametrize("yields", [True, False])
async def test_a_cancelled_wait_is_forgotten(yields: bool) -> None:
    limiter = StreamLimiter(1, 1, 60)
    readers = Readers(limiter)
    readers.start("a", "first", yields=yields)
    readers.start("b", "second")
    await readers.until(lambda: readers.slots_got["first"] == 1 == limiter.waiting())
    readers.tasks[1].cancel()
    await asyncio.wait([readers.tasks.pop()])
    assert not limiter.waiting()
    readers.start("c", "third")
    readers.tasks.pop(0).cancel()
    await readers.until(lambda: readers.slots_got["third"] == 1)
    assert not readers.slots_got["second"]
    await readers.end()


async def test_nothing_is_lost_when_logs_take_turns(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique("turns")
    program = "import time\nfor i in range(150): print(f'line {i:03}', flush=True); time.sleep(0.02)"
    job = await asyncio.to_thread(kube.create, python_job(name, program, parallelism=5))
    store = open_store(f"sqlite:///{tmp_path}/store.sqlite")
    limiter = StreamLimiter(2, 2, 0.2)
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        id_ = store.open(cluster.id, TaskRef("default", "job", name), job["metadata"]["uid"])
        store.want(id_, 60)
        recorder = asyncio.create_task(Recorder(store, cluster, idle=0, limiter=limiter).run())
        await until(lambda: (info := store.info(id_)) and info.done, 60)
        await recorder
    lines: dict[int, list[str]] = {}
    for batch in (Batch.decode(e.data) for e in store.entries(id_, 0, 1 << 30) if e.event == "log"):
        for sid, text in zip(batch.sids, batch.texts, strict=True):
            lines.setdefault(sid, []).append(text)
    assert [*lines.values()] == [[f"line {i:03}" for i in range(150)]] * 5
    assert not store.complete(id_).gaps
    store.close()
