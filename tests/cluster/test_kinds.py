"""Custom resources: the states of objects, kinds by all names that kubectl accepts, and the owners of pods."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from cortex_jupyter.cluster import discovery as discovery_module
from cortex_jupyter.cluster import kinds, pods
from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.owners import Owners
from cortex_jupyter.cluster.tasks import describe, resolve
from cortex_jupyter.cluster.workloads import Workload, state_of
from cortex_jupyter.errors import AmbiguousTask, BadQuery, ClusterError, TaskNotFound
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster


def true(kind: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def false(kind: str, reason: str = "", message: str = "") -> dict[str, str]:
    return true(kind, reason, message) | {"status": "False"}


PYTORCH = [true("Created"), true("Running", "PyTorchJobRunning")]
#: What operators write, by their sources (`cluster/kinds.py` names them): kind, object without metadata, state.
SHOWN: list[tuple[str, dict[str, Any], str]] = [
    ("jobset.jobset.x-k8s.io", {"status": {"restarts": 0}}, ""),
    ("jobset.jobset.x-k8s.io", {"status": {"conditions": [true("Completed", "AllJobsCompleted")]}}, "succeeded"),
    ("jobset.jobset.x-k8s.io", {"status": {"conditions": [true("Failed", "FailedJobs")]}}, "failed"),
    ("jobset.jobset.x-k8s.io", {"status": {"conditions": [true("Suspended", "SuspendedJobs")]}}, "suspended"),
    ("jobset.jobset.x-k8s.io", {"status": {"conditions": [false("Suspended", "ResumeJobs")]}}, ""),
    ("jobset.jobset.x-k8s.io", {"status": {"conditions": [true("RestartingJobSet")], "restarts": 1}}, ""),
    ("trainjob.trainer.kubeflow.org", {"status": {"jobsStatus": [{"name": "node", "active": 1}]}}, ""),
    ("trainjob.trainer.kubeflow.org", {"status": {"conditions": [true("Complete", "AllJobsCompleted")]}}, "succeeded"),
    ("trainjob.trainer.kubeflow.org", {"status": {"conditions": [true("Failed", "FailedJobs")]}}, "failed"),
    ("trainjob.trainer.kubeflow.org", {"status": {"conditions": [true("Suspended")]}}, "suspended"),
    ("pytorchjob.kubeflow.org", {"status": {"conditions": PYTORCH}}, ""),
    ("pytorchjob.kubeflow.org", {"status": {"conditions": [*PYTORCH[:1], true("Succeeded")]}}, "succeeded"),
    ("tfjob.kubeflow.org", {"status": {"conditions": [true("Created"), true("Failed", "TFJobFailed")]}}, "failed"),
    ("jaxjob.kubeflow.org", {"status": {"conditions": [true("Created"), true("Restarting")]}}, ""),
    ("xgboostjob.kubeflow.org", {"status": {"conditions": [false("Running"), true("Suspended")]}}, "suspended"),
    ("paddlejob.kubeflow.org", {"status": {"conditions": [true("Succeeded", "PaddleJobSucceeded")]}}, "succeeded"),
    ("jaxjob.kubeflow.org", {"status": {"conditions": [true("Succeeded", "JAXJobSucceeded")]}}, "succeeded"),
    ("xgboostjob.kubeflow.org", {"status": {"conditions": [true("Failed", "XGBoostJobFailed")]}}, "failed"),
    ("mpijob.kubeflow.org", {"status": {"conditions": [true("Failed", "MPIJobEvicted")]}}, "failed"),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}}, ""),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}}, "succeeded"),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}}, "failed"),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Failed", "reason": "AppFailed"}}, "failed"),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}}, ""),
    ("rayjob.ray.io", {"status": {"jobDeploymentStatus": "Suspended"}}, "suspended"),
    ("raycluster.ray.io", {"status": {"state": "failed"}}, ""),
    ("rayservice.ray.io", {"status": {"serviceStatus": "Running", "conditions": [true("Ready")]}}, ""),
    ("sparkapplication.sparkoperator.k8s.io", {"status": {"applicationState": {"state": "SUCCEEDING"}}}, ""),
    ("sparkapplication.sparkoperator.k8s.io", {"status": {"applicationState": {"state": "COMPLETED"}}}, "succeeded"),
    ("sparkapplication.sparkoperator.k8s.io", {"status": {"applicationState": {"state": "FAILED"}}}, "failed"),
    ("sparkapplication.sparkoperator.k8s.io", {"status": {"applicationState": {"state": "SUSPENDED"}}}, "suspended"),
    ("sparkapplication.spark.apache.org", {"status": {"currentState": {"currentStateSummary": "Succeeded"}}}, ""),
    (
        "sparkapplication.spark.apache.org",
        {"status": {"currentState": {"currentStateSummary": "ResourceReleased"}}},
        "ended",
    ),
    ("workflow.argoproj.io", {"status": {"phase": "Running"}}, ""),
    ("workflow.argoproj.io", {"status": {"phase": "Succeeded", "conditions": [true("Completed")]}}, "succeeded"),
    ("workflow.argoproj.io", {"status": {"phase": "Failed", "conditions": [true("Completed")]}}, "failed"),
    ("workflow.argoproj.io", {"status": {"phase": "Error"}}, "failed"),
    ("workflow.argoproj.io", {"spec": {"suspend": True}, "status": {"phase": "Running"}}, "suspended"),
    ("job.batch.volcano.sh", {"status": {"state": {"phase": "Running"}, "conditions": [{"status": "Running"}]}}, ""),
    ("job.batch.volcano.sh", {"status": {"state": {"phase": "Completed"}}}, "succeeded"),
    ("job.batch.volcano.sh", {"status": {"state": {"phase": "Terminated"}}}, "failed"),
    ("job.batch.volcano.sh", {"status": {"state": {"phase": "Aborted"}}}, "suspended"),
    ("taskrun.tekton.dev", {"status": {"conditions": [true("Succeeded") | {"status": "Unknown"}]}}, ""),
    ("taskrun.tekton.dev", {"status": {"conditions": [true("Succeeded")]}}, "succeeded"),
    ("pipelinerun.tekton.dev", {"status": {"conditions": [false("Succeeded", "PipelineRunTimeout")]}}, "failed"),
    ("pipelinerun.tekton.dev", {"spec": {"status": "PipelineRunPending"}, "status": {}}, "suspended"),
    ("flyteworkflow.flyte.lyft.com", {"status": {"phase": 1}}, ""),
    ("flyteworkflow.flyte.lyft.com", {"status": {"phase": 3}}, "succeeded"),
    ("flyteworkflow.flyte.lyft.com", {"status": {"phase": 6}}, "failed"),
    ("daskjob.kubernetes.dask.org", {"status": {"jobStatus": "Running"}}, ""),
    ("daskjob.kubernetes.dask.org", {"status": {"jobStatus": "Successful"}}, "succeeded"),
    ("daskjob.kubernetes.dask.org", {"status": {"jobStatus": "Failed"}}, "failed"),
    ("daskcluster.kubernetes.dask.org", {"status": {"phase": "Error"}}, ""),
    ("leaderworkerset.leaderworkerset.x-k8s.io", {"status": {"conditions": [true("Available")]}}, ""),
    ("service.serving.knative.dev", {"status": {"conditions": [true("Ready")]}}, ""),
    ("inferenceservice.serving.kserve.io", {"status": {"conditions": [false("Ready")]}}, ""),
    ("appwrapper.workload.codeflare.dev", {"status": {"phase": "Resetting"}}, ""),
    ("appwrapper.workload.codeflare.dev", {"status": {"phase": "Succeeded"}}, "succeeded"),
    ("appwrapper.workload.codeflare.dev", {"status": {"phase": "Failed"}}, "failed"),
    ("scaledjob.keda.sh", {"status": {"conditions": [true("Ready"), true("Active", "ScalerActive")]}}, ""),
    (
        "cronworkflow.argoproj.io",
        {"spec": {"schedules": ["@daily"]}, "status": {"phase": "Active", "succeeded": 3}},
        "",
    ),
    ("cronworkflow.argoproj.io", {"spec": {"suspend": True}, "status": {"phase": "Active"}}, "suspended"),
    ("scheduledsparkapplication.sparkoperator.k8s.io", {"status": {"scheduleState": "Scheduled"}}, ""),
    ("scheduledsparkapplication.sparkoperator.k8s.io", {"spec": {"suspend": True}}, "suspended"),
    ("scheduledworkflow.kubeflow.org", {"status": {"conditions": [true("Enabled")]}}, ""),
    # Kinds without a row.
    ("experiment.example.org", {}, ""),
    ("experiment.example.org", {"status": {"conditions": [true("Ready"), true("Reconciled")]}}, ""),
    ("experiment.example.org", {"status": {"conditions": [true("Finished")]}}, "succeeded"),
    ("experiment.example.org", {"status": {"conditions": [false("Complete"), true("Failed")]}}, "failed"),
    ("experiment.example.org", {"status": {"state": "SUCCEEDED"}}, "succeeded"),
    ("experiment.example.org", {"status": {"jobStatus": "error"}}, "failed"),
    ("experiment.example.org", {"spec": {"suspend": True}}, "suspended"),
]


@pytest.mark.parametrize(("kind", "obj", "state"), SHOWN)
def test_the_state_that_an_object_shows(kind: str, obj: dict[str, Any], state: str) -> None:
    assert kinds.object_state(kinds.kind_of(kind), obj).name == state


@pytest.mark.parametrize("spec", [{"schedule": "0 1 * * *"}, {"schedule": "@daily", "suspend": False}])
def test_what_has_a_schedule_never_ends(spec: dict[str, Any]) -> None:
    """As RayCronJob has one."""
    for status in ({}, {"phase": "Running"}):
        assert not kinds.shows_ends(kinds.kind_of("nightly.example.org"), {"spec": spec, "status": status})


def test_each_row_is_tried_and_names_its_source() -> None:
    assert kinds.TABLE.keys() <= {kind for kind, _, _ in SHOWN}
    ends = {kind for kind, _, state in SHOWN if state in ("succeeded", "failed", "ended")}
    assert {name for name, kind in kinds.TABLE.items() if kind.ends} <= ends
    assert not {name for name, kind in kinds.TABLE.items() if not kind.ends} & ends
    assert all(kind.source for kind in kinds.TABLE.values())


QUOTA = {"reason": "QuotaExceeded", "message": "waiting for 8 GPUs of team vision"}


@pytest.mark.parametrize(
    ("kind", "status", "word", "message"),
    [
        ("experiment.example.org", {"phase": "Pending"} | QUOTA, "QuotaExceeded", QUOTA["message"]),
        ("experiment.example.org", {"phase": "Pending", "message": "first come"}, "Pending", "first come"),
        ("experiment.example.org", {"state": "Queued", "reason": "NoNode"}, "NoNode", ""),
        ("experiment.example.org", {"phase": "Pending"}, "Pending", ""),
        # A message of the object counts more than a condition, a condition more than a word.
        (
            "experiment.example.org",
            {"conditions": [true("Created", "Seen", "seen")]} | QUOTA,
            "QuotaExceeded",
            QUOTA["message"],
        ),
        (
            "experiment.example.org",
            {"conditions": [true("Queued", "", "10 before it")], "phase": "Pending"},
            "Queued",
            "10 before it",
        ),
        ("experiment.example.org", {"message": "a\n b", "reason": {"a": 1}, "phase": 7}, "", "a b"),
        (
            "rayjob.ray.io",
            {"jobDeploymentStatus": "Initializing", "message": "waiting for the head pod: insufficient cpu"},
            "Initializing",
            "waiting for the head pod: insufficient cpu",
        ),
        ("rayjob.ray.io", {"jobDeploymentStatus": "Waiting"}, "Waiting", ""),
        (
            "job.batch.volcano.sh",
            {"state": {"phase": "Pending", "reason": "NoQueue", "message": "queue q is closed"}},
            "NoQueue",
            "queue q is closed",
        ),
        (
            "sparkapplication.sparkoperator.k8s.io",
            {"applicationState": {"state": "SUBMISSION_FAILED", "errorMessage": "no image"}},
            "SUBMISSION_FAILED",
            "no image",
        ),
        ("raycluster.ray.io", {"state": "suspending", "reason": "asked for"}, "asked for", ""),
        ("experiment.example.org", {}, "", ""),
    ],
)
def test_an_object_without_pods_says_why_in_its_own_words(
    kind: str, status: dict[str, Any], word: str, message: str
) -> None:
    obj = kinds.without_bulk({"kind": "x", "metadata": {"name": "x", "uid": "u"}, "status": status})
    workload = Workload(TaskRef("team", kind, "x"), "u", obj)
    state, row = state_of(workload, []), describe(workload, [])
    words = ": ".join(filter(None, (word, message))) or "no pod has been created"
    assert (state.name, state.reason, state.message) == ("pending", "NoPods", f"Log not available yet: {words}")
    assert (row["status"], row["message"]) == (word, state.message)


@pytest.mark.parametrize(
    "obj",
    [
        {"status": "fine"},
        {"status": ["a"]},
        {"status": {"conditions": {"Ready": True}}},
        {"spec": "x", "status": None},
        {"status": {"conditions": ["x", None, {"status": "True"}, {"type": 3}]}},
        {"status": {"phase": {"a": 1}}},
        {"status": {"startTime": "yesterday", "completionTime": 17}},
        {"spec": {"suspend": "no"}},
    ],
)
def test_a_status_of_an_unknown_form_is_running(obj: dict[str, Any]) -> None:
    obj = kinds.without_bulk({"kind": "Experiment", "metadata": {"name": "x", "uid": "u"}} | obj)
    workload = Workload(TaskRef("team", "experiment.example.org", "x"), "u", obj)
    state = state_of(workload, [])
    assert (state.name, workload.started, workload.finished) == ("pending", None, None)
    assert kinds.finished(kinds.kind_of("experiment.example.org"), obj) == 0


@pytest.fixture(params=["plain", "aggregated"])
def served(request: pytest.FixtureRequest, api: Any) -> None:
    """A cluster that serves RayJobs, Volcano's Jobs and two kinds named Model; as old and as new API servers tell it."""
    groups = {
        "ray.io": ("v1", "RayJob", "rayjobs", []),
        "batch.volcano.sh": ("v1alpha1", "Job", "jobs", ["vcjob"]),
        "a.example.org": ("v1", "Model", "models", []),
        "b.example.org": ("v1", "Model", "models", []),
    }
    if request.param == "aggregated":
        api.objects["/api"] = {"kind": "APIGroupDiscoveryList", "items": []}
        api.objects["/apis"] = {
            "kind": "APIGroupDiscoveryList",
            "items": [
                {
                    "metadata": {"name": group},
                    "versions": [
                        {
                            "version": version,
                            "resources": [
                                {
                                    "resource": plural,
                                    "responseKind": {"kind": kind},
                                    "scope": "Namespaced",
                                    "singularResource": kind.lower(),
                                    "shortNames": short,
                                }
                            ],
                        }
                    ],
                }
                for group, (version, kind, plural, short) in groups.items()
            ],
        }
        return
    api.objects["/api"] = {"kind": "APIVersions", "versions": []}
    versions = [{"name": g, "versions": [{"groupVersion": f"{g}/{v}"}]} for g, (v, *_) in groups.items()]
    api.objects["/apis"] = {"kind": "APIGroupList", "groups": versions}
    for group, (version, kind, plural, short) in groups.items():
        entry = {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "shortNames": short}
        resources = [entry, entry | {"name": f"{plural}/status"}]
        api.objects[f"/apis/{group}/{version}"] = {"groupVersion": f"{group}/{version}", "resources": resources}


