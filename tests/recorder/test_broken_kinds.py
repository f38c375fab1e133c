"""A collector beside kinds that cannot be read: their Jobs are recorded all the same."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cluster.conftest import Api, kubeconfig, serving, status
from support.hand import until

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process import health as health_module
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

JOBS, PODS = "/apis/batch/v1/namespaces/team/jobs", "/api/v1/namespaces/team/pods"
GROUP = "/apis/argoproj.io/v1alpha1"
WORKFLOWS = f"{GROUP}/namespaces/team/workflows"
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "etl", "uid": "uid-etl", "controller": True}
JOB = {
    "metadata": {"name": "train", "namespace": "team", "uid": "uid-train", "ownerReferences": [OWNER]},
    "spec": {"template": {"metadata": {}}},
    "status": {},
}


def collection(api: Api, path: str, *items: dict[str, Any]) -> None:
    """Serve a collection whose watches end soon."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.query.get("watch"):
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": list(items)})
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.2)
        return response

    api.objects[path] = answer


@asynccontextmanager
async def collecting(api: Api, folder: Path) -> AsyncIterator[tuple[Selection, Health]]:
    store = open_store(f"sqlite://{folder}/r.sqlite")
    health = Health()
    health.heartbeat_taken()
    async with await Cluster.open(kubeconfig(folder / "config", api.url)) as cluster:
        selection = Selection(cluster, store, namespaces=("team",), health=health)
        running = asyncio.create_task(selection.run(lambda: None))
        try:
            yield selection, health
        finally:
            running.cancel()
            await asyncio.wait([running])
            store.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as one:
        one.objects["/api"] = {"kind": "APIVersions", "versions": []}
        group = {"name": "argoproj.io", "versions": [{"groupVersion": "argoproj.io/v1alpha1"}]}
        one.objects["/apis"] = {"kind": "APIGroupList", "groups": [group]}
        entry = {"name": "workflows", "namespaced": True, "kind": "Workflow"}
        one.objects[GROUP] = {"groupVersion": "argoproj.io/v1alpha1", "resources": [entry]}
        for path in (JOBS, PODS, WORKFLOWS):
            collection(one, path)
        yield one


@pytest.mark.parametrize("broken", [GROUP, WORKFLOWS, f"{WORKFLOWS}/etl"])
async def test_a_job_of_a_kind_that_cannot_be_read_is_recorded(
    api: Api, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.collector.selection._SETTLE_S", 0.5)
    monkeypatch.setattr("cortex_jupyter.cluster.session.ANSWER_S", 0.2)

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return status(503, "the server is currently unable to handle the request")

    collection(api, JOBS, JOB)
    api.objects[f"{WORKFLOWS}/etl"] = {"metadata": {"uid": "uid-etl"}}
    api.objects[broken] = hang
    async with collecting(api, tmp_path) as (selection, _):
        await until(lambda: selection.ids)


async def test_a_kind_that_was_deleted_leaves_the_collector_ready(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "UNSEEN_S", 0.0)
    async with collecting(api, tmp_path) as (_, health):
        await until(lambda: any(WORKFLOWS in request and "watch=1" in request for request in api.requests))
        del api.objects[WORKFLOWS]
        gone = len(api.requests)
        await until(lambda: sum(WORKFLOWS in request for request in api.requests[gone:]) > 2)
        assert health.readiness() == []
