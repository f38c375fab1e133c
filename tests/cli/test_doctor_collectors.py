"""The doctor says when nobody records what runs, on a store that several users share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support.kube import python_job
from support.valkey import Server

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import collectors
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store import RecorderInfo
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from conftest import SandboxProcess
    from support.kube import Kube


async def test_what_runs_and_is_not_recorded_on_a_shared_store(
    sandbox: SandboxProcess,
    kube: Kube,
    unique: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(collectors, "_TAKEN_S", 0.1)
    space, name = unique("space"), unique("runs")
    await asyncio.to_thread(kube.create, {"kind": "Namespace", "metadata": {"name": space}})
    with Server(tmp_path / "valkey") as server, contextlib.closing(open_store(server.url)) as store:
        async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:

            async def judged() -> dict[str, str]:
                found = await collectors.judge(cluster, server.url, (space,))
                return {f.judged: f"{f.text} -> {f.todo}" for f in found}

            assert await collectors.judge(cluster, f"sqlite://{tmp_path}/own.sqlite", (space,)) == []
            assert (await judged()).keys() == {"told"}, "nothing runs, and no collector is wanted"
            job: Any = await asyncio.to_thread(
                kube.create, python_job(name, "import time; time.sleep(600)", namespace=space)
            )
            await asyncio.to_thread(
                kube.wait_for, lambda: kube.get("jobs", name, space).get("status", {}).get("active"), "it to run"
            )
            said = await judged()
            assert f"{space}:job/{name}" in said["bad"] and "no collector is alive" in said["bad"]

            # A collector in a pod knows the same cluster by another address.
            elsewhere = "https://10.96.0.1:443#0123456789ab"
            store.open(elsewhere, TaskRef(space, "job", "other"), "u")
            store.beat(RecorderInfo("2", elsewhere, "node-2", 1, time.time(), selection="* "))
            said = await judged()
            for text in (said["warn"], said["bad"]):
                assert f"1 for '{elsewhere}'; here the cluster is named '{cluster.id}'" in text
                assert f"set CORTEX_CLUSTER to '{elsewhere}' here" in text
            store.leave("2")

            alive = RecorderInfo("1", cluster.id, "node-1", 1, time.time(), selection=f"{space} ", namespaces=(space,))
            store.beat(replace(alive, namespaces=("other",), selection="other "))
            assert f"-n {space}" in (await judged())["warn"]
            store.beat(replace(alive, selection=f"{space} team=x"))
            assert "select by team=x" in (await judged())["told"]
            store.beat(alive)
            assert "nobody records them" in (await judged())["bad"]
            id_ = store.open(cluster.id, TaskRef(space, "job", name), job["metadata"]["uid"])
            assert store.lease(id_, "1") is not None
            store.beat(alive)
            assert (await judged()).keys() == {"ok"}

            assert run(["store", "set", "--store", server.url, "collectors=2"]) == 0
            assert "collectors      2" in capsys.readouterr().out
            store.beat(alive)
            assert "1 of 2 collectors" in (await judged())["warn"]
            assert run(["store", "set", "--store", server.url, "collectors=two"]) == 2
            store.leave("1")
            said = await judged()
            assert "0 of 2 collectors" in said["warn"] and "nobody records" in said["bad"]
    await asyncio.to_thread(kube.delete, "namespaces", space)