@pytest.mark.usefixtures("served")
async def test_a_kind_is_found_by_what_kubectl_accepts(cluster: Cluster) -> None:
    for word in ("rayjob", "RayJobs", "rayjob.ray.io", "rayjobs.v1.ray.io", "rayjobs.ray"):
        assert (await discovery(cluster).find(word)).name == "rayjob.ray.io"
    for word in ("vcjob", "jobs.batch.volcano.sh"):
        assert (await discovery(cluster).find(word)).path("ml") == "/apis/batch.volcano.sh/v1alpha1/namespaces/ml/jobs"
    with pytest.raises(AmbiguousTask, match=r"model\.a\.example\.org, model\.b\.example\.org"):
        await discovery(cluster).find("models")
    assert (await discovery(cluster).find("models.b.example.org")).group == "b.example.org"
    with pytest.raises(TaskNotFound) as caught:
        await discovery(cluster).find("rayjb")
    assert "rayjob" in (caught.value.hint or "")


async def test_a_kind_is_found_by_each_version_that_is_served(cluster: Cluster, api: Any) -> None:
    versions = [{"groupVersion": f"ray.io/{version}", "version": version} for version in ("v1", "v1alpha1")]
    api.objects["/api"] = {"kind": "APIVersions", "versions": []}
    api.objects["/apis"] = {"kind": "APIGroupList", "groups": [{"name": "ray.io", "versions": versions}]}
    entry = {"name": "rayjobs", "singularName": "rayjob", "namespaced": True, "kind": "RayJob"}
    for version in versions:
        name = version["groupVersion"]
        api.objects[f"/apis/{name}"] = {"groupVersion": name, "resources": [entry]}
    for word in ("rayjobs.v1.ray.io", "rayjobs.v1alpha1.ray.io"):
        assert (await discovery(cluster).find(word)).path("ml") == "/apis/ray.io/v1/namespaces/ml/rayjobs"
    with pytest.raises(TaskNotFound):
        await discovery(cluster).find("rayjobs.v2.ray.io")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    "word",
    [
        "vcjob",
        "VCJOB",
        "vcjob.batch.volcano.sh",
        "VCJob.Batch",
        "job.batch.volcano.sh",
        "Jobs.v1alpha1.batch.volcano.sh",
    ],
)
async def test_short_names_and_groups_in_any_case(cluster: Cluster, word: str) -> None:
    assert (await discovery(cluster).find(word)).name == "job.batch.volcano.sh"
    assert TaskRef.parse(f"ml:{word}/mnist").is_custom


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("word", ["model", "Models", "models.v1"])
async def test_a_task_that_none_of_several_kinds_has_lists_the_kinds(cluster: Cluster, word: str) -> None:
    if word == "models.v1":  # a group that begins with v1 is meant, and there is none
        with pytest.raises(TaskNotFound):
            await resolve(cluster, TaskRef.parse(f"ml:{word}/x"))
        return
    with pytest.raises(TaskNotFound) as caught:
        await resolve(cluster, TaskRef.parse(f"ml:{word}/x"))
    assert caught.value.message == "there is no model.a.example.org or model.b.example.org 'x' in namespace 'ml'"
    with pytest.raises(AmbiguousTask) as ambiguous:
        await discovery(cluster).find(word)
    assert ambiguous.value.message.endswith("model.a.example.org, model.b.example.org")
    assert ambiguous.value.hint == "name one: model.a.example.org/NAME"


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("word", "similar"),
    [
        ("rayjb", "rayjob.ray.io"),
        ("RayJobss.ray.io", "rayjob.ray.io"),
        ("vcjbo", "job.batch.volcano.sh"),
        ("modles", "model.a.example.org, model.b.example.org"),
        ("rayjob.ra.io", "rayjob.ray.io"),
    ],
)
async def test_an_unknown_kind_names_near_ones(cluster: Cluster, word: str, similar: str) -> None:
    with pytest.raises(TaskNotFound, match=f"no kind {word.lower()!r}") as caught:
        await resolve(cluster, TaskRef.parse(f"ml:{word}/x"))
    assert caught.value.hint.startswith(f"similar kinds: {similar}")


