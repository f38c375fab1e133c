"""Lists are read in consistent chunks, completely, and without the parts of objects that we never use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cluster.conftest import kubeconfig, status
from cluster.test_compression import pod

from cortex_jupyter.cluster.pods import without_bulk
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.cluster.tasks import list_tasks
from cortex_jupyter.errors import ClusterError, NotAllowed

if TYPE_CHECKING:
    from pathlib import Path

PODS = "/api/v1/namespaces/team/pods"


class Collection:
    """Answers like an API server that honours `limit`, up to its own maximum."""

    def __init__(self, count: int) -> None:
        self.items = [pod(f"p{n}") for n in range(count)]
        self.queries: list[dict[str, str]] = []
        self.expire: list[int] = []  # the requests, by number, whose token has expired
        self.honours = True

    async def handle(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.queries.append(query)
        if len(self.queries) in self.expire and "continue" in query:
            return status(410, "The provided continue parameter is too old")
        begin = int(query.get("continue") or 0)
        limit = int(query.get("limit") or 0) if self.honours else 0
        end = begin + limit if limit else len(self.items)
        metadata: dict[str, Any] = {"resourceVersion": "7"}
        if end < len(self.items):
            metadata |= {"continue": str(end), "remainingItemCount": len(self.items) - end}
        return web.json_response({"metadata": metadata, "items": self.items[begin:end]})


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


@pytest.fixture
def pods(api: Any) -> Collection:
    collection = Collection(1000)
    api.objects[PODS] = collection.handle
    return collection


async def test_a_list_comes_in_chunks_of_about_the_same_size(cluster: Cluster, pods: Collection) -> None:
    items, version = await cluster.read_list(PODS, {"labelSelector": "a=b"})
    assert names(items) == [f"p{n}" for n in range(1000)] and version == "7"
    assert len(pods.queries) > 2 and all(query["labelSelector"] == "a=b" for query in pods.queries)
    limits = [int(query["limit"]) for query in pods.queries]
    assert limits[0] == 100 and all(100 < limit < 250 for limit in limits[1:])  # 10 kB each


async def test_small_objects_need_few_requests(cluster: Cluster, pods: Collection) -> None:
    pods.items = [{"metadata": {"name": f"p{n}"}} for n in range(1000)]
    await cluster.read_list(PODS)
    assert [int(query["limit"]) for query in pods.queries] == [100, 500, 500]


async def test_a_list_that_expires_begins_again(cluster: Cluster, pods: Collection) -> None:
    pods.expire = [2]
    items, _ = await cluster.read_list(PODS)
    assert names(items) == [f"p{n}" for n in range(1000)]
    pods.queries.clear()
    pods.expire = [2, 5]
    items, _ = await cluster.read_list(PODS)
    assert names(items) == [f"p{n}" for n in range(1000)]
    assert "limit" not in pods.queries[-1], "the third attempt does not read the whole list at once"


async def test_a_server_that_ignores_the_limit(cluster: Cluster, pods: Collection) -> None:
    pods.honours = False
    items, _ = await cluster.read_list(PODS)
    assert len(items) == 1000 and len(pods.queries) == 1


async def test_a_collection_without_items(api: Any, cluster: Cluster) -> None:
    """Go writes an empty list as null."""
    api.objects[PODS] = {"metadata": {"resourceVersion": "3"}, "items": None}
    assert await cluster.read_list(PODS) == ([], "3")
    api.deny(PODS)
    with pytest.raises(NotAllowed):
        await cluster.read_list(PODS)

    async def gone(_: web.Request) -> web.Response:
        return status(410, "gone for good")

    api.objects[PODS] = gone
    with pytest.raises(ClusterError, match="gone for good"):
        await cluster.read_list(PODS)


async def test_each_chunk_is_cut_before_the_next_one_is_requested(cluster: Cluster, pods: Collection) -> None:
    """Otherwise a list would take as much memory as all of its whole objects."""
    requests_at: dict[str, int] = {}

    def cut(item: dict[str, Any]) -> dict[str, Any]:
        requests_at[item["metadata"]["name"]] = len(pods.queries)
        return {}

    items, _ = await cluster.read_list(PODS, cut=cut)
    assert items == [{}] * 1000
    expected = [n + 1 for n, query in enumerate(pods.queries) for _ in range(int(query["limit"]))]
    assert list(requests_at.values()) == expected[:1000]


async def test_many_jobs_and_pods_are_matched_by_label(api: Any, cluster: Cluster, pods: Collection) -> None:
    """Each pod belongs to the Job with its labels, however many Jobs and pods there are."""
    jobs = []
    for n in range(300):
        labels = {"job-name": f"j{n}", "team": "a"}
        spec = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": []}},
        }
        meta = {"name": f"j{n}", "uid": f"j{n}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        jobs.append({"metadata": meta, "spec": spec, "status": {"active": 1}})
        for one in pods.items[3 * n : 3 * n + 3]:
            owner = {"uid": f"j{n}", "controller": True}
            one["metadata"] |= {
                "labels": labels,
                "ownerReferences": [owner],
                "creationTimestamp": "2026-01-01T00:00:00Z",
            }
    pods.items = pods.items[:900]
    api.listing("/apis/batch/v1/namespaces/team/jobs", *jobs)
    for path in ("apis/apps/v1/namespaces/team/deployments", "apis/batch/v1/namespaces/team/cronjobs"):
        api.listing(f"/{path}")
    rows = await list_tasks(cluster, "team")
    assert len(rows) == 300 and {row["pods"] for row in rows} == {3}
    assert [row["name"] for row in await list_tasks(cluster, "team", "job-name=j7")] == ["j7"]


async def test_a_pod_without_bulk() -> None:
    spec = {
        "nodeName": "n",
        "volumes": [{"name": "v"}],
        "initContainers": [{"name": "i", "restartPolicy": "Always", "env": []}],
        "containers": [{"name": "c", "env": [{"name": "A"}], "image": "x"}],
    }
    annotations = {
        "kubectl.kubernetes.io/default-container": "c",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    meta = {"name": "p", "labels": {"a": "b"}, "managedFields": [{}], "annotations": annotations}
    found = without_bulk({"metadata": meta, "spec": spec, "status": {"phase": "Running"}})
    assert (
        found
        == without_bulk(found)
        == {
            "metadata": {
                "name": "p",
                "labels": {"a": "b"},
                "annotations": {"kubectl.kubernetes.io/default-container": "c"},
            },
            "spec": {
                "nodeName": "n",
                "initContainers": [{"name": "i", "restartPolicy": "Always"}],
                "containers": [{"name": "c"}],
            },
            "status": {"phase": "Running"},
        }
    )


async def test_a_job_without_bulk() -> None:
    """Containers stay, because they are counted when pods came and went unseen."""
    pod = {"containers": [{"name": "c", "image": "x"}, {"name": "d"}], "volumes": [{"name": "v"}]}
    spec = {"parallelism": 2, "template": {"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": pod}}
    found = without_bulk({"metadata": {"name": "j", "managedFields": [{}]}, "spec": spec})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]}}
    assert found == without_bulk(found) == {"metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": template}}


async def test_only_a_remote_server_is_asked_to_compress(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compression costs the API server more than a local network saves."""
    api.objects["/x"] = {}
    far = await Cluster.open(kubeconfig(tmp_path / "c", "https://api.example:6443"))
    assert not far._configuration.is_near
    async with await Cluster.open(kubeconfig(tmp_path / "c", api.url)) as cluster:
        await cluster.json("/x")
        monkeypatch.setattr(type(cluster._configuration), "is_near", False)
        await cluster.json("/x")
    assert [seen["Accept-Encoding"] for seen in api.seen] == ["identity", "gzip"]
