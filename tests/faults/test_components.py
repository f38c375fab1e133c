"""Rows that only a real cluster can do: its components are killed and come back.

Run with `CORTEX_TEST_CLUSTER=real KUBECONFIG=...` on the machine whose cluster it is, when nobody else uses it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from faults.components import Component
from faults.seen import Seen
from support.jupyter import counter
from support.kube import python_job

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Recordings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = 20_000
_NUMBER = re.compile(r" line (\d{8}) ")


@pytest.mark.parametrize("name", ["apiserver", "kubelet", "containerd"])
async def test_a_component_is_killed_and_back(
    name: str, target: Any, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    component = Component(target.kube.kubeconfig, name)
    if not (target.real and component.ours):
        pytest.skip("needs a real cluster on this machine")
    job = unique("f")
    target.kube.create(python_job(job, counter(LINES, per_second=1000)))
    seen, struck = Seen(), 0.0
    recordings = await Recordings.connect(f"sqlite://{tmp_path}/r.sqlite", str(target.kube.kubeconfig))
    try:
        recording = await recordings.find(TaskRef.parse(job))
        async with asyncio.timeout(200), recording.wanted():
            async for frame in recording.feed.frames():
                seen.take(frame.event, orjson.loads(frame.entry.data))
                if seen.count > LINES / 3 and not struck:
                    struck = asyncio.get_running_loop().time()
                    await asyncio.to_thread(component.kill_and_start)
        (lines,) = seen.lines().values()
        numbers = [int(found[1]) for _, text in lines if (found := _NUMBER.search(text))]
        assert seen.end and struck and not seen.doubled and not seen.gaps, seen.gaps
        assert numbers == list(range(LINES))
    finally:
        await recordings.close()
        target.kube.delete("jobs", job)
        result(row=f"{name} killed and back", allowed="exact", out=seen.count, doubled=seen.doubled,
               gaps=len(seen.gaps), recovery_s=round(seen.pause(struck), 2), **{"in": LINES})  # fmt: skip