@pytest.fixture
def core(api: Any) -> None:
    """A cluster that serves the kinds of the core group, and Knative's Service."""
    api.objects["/api"] = {"kind": "APIVersions", "versions": ["v1"]}
    versions = [{"groupVersion": "serving.knative.dev/v1"}]
    api.objects["/apis"] = {"kind": "APIGroupList", "groups": [{"name": "serving.knative.dev", "versions": versions}]}
    named = {
        "v1": ("Secret", "ConfigMap", "Service", "Event", "Pod", "ReplicationController"),
        "serving.knative.dev/v1": ("Service",),
    }
    for version, names in named.items():
        entries = [{"name": f"{kind.lower()}s", "namespaced": True, "kind": kind} for kind in names]
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        api.objects[path] = {"groupVersion": version, "resources": entries}


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("word", ["secret", "configmaps", "ConfigMap", "events"])
async def test_what_creates_no_pods_is_no_task_and_is_not_read(api: Any, cluster: Cluster, word: str) -> None:
    with pytest.raises(BadQuery, match="is no task") as caught:
        await resolve(cluster, TaskRef.parse(f"ml:{word}/x"))
    assert "a Job" in caught.value.hint and not any("/namespaces/" in request for request in api.requests)


@pytest.mark.usefixtures("core")
async def test_what_creates_no_pods_makes_no_kind_ambiguous(cluster: Cluster) -> None:
    assert (await discovery(cluster).find("service")).name == "service.serving.knative.dev"
    assert (await discovery(cluster).find("replicationcontroller")).name == "replicationcontroller"
    assert (await discovery(cluster).find("pods")).is_built_in


