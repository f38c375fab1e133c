"""The end of a task whose object does not show it: by its pods and by their owners."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.cluster.ends import OwnerReader, goes_on, state_by_pods
from cortex_jupyter.cluster.workloads import Workload, ends_with_pods
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

Object = dict[str, Any]
GROUPS = {"example.org": ("Experiment", "experiments"), "argoproj.io": ("Workflow", "workflows")}
COLLECTIONS = {
    "Job": ("batch/v1", "/apis/batch/v1/namespaces/team/jobs"),
    "Pod": ("v1", "/api/v1/namespaces/team/pods"),
    "CronJob": ("batch/v1", "/apis/batch/v1/namespaces/team/cronjobs"),
    "ReplicaSet": ("apps/v1", "/apis/apps/v1/namespaces/team/replicasets"),
    "Deployment": ("apps/v1", "/apis/apps/v1/namespaces/team/deployments"),
    "Experiment": ("example.org/v1", "/apis/example.org/v1/namespaces/team/experiments"),
    "Workflow": ("argoproj.io/v1", "/apis/argoproj.io/v1/namespaces/team/workflows"),
}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
FAILED = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}


class Objects:
    """The objects of a namespace: `kind/name` to `(owner, status)`, the owner as `kind/name` or empty."""

    def __init__(self, api: Any) -> None:
        self.api = api
        api.objects["/api"] = {"kind": "APIVersions", "versions": []}
        api.objects["/apis"] = {
            "kind": "APIGroupList",
            "groups": [{"name": group, "versions": [{"groupVersion": f"{group}/v1"}]} for group in GROUPS],
        }
        for group, (kind, plural) in GROUPS.items():
            entry = {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind}
            api.objects[f"/apis/{group}/v1"] = {"groupVersion": f"{group}/v1", "resources": [entry]}
        for _, path in COLLECTIONS.values():
            api.listing(path)

    def put(self, name: str, owner: str = "", **status: Any) -> Object:
        kind, _, short = name.partition("/")
        api_version, path = COLLECTIONS[kind]
        meta: Object = {"name": short, "uid": f"uid-{short}", "creationTimestamp": "2023-11-14T22:00:00Z"}
        if owner:
            owner_kind, _, owner_name = owner.partition("/")
            reference = {"apiVersion": COLLECTIONS[owner_kind][0], "kind": owner_kind, "name": owner_name}
            meta["ownerReferences"] = [reference | {"uid": f"uid-{owner_name}", "controller": True}]
        spec = {"containers": [{"name": "main"}]} if kind == "Pod" else {}
        obj = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": meta | {"namespace": "team"},
            "spec": spec,
            "status": status,
        }
        self.api.objects[path]["items"].append(obj)
        self.api.objects[f"{path}/{short}"] = obj
        return obj

    def pod(self, name: str, owner: str = "", code: int = 0) -> Object:
        end = {"exitCode": code, "containerID": name, "finishedAt": "2023-11-14T22:01:00Z"}
        main = {"name": "main", "containerID": name, "restartCount": 0, "state": {"terminated": end}}
        return self.put(
            f"Pod/{name}", owner, phase="Failed" if code else "Succeeded", containerStatuses=[main], podIP=""
        )


@pytest.fixture
def objects(api: Any) -> Objects:
    return Objects(api)


SELECTOR = Workload(TaskRef("team", "selector", "app=x"), "selector:app=x", {})


def experiment(**status: Any) -> Workload:
    obj = {"kind": "Experiment", "metadata": {"name": "exp", "uid": "uid-exp"}, "spec": {}, "status": status}
    return Workload(TaskRef("team", "experiment.example.org", "exp"), "uid-exp", obj)


async def end(
    cluster: Cluster, workload: Workload, *pods: Object, jobs: tuple[Object, ...] = ()
) -> tuple[str, str] | None:
    state = await state_by_pods(cluster, workload, list(pods), jobs)
    return state and (state.name, state.message)


def test_a_status_of_known_form_is_left_to_the_operator() -> None:
    assert ends_with_pods(experiment(stage="warming")) and ends_with_pods(experiment(phase="Ready"))
    assert ends_with_pods(experiment()) and ends_with_pods(SELECTOR)
    assert not ends_with_pods(experiment(phase="Running"))
    assert not ends_with_pods(experiment(conditions=[{"type": "Running", "status": "True"}]))
    suspended = experiment(stage="warming")
    suspended.obj["spec"]["suspend"] = True
    assert not ends_with_pods(suspended)
    nightly = experiment(stage="warming")
    nightly.obj["spec"]["schedule"] = "0 1 * * *"
    assert not ends_with_pods(nightly)
    unreadable = replace(
        experiment(), ref=TaskRef("team", "workflow.argoproj.io", "x"), lacks="get workflows.argoproj.io"
    )
    assert ends_with_pods(unreadable)
    for kind in ("raycluster.ray.io", "workflow.argoproj.io", "job"):  # one never ends, the others show it
        assert not ends_with_pods(Workload(TaskRef("team", kind, "x"), "u", {"metadata": {}, "status": {}}))


async def test_a_custom_resource_ends_as_its_pods_did(objects: Objects, cluster: Cluster) -> None:
    objects.put("Experiment/exp", stage=4)
    good, bad = objects.pod("a", "Experiment/exp"), objects.pod("b", "Experiment/exp", code=3)
    assert await end(cluster, experiment(stage=4), good) == ("succeeded", "Experiment complete exit 0")
    assert await end(cluster, experiment(stage=4), good, bad) == (
        "failed",
        "Experiment failed exit 3: pod b failed first",
    )
    lost = good | {"status": {"phase": "Running"}}
    assert await end(cluster, experiment(stage=4), lost) == (
        "failed",
        "Experiment failed: its pods were deleted before they ended",
    )


async def test_a_job_of_a_custom_resource_may_create_more_pods(objects: Objects, cluster: Cluster) -> None:
    objects.put("Experiment/exp", stage=4)
    objects.put("Job/retried", "Experiment/exp", **COMPLETE)
    pods = [objects.pod("r-0", "Job/retried", code=1), objects.pod("r-1", "Job/retried")]
    assert await end(cluster, experiment(stage=4), *pods) == ("succeeded", "Experiment complete exit 0")
    waiting = objects.put("Job/suspended-without-a-pod", "Experiment/exp")
    assert await end(cluster, experiment(stage=4), *pods, jobs=(waiting,)) is None
    waiting["status"] = FAILED
    assert await end(cluster, experiment(stage=4), *pods, jobs=(waiting,)) == (
        "succeeded",
        "Experiment complete exit 0",
    )


async def test_a_selector_is_over_with_what_owns_its_pods(objects: Objects, cluster: Cluster) -> None:
    bare, bad = objects.pod("bare"), objects.pod("bad", code=4)
    assert await end(cluster, SELECTOR, bare) == ("succeeded", "Selector complete exit 0")
    assert await end(cluster, SELECTOR, bare, bad) == ("failed", "Selector failed exit 4: pod bad failed first")
    job = objects.put("Job/train")
    retried = [objects.pod("train-0", "Job/train", code=1), objects.pod("train-1", "Job/train")]
    assert await end(cluster, SELECTOR, bare, *retried) is None, "the Job may create another pod"
    job["status"] = COMPLETE
    assert await end(cluster, SELECTOR, bare, *retried) == ("succeeded", "Selector complete exit 0")
    job["status"] = FAILED
    assert await end(cluster, SELECTOR, bare, *retried) == (
        "failed",
        "Selector failed exit 1: pod train-0 failed first",
    )
    assert await end(cluster, SELECTOR, bare, retried[1]) == (
        "failed",
        "Selector failed: Job failed: DeadlineExceeded",
    )
    del objects.api.objects["/apis/batch/v1/namespaces/team/jobs/train"]
    assert await end(cluster, SELECTOR, retried[1]) == ("succeeded", "Selector complete exit 0"), "the Job is deleted"


async def test_of_many_owners_only_those_that_are_not_over_are_read_again(objects: Objects, cluster: Cluster) -> None:
    jobs, path = [f"done-{i}" for i in range(20)], COLLECTIONS["Job"][1]
    for name in jobs:
        objects.put(f"Job/{name}", **COMPLETE)
    waiting = objects.put("Job/waiting")
    pods = [objects.pod(f"{name}-0", f"Job/{name}") for name in (*jobs, "waiting")]
    reader, requests = OwnerReader(cluster, "team"), objects.api.requests

    def reads() -> tuple[int, int]:
        read = [request.partition("?")[0] for request in requests if f"GET {path}" in request]
        return read.count(f"GET {path}"), len(read)

    assert await state_by_pods(cluster, SELECTOR, pods, reader=reader) is None
    lists, count = reads()
    assert lists == 2 and count <= 8, "once for the owners' owners, and once for their states"
    requests.clear()
    assert await state_by_pods(cluster, SELECTOR, pods, reader=reader) is None
    assert reads() == (0, 1)
    waiting["status"] = COMPLETE
    state = await state_by_pods(cluster, SELECTOR, pods, reader=reader)
    assert state is not None and state.name == "succeeded"
    objects.api.deny(path)  # a user may be allowed to get Jobs, but not to list them
    assert await end(cluster, SELECTOR, *pods) == ("succeeded", "Selector complete exit 0")


@pytest.mark.parametrize("top", ["Deployment/web", "CronJob/nightly", "Workflow/etl"])
async def test_a_selector_with_a_topmost_owner_that_goes_on_is_not_over(
    objects: Objects, cluster: Cluster, top: str
) -> None:
    part = "ReplicaSet/web-1" if top.startswith("Deployment") else "Job/part"
    objects.put(top, phase="Running")
    objects.put(part, top, **COMPLETE)
    assert await end(cluster, SELECTOR, objects.pod("a"), objects.pod("b", part)) is None


async def test_owners_that_may_not_be_read_leave_the_end_to_the_pods(objects: Objects, cluster: Cluster) -> None:
    pod = objects.pod("a", "Workflow/etl", code=3)
    for path in ("", "/etl"):
        objects.api.deny(COLLECTIONS["Workflow"][1] + path)
    assert await end(cluster, SELECTOR, pod) == ("failed", "Selector failed exit 3")


async def test_a_job_of_a_selector_that_may_not_be_read_may_begin_another_attempt(
    objects: Objects, cluster: Cluster
) -> None:
    bare, failed = objects.pod("bare"), objects.pod("train-0", "Job/train", code=1)
    for path in ("", "/train", "/good"):
        objects.api.deny(COLLECTIONS["Job"][1] + path)
    assert await end(cluster, SELECTOR, bare, failed) is None
    assert await end(cluster, SELECTOR, bare, objects.pod("good-0", "Job/good")) == (
        "succeeded",
        "Selector complete exit 0",
    )


async def test_whether_a_task_goes_on_after_its_end(objects: Objects, cluster: Cluster) -> None:
    objects.put("Experiment/exp")
    old = objects.pod("old", "Experiment/exp")["metadata"]["uid"]
    assert not await goes_on(cluster, experiment(phase="Succeeded"), set())
    assert await goes_on(cluster, experiment(phase="Running"), {old}), "its object went back"
    assert not await goes_on(cluster, experiment(stage=4), {old})
    for workload in (experiment(stage=4), SELECTOR):
        assert await goes_on(cluster, workload, set()), "a pod came and went meanwhile"
    objects.put("Pod/new", "Experiment/exp", phase="Pending")
    assert await goes_on(cluster, experiment(stage=4), {old})
    assert not await goes_on(cluster, Workload(TaskRef("team", "job", "x"), "u", {"status": {}}), set())
