"""Rows that need a real cluster: its components are killed and started again.

Run with `CORTEX_TEST_CLUSTER=real KUBECONFIG=...` on the machine of the cluster, while no other user needs the cluster.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import orjson
import pytest
from faults.components import Component
from faults.received import Received
from support.jupyter import counter
from support.kube import python_job

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Target
    from faults.components import RestartedComponent

LINES = 20_000
_NUMBER = re.compile(r" line (\d{8}) ")


async def _supervise(component: RestartedComponent) -> None:
    while True:
        component.supervise()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", ["apiserver", "kubelet", "containerd"])
async def test_a_component_is_killed_and_restarted(
    name: str, target: Target, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    component = Component(target.kube.kubeconfig, name)
    if not (target.real and component.is_local):
        pytest.skip("needs a real cluster on this machine")
    job = unique("f")
    target.kube.create(python_job(job, counter(LINES, per_second=1000)))
    received, killed_at = Received(), 0.0
    recordings = await Session.connect(f"sqlite://{tmp_path}/r.sqlite", str(target.kube.kubeconfig))
    try:
        recording = await recordings.find(TaskRef.parse(job))
        async with asyncio.timeout(200), recording.keep_wanted(), asyncio.TaskGroup() as supervisors:
            async for event in recording.feed.events():
                received.add_event(event.event, orjson.loads(event.entry.data))
                if received.count > LINES / 3 and not killed_at:
                    killed_at = asyncio.get_running_loop().time()
                    restarted = await asyncio.to_thread(component.kill_and_start)
                    supervisor = supervisors.create_task(_supervise(restarted))
            if killed_at:
                supervisor.cancel()
        (lines,) = received.lines().values()
        numbers = [int(match[1]) for _, text in lines if (match := _NUMBER.search(text))]
        assert received.end and killed_at and not received.duplicates and not received.gaps, received.gaps
        assert numbers == list(range(LINES))
    finally:
        await recordings.close()
        target.kube.delete("jobs", job)
        result(
            row=f"{name} killed and back",
            allowed="exact",
            out=received.count,
            doubled=received.duplicates,
            gaps=len(received.gaps),
            recovery_s=round(received.longest_pause(killed_at), 2),
            **{"in": LINES},
        )
