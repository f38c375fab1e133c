"""From a name to a workload: every kind, the ambiguous, the missing, and what may not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.cluster.tasks import list_tasks, meant, pods_of, resolve
from cortex_jupyter.cluster.workloads import COLLECTIONS, collection, fetch
from cortex_jupyter.errors import AmbiguousTask, BadQuery, ClusterError, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.records import TaskRef

if TYPE_CHECKING:
    from aiohttp import web

    from cortex_jupyter.cluster.session import Cluster

KINDS = [k for k in COLLECTIONS if k != "cronjob"]


def obj(name: str, uid: str = "", created: str = "2023-11-14T22:00:00Z", **extra: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": uid or f"uid-{name}", "creationTimestamp": created, "labels": {}}
    return {"metadata": meta | extra.pop("metadata", {}), "spec": {"containers": []}, "status": {}} | extra


def put(api: Any, kind: str, *objects: dict[str, Any]) -> None:
    api.listing(collection(kind, "team"), *objects)
    for one in objects:
        api.objects[f"{collection(kind, 'team')}/{one['metadata']['name']}"] = one


def ref(text: str) -> TaskRef:
    return TaskRef.parse(text, "team")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind(api: Any, cluster: Cluster, kind: str) -> None:
    put(api, kind, obj("x"))
    for text in (f"{kind}/x", "x"):
        found = await resolve(cluster, ref(text))
        assert (found.ref.key, found.uid) == (f"team:{kind}/x", "uid-x")


async def test_a_bare_name_is_a_job_first(api: Any, cluster: Cluster) -> None:
    put(api, "job", obj("x", "j"))
    put(api, "deployment", obj("x", "d"))
    assert (await resolve(cluster, ref("x"))).uid == "j"


async def test_a_bare_name_of_two_kinds_is_ambiguous(api: Any, cluster: Cluster) -> None:
    put(api, "deployment", obj("x"))
    put(api, "pod", obj("x"))
    with pytest.raises(AmbiguousTask, match=r"deployment/x, pod/x"):
        await resolve(cluster, ref("x"))


async def test_a_cron_job_is_its_newest_job(api: Any, cluster: Cluster) -> None:
    put(api, "cronjob", obj("nightly", "c"))
    own = {"metadata": {"ownerReferences": [{"uid": "c"}]}}
    put(
        api, "job", obj("nightly-1", created="2023-11-14T01:00:00Z", **own), obj("other", created="2023-12-01T00:00:00Z"),
        obj("nightly-2", created="2023-11-15T01:00:00Z", **own),
    )  # fmt: skip
    assert (await resolve(cluster, ref("nightly"))).ref.key == "team:job/nightly-2"
    put(api, "job")
    with pytest.raises(TaskNotFound, match="has not started a Job yet"):
        await resolve(cluster, ref("cronjob/nightly"))


async def test_what_is_missing_takes_one_request_where_its_kind_is_known(api: Any, cluster: Cluster) -> None:
    with pytest.raises(TaskNotFound, match="no job 'zzz' in namespace 'team'"):
        await resolve(cluster, ref("job/zzz"))
    assert len(api.requests) == 1
    with pytest.raises(TaskNotFound, match="no task 'zzz' in namespace 'team'"):
        await resolve(cluster, ref("zzz"))


async def test_what_was_meant_by_what_is_missing(api: Any, cluster: Cluster) -> None:
    for kind in KINDS:
        put(api, kind)
    put(api, "job", obj("train-1"), obj("eval"))
    put(api, "pod", obj("trian-x"))
    assert await meant(cluster, ref("trian-1")) == "trian-x"
    assert await meant(cluster, ref("job/trian-1")) == "train-1"
    assert await meant(cluster, ref("job/zzz")) is None
    api.deny(collection("pod", "team"))
    assert await meant(cluster, ref("trian-1")) is None


async def test_who_may_read_only_some_kinds(api: Any, cluster: Cluster) -> None:
    api.deny(f"{collection('job', 'team')}/x", "jobs.batch is forbidden")
    with pytest.raises(NotAllowed, match="jobs"):
        await resolve(cluster, ref("x"))
    # The name belongs to a kind that may be read.
    put(api, "deployment", obj("x"))
    assert (await resolve(cluster, ref("x"))).ref.kind == "deployment"
    with pytest.raises(NotAllowed):
        await resolve(cluster, ref("job/x"))


async def test_an_error_is_no_missing_task(api: Any, cluster: Cluster) -> None:
    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError

    api.objects[f"{collection('job', 'team')}/x"] = broken
    with pytest.raises(ClusterError):
        await resolve(cluster, ref("x"))


async def test_a_selector_is_itself(api: Any, cluster: Cluster) -> None:
    found = await resolve(cluster, ref("-l app=x"))
    assert found.ref.key == "team:selector/app=x"
    put(api, "pod", obj("b", created="2023-11-14T22:00:01Z"), obj("a"))
    assert [p["metadata"]["name"] for p in await pods_of(cluster, found)] == ["a", "b"]
    assert "labelSelector=app%3Dx" in api.requests[-1]


async def test_a_platforms_own_task_id(api: Any, cluster: Cluster) -> None:
    for kind in KINDS:
        put(api, kind)
    put(api, "pod", obj("p"))
    found = await resolve(cluster, ref("t-77"), "example.org/task")
    assert found.ref == TaskRef("team", "selector", "example.org/task=t-77")
    # A recorder finds it by its resolved name: it is the same one.
    assert (await resolve(cluster, found.ref)).uid == found.uid
    put(api, "job", obj("launched-by-it"))
    assert (await resolve(cluster, ref("t-77"), "example.org/task")).ref.key == "team:job/launched-by-it"


async def test_the_list_counts_a_workloads_pods_there(api: Any, cluster: Cluster) -> None:
    owner = {"ownerReferences": [{"uid": "u", "controller": True}], "labels": {"job-name": "x"}}
    put(api, "job", obj("x", spec={"selector": {"matchLabels": {"job-name": "x"}}}))
    put(api, "pod", obj("x-1", metadata=owner), obj("bare"))
    api.deny(collection("deployment", "team"))
    rows = {row["task"]: row for row in await list_tasks(cluster, "team")}
    assert set(rows) == {"team:job/x", "team:pod/bare"}
    assert rows["team:job/x"]["pods"] == 1
    api.deny(collection("pod", "team"))
    with pytest.raises(NotAllowed):
        await list_tasks(cluster, "team")


@pytest.mark.parametrize("selector", ["app in (a,b)", "app!=c", "app", "app==a"])
async def test_bare_pods_are_selected_by_the_server(api: Any, cluster: Cluster, selector: str) -> None:
    from aiohttp import web  # noqa: PLC0415

    async def pods(request: web.Request) -> web.Response:
        both = [obj("a", metadata={"labels": {"app": "a"}}), obj("z", metadata={"labels": {"tier": "b"}})]
        found = both[:1] if request.query.get("labelSelector") == selector else both
        return web.json_response({"metadata": {}, "items": found})

    api.objects[collection("pod", "team")] = pods
    assert [row["name"] for row in await list_tasks(cluster, "team", selector)] == ["a"]


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("team/../../nodes/n1/proxy", ""),
        ("..", ""),
        (".", "x"),
        ("team", "../../nodes"),
        ("team", ".."),
        ("team", "x/log?y"),
    ],
)
async def test_a_name_is_one_segment_of_a_path(api: Any, cluster: Cluster, namespace: str, name: str) -> None:
    asked: list[str] = []

    async def anything(request: web.Request) -> web.Response:
        from aiohttp import web  # noqa: PLC0415

        asked.append(request.raw_path)
        return web.json_response({"items": []})

    for path in (
        "/api/v1/nodes/n1/proxy/pods",
        "/api/v1/pods",
        "/api/v1/namespaces/nodes",
        "/api/v1/namespaces/team/pods/x/log",
    ):
        api.objects[path] = anything
    for path in ("/api/v1/namespaces", "/api/v1/nodes", "/api/v1/namespaces/pods/x", "/api/v1/namespaces/team"):
        api.objects[path] = anything
    with pytest.raises((BadQuery, NotFound)):
        await fetch(cluster, "pod", namespace, name)
    assert not asked