def test_only_the_parts_of_an_object_that_show_its_state_are_kept() -> None:
    meta = {"name": "x", "uid": "u"}
    obj = {"apiVersion": "lab.example.org/v1", "kind": "Experiment", "metadata": meta, "spec": {}, "status": {}}
    bulk = {"data": {"password": "x"}, "stringData": {}, "results": [1] * 1000, "operation": {"a": 1}}
    assert kinds.without_bulk(obj | bulk) == obj


@pytest.mark.usefixtures("served")
async def test_a_kind_unlike_all_others(cluster: Cluster) -> None:
    with pytest.raises(TaskNotFound) as caught:
        await discovery(cluster).find("zzzzzz")
    assert caught.value.hint == "`kubectl api-resources` lists the kinds"


@pytest.mark.usefixtures("served")
async def test_a_kind_that_is_not_served_is_looked_for_twice(
    api: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_module, "_MISS_S", 0.0)  # the documents take longer than that to come
    async with asyncio.timeout(30):
        assert await discovery(cluster).of_object("lab.example.org/v1", "Trial") is None
    assert api.requests.count("GET /apis") == 2


async def test_the_node_that_owns_a_static_pod_costs_no_discovery(api: Any, cluster: Cluster) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "uid-n", "controller": True}
    pod = {"metadata": {"name": "etcd", "uid": "uid-etcd", "namespace": "ml", "ownerReferences": [node]}}
    assert [owner.kind for owner in await Owners(cluster).chain(pod)] == ["Node"]
    assert not api.requests


