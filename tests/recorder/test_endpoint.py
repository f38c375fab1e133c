"""The metrics and health answers of a recorder process, for Prometheus and the kubelet."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client import REGISTRY
from support.hand import until
from support.jupyter import Home
from support.kube import python_job
from support.ports import free_port
from support.valkey import Server, ValkeySetup

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder import __main__ as main
from cortex_jupyter.recorder.process import endpoint
from cortex_jupyter.recorder.process import health as health_lib
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.writing import commit_retrier
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from typing import Any

    from conftest import SandboxProcess
    from support.kube import Kube

    Ask = Callable[[], Awaitable[tuple[int, str]]]


def values(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S+) (\S+)$", text, re.MULTILINE)}


def test_a_recorder_counts_what_it_records(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, port = unique("counted"), free_port()
    home = Home(tmp_path, sandbox.kubeconfig)
    flag = tmp_path / "flag"
    program = (
        "import os, time\n"
        "for i in range(300):\n"
        "    print(f'line {i:04}', flush=True)\n"
        f"    while not os.path.exists({str(flag)!r}): time.sleep(0.05)\n"
        "    time.sleep(0.005)"
    )
    url = f"sqlite:///{tmp_path}/store.sqlite"
    store = open_store(url)
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--port", str(port)]
    job = kube.create(python_job(name, program))
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=home.env | {"CORTEX_CLUSTER": "our cluster"}, stderr=file)
    try:
        address = f"http://127.0.0.1:{port}"
        kube.wait_for(lambda: _well(address), "the recorder to be well")
        assert store.recorder("our cluster"), "the store does not know the cluster by the name in CORTEX_CLUSTER"
        store.want(store.open("our cluster", TaskRef("default", "job", name), job["metadata"]["uid"]), 60)
        running = kube.wait_for(lambda: _reads(address), "the first line to be recorded")
        assert (running["cortex_jupyter_tasks"], running["cortex_jupyter_sources"]) == (1, 1)
        assert running["cortex_jupyter_waiting_streams"] == 0 < running["process_cpu_seconds_total"]
        assert abs(time.time() - running["cortex_jupyter_heartbeat_timestamp_seconds"]) < 60
        flag.touch()
        found = kube.wait_for(lambda: _finished(address), "the task to be recorded")
    finally:
        process.terminate()
        process.wait(120)
        store.close()
    assert [line.partition(" INFO ")[2] for line in log.read_text().splitlines()[-2:]] == [
        "got SIGTERM: writing what was read, and leaving the tasks to other recorders",
        "ended",
    ]
    assert found["cortex_jupyter_lines_total"] == 300 and not any(
        v for k, v in found.items() if k.startswith("cortex_jupyter_gaps_total")
    )
    stamp = len("2026-01-31T12:00:00.123456789Z ")
    assert found["cortex_jupyter_bytes_total"] == pytest.approx(300 * (len("line 0000\n") + stamp), rel=0.03)
    assert found["cortex_jupyter_queue_bytes"] == 0 and found["cortex_jupyter_commit_seconds_count"] > 0
    assert found['cortex_jupyter_leases_total{change="taken"}'] == 1
    lag = "cortex_jupyter_recording_lag_seconds_"
    assert 0 < found[lag + "sum"] < 60 * found[lag + "count"], "the lag is not the time since lines were written"


def _well(address: str) -> bool:
    try:
        return httpx.get(address + "/healthz").status_code == 200 == httpx.get(address + "/readyz").status_code
    except httpx.TransportError:
        return False


def _reads(address: str) -> dict[str, float] | None:
    found = values(httpx.get(address + "/metrics").text)
    return found if found["cortex_jupyter_lines_total"] else None


def _finished(address: str) -> dict[str, float] | None:
    found = values(httpx.get(address + "/metrics").text)
    return (
        found
        if found.get('cortex_jupyter_leases_total{change="finished"}') and not found["cortex_jupyter_tasks"]
        else None
    )


async def test_a_port_in_use_is_reported() -> None:
    health = Health(free_port())
    async with endpoint.serving(health, "127.0.0.1"):
        with pytest.raises(CortexError, match=f"cannot listen on port {health.port}"):
            async with endpoint.serving(health, "127.0.0.1"):
                await asyncio.sleep(0)


async def test_it_listens_on_loopback_unless_a_host_is_given() -> None:
    """Metrics name no task, but they tell strangers what runs here and how much."""
    health = Health(free_port())
    elsewhere = "127.0.0.2"  # an address of this machine that is not the one of loopback's name
    for host, reached in ((main.parser().parse_args([]).host, False), ("*", True), (elsewhere, True)):
        async with endpoint.serving(health, host):
            async with httpx.AsyncClient(base_url=f"http://{elsewhere}:{health.port}", timeout=60) as client:
                try:
                    is_reached = (await client.get("/healthz")).status_code == 200
                except httpx.ConnectError:
                    is_reached = False
            assert is_reached is reached, host


async def test_a_lost_watch_and_a_hang_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(free_port())
    async with endpoint.serving(health, "127.0.0.1"), _asked(health.port) as (healthz, readyz):
        health.heartbeat_taken()
        health.watch_changed("/apis/batch/v1/jobs", lost=True)
        assert await readyz() == (200, "ok\n"), "a watch lost a moment ago already counts"
        monkeypatch.setattr(health_lib, "UNSEEN_S", -1.0)
        assert await readyz() == (503, "/apis/batch/v1/jobs are not watched for 0 s\n")
        health.watch_changed("/apis/batch/v1/jobs", lost=False)
        assert await readyz() == (200, "ok\n") == await healthz()
        monkeypatch.setattr(health_lib, "HUNG_S", -1.0)
        assert await healthz() == (503, "no heartbeat has been tried for 0 s\n")


async def test_a_failing_archive_is_a_warning_and_in_the_metrics() -> None:
    """Recording goes on, so the recorder stays ready; an unready collector would block rollouts."""
    health = Health(free_port())
    health.heartbeat_taken()
    async with endpoint.serving(health, "127.0.0.1"), _asked(health.port) as (_, readyz):
        assert await readyz() == (200, "ok\n")
        health.archive_checked(3, time.time() - 7200, is_failing=True)
        why = "3 recordings wait to be archived, the oldest for 2 h: attempts fail, the log says why"
        assert await readyz() == (200, f"ok\nwarning: {why}\n")
        assert REGISTRY.get_sample_value("cortex_jupyter_archive_waiting") == 3
        assert REGISTRY.get_sample_value("cortex_jupyter_archive_oldest_waiting_seconds") == pytest.approx(7200, abs=60)
        health.archive_checked(1, time.time(), is_failing=False)
        assert await readyz() == (200, "ok\n"), "a recording that has just ended is a warning"
        health.archive_checked(0, None, is_failing=False)
        assert REGISTRY.get_sample_value("cortex_jupyter_archive_oldest_waiting_seconds") == 0


async def test_an_unreachable_store_makes_a_collector_unready_but_not_dead(
    sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector starts before its Valkey server, and the server dies later. No probe may end the waiting collector."""
    monkeypatch.setattr(health_lib, "STALE_S", 1.5)
    monkeypatch.setattr(main, "RETRY_S", 0.1)
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    server = Server(tmp_path / "valkey")
    server.folder.mkdir()
    server.port, port = free_port(), free_port()
    options = main.parser().parse_args(
        ["--all", "--store", server.url, "--kubeconfig", str(sandbox.kubeconfig), "--port", str(port)]
    )
    run = asyncio.create_task(main._record(options))
    try:
        async with _asked(port) as (healthz, readyz):
            await until(lambda: _answers(port))
            assert await readyz() == (503, "the store has not taken a heartbeat yet\n")
            assert await healthz() == (200, "ok\n")
            await asyncio.to_thread(server.start)
            await _becomes(readyz, 200)
            server.kill()
            await _becomes(readyz, 503)
            assert (await healthz())[0] == 200 and not run.done()
            await asyncio.to_thread(server.start)
            await _becomes(readyz, 200)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        server.kill()


