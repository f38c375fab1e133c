"""What a recorder process tells Prometheus and the kubelet."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from support.jupyter import Home, free_port
from support.kube import python_job

from cortex_jupyter.errors import CortexError
from cortex_jupyter.recording.process import endpoint, telemetry
from cortex_jupyter.recording.stores import open_store
from cortex_jupyter.records import TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube


def values(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(cortex_\S+) (\S+)$", text, re.MULTILINE)}


def test_a_recorder_counts_what_it_records(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, port = unique("counted"), free_port()
    home = Home(tmp_path, sandbox.kubeconfig)
    program = "import time\nfor i in range(300): print(f'line {i:04}', flush=True); time.sleep(0.005)"
    url = f"sqlite:///{tmp_path}/store.sqlite"
    store = open_store(url)
    command = [sys.executable, "-m", "cortex_jupyter.recording", "--store", url, "--port", str(port)]
    job = kube.create(python_job(name, program))
    process = subprocess.Popen(command, env=home.env | {"CORTEX_CLUSTER": "our cluster"})
    try:
        address = f"http://127.0.0.1:{port}"
        kube.wait_for(lambda: _well(address), "the recorder to be well")
        assert store.recorder("our cluster"), "CORTEX_CLUSTER is what a store knows a cluster by"
        store.want(store.open("our cluster", TaskRef("default", "job", name), job["metadata"]["uid"]), 60)
        found = kube.wait_for(lambda: _finished(address), "the task to be recorded")
    finally:
        process.terminate()
        process.wait(20)
        store.close()
    assert found["cortex_lines_total"] == 300 and found["cortex_gaps_total"] == 0
    stamp = len("2026-01-31T12:00:00.123456789Z ")
    assert found["cortex_bytes_total"] == pytest.approx(300 * (len("line 0000\n") + stamp), rel=0.03)
    assert found["cortex_queue_bytes"] == 0 and found["cortex_commit_seconds_count"] > 0
    assert found['cortex_leases_total{change="taken"}'] == 1


def _well(address: str) -> bool:
    try:
        return httpx.get(address + "/healthz").status_code == 200 == httpx.get(address + "/readyz").status_code
    except httpx.TransportError:
        return False


def _finished(address: str) -> dict[str, float] | None:
    found = values(httpx.get(address + "/metrics").text)
    return found if found.get('cortex_leases_total{change="finished"}') else None


async def test_a_recorder_whose_store_takes_no_heartbeat_is_not_well() -> None:
    port = free_port()
    async with endpoint.serving(port, "127.0.0.1"), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        telemetry.BEAT.set_to_current_time()
        assert (await client.get("/healthz")).status_code == 200
        telemetry.BEAT.set(1.0)
        answer = await client.get("/readyz")
        assert answer.status_code == 503 and "has not taken a heartbeat for" in answer.text
        with pytest.raises(CortexError, match=f"port {port} cannot be listened at"):
            async with endpoint.serving(port, "127.0.0.1"):
                await asyncio.sleep(0)
