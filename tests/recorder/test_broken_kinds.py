"""Kinds that cannot be read for a while: their Jobs are recorded all the same, and their objects count as they were."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cluster.conftest import Api, kubeconfig, serving, status
from support.hand import until

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process import health as health_module
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cortex_jupyter.store import RecordingInfo

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
async def collecting(
    api: Api, folder: Path, namespaces: tuple[str, ...] = ("team",)
) -> AsyncIterator[tuple[Selection, Health]]:
    store = open_store(f"sqlite://{folder}/r.sqlite")
    health = Health()
    health.heartbeat_taken()
    async with await Cluster.open(kubeconfig(folder / "config", api.url)) as cluster:
        selection = Selection(cluster, store, namespaces=namespaces, health=health)
        running = asyncio.create_task(selection.run(lambda: None))
        try:
            yield selection, health
        finally:
            running.cancel()
            await asyncio.wait([running])
            store.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as server:
        server.objects["/api"] = {"kind": "APIVersions", "versions": []}
        group = {"name": "argoproj.io", "versions": [{"groupVersion": "argoproj.io/v1alpha1"}]}
        server.objects["/apis"] = {"kind": "APIGroupList", "groups": [group]}
        entry = {"name": "workflows", "namespaced": True, "kind": "Workflow"}
        server.objects[GROUP] = {"groupVersion": "argoproj.io/v1alpha1", "resources": [entry]}
        for path in (JOBS, PODS, WORKFLOWS):
            collection(server, path)
        yield server


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
        deleted_at = len(api.requests)
        await until(lambda: sum(WORKFLOWS in request for request in api.requests[deleted_at:]) > 2)
        assert health.readiness() == []


async def test_a_job_that_names_an_owner_of_another_namespace_is_recorded(api: Api, tmp_path: Path) -> None:
    workflow = WORKFLOW | {"status": {"phase": "Running"}}
    collection(api, f"{GROUP}/workflows", workflow)
    collection(api, "/apis/batch/v1/jobs", JOB | {"metadata": JOB["metadata"] | {"namespace": "other"}})
    collection(api, "/api/v1/pods")
    async with collecting(api, tmp_path, ()) as (selection, _):
        await until(lambda: len(selection.ids) == 2)  # the Workflow and the Job


WORKFLOW = {"metadata": {"name": "etl", "namespace": "team", "uid": "uid-etl"}, "spec": {}}


@asynccontextmanager
async def recording(api: Api, folder: Path) -> AsyncIterator[Callable[[], RecordingInfo]]:
    """Record the Workflow; yield a function that returns the state of the recording."""
    store = open_store(f"sqlite://{folder}/r.sqlite")
    async with await Cluster.open(kubeconfig(folder / "config", api.url)) as cluster:
        id_ = store.open(cluster.id, TaskRef("team", "workflow.argoproj.io", "etl"), "uid-etl")
        store.want(id_, 600)
        running = asyncio.create_task(Recorder(store, cluster, idle=600).run())

        def info() -> RecordingInfo:
            info = store.info(id_)
            assert info is not None
            return info

        try:
            yield info
        finally:
            running.cancel()
            await asyncio.wait([running])
            store.close()


async def no_such_path(_: web.Request) -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


@pytest.fixture
def missing(request: pytest.FixtureRequest, api: Api, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Remove the kind, as a server without it answers, and return a function that restores it."""
    monkeypatch.setattr("cortex_jupyter.recorder.task._CHECK_S", 0.1)
    monkeypatch.setattr("cortex_jupyter.cluster.discovery._MISS_S", 0.0)
    collection(api, "/api/v1/namespaces/team/events")
    before = dict(api.objects)
    if request.param == "discovery":
        api.objects["/apis"] = {"kind": "APIGroupList", "groups": []}
    else:  # discovery was read before
        api.objects[WORKFLOWS] = api.objects[f"{WORKFLOWS}/etl"] = no_such_path
    return before


@pytest.mark.parametrize("missing", ["discovery", "path"], indirect=True)
async def test_a_kind_that_is_missing_for_a_while_ends_no_recording(
    api: Api, missing: dict[str, Any], tmp_path: Path
) -> None:
    """While an API server starts, or the kind's definition is replaced."""
    async with recording(api, tmp_path) as info:
        await until(lambda: info().done or api.requests.count("GET /apis") > 2)
        assert not info().done
        done = WORKFLOW | {"status": {"phase": "Succeeded"}}
        api.objects |= missing | {f"{WORKFLOWS}/etl": done}
        collection(api, WORKFLOWS, done)
        await until(lambda: info().done)
        assert info().state == "succeeded"


@pytest.mark.parametrize("missing", ["discovery", "path"], indirect=True)
@pytest.mark.usefixtures("missing")
async def test_a_kind_that_stays_missing_was_deleted(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.task._NO_KIND_S", 0.5)
    async with recording(api, tmp_path) as info:
        await until(lambda: info().done)
        assert info().state == "gone"
        assert api.requests.count("GET /apis") > 2