@pytest.mark.parametrize(
    ("broken", "code", "why"),
    [
        ("replica", "StoreBusy", "0 of 1 replicas"),
        ("memory", "StoreFull", "has reached its memory limit"),
    ],
)
async def test_refused_commits_make_a_recorder_unready_even_if_heartbeats_succeed(
    sandbox: SandboxProcess,
    kube: Kube,
    unique: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    code: str,
    why: str,
) -> None:
    monkeypatch.setattr(health_lib, "WAITS_S", 1.0)
    monkeypatch.setattr(commit_retrier, "RETRY_S", 0.1)
    refused = partial(REGISTRY.get_sample_value, "cortex_jupyter_errors_total", {"code": code})
    before, name, port = refused() or 0, unique("refused"), free_port()
    with ValkeySetup(tmp_path, replicas=1) as valkey:
        store = await asyncio.to_thread(open_store, valkey.url)
        job = kube.create(python_job(name, "import time\nwhile True: print('line', flush=True); time.sleep(0.05)"))
        id_ = store.open("ours", TaskRef("default", "job", name), job["metadata"]["uid"])
        monkeypatch.setattr("cortex_jupyter.store.valkey.link._WAIT_MS", 200)
        store.want(id_, 600)
        monkeypatch.setenv("CORTEX_CLUSTER", "ours")
        options = ["--store", valkey.url, "--kubeconfig", str(sandbox.kubeconfig), "--port", str(port)]
        run = asyncio.create_task(main._record(main.parser().parse_args(options)))
        try:
            async with _asked(port) as (healthz, readyz):
                await until(lambda: _answers(port))
                await _becomes(readyz, 200)
                await until(lambda: (found := store.info(id_)) and found.last_seq > 5)
                if broken == "replica":
                    valkey.replicas[0].kill()
                else:
                    valkey.primary.ask("CONFIG", "SET", "maxmemory", "1")
                await _becomes(readyz, 503)
                message = (await readyz())[1]
                assert message.startswith("nothing has been recorded for ") and why in message
                assert await healthz() == (200, "ok\n"), "a restart would not help, but the liveness probe fails"
                await until(lambda: (refused() or 0) > before)
                assert (REGISTRY.get_sample_value("cortex_jupyter_uncommitted_seconds") or 0) > 1
                if broken == "replica":
                    await asyncio.to_thread(valkey.replicas[0].start)
                else:
                    valkey.primary.ask("CONFIG", "SET", "maxmemory", "0")
                await _becomes(readyz, 200)
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            store.close()


