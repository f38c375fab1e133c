"""Custom resources, and operators that create pods for them as the real ones do.

Labels, owner references and status are as in the sources of the operators, which `cluster/kinds.py` names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from support.kube import pod_spec, python_container

if TYPE_CHECKING:
    from support.kube import Kube

Object = dict[str, Any]
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define(
    kube: Kube,
    group: str,
    version: str,
    kind: str,
    plural: str,
    *,
    short_names: tuple[str, ...] = (),
    status: bool = True,
) -> None:
    """Create a CustomResourceDefinition if it does not exist, and wait until it is served."""
    name = f"{plural}.{group}"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served: Object = {"name": version, "served": True, "storage": True, "schema": schema}
    if status:
        served["subresources"] = {"status": {}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": list(short_names)}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # The API server asks for this where a group ends with `.k8s.io`.
        "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [served]},
    }
    if kube.request("GET", f"{_CRDS}/{name}").status_code == 404:
        assert kube.request("POST", _CRDS, json=body).is_success
    path = f"/apis/{group}/{version}/namespaces/{kube.namespace}/{plural}"
    kube.wait_for(lambda: kube.request("GET", path).is_success, f"{name} to be served")


class Custom:
    """An object of a custom resource.

    Parameters
    ----------
    kube : Kube
    api_version, kind, plural, name : str
    owner : dict, optional
        An owner reference.
    namespace : str, optional
    **spec
    """

    def __init__(
        self,
        kube: Kube,
        api_version: str,
        kind: str,
        plural: str,
        name: str,
        owner: Object | None = None,
        namespace: str = "",
        **spec: Any,
    ) -> None:
        self.kube, self.name = kube, name
        self._path = f"/apis/{api_version}/namespaces/{namespace or kube.namespace}/{plural}"
        metadata: Object = {"name": name}
        if owner:
            metadata["ownerReferences"] = [owner]
        body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
        response = kube.request("POST", self._path, json=body)
        assert response.is_success, response.text
        self.obj: Object = response.json()

    @property
    def reference(self) -> Object:
        """An owner reference to the object."""
        return reference(self.obj)

    def set_status(self, *, has_subresource: bool = True, **status: Any) -> None:
        """Set the whole status."""
        path = f"{self._path}/{self.name}" + ("/status" if has_subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        response = self.kube.request("PATCH", path, json={"status": status}, headers=headers)
        assert response.is_success, response.text

    def patch(self, **fields: Any) -> None:
        """Change the object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        response = self.kube.request("PATCH", f"{self._path}/{self.name}", json=fields, headers=headers)
        assert response.is_success, response.text

    def delete(self) -> None:
        """Delete the object, and what it owns."""
        self.kube.request("DELETE", f"{self._path}/{self.name}", json={"propagationPolicy": "Background"})


def reference(obj: Object, *, controller: bool = True) -> Object:
    """Return an owner reference to an object."""
    owner = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": obj["metadata"]["name"]}
    return owner | {"uid": obj["metadata"]["uid"]} | ({"controller": True} if controller else {})