MALFORMED: list[object] = [
    [],
    {"kind": "APIResourceList"},
    {"groupVersion": 3},
    {"groupVersion": "ray.io/v1", "resources": [{"namespaced": True}]},
    {"groupVersion": "ray.io/v1", "resources": "none"},
    {"groupVersion": "ray.io/v1", "resources": [None]},
]
MALFORMED_ROOTS: list[object] = [
    [],
    None,
    {"kind": "APIGroupDiscoveryList", "items": 3},
    {"groups": [{"name": "ray.io", "versions": [{}]}]},
    {
        "kind": "APIGroupDiscoveryList",
        "items": [{"metadata": {}, "versions": [{"resources": [{"scope": "Namespaced"}]}]}],
    },
    {"kind": "APIGroupDiscoveryList", "items": [7]},
    {"groups": [{"versions": []}]},
    {"groups": 3},
    {"groups": [{"name": "ray.io", "versions": [{"groupVersion": 1}]}]},
    {"groups": [{"name": [], "versions": []}]},
]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        *(("/apis/ray.io/v1", document) for document in MALFORMED),
        *(("/apis", document) for document in MALFORMED_ROOTS),
    ],
)
@pytest.mark.parametrize("served", ["plain"], indirect=True)
@pytest.mark.usefixtures("served")
async def test_a_malformed_document_of_a_server_is_an_error_of_the_cluster(
    api: Any, cluster: Cluster, path: str, document: object
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    api.objects[path] = answer
    with pytest.raises(ClusterError):
        await discovery(cluster).of_object("ray.io/v1", "RayJob")
    with pytest.raises(ClusterError):
        await discovery(cluster).find("rayjob")
    if path != "/apis":
        assert (await discovery(cluster).find("vcjob")).kind == "Job", "one group hides no other"


@pytest.mark.usefixtures("served")
async def test_owners_are_walked_through_pods_and_stop_where_they_may_not_be_read(api: Any, cluster: Cluster) -> None:
    def owned(name: str, *owner: str) -> dict[str, Any]:
        keys = ("apiVersion", "kind", "name", "uid")
        references = [dict(zip(keys, owner, strict=True)) | {"controller": True}] if owner else []
        return {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "ml", "ownerReferences": references}}

    driver = owned("driver", "ray.io/v1", "RayJob", "tune", "uid-tune")
    executor = owned("exec", "v1", "Pod", "driver", "uid-driver")
    api.listing("/apis/ray.io/v1/namespaces/ml/rayjobs", owned("tune"))
    owners = Owners(cluster)
    owners.note(driver)
    assert [owner.kind for owner in await owners.chain(executor)] == ["Pod", "RayJob"]
    api.deny("/apis/ray.io/v1/namespaces/ml/rayjobs")
    api.deny("/apis/ray.io/v1/namespaces/ml/rayjobs/tune")
    owners = Owners(cluster)
    owners.note(driver)
    chain = await owners.chain(executor)
    assert [owner.name for owner in chain] == ["driver", "tune"] and owners.may_have_more(chain)
    assert "RayJob" in owners.refusals