async def test_a_hanging_task_loop_is_reported_while_heartbeats_go_on(
    sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, really = threading.Event(), SqliteStore.wanted
    goes_on.set()

    def wanted(self: SqliteStore, cluster: str) -> Any:
        goes_on.wait()
        return really(self, cluster)

    monkeypatch.setattr(SqliteStore, "wanted", wanted)
    port = free_port()
    options = ["--store", f"sqlite://{tmp_path}/store.sqlite", "--kubeconfig", str(sandbox.kubeconfig)]
    run = asyncio.create_task(main._record(main.parser().parse_args([*options, "--port", str(port)])))
    try:
        async with _asked(port) as (healthz, readyz):
            await until(lambda: _answers(port))
            await _becomes(readyz, 200)
            goes_on.clear()
            monkeypatch.setattr(health_lib, "LOOKED_S", 1.5)
            await _becomes(readyz, 503)
            assert (await readyz())[1].startswith("the recorder has not looked for tasks for ")
            assert await healthz() == (200, "ok\n"), "a loop that hangs for a second already counts as dead"
            monkeypatch.setattr(health_lib, "HUNG_S", 5.0)
            await _becomes(healthz, 503)
            assert (await healthz())[1].startswith("the store answers, but the recorder has not looked for tasks for ")
            goes_on.set()
            await _becomes(healthz, 200)
            await _becomes(readyz, 200)
    finally:
        goes_on.set()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def test_a_loop_that_waits_for_the_store_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts from the moment the store answers again; otherwise a probe would end a recorder that is about to go on."""
    now = 1000.0
    monkeypatch.setattr(health_lib.time, "monotonic", lambda: now)
    health = Health()

    def passes(seconds: float, *, taken: bool = True) -> str:
        nonlocal now
        for _ in range(int(seconds)):
            now += 1
            health.heartbeat_tried()
            if taken:
                health.heartbeat_taken()
        return health.liveness()

    assert not passes(300, taken=False), "a recorder that waits for its store counts as hanging"
    health.heartbeat_taken()
    assert not passes(50)
    with health.write_in_progress():
        assert not passes(300), "a recorder whose store takes only heartbeats counts as hanging"
    assert not passes(30) and passes(31)
    health.looked_for_tasks()
    assert not passes(300, taken=False) and not passes(30) and passes(32)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def _asked(port: int) -> AsyncIterator[tuple[Ask, Ask]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        async def ask(path: str) -> tuple[int, str]:
            answer = await client.get(path)
            return answer.status_code, answer.text

        yield partial(ask, "/healthz"), partial(ask, "/readyz")


async def _becomes(ask: Ask, status: int) -> None:
    end = time.monotonic() + 120
    while (await ask())[0] != status:
        assert time.monotonic() < end, f"the status never becomes {status}"
        await asyncio.sleep(0.05)
