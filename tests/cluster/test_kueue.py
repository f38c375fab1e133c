"""Why a task waits in a queue of Kueue, and its position; read only while no pod of it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.cluster import kueue
from cortex_jupyter.cluster.kueue import QueueReader, queue_reasons
from cortex_jupyter.cluster.tasks import list_tasks
from cortex_jupyter.cluster.workloads import Workload, collection
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from aiohttp import web

    from cortex_jupyter.cluster.session import Cluster

WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/team/workloads"
PENDING = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/team/localqueues/gpus/pendingworkloads"
QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor a100, 8 more needed"


def serve(api: Any, *, visibility: bool = True) -> None:
    groups = {"kueue.x-k8s.io": ("Workload", "workloads")}
    if visibility:
        groups["visibility.kueue.x-k8s.io"] = ("LocalQueue", "localqueues")
    api.objects["/api"] = {"kind": "APIVersions", "versions": []}
    versions = [{"name": group, "versions": [{"groupVersion": f"{group}/v1beta2"}]} for group in groups]
    api.objects["/apis"] = {"kind": "APIGroupList", "groups": versions}
    for group, (kind, plural) in groups.items():
        entry = {"name": plural, "namespaced": True, "kind": kind}
        api.objects[f"/apis/{group}/v1beta2"] = {"groupVersion": f"{group}/v1beta2", "resources": [entry]}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


WAITING = condition("QuotaReserved", "False", "Pending", QUOTA)


def workload(
    owner: str, *conditions: dict[str, str], queue: str = "gpus", label: str = "", active: bool = True
) -> dict[str, Any]:
    references = (
        [{"uid": owner, "apiVersion": "batch/v1", "kind": "Job", "name": "x", "controller": True}] if owner else []
    )
    meta = {
        "name": f"job-{owner or label}-1f0e",
        "ownerReferences": references,
        "labels": {"kueue.x-k8s.io/job-uid": label},
    }
    return {
        "metadata": meta,
        "spec": {"queueName": queue, "active": active},
        "status": {"conditions": list(conditions)},
    }


def pending(*names: str) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": name},
            "localQueueName": "gpus",
            "positionInLocalQueue": i,
            "positionInClusterQueue": i + 9,
        }
        for i, name in enumerate(names)
    ]
    return {"kind": "PendingWorkloadsSummary", "metadata": {}, "items": items}


async def test_the_reason_and_the_place_in_the_queue(api: Any, cluster: Cluster) -> None:
    serve(api)
    api.listing(WORKLOADS, workload("a", WAITING), workload("b", WAITING))
    api.objects[PENDING] = pending("job-b-1f0e", "job-a-1f0e")
    assert await queue_reasons(cluster, "team", "a") == {
        "a": f"waits in the queue gpus of Kueue, at place 2 (11 in the cluster queue): {QUOTA}"
    }
    assert (await queue_reasons(cluster, "team")).keys() == {"a", "b"}
    api.deny(PENDING)
    assert await queue_reasons(cluster, "team", "a") == {"a": f"waits in the queue gpus of Kueue: {QUOTA}"}
    api.deny(WORKLOADS)
    assert await queue_reasons(cluster, "team", "a") == {}


@pytest.mark.parametrize("served", [False, True])
async def test_a_cluster_without_kueue_or_without_positions(api: Any, cluster: Cluster, served: bool) -> None:
    if served:
        serve(api, visibility=False)
    api.listing(WORKLOADS, workload("a", WAITING))
    expected = {"a": f"waits in the queue gpus of Kueue: {QUOTA}"} if served else {}
    assert await queue_reasons(cluster, "team", "a") == expected
    assert not any("localqueues" in request for request in api.requests)
    assert served == any("workloads" in request for request in api.requests)


PREEMPTED = condition("Evicted", "True", "Preempted", "preempted to accommodate a workload of a higher priority")


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (workload("a"), "waits in the queue gpus of Kueue"),
        (workload("a", PREEMPTED, WAITING), f"waits in the queue gpus of Kueue: evicted (Preempted): {QUOTA}"),
        (
            workload(
                "a",
                condition("QuotaReserved", "True"),
                condition("Admitted", "False", "UnsatisfiedAdmissionChecks", "waits for a node"),
            ),
            "waits in the queue gpus of Kueue: waits for a node",
        ),
        (
            workload("a", condition("Evicted", "True", "Deactivated", "The workload is deactivated"), active=False),
            "waits in the queue gpus of Kueue: deactivated: The workload is deactivated",
        ),
        (workload("a", WAITING, queue=""), f"waits for Kueue: {QUOTA}"),
        (workload("", WAITING, label="a"), f"waits in the queue gpus of Kueue: {QUOTA}"),
        (workload("b", WAITING, label="a"), None),  # the owner decides
        (workload("a", condition("QuotaReserved", "True"), condition("Admitted", "True")), None),
        (workload("a", WAITING, condition("Finished", "True", "Failed")), None),
        ({"metadata": {"name": "odd"}, "status": {"conditions": [None, "x", {}]}}, None),
    ],
)
async def test_what_a_workload_says(api: Any, cluster: Cluster, obj: dict[str, Any], text: str | None) -> None:
    serve(api)
    api.listing(WORKLOADS, obj)
    assert (await queue_reasons(cluster, "team")).get("a") == text


async def test_a_list_asks_only_if_a_task_waits(api: Any, cluster: Cluster) -> None:
    serve(api)
    for kind in ("cronjob", "deployment", "statefulset", "daemonset", "pod"):
        api.listing(collection(kind, "team"))
    job = {
        "metadata": {"name": "train", "uid": "a", "creationTimestamp": "2023-11-14T22:00:00Z", "labels": {}},
        "spec": {"suspend": True},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    api.listing(collection("job", "team"), job)
    api.listing(WORKLOADS, workload("a", WAITING))
    api.objects[PENDING] = pending("job-a-1f0e")
    (row,) = await list_tasks(cluster, "team")
    assert row["state"] == "succeeded" and not any("kueue" in request for request in api.requests if "team" in request)
    api.listing(collection("job", "team"), job | {"status": {}})
    (row,) = await list_tasks(cluster, "team")
    assert (row["state"], row["status"]) == ("pending", "Suspended")
    assert row["message"] == (
        f"Log not available yet: the Job waits in the queue gpus of Kueue, at place 1 (10 in the cluster queue): {QUOTA}"
    )


async def test_many_waiting_tasks_are_read_at_once_and_seldom(api: Any, cluster: Cluster) -> None:
    serve(api)
    uids = [f"u{i}" for i in range(20)]
    api.listing(WORKLOADS, *(workload(uid, WAITING) for uid in uids))
    api.objects[PENDING] = pending(*(f"job-{uid}-1f0e" for uid in uids))
    reader = QueueReader(cluster)
    for _ in range(3):
        for i, uid in enumerate(uids):
            reason = await reader.reason(Workload(TaskRef("team", "job", uid), uid, {}))
            assert f"at place {i + 1} " in reason
    assert len([request for request in api.requests if "/workloads" in request]) <= 6
    assert len([request for request in api.requests if "pendingworkloads" in request]) <= 6


async def test_the_reason_does_not_wait_for_the_position(
    api: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(api)
    api.listing(WORKLOADS, workload("a", WAITING))
    monkeypatch.setattr(kueue, "_POSITIONS_S", 0.05)

    async def hangs(_: web.Request) -> web.Response:
        await asyncio.sleep(600)
        raise AssertionError

    api.objects[PENDING] = hangs
    assert await queue_reasons(cluster, "team", "a") == {"a": f"waits in the queue gpus of Kueue: {QUOTA}"}