JOB_INDEX = "batch.kubernetes.io/job-completion-index"
TRAINING = "training.kubeflow.org"
LWS = "leaderworkerset.sigs.k8s.io"


def jobset(job: str, index: str, attempt: str = "0", role: str = "worker", jobs: str = "2") -> dict[str, str]:
    domain = "jobset.sigs.k8s.io"
    return {
        f"{domain}/jobset-name": "train",
        f"{domain}/replicatedjob-name": role,
        f"{domain}/replicatedjob-replicas": jobs,
        f"{domain}/job-index": job,
        f"{domain}/job-global-index": "1",
        f"{domain}/restart-attempt": attempt,
        JOB_INDEX: index,
    }


def argo(node: str) -> dict[str, Any]:
    return {
        "name": "etl-train-1234567890",
        "labels": {"workflows.argoproj.io/workflow": "etl"},
        "annotations": {"workflows.argoproj.io/node-name": node, "workflows.argoproj.io/node-id": "etl-1234567890"},
    }


#: What operators write on pods, by the same sources: kind, metadata of a pod, and its role, rank and attempt.
MEMBERS: list[tuple[str, dict[str, Any], tuple[str, str, str]]] = [
    ("jobset.jobset.x-k8s.io", {"labels": jobset("1", "3", "2")}, ("worker", "1-3", "2")),
    ("jobset.jobset.x-k8s.io", {"labels": jobset("0", "3", jobs="1")}, ("worker", "3", "0")),
    ("jobset.jobset.x-k8s.io", {"labels": jobset("0", "0", role="driver", jobs="1")}, ("driver", "0", "0")),
    ("trainjob.trainer.kubeflow.org", {"labels": jobset("0", "2", role="node", jobs="1")}, ("node", "2", "0")),
    ("trainjob.trainer.kubeflow.org", {"labels": jobset("0", "0", role="launcher", jobs="1")}, ("launcher", "0", "0")),
    *(
        (
            f"{kind}.kubeflow.org",
            {
                "labels": {
                    f"{TRAINING}/job-name": "bert",
                    f"{TRAINING}/replica-type": role,
                    f"{TRAINING}/replica-index": "3",
                    f"{TRAINING}/job-role": "master",
                }
            },
            (role, "3", ""),
        )
        for kind, role in (
            ("pytorchjob", "master"),
            ("tfjob", "ps"),
            ("jaxjob", "worker"),
            ("xgboostjob", "worker"),
            ("paddlejob", "worker"),
            ("mpijob", "worker"),
        )
    ),
    (
        "mpijob.kubeflow.org",
        {"labels": {f"{TRAINING}/replica-type": "launcher", f"{TRAINING}/job-role": "master"}},
        ("launcher", "", ""),
    ),
    (
        "mpijob.kubeflow.org",
        {"labels": {f"{TRAINING}/job-role": "worker", f"{TRAINING}/replica-index": "1"}},
        ("worker", "1", ""),
    ),
    ("mpijob.kubeflow.org", {"labels": {f"{TRAINING}/job-role": "launcher"}}, ("launcher", "", "")),
    (
        "rayjob.ray.io",
        {"labels": {"ray.io/cluster": "x", "ray.io/node-type": "head", "ray.io/group": "headgroup"}},
        ("head", "", ""),
    ),
    (
        "rayjob.ray.io",
        {"labels": {"ray.io/node-type": "worker", "ray.io/group": "gpus", "ray.io/worker-group-replica-index": "7"}},
        ("worker", "7", ""),
    ),
    (
        "rayjob.ray.io",
        {
            "labels": {
                "ray.io/node-type": "worker",
                "ray.io/worker-group-replica-index": "7",
                "ray.io/replica-host-index": "1",
            }
        },
        ("worker", "7-1", ""),
    ),
    (
        "rayjob.ray.io",
        {"labels": {"batch.kubernetes.io/job-name": "tune"}, "ownerReferences": [{"kind": "Job", "name": "tune"}]},
        ("submitter", "", ""),
    ),
    ("raycluster.ray.io", {"labels": {"ray.io/node-type": "worker"}}, ("worker", "", "")),
    ("rayservice.ray.io", {"labels": {"ray.io/node-type": "head", "ray.io/serve": "true"}}, ("head", "", "")),
    (
        "sparkapplication.sparkoperator.k8s.io",
        {"labels": {"spark-role": "driver", "spark-app-selector": "spark-3f2a"}},
        ("driver", "", ""),
    ),
    (
        "sparkapplication.sparkoperator.k8s.io",
        {"labels": {"spark-role": "executor", "spark-exec-id": "12"}},
        ("executor", "12", ""),
    ),
    (
        "sparkapplication.spark.apache.org",
        {"labels": {"spark-role": "driver", "spark.operator/spark-app-name": "pi", "spark-app-selector": "pi-2"}},
        ("driver", "", "2"),
    ),
    (
        "sparkapplication.spark.apache.org",
        {
            "labels": {
                "spark-role": "executor",
                "spark-exec-id": "1",
                "spark.operator/spark-app-name": "pi",
                "spark-app-selector": "mine-7",
            }
        },
        ("executor", "1", ""),
    ),
    ("workflow.argoproj.io", argo("etl"), ("", "", "")),
    ("workflow.argoproj.io", argo("etl(1)"), ("", "", "1")),
    ("workflow.argoproj.io", argo("etl[1].train"), ("train", "", "")),
    ("workflow.argoproj.io", argo("etl[1].train(2)"), ("train", "", "2")),
    ("workflow.argoproj.io", argo("etl[1].train(3:a.b(x))(1)"), ("train", "3", "1")),
    ("workflow.argoproj.io", argo("etl.group(1:x.y).train(2:lr:0.1)"), ("train", "1-2", "")),
    ("workflow.argoproj.io", argo("etl.onExit"), ("onExit", "", "")),
    ("workflow.argoproj.io", argo("etl.a)b((("), ("ab", "", "")),
    (
        "workflow.argoproj.io",
        {"labels": {"workflows.argoproj.io/workflow": "etl", "workflows.argoproj.io/component": "agent"}},
        ("", "", ""),
    ),
    (
        "job.batch.volcano.sh",
        {
            "labels": {"volcano.sh/task-spec": "ps", "volcano.sh/task-index": "1"},
            "annotations": {"volcano.sh/job-retry-count": "2"},
        },
        ("ps", "1", "2"),
    ),
    (
        "taskrun.tekton.dev",
        {"name": "ci-test-pod", "labels": {"tekton.dev/taskRun": "ci-test", "tekton.dev/task": "run-tests"}},
        ("run-tests", "", ""),
    ),
    (
        "pipelinerun.tekton.dev",
        {"name": "ci-test-pod-retry2", "labels": {"tekton.dev/pipelineTask": "test", "tekton.dev/task": "run-tests"}},
        ("test", "", "2"),
    ),
    (
        "flyteworkflow.flyte.lyft.com",
        {"name": "f3a1-n0-1", "labels": {"execution-id": "f3a1", "node-id": "n0"}},
        ("n0", "", "1"),
    ),
    (
        "flyteworkflow.flyte.lyft.com",
        {"name": "hashed", "labels": {"execution-id": "f3a1", "node-id": "n0"}},
        ("n0", "", ""),
    ),
    (
        "daskjob.kubernetes.dask.org",
        {"labels": {"dask.org/cluster-name": "etl", "dask.org/component": "job-runner"}},
        ("job-runner", "", ""),
    ),
    (
        "daskcluster.kubernetes.dask.org",
        {"labels": {"dask.org/component": "worker", "dask.org/workergroup-name": "etl-default"}},
        ("worker", "", ""),
    ),
    (
        "leaderworkerset.leaderworkerset.x-k8s.io",
        {"labels": {f"{LWS}/group-index": "1", f"{LWS}/worker-index": "0", "apps.kubernetes.io/pod-index": "1"}},
        ("leader", "1-0", ""),
    ),
    (
        "leaderworkerset.leaderworkerset.x-k8s.io",
        {"labels": {f"{LWS}/group-index": "1", f"{LWS}/worker-index": "3"}},
        ("worker", "1-3", ""),
    ),
    (
        "service.serving.knative.dev",
        {"labels": {"serving.knative.dev/revision": "hello-00001"}},
        ("hello-00001", "", ""),
    ),
    (
        "inferenceservice.serving.kserve.io",
        {"labels": {"component": "predictor", "serving.knative.dev/revision": "x"}},
        ("predictor", "", ""),
    ),
    # An AppWrapper sets no labels of its own.
    (
        "appwrapper.workload.codeflare.dev",
        {
            "labels": {
                f"{TRAINING}/job-name": "b",
                f"{TRAINING}/replica-type": "worker",
                f"{TRAINING}/replica-index": "3",
            }
        },
        ("worker", "3", ""),
    ),
    ("appwrapper.workload.codeflare.dev", {"labels": {"workload.codeflare.dev/appwrapper": "a"}}, ("", "", "")),
    # Kinds that create Jobs or Workflows set no labels on their pods.
    ("scaledjob.keda.sh", {"labels": {"scaledjob.keda.sh/name": "queue"}}, ("", "", "")),
    ("cronworkflow.argoproj.io", argo("etl[1].train(2)"), ("train", "", "2")),
    ("scheduledworkflow.kubeflow.org", argo("etl[1].train"), ("train", "", "")),
    (
        "scheduledsparkapplication.sparkoperator.k8s.io",
        {"labels": {"sparkoperator.k8s.io/app-name": "pi-1", "spark-role": "executor", "spark-exec-id": "2"}},
        ("executor", "2", ""),
    ),
    # Kinds without a row; a built-in Job that is the user's task although a JobSet owns it.
    ("job", {"labels": {"job-name": "train"}}, ("", "", "")),
    ("job", {"labels": {JOB_INDEX: "7"}}, ("", "7", "")),
    ("job", {"annotations": {JOB_INDEX: "7"}}, ("", "7", "")),
    ("job", {"labels": jobset("0", "3", jobs="1")}, ("worker", "3", "0")),
    ("statefulset", {"labels": {"apps.kubernetes.io/pod-index": "2"}}, ("", "2", "")),
    ("experiment.example.org", {"labels": {"component": "web", "execution-id": "x", "node-id": "n"}}, ("", "", "")),
    (
        "selector",
        {"labels": {"volcano.sh/job-name": "m", "volcano.sh/task-spec": "ps", "volcano.sh/task-index": "0"}},
        ("ps", "0", ""),
    ),
    # Invalid numbers.
    ("job", {"annotations": {JOB_INDEX: "²"}}, ("", "", "")),
    (
        "job.batch.volcano.sh",
        {"labels": {"volcano.sh/task-index": "x"}, "annotations": {"volcano.sh/job-retry-count": ""}},
        ("", "", ""),
    ),
]


