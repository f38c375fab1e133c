"""Recorders with different rights share a store: a user who may read a task in the cluster can read its recording."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from recorder.test_recorder import COUNT, Seen, counted
from support.hand import until
from support.jupyter import Home
from support.kube import python_job

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube
    from support.valkey import Server

OTHER = "collector"


@asynccontextmanager
async def recorder(sandbox: SandboxProcess, folder: Path, url: str, *options: str) -> AsyncIterator[Path]:
    """Run a recorder as another user of the cluster; yield the path of its log."""
    config, ours = folder / "other.yaml", sandbox.kubeconfig.read_text()
    token = ours.partition("token: ")[2].split()[0]
    config.write_text(ours.replace(token, f"{token}.{OTHER}"))
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, *options]
    log = folder / "other.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=Home(folder, config).env, stdout=file, stderr=file)  # noqa: ASYNC220
    try:
        yield log
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


@asynccontextmanager
async def reader(sandbox: SandboxProcess, url: str) -> AsyncIterator[Session]:
    """Yield a session as the sandbox's default user; afterwards, end the recorder that was started for it."""
    session = await Session.connect(url, str(sandbox.kubeconfig))
    cluster = session.cluster
    assert cluster is not None
    before = {r.id for r in session.store.recorders(cluster.id)}
    try:
        yield session
    finally:
        for started in session.store.recorders(cluster.id):
            if started.id not in before:
                os.kill(started.pid, signal.SIGTERM)
                await until(lambda id_=started.id: id_ not in {r.id for r in session.store.recorders(cluster.id)})  # type: ignore[misc]
        await session.close()


@pytest.mark.parametrize("options", [("--all", "-n", "ml"), ()], ids=["a collector of a namespace", "a user's"])
async def test_a_reader_with_rights_records_a_task_that_a_living_recorder_may_not_read(
    sandbox: SandboxProcess,
    kube: Kube,
    unique: Callable[[str], str],
    tmp_path: Path,
    valkey_server: Server,
    options: tuple[str, ...],
) -> None:
    name, url = unique("mine"), valkey_server.url
    valkey_server.ask("FLUSHALL")
    sandbox.fault("deny", verb="*", resource="*", namespace="default", user=OTHER)
    kube.create(python_job(name, COUNT.format(n=100, pause=0.1)))
    async with recorder(sandbox, tmp_path, url, *options) as log, reader(sandbox, url) as recordings:
        assert recordings.cluster is not None
        await until(lambda: recordings.store.recorder(recordings.cluster.id))  # type: ignore[union-attr]
        recording = await recordings.find(TaskRef.parse(name))
        seen = await asyncio.wait_for(Seen().read(recording), 120)
        assert [*seen.lines.values()] == [counted(100)]
        assert not any("forbidden" in message for message in seen.of("status"))
        if options:
            assert "taken" not in log.read_text(), "the collector took a task of another namespace"
        else:
            assert log.read_text().count("is forbidden") < 3, "the recorder tries again and again"


async def test_if_no_recorder_may_read_a_task_its_readers_are_told_why(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path, valkey_server: Server
) -> None:
    name, url = unique("nobodys"), valkey_server.url
    valkey_server.ask("FLUSHALL")
    kube.create(python_job(name, "print('here')"))
    sandbox.fault("deny", verb="list", resource="pods", namespace="default")
    max_recorders = 0

    async with recorder(sandbox, tmp_path, url), reader(sandbox, url) as recordings:
        cluster: Any = recordings.cluster
        await until(lambda: recordings.store.recorder(cluster.id))

        def allow(seen: Seen) -> None:
            nonlocal max_recorders
            max_recorders = max(max_recorders, len(recordings.store.recorders(cluster.id)))
            if any("forbidden" in message for message in seen.of("status")) and max_recorders == 2:
                sandbox.clear()

        recording = await recordings.find(TaskRef.parse(name))
        seen = await asyncio.wait_for(Seen().read(recording, allow), 120)
        assert [*seen.lines.values()] == [["here"]] and max_recorders == 2