def create_pod(
    kube: Kube,
    name: str,
    code: str,
    owner: Object,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    namespace: str = "",
) -> Object:
    """Create a pod that runs Python code, with one owner."""
    metadata = {
        "name": name,
        "namespace": namespace or kube.namespace,
        "labels": labels or {},
        "annotations": annotations or {},
        "ownerReferences": [owner],
    }
    spec = pod_spec([python_container("main", code)])
    return kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Object:
    """Return a condition of a status."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"type": kind, "status": status, "reason": reason or kind, "message": message, "lastTransitionTime": now}


# ---------------------------------------------------------------- operators


@dataclass(frozen=True)
class Part:
    """An object that an operator creates for a task, with the objects that it owns.

    Names, labels and annotations may contain `{name}` (the task's), `{attempt}` (from 0) and `{retry}` (nothing, then `-retry1`).

    Parameters
    ----------
    kind : str
        `Pod`, `Job`, `Deployment`, `StatefulSet`, or that of a custom resource with its API version: `ray.io/v1 RayCluster`.
    name : str
    role, rank : str
        What its pod is in the task. In the rank `{index}` stands for the number of a pod of an Indexed Job.
    labels, annotations : dict
        Of the object, and of the pods of a Job, Deployment or StatefulSet.
    parts : tuple of Part
        What it owns; what a StatefulSet owns here belongs to its first pod.
    is_controller : bool
        Whether the reference to its owner has `controller: true`.
    names_task_first : bool
        Whether its first owner reference is one to the task, which does not control it.
    fails : bool
        Whether its pod fails in a task that is to fail.
    completions : int
        The number of pods of an Indexed Job; 0 for a Job that is none.
    """

    kind: str
    name: str = "{name}"
    role: str = ""
    rank: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    is_controller: bool = True
    names_task_first: bool = False
    fails: bool = False
    completions: int = 0


@dataclass(frozen=True)
class Operator:
    """The behaviour of an operator for the objects of a kind.

    Parameters
    ----------
    api_version, kind : str
        As in manifests.
    parts : tuple of Part
        The objects that it creates, in this order. A task that is to fail has only the failing ones and their owners; a task
        that is deleted early has the first.
    running, succeeded, failed : dict
        The status of an object; `{now}` and `{name}` may be in its texts.
    suspended : dict
        The status of an object that has no pods yet, or its spec if that shows it; empty if the kind cannot be suspended.
    reason : str
        The reason of a failed task.
    restarted : dict
        The status between two attempts; empty if the work does not restart.
    recreates : bool
        Whether the parts of the first attempt are deleted before the second, which has the same names.
    attempts : tuple of str
        How pods show that they are of the first and of the second attempt.
    has_status : bool
        Whether status is a subresource.
    short_names : tuple of str
    ends : bool
        Whether such a task ends by itself.
    deletes : str
        The parts of this kind are deleted at the end of a task.
    """

    api_version: str
    kind: str
    parts: tuple[Part, ...] = ()
    running: Object = field(default_factory=dict)
    succeeded: Object = field(default_factory=dict)
    failed: Object = field(default_factory=dict)
    suspended: Object = field(default_factory=dict)
    reason: str = ""
    restarted: Object = field(default_factory=dict)
    recreates: bool = False
    attempts: tuple[str, str] = ("", "")
    has_status: bool = True
    short_names: tuple[str, ...] = ()
    ends: bool = True
    deletes: str = ""

    @property
    def name(self) -> str:
        """Kind and group in lower case."""
        return f"{self.kind}.{self.api_version.partition('/')[0]}".lower()

    @property
    def plural(self) -> str:
        """The name of the collection."""
        return self.kind.lower() + "s"

    def define(self, kube: Kube) -> None:
        """Create the kind on a cluster, if it does not exist."""
        group, _, version = self.api_version.partition("/")
        define(kube, group, version, self.kind, self.plural, short_names=self.short_names, status=self.has_status)

    def define_parts(self, kube: Kube) -> None:
        """Create the kinds of the parts, if they do not exist."""
        for kind in _custom_kinds(self.parts):
            Operator(*kind.split()).define(kube)


def _condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Object:
    """Return a condition whose time is that of its creation."""
    return condition(kind, status, reason, message) | {"lastTransitionTime": "{now}"}


def _conditions(*conditions: Object, **status: Any) -> Object:
    return {"conditions": list(conditions), **status}


def _jobset_labels(role: str, job: str = "0", jobs: str = "1") -> dict[str, str]:
    prefix = "jobset.sigs.k8s.io/"
    return {
        f"{prefix}jobset-name": "{name}",
        f"{prefix}replicatedjob-name": role,
        f"{prefix}replicatedjob-replicas": jobs,
        f"{prefix}job-index": job,
        f"{prefix}restart-attempt": "{attempt}",
    }


def _jobset_job(role: str, rank: str, job: str = "0", jobs: str = "1", completions: int = 1, **more: Any) -> Part:
    # The operator sets the same labels and annotations on a Job and on its pods.
    labels = _jobset_labels(role, job, jobs)
    # Its webhook makes all of its Jobs Indexed ones.
    return Part("Job", f"{{name}}-{role}-{job}", role, rank, labels, labels, completions=completions, **more)


def _kubeflow(kind: str, *roles: str, **more: Any) -> Operator:
    """Return the training operator's part for a kind, with one pod for each role, or two of the same."""
    names = [(role, roles[:i].count(role)) for i, role in enumerate(roles)]
    failed = f"{kind} {{name}} is failed because 1 {roles[-1].capitalize()} replica(s) failed."
    return Operator(
        "kubeflow.org/v1",
        kind,
        tuple(_kubeflow_pod(kind, role, rank, fails=(role, rank) == names[-1]) for role, rank in names),
        running=_conditions(_condition("Created", f"{kind}Created"), _condition("Running", f"{kind}Running")),
        succeeded=_conditions(
            _condition("Running", f"{kind}Succeeded", status="False"), _condition("Succeeded", f"{kind}Succeeded")
        ),
        failed=_conditions(
            _condition("Running", f"{kind}Failed", status="False"), _condition("Failed", f"{kind}Failed", failed)
        ),
        suspended={
            "status": _conditions(_condition("Suspended", f"{kind}Suspended", f"{kind} {{name}} is suspended."))
        },
        reason=f"{kind}Failed",
        **more,
    )


def _kubeflow_pod(kind: str, role: str, rank: int, **more: Any) -> Part:
    prefix = "training.kubeflow.org/"
    labels = {
        f"{prefix}operator-name": f"{kind.lower()}-controller",
        f"{prefix}job-name": "{name}",
        f"{prefix}replica-type": role,
        f"{prefix}replica-index": str(rank),
    }
    if role in ("master", "chief"):
        labels[f"{prefix}job-role"] = "master"
    labels |= more.pop("labels", {})
    return Part("Pod", f"{{name}}-{role}-{rank}", role, str(rank), labels, **more)


def _mpi_labels(role: str) -> dict[str, str]:
    prefix = "training.kubeflow.org/"
    return {f"{prefix}operator-name": "mpi-operator", f"{prefix}job-name": "{name}", f"{prefix}job-role": role}


def _ray_cluster(cluster: str, **more: Any) -> Part:
    def labels(node: str, group: str) -> dict[str, str]:
        return {
            "ray.io/is-ray-node": "yes",
            "ray.io/cluster": cluster,
            "ray.io/node-type": node,
            "ray.io/group": group,
            "ray.io/identifier": f"{cluster}-{node}",
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/created-by": "kuberay-operator",
        }

    worker = labels("worker", "gpu") | {"ray.io/worker-group-replica-index": "0"}
    pods = (
        Part("Pod", f"{cluster}-head-4mzqp", "head", "", labels("head", "headgroup")),
        Part("Pod", f"{cluster}-gpu-worker-x7k2p", "worker", "0", worker, fails=True),
    )
    return Part("ray.io/v1 RayCluster", cluster, parts=pods, **more)


def _spark_labels(app: str, role: str, executor: str = "") -> dict[str, str]:
    labels = {"spark-app-selector": f"{app}", "spark-app-name": "{name}", "spark-version": "3.5.3", "spark-role": role}
    return labels | ({"spark-exec-id": executor, "spark-exec-resourceprofile-id": "0"} if executor else {})


def _kubeflow_spark_pod(role: str, executor: str = "", **more: Any) -> Part:
    labels = {
        "sparkoperator.k8s.io/app-name": "{name}",
        "sparkoperator.k8s.io/launched-by-spark-operator": "true",
        "sparkoperator.k8s.io/submission-id": "5c1e-{attempt}",
    } | _spark_labels("spark-3f2a{attempt}", role, executor)
    name = f"{{name}}-ab-exec-{executor}" if executor else "{name}-driver"
    return Part("Pod", name, role, executor, labels, **more)


def _apache_spark_pod(role: str, executor: str = "", **more: Any) -> Part:
    labels = {
        "spark.operator/name": "spark-kubernetes-operator",
        "spark.operator/spark-app-name": "{name}",
    } | _spark_labels("{name}-{attempt}", role, executor)
    name = f"{{name}}-{{attempt}}-exec-{executor}" if executor else "{name}-{attempt}-driver"
    return Part("Pod", name, role, executor, labels, **more)


def _argo_pod(template: str, node: str, role: str, rank: str = "", **more: Any) -> Part:
    labels = {"workflows.argoproj.io/workflow": "{name}", "workflows.argoproj.io/completed": "false"}
    annotations = {"workflows.argoproj.io/node-name": f"{{name}}{node}({{attempt}})"}
    return Part("Pod", f"{{name}}-{template}-{{attempt}}23", role, rank, labels, annotations, **more)


def _volcano_pod(role: str, rank: str, **more: Any) -> Part:
    labels = {
        "volcano.sh/job-name": "{name}",
        "volcano.sh/task-spec": role,
        "volcano.sh/task-index": rank,
        "volcano.sh/queue-name": "default",
    }
    annotations = labels | {"volcano.sh/job-version": "{attempt}", "volcano.sh/job-retry-count": "{attempt}"}
    return Part("Pod", f"{{name}}-{role}-{rank}", role, rank, labels, annotations, **more)


def _tekton_pod(task: str, run: str, *, in_pipeline: bool, **more: Any) -> Part:
    labels = {"tekton.dev/taskRun": run, "app.kubernetes.io/managed-by": "tekton-pipelines"}
    if in_pipeline:
        labels |= {"tekton.dev/pipelineRun": "{name}", "tekton.dev/pipelineTask": task, "tekton.dev/memberOf": "tasks"}
    else:
        labels |= {"tekton.dev/task": task}
    return Part("Pod", f"{run}-pod{{retry}}", task, "", labels, **more)


def _tekton_run(task: str, **more: Any) -> Part:
    run = f"{{name}}-{task}"
    labels = {"tekton.dev/pipelineRun": "{name}", "tekton.dev/pipelineTask": task}
    pod = _tekton_pod(task, run, in_pipeline=True, **more)
    return Part("tekton.dev/v1 TaskRun", run, labels=labels, parts=(pod,))


_TEKTON: Object = {
    "running": _conditions(_condition("Succeeded", "Running", "Not all Steps have finished", status="Unknown")),
    "succeeded": _conditions(_condition("Succeeded", message="All Steps have completed executing")),
    "failed": _conditions(_condition("Succeeded", "TaskRunTimeout", "it ran for more than 1h", status="False")),
    "reason": "TaskRunTimeout",
}


def _flyte_pod(node: str, **more: Any) -> Part:
    labels = {"execution-id": "{name}", "node-id": node, "task-name": "train", "project": "p", "domain": "d"}
    return Part("Pod", f"{{name}}-{node}-{{attempt}}", node, "", labels, **more)


def _dask_cluster() -> Part:
    def labels(component: str) -> dict[str, str]:
        return {"dask.org/cluster-name": "{name}", "dask.org/component": component}

    worker = Part(
        "Deployment",  # each worker has one of its own
        "{name}-default-worker-0a1b2c3d4e",
        "worker",
        "",
        labels("worker") | {"dask.org/workergroup-name": "{name}-default"},
    )
    return Part(
        "kubernetes.dask.org/v1 DaskCluster",
        parts=(
            Part("Deployment", "{name}-scheduler", "scheduler", "", labels("scheduler")),
            Part("kubernetes.dask.org/v1 DaskWorkerGroup", "{name}-default", parts=(worker,)),
        ),
    )


def _knative_labels() -> dict[str, str]:
    prefix = "serving.knative.dev/"
    return {f"{prefix}service": "{name}", f"{prefix}configuration": "{name}", f"{prefix}revision": "{name}-00001"}


def _lws_labels(worker: str) -> dict[str, str]:
    prefix = "leaderworkerset.sigs.k8s.io/"
    return {f"{prefix}name": "{name}", f"{prefix}group-index": "0", f"{prefix}worker-index": worker}


_ALL = (
    Operator(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        (
            _jobset_job("driver", "{index}"),
            *(_jobset_job("worker", f"{job}-{{index}}", str(job), "2", fails=job == 1) for job in range(2)),
        ),
        succeeded=_conditions(_condition("Completed", "AllJobsCompleted"), terminalState="Completed"),
        failed=_conditions(
            _condition("Failed", "FailedJobs", "first failed job: {name}-worker-1"), terminalState="Failed"
        ),
        suspended={"status": _conditions(_condition("Suspended", "SuspendedJobs", "jobset is suspended"))},
        running=_conditions(_condition("Suspended", "ResumeJobs", status="False"), restarts=0),
        reason="FailedJobs",
        restarted={"restarts": 1},
        recreates=True,
        attempts=("0", "1"),
    ),
    Operator(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        (
            Part(
                "jobset.x-k8s.io/v1alpha2 JobSet",
                parts=(
                    _jobset_job("dataset-initializer", "{index}"),
                    _jobset_job("node", "{index}", completions=2, fails=True),
                ),
            ),
        ),
        running=_conditions(
            _condition("Suspended", "Resumed", status="False"), jobsStatus=[{"name": "node", "active": 1}]
        ),
        succeeded=_conditions(_condition("Complete", "AllJobsCompleted", "jobset completed successfully")),
        failed=_conditions(_condition("Failed", "FailedJobs", "first failed job: {name}-node-0")),
        suspended={"status": _conditions(_condition("Suspended", message="TrainJob is suspended"))},
        reason="FailedJobs",
        restarted={"jobsStatus": []},
        recreates=True,
        attempts=("0", "1"),
    ),
    _kubeflow("PyTorchJob", "master", "worker", "worker", restarted={"startTime": "{now}"}, recreates=True),
    _kubeflow("TFJob", "chief", "ps", "worker"),
    _kubeflow("JAXJob", "worker", "worker"),
    _kubeflow("XGBoostJob", "master", "worker"),
    _kubeflow("PaddleJob", "worker", "worker"),
    Operator(
        "kubeflow.org/v2beta1",
        "MPIJob",
        (
            Part(
                "Pod",
                "{name}-worker-0",
                "worker",
                "0",
                _mpi_labels("worker") | {"training.kubeflow.org/replica-index": "0"},
            ),
            Part("Job", "{name}-launcher", "launcher", "", _mpi_labels("launcher"), fails=True),
        ),
        running=_conditions(_condition("Running", "MPIJobRunning")),
        succeeded=_conditions(_condition("Succeeded", "MPIJobSucceeded")),
        failed=_conditions(_condition("Failed", "MPIJobFailed", "Job has reached the specified backoff limit")),
        suspended={"status": _conditions(_condition("Suspended", "MPIJobSuspended", "MPIJob suspended"))},
        reason="MPIJobFailed",
    ),
    Operator(
        "ray.io/v1",
        "RayJob",
        (_ray_cluster("{name}-9x2k{attempt}"), Part("Job", "{name}", "submitter")),
        running={
            "rayClusterName": "{name}-9x2k{attempt}",
            "jobStatus": "RUNNING",
            "jobDeploymentStatus": "Running",
            "startTime": "{now}",
        },
        succeeded={"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete", "endTime": "{now}"},
        failed={"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "reason": "AppFailed", "endTime": "{now}"},
        suspended={"status": {"jobStatus": "", "jobDeploymentStatus": "Suspended", "rayClusterName": ""}},
        reason="AppFailed",
        restarted={"jobStatus": "FAILED", "jobDeploymentStatus": "Retrying", "failed": 1, "rayClusterName": ""},
        recreates=True,
        deletes="ray.io/v1 RayCluster",  # `shutdownAfterJobFinishes`
    ),
    Operator("ray.io/v1", "RayCluster", _ray_cluster("{name}").parts, running={"state": "ready"}, ends=False),
    Operator(
        "ray.io/v1",
        "RayService",
        (_ray_cluster("{name}-8kd2x"),),
        running=_conditions(_condition("Ready"), activeServiceStatus={"rayClusterName": "{name}-8kd2x"}),
        ends=False,
    ),
    Operator(
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        (
            _kubeflow_spark_pod(
                "driver",
                parts=tuple(_kubeflow_spark_pod("executor", id_, names_task_first=True) for id_ in ("1", "2")),
                fails=True,
            ),
        ),
        running={"applicationState": {"state": "RUNNING"}, "executionAttempts": 1},
        succeeded={"applicationState": {"state": "COMPLETED"}, "terminationTime": "{now}"},
        failed={
            "applicationState": {"state": "FAILED", "errorMessage": "driver container failed with ExitCode: 3"},
            "terminationTime": "{now}",
        },
        suspended={"status": {"applicationState": {"state": "SUSPENDED"}}},
        reason="driver container failed with ExitCode: 3",
        restarted={"applicationState": {"state": "PENDING_RERUN"}},
        recreates=True,
        short_names=("sparkapp",),
    ),
    Operator(
        "spark.apache.org/v1",
        "SparkApplication",
        (_apache_spark_pod("driver", parts=(_apache_spark_pod("executor", "1"),), is_controller=False, fails=True),),
        running={"currentState": {"currentStateSummary": "RunningHealthy"}},
        succeeded={"currentState": {"currentStateSummary": "ResourceReleased"}},
        failed={"currentState": {"currentStateSummary": "ResourceReleased", "message": "Driver has failed"}},
        reason="exit 3",
        restarted={"currentState": {"currentStateSummary": "ScheduledToRestart"}},
        attempts=("0", "1"),
        short_names=("sparkapp",),
    ),
    Operator(
        "argoproj.io/v1alpha1",
        "Workflow",
        (
            _argo_pod("prepare", "[0].prepare", "prepare"),
            _argo_pod("train-1", "[1].train(1:lr:0.1)", "train", "1", fails=True),
        ),
        running=_conditions(_condition("PodRunning"), phase="Running", progress="0/2"),
        succeeded=_conditions(_condition("Completed"), phase="Succeeded", finishedAt="{now}"),
        failed=_conditions(_condition("Completed"), phase="Failed", message="child 'train' failed", finishedAt="{now}"),
        suspended={"spec": {"suspend": True}},
        reason="child 'train' failed",
        restarted={"progress": "0/2"},
        attempts=("0", "1"),
        has_status=False,
        short_names=("wf",),
    ),
    Operator(
        "batch.volcano.sh/v1alpha1",
        "Job",
        (_volcano_pod("ps", "0"), _volcano_pod("worker", "0"), _volcano_pod("worker", "1", fails=True)),
        running={"state": {"phase": "Running"}, "conditions": [{"status": "Pending"}, {"status": "Running"}]},
        succeeded={"state": {"phase": "Completed"}, "conditions": [{"status": "Completed"}]},
        failed={"state": {"phase": "Failed"}, "retryCount": 3},
        suspended={"status": {"state": {"phase": "Aborted"}}},
        reason="exit 3",
        restarted={"state": {"phase": "Restarting"}, "retryCount": 1},
        recreates=True,
        attempts=("0", "1"),
        short_names=("vcjob", "vj"),
    ),
    Operator(
        "tekton.dev/v1",
        "TaskRun",
        (_tekton_pod("lint", "{name}", in_pipeline=False, fails=True),),
        **_TEKTON,
        restarted=_conditions(_condition("Succeeded", "ToBeRetried", status="Unknown")),
        attempts=("", "1"),
        short_names=("tr", "trs"),
    ),
    Operator(
        "tekton.dev/v1",
        "PipelineRun",
        (_tekton_run("build"), _tekton_run("test", fails=True)),
        **_TEKTON,
        suspended={"spec": {"status": "PipelineRunPending"}},
        short_names=("pr", "prs"),
    ),
    Operator(
        "flyte.lyft.com/v1alpha1",
        "FlyteWorkflow",
        (_flyte_pod("n0"), _flyte_pod("n1", fails=True)),
        running={"phase": 1},
        succeeded={"phase": 3, "stoppedAt": "{now}"},
        failed={"phase": 5, "error": {"code": "USER:Unknown", "message": "n1 failed"}, "stoppedAt": "{now}"},
        reason="USER:Unknown: n1 failed",
        restarted={"failedAttempts": 1},
        attempts=("0", "1"),
        has_status=False,
        short_names=("fly",),
    ),
    Operator(
        "kubernetes.dask.org/v1",
        "DaskJob",
        (
            _dask_cluster(),
            Part(
                "Pod",
                "{name}-runner",
                "job-runner",
                "",
                {"dask.org/cluster-name": "{name}", "dask.org/component": "job-runner"},
                fails=True,
            ),
        ),
        running={"jobStatus": "Running", "clusterName": "{name}", "startTime": "{now}"},
        succeeded={"jobStatus": "Successful", "endTime": "{now}"},
        failed={"jobStatus": "Failed", "endTime": "{now}"},
        reason="exit 3",
        deletes="kubernetes.dask.org/v1 DaskCluster",
        short_names=("djb",),
    ),
    Operator(
        "kubernetes.dask.org/v1",
        "DaskCluster",
        _dask_cluster().parts,
        running={"phase": "Running"},
        has_status=False,
        short_names=("dsk",),
        ends=False,
    ),
    Operator(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        (
            Part(
                "StatefulSet",
                "{name}",
                "leader",
                "0-0",
                _lws_labels("0"),
                parts=(Part("StatefulSet", "{name}-0", "worker", "0-1", _lws_labels("1")),),
            ),
        ),
        running=_conditions(_condition("Available", "AllGroupsReady")),
        short_names=("lws",),
        ends=False,
    ),
    Operator(
        "serving.knative.dev/v1",
        "Service",
        (
            Part(
                "serving.knative.dev/v1 Configuration",
                parts=(
                    Part(
                        "serving.knative.dev/v1 Revision",
                        "{name}-00001",
                        parts=(Part("Deployment", "{name}-00001-deployment", "{name}-00001", "", _knative_labels()),),
                    ),
                ),
            ),
        ),
        running=_conditions(_condition("Ready")),
        short_names=("ksvc",),
        ends=False,
    ),
    Operator(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        (
            Part(
                "Deployment",
                "{name}-predictor",
                "predictor",
                "",
                {"serving.kserve.io/inferenceservice": "{name}", "component": "predictor"},
            ),
        ),
        running=_conditions(_condition("Ready")),
        short_names=("isvc",),
        ends=False,
    ),
    Operator(
        "workload.codeflare.dev/v1beta2",
        "AppWrapper",
        (
            Part(
                "kubeflow.org/v1 PyTorchJob",
                labels={"workload.codeflare.dev/appwrapper": "{name}"},
                parts=tuple(
                    _kubeflow_pod(
                        "PyTorchJob",
                        "worker",
                        rank,
                        labels={"workload.codeflare.dev/appwrapper": "{name}"},
                        fails=rank == 1,
                    )
                    for rank in range(2)
                ),
            ),
        ),
        running=_conditions(_condition("QuotaReserved"), phase="Running"),
        succeeded=_conditions(_condition("QuotaReserved", "Succeeded", status="False"), phase="Succeeded"),
        failed=_conditions(_condition("Unhealthy", "FoundFailedPods"), phase="Failed", resettingCount=3),
        suspended={"status": {"phase": "Suspended"}},
        reason="exit 3",
        restarted={"phase": "Resetting", "resettingCount": 1},
        recreates=True,
        short_names=("aw",),
    ),
)
#: The operators by the kinds of their tasks.
OPERATORS = {operator.name: operator for operator in _ALL}


def _custom_kinds(parts: tuple[Part, ...]) -> set[str]:
    inner = [_custom_kinds(part.parts) for part in parts]
    return {part.kind for part in parts if "/" in part.kind}.union(*inner)


LINES = 4


def _failing(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts whose pods fail, with their owners."""
    failing = [replace(part, parts=_failing(part.parts)) for part in parts]
    return tuple(part for part in failing if part.fails or part.parts)


class Task:
    """An object on a cluster, and what its operator does with it.

    Parameters
    ----------
    kube : Kube
    operator : Operator
    name, namespace : str
    fails : bool
        Whether it fails in the end.
    is_cut_short : bool
        Whether it is deleted before its end. Its pods run until then.
    has_indexed_jobs : bool
        Whether the cluster has Indexed Jobs, as since Kubernetes 1.22.

    Attributes
    ----------
    texts : list of str
        The lines that its pods write: `ROLE|RANK|ATTEMPT|POD LINE`.
    pods : int
        The number of pods that exist.
    """

    def __init__(
        self,
        kube: Kube,
        operator: Operator,
        name: str,
        namespace: str,
        *,
        fails: bool = False,
        is_cut_short: bool = False,
        has_indexed_jobs: bool = True,
    ) -> None:
        self.kube, self.operator, self.name, self.namespace = kube, operator, name, namespace
        self.fails, self.is_cut_short, self._has_indexed_jobs = fails, is_cut_short, has_indexed_jobs
        self.texts: list[str] = []
        self.pods, self._attempt = 0, 0
        self._made: list[tuple[str, str]] = []  # path and kind of each part of the present attempt
        suspended = operator.suspended.get("spec", {}) if fails else {}
        self.custom = Custom(
            kube, operator.api_version, operator.kind, operator.plural, name, namespace=namespace, **suspended
        )
        if fails and operator.suspended:
            self._set(operator.suspended.get("status", {}))

    @property
    def begins_anew(self) -> bool:
        """Whether the work restarts after a first attempt."""
        return bool(self.operator.restarted) and not self.fails and not self.is_cut_short

    def begin(self) -> None:
        """Create the first attempt's pods."""
        if self.fails and (spec := self.operator.suspended.get("spec")):
            self.custom.patch(spec=dict.fromkeys(spec))
        self._set(self.operator.running)
        parts = self.operator.parts[:1] if self.is_cut_short else self.operator.parts
        self._create_all(_failing(parts) if self.fails else parts, self.custom.obj)

    def restart(self) -> None:
        """Create the second attempt's pods, as after a failure of the first."""
        self._set(self.operator.restarted)
        if self.operator.recreates:
            self._delete_parts()
        self._attempt += 1
        self._set(self.operator.running)
        self._create_all(self.operator.parts, self.custom.obj)

    def end(self) -> None:
        """Set the status of the end, or delete the task early."""
        if self.is_cut_short:
            self.custom.delete()
            return
        self._set(self.operator.failed if self.fails else self.operator.succeeded)
        if self.operator.deletes:
            self._delete_parts(self.operator.deletes)

    def _set(self, status: Object) -> None:
        if status:
            self.custom.set_status(has_subresource=self.operator.has_status, **self._filled(status))

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._filled(k): self._filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if not isinstance(value, str):
            return value
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        retry = f"-retry{self._attempt}" if self._attempt else ""
        names = {"{name}": self.name, "{attempt}": str(self._attempt), "{retry}": retry, "{now}": now}
        for name, text in names.items():
            value = value.replace(name, text)
        return value

    def _create_all(self, parts: tuple[Part, ...], owner: Object) -> None:
        for part in parts:
            self._create_all(part.parts, self._create(part, owner))

    def _create(self, part: Part, owner: Object) -> Object:
        owners = [reference(owner, controller=part.is_controller)]
        if part.names_task_first:
            owners.insert(0, reference(self.custom.obj, controller=False))
        labels, annotations = self._filled(part.labels), self._filled(part.annotations)
        name = self._filled(part.name)
        metadata = {"name": name, "namespace": self.namespace, "ownerReferences": owners, "labels": labels}
        metadata["annotations"] = annotations
        if "/" in part.kind:
            api_version, kind = part.kind.split()
            path = f"/apis/{api_version}/namespaces/{self.namespace}/{kind.lower()}s"
            body: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
            response = self.kube.request("POST", path, json=body)
            assert response.is_success, response.text
            self._made.append((f"{path}/{name}", part.kind))
            created: Object = response.json()
            return created
        spec, is_indexed = pod_spec([self._container(part)]), part.completions and self._has_indexed_jobs
        count = part.completions if is_indexed else 1
        self.pods += count
        attempt = self.operator.attempts[self._attempt]
        for index in range(count):
            who = f"{self._filled(part.role)}|{part.rank.replace('{index}', str(index))}|{attempt}|{name}"
            self.texts += [f"{who} {i}" for i in range(LINES)]
        api_version, plural = "v1" if part.kind == "Pod" else "apps/v1", f"{part.kind.lower()}s"
        if part.kind == "Job":
            api_version = "batch/v1"
            if part.completions and not is_indexed:
                labels["batch.kubernetes.io/job-completion-index"] = "0"
            mode = {"completionMode": "Indexed"} if is_indexed else {}
            template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
            spec = {"backoffLimit": 0, "parallelism": count, "completions": count, "template": template, **mode}
        elif part.kind != "Pod":
            spec["restartPolicy"] = "Always"
            selector = {"part": name}
            template = {"metadata": {"labels": labels | selector, "annotations": annotations}, "spec": spec}
            spec = {"replicas": 1, "selector": {"matchLabels": selector}, "template": template}
            if part.kind == "StatefulSet":
                spec["serviceName"] = name
        created = self.kube.create({"apiVersion": api_version, "kind": part.kind, "metadata": metadata, "spec": spec})
        self._made.append((self.kube.path(plural, name, self.namespace), part.kind))
        if part.kind == "StatefulSet" and part.parts:
            pod = self.kube.path("pods", f"{name}-0", self.namespace)
            self.kube.wait_for(lambda: self.kube.request("GET", pod).is_success, f"the pod of {name}")
            return self.kube.get("pods", f"{name}-0", self.namespace)
        return created

    def _container(self, part: Part) -> Object:
        attempt = self.operator.attempts[self._attempt]
        rank = part.rank.replace("{index}", "${JOB_COMPLETION_INDEX:-0}")
        lines = " ".join(map(str, range(LINES)))
        echo = f'echo "{self._filled(part.role)}|{rank}|{attempt}|{self._filled(part.name)} $i"'
        end = ""
        if part.kind in ("Deployment", "StatefulSet") or self.is_cut_short or not self.operator.ends:
            end = "; exec sleep 600"
        elif part.fails and self.fails:
            end = "; exit 3"
        program = f"for i in {lines}; do {echo}; done{end}"
        command = ["busybox", "chroot", "/host", "/bin/sh", "-c", program]
        return python_container("main", "") | {"command": command}

    def _delete_parts(self, kind: str = "") -> None:
        """Delete the parts of the present attempt and wait until its pods are gone, or delete the parts of one kind."""
        for path, part_kind in self._made:
            if part_kind == (kind or part_kind):
                self.kube.request("DELETE", path, json={"propagationPolicy": "Background"})
        if kind:
            return
        self._made, self.pods = [], 0

        def are_gone() -> bool:
            names = [pod["metadata"]["name"] for pod in self.kube.list("pods", self.namespace)["items"]]
            return not any(name == self.name or name.startswith(f"{self.name}-") for name in names)

        self.kube.wait_for(are_gone, f"the end of the pods of {self.name}")