@pytest.mark.parametrize(("kind", "metadata", "member"), MEMBERS)
def test_role_rank_and_attempt_of_a_pod(kind: str, metadata: dict[str, Any], member: tuple[str, str, str]) -> None:
    noise = {f"example.org/{i}": "x" for i in range(3)}
    metadata = {"name": "p", **metadata, "annotations": noise | metadata.get("annotations", {})}
    pod = pods.without_bulk({"metadata": metadata, "spec": {"containers": [{"name": "main"}]}})
    assert kinds.membership(kind, pod) == member
    assert not noise.keys() & pod["metadata"]["annotations"].keys()


def test_odd_annotations_make_no_odd_roles_and_ranks() -> None:
    index = {"batch.kubernetes.io/job-completion-index": "9" * 5000}
    assert kinds.membership("job", {"metadata": {"name": "x", "annotations": index}}) == ("", "", "")
    for node, member in (
        ("etl." + "x" * 200_000, ("x" * 253, "", "")),
        ("etl.a\nb\x1b[31m", ("a b", "", "")),
        (f"etl.a({'9' * 5000}:x)", ("a", "", "")),
        ("etl.a(\u0663:x)", ("a", "", "")),
    ):
        annotations = {"workflows.argoproj.io/node-name": node}
        assert (
            kinds.membership("workflow.argoproj.io", {"metadata": {"name": "x", "annotations": annotations}}) == member
        )


def test_the_role_of_each_row_is_tried() -> None:
    assert kinds.TABLE.keys() <= {kind for kind, _, _ in MEMBERS}
