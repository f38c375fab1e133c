"""Workloads: their API paths, their pods, their state."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cortex_jupyter.cluster import pods as podlib
from cortex_jupyter.cluster.kinds import has_known_form, kind_of, membership, object_state, progress, waits_for
from cortex_jupyter.errors import BadQuery, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import TaskRef

#: Kind -> API groups to try, newest first, and the collection's name. In Kubernetes 1.20, CronJobs exist only in v1beta1.
COLLECTIONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "job": (("/apis/batch/v1",), "jobs"),
    "deployment": (("/apis/apps/v1",), "deployments"),
    "statefulset": (("/apis/apps/v1",), "statefulsets"),
    "daemonset": (("/apis/apps/v1",), "daemonsets"),
    "replicaset": (("/apis/apps/v1",), "replicasets"),
    "cronjob": (("/apis/batch/v1", "/apis/batch/v1beta1"), "cronjobs"),
    "pod": (("/api/v1",), "pods"),
}


#: The random suffix that the API server gives a controller's pods (kubernetes/apimachinery/pkg/util/rand).
_RANDOM_END: Final = re.compile(r'(pods "[^"]*-)[bcdfghjklmnpqrstvwxz2456789]{5}(?=")')


#: The message of a task that ends with its pods, until its recorder knows that no more will come.
EVERY_POD_HAS_ENDED: Final = "Every pod has ended; more may come"

#: The controller that creates a Job's pods by default
#: (https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller).
_JOB_CONTROLLER: Final = "kubernetes.io/job-controller"


@dataclass(frozen=True, slots=True)
class State:
    """The state of a task.

    Parameters
    ----------
    name : str
        `pending`, `running`, `succeeded`, `failed` or `gone`.
    message : str
        The state in words: `Log not available yet: ContainerCreating`, `Job complete exit 0`.
    reason : str
        Kubernetes' own word for it, if there is one.
    exit_code : int or None
        The exit code of a task that has ended.
    pod : str
        The pod that failed first, if the task failed; the exit code is that of this pod.
    """

    name: str
    message: str
    reason: str = ""
    exit_code: int | None = None
    pod: str = ""

    @property
    def over(self) -> bool:
        """Whether the task will never write a line again."""
        return self.name in ("succeeded", "failed", "gone")


@dataclass(frozen=True, slots=True)
class Workload:
    """A task in the cluster.

    Parameters
    ----------
    ref : TaskRef
        The reference, with its kind.
    uid : str
        Kubernetes' UID. For a label selector, which has no object, the reference itself.
    obj : dict
        The API's JSON; empty for a label selector.
    path : str, optional
        The URL path of a custom resource's collection.
    lacks : str, optional
        The missing right to read the object: `get rayjobs.ray.io`. Then `obj` holds only what its pods show, and the end of
        the task is that of its pods.
    """

    ref: TaskRef
    uid: str
    obj: KubeObject
    path: str = ""
    lacks: str = ""

    @property
    def collection_path(self) -> str:
        """The URL path of the collection that holds the object."""
        return self.path or collection(self.ref.kind, self.ref.namespace)

    @property
    def title(self) -> str:
        """The kind as in manifests: `Job`, `RayJob`."""
        return self.obj.get("kind") or self.ref.kind.partition(".")[0].capitalize()

    @property
    def pod_query(self) -> dict[str, str]:
        """The list parameters that select this task's pods; no parameters select the pods of a custom resource."""
        if self.ref.kind == "selector":
            return {"labelSelector": self.ref.name}
        if self.ref.kind == "pod":
            return {"fieldSelector": f"metadata.name={self.ref.name}"}
        return {"labelSelector": label_selector(self.obj["spec"].get("selector") or {})}

    def is_of(self, uid: str) -> bool:
        """Return whether a recording's UID is that of this task."""
        return uid_of_task(uid) == self.uid

    @property
    def started(self) -> str | None:
        """When the task started (RFC 3339), if the object says so."""
        started: str | None = (self.obj.get("status") or {}).get("startTime")
        return started or self.obj.get("metadata", {}).get("creationTimestamp")

    @property
    def finished(self) -> str | None:
        """When the task ended (RFC 3339), if the object says so."""
        status = self.obj.get("status") or {}
        ended = [c.get("lastTransitionTime") for c in status.get("conditions") or [] if c["type"] == "Failed"]
        times = (status.get(name) for name in ("completionTime", "endTime", "finishedAt", "stoppedAt"))
        return next(filter(None, [*times, *ended]), None)


#: A task that runs again after its end has a further recording, numbered after this mark.
_FURTHER: Final = "@@"


def uid_of_task(uid: str) -> str:
    """Return the task's UID in that of a recording. A selector's may end with @ and its namespace's creation time.

    Examples
    --------
    >>> uid_of_task("4f1c@@2"), uid_of_task("selector:app=x@1700000000")
    ('4f1c', 'selector:app=x')
    """
    return uid.partition("@")[0]


def further_uid(uid: str) -> str:
    """Return the UID of the next recording of a task that runs again after its end.

    Examples
    --------
    >>> further_uid("4f1c"), further_uid("4f1c@@2")
    ('4f1c@@2', '4f1c@@3')
    """
    first, _, number = uid.partition(_FURTHER)
    return f"{first}{_FURTHER}{int(number or 1) + 1}"


def is_further(uid: str) -> bool:
    """Return whether a recording is not the first one of its task."""
    return _FURTHER in uid


def collection(kind: str, namespace: str, group: int = 0) -> str:
    """Return the URL path of a kind's collection in a namespace. An empty namespace means all namespaces.

    Examples
    --------
    >>> collection("job", "ml"), collection("pod", "")
    ('/apis/batch/v1/namespaces/ml/jobs', '/api/v1/pods')
    """
    groups, plural = COLLECTIONS[kind]
    return f"{groups[group]}/namespaces/{segment(namespace)}/{plural}" if namespace else f"{groups[group]}/{plural}"


def segment(name: str) -> str:
    """Return a name as one segment of a URL path, escaped so that it cannot lead to another path.

    Raises
    ------
    BadQuery
        The name is `.` or `..`, which mean a folder even if they are escaped.

    Examples
    --------
    >>> segment("ml"), segment("ml/../../nodes")
    ('ml', 'ml%2F..%2F..%2Fnodes')
    """
    if name in (".", ".."):
        raise BadQuery(f"{name!r} is not a valid name", "write the name of an object of the cluster")
    return quote(name, safe="")


async def fetch(cluster: Cluster, kind: str, namespace: str, name: str) -> Any:
    """Return one object from the newest API group that has its kind.

    Raises
    ------
    NotFound
        The object does not exist.
    """
    return await _newest_group(
        kind, lambda group: cluster.json(f"{collection(kind, namespace, group)}/{segment(name)}")
    )


async def fetch_all(
    cluster: Cluster, kind: str, namespace: str, query: dict[str, str] | None = None
) -> list[KubeObject]:
    """Return the objects of a kind, without their large parts (`pods.without_bulk`).

    Raises
    ------
    NotFound
        The cluster does not have the kind.
    """
    objects, _ = await _newest_group(
        kind, lambda group: cluster.read_list(collection(kind, namespace, group), query, podlib.without_bulk)
    )
    return list(objects)


async def _newest_group(kind: str, ask: Callable[[int], Awaitable[Any]]) -> Any:
    groups, _ = COLLECTIONS[kind]
    for group in range(len(groups) - 1):
        try:
            return await ask(group)
        except NotFound:
            continue
    return await ask(len(groups) - 1)


def label_selector(selector: KubeObject) -> str:
    """Return a LabelSelector object as a string, for the query of a list.

    Examples
    --------
    >>> label_selector({"matchLabels": {"app": "x"}, "matchExpressions": [
    ...     {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}]})
    'app=x,tier in (a,b),!old'
    """
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    for requirement in selector.get("matchExpressions") or []:
        key, values = requirement["key"], ",".join(requirement.get("values") or [])
        match requirement["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)


def state_of(workload: Workload, pods: list[KubeObject], refusal: str = "") -> State:
    """Return a task's state, derived from its object and its pods.

    Parameters
    ----------
    workload : Workload
    pods : list of dict
        Its Pod objects that still exist.
    refusal : str, optional
        The message of the workload's newest event `FailedCreate`, which says why it has no pods.
    """
    state: State | None = None
    if workload.ref.is_custom:
        state = _custom_state(workload, pods)
    elif workload.ref.kind == "job":
        state = _job_state(workload, pods)
    elif workload.ref.kind == "pod" and pods and podlib.is_finished(pods[0]):
        status = pods[0]["status"]
        if status["phase"] == "Succeeded":
            return State("succeeded", "Pod complete exit 0", "Succeeded", 0)
        return _failed(workload, pods, status.get("reason") or "", status.get("message") or "")
    return _with_lack(workload, state or _alive(workload, pods, refusal))


def _with_lack(workload: Workload, state: State) -> State:
    """Return a state whose message names the missing right, if there is one."""
    if not workload.lacks:
        return state
    return replace(state, message=f"{state.message}; the right `{workload.lacks}` would tell more")


def _job_state(workload: Workload, pods: list[KubeObject]) -> State | None:
    """Return the state that a Job shows, if it has ended, is sure to end, or is suspended."""
    status = workload.obj.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition["status"] != "True":
            continue
        if condition["type"] == "Complete":
            return State("succeeded", "Job complete exit 0", "Complete", 0)
        if condition["type"] == "Failed":
            reason = condition.get("reason") or "Failed"
            # Other reasons explain themselves: they are fields of the Job. Only this one's message has more to say: which
            # rule matched which pod.
            message = condition.get("message") if reason == "PodFailurePolicy" else ""
            return _failed(workload, pods, reason, message or "")
    if workload.obj.get("spec", {}).get("suspend"):
        return State("pending", "Log not available yet: the Job is suspended", "Suspended")
    return _target(status)


def _custom_state(workload: Workload, pods: list[KubeObject]) -> State | None:
    """Return the state that a custom resource shows, if it has ended or is suspended."""
    obj_state = object_state(kind_of(workload.ref.kind), workload.obj)
    if obj_state.name == "ended":
        return end_of_pods(workload, pods, obj_state.reason, obj_state.message)
    if obj_state.name == "succeeded":
        return State("succeeded", f"{workload.title} complete exit 0", obj_state.reason or "Complete", 0)
    if obj_state.name == "failed":
        return _failed(workload, pods, obj_state.reason, obj_state.message)
    if obj_state.name == "suspended" and all(map(podlib.is_finished, pods)):
        why = f": {podlib.in_one_line(obj_state.message)}" if obj_state.message else ""
        return State("pending", f"Log not available yet: the {workload.title} is suspended{why}", "Suspended")
    return None


def ends_with_pods(workload: Workload) -> bool:
    """Return whether the end of a task is that of its pods, judged by the present state of its object."""
    if workload.ref.kind == "selector":
        return True
    if workload.ref.kind == "job":
        return bool(workload.lacks)
    row = kind_of(workload.ref.kind)
    if not workload.ref.is_custom or not row.ends:
        return False
    shows_nothing = not has_known_form(row, workload.obj) and not object_state(row, workload.obj).name
    return bool(workload.lacks) or shows_nothing


def may_retry(workload: Workload, end: State) -> bool:
    """Return whether more pods may come although all have ended: a Job waits up to 6 minutes before its next attempt.

    See https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy.
    """
    return workload.ref.kind == "job" and end.name == "failed"


def end_of_pods(workload: Workload, pods: list[KubeObject], reason: str = "", message: str = "") -> State:
    """Return how a task ended, as its pods show it.

    Parameters
    ----------
    workload : Workload
    pods : list of dict
        The Pod objects that count.
    reason, message : str, optional
        The reason and the message of the task's object for its end.
    """
    return _with_lack(workload, _end_of_pods(workload, pods, reason, message))


def _end_of_pods(workload: Workload, pods: list[KubeObject], reason: str, message: str) -> State:
    decided = _decision(workload, pods)
    if decided is not None and decided.end.exit_code:
        return _failed(workload, pods, reason, message)
    if any(pod.get("status", {}).get("phase") == "Failed" for pod in _last_attempts(workload, pods)):
        failed = next(pod["status"] for pod in pods if pod.get("status", {}).get("phase") == "Failed")
        return _failed(workload, pods, reason or failed.get("reason") or "", message or failed.get("message") or "")
    return State("succeeded", f"{workload.title} complete exit 0", reason or "Complete", 0)


def status_word(workload: Workload, pods: list[KubeObject], state: State) -> str:
    """Return STATUS as `kubectl get` shows it: a Job's own if it has ended, else that of one of its pods.

    A pod with a problem comes first, then a pod that has not ended. A custom resource without pods has a word of its own.
    """
    if (workload.ref.kind == "job" or workload.ref.is_custom) and (state.over or state.reason == "Suspended"):
        # `printJob` in kubernetes/pkg/printers/internalversion/printers.go
        return {"succeeded": "Complete", "failed": "Failed"}.get(state.name, "Suspended")
    unfinished = [pod for pod in pods if not podlib.is_finished(pod)]
    statuses = [podlib.status_of(pod) for pod in unfinished or pods]
    troubled = [status.word for status in statuses if status.is_troubled]
    alive = [status.word for status in statuses if status.word != "Terminating"]
    words = troubled or alive or [status.word for status in statuses]
    if words or state.reason != "NoPods":
        return words[0] if words else state.reason
    return waits_for(kind_of(workload.ref.kind), workload.obj)[0] if workload.ref.is_custom else ""


def _failed(workload: Workload, pods: list[KubeObject], reason: str, message: str = "") -> State:
    """Return the state of a task that failed, with the pod that failed first if it has several."""
    decided = _decision(workload, pods)
    end = decided.end if decided and decided.end.exit_code else None
    first = _describe_position(workload, decided.pod) if decided and end and len(pods) > 1 else ""
    ties = decided.ties if decided else 0
    others = f"{ties} other pod{'' if ties == 1 else 's'}"
    parts = [(f"{first} and {others} failed in the same second" if ties else f"{first} failed first") if first else ""]
    # "Error" only says that the exit code is not 0.
    parts.append(", ".join(r for r in (end.reason if end else "", reason) if r and r != "Error"))
    parts += [podlib.in_one_line(text) for text in (end.message if end else "", message)]
    why = ": ".join(part for part in parts if part)
    exit_text = f" exit {end.exit_code}" if end else ""
    return State(
        "failed",
        f"{workload.title} failed{exit_text}" + (f": {why}" if why else ""),
        reason or "Error",
        end.exit_code if end else None,
        decided.pod["metadata"]["name"] if decided and end else "",
    )


def _decision(workload: Workload, pods: list[KubeObject]) -> podlib.Decision | None:
    return podlib.decision(_last_attempts(workload, pods)) or podlib.decision(pods)


def _last_attempts(workload: Workload, pods: list[KubeObject]) -> list[KubeObject]:
    """Return the pods except ended ones that a newer pod of the same rank replaced."""
    newest: dict[tuple[str, str], int] = {}  # when the newest pod was created, by role and rank
    members = [membership(workload.ref.kind, pod)[:2] for pod in pods]
    for member, pod in zip(members, pods, strict=True):
        newest[member] = max(newest.get(member, 0), podlib.created(pod))
    return [
        pod
        for member, pod in zip(members, pods, strict=True)
        if not (member[1] and podlib.created(pod) < newest[member] and podlib.finished(pod) <= newest[member])
    ]


def _describe_position(workload: Workload, pod: KubeObject) -> str:
    """Return a pod's role and rank for a message: `worker-3 (pod bert-worker-3)`; empty for a pod of a plain Job."""
    role, rank, _ = membership(workload.ref.kind, pod)
    position, name = "-".join(filter(None, (role or ("rank" if rank else ""), rank))), f"pod {pod['metadata']['name']}"
    if position:
        return f"{position} ({name})"
    return name if workload.ref.is_custom or workload.ref.kind == "selector" else ""


def _target(status: KubeObject) -> State | None:
    """Return the state of a Job that is sure to end, but whose pods are still stopping and may write lines.

    Since Kubernetes 1.31 `Failed` and `Complete` follow when no pod is left
    (https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions).
    """
    ends = {"FailureTarget": "fails", "SuccessCriteriaMet": "is complete"}
    for condition in status.get("conditions") or []:
        if condition["status"] == "True" and (end := ends.get(condition["type"])):
            reason = condition.get("reason") or condition["type"]
            return State("running", f"Running: the Job {end} when its pods have stopped: {reason}", condition["type"])
    return None


def _alive(workload: Workload, pods: list[KubeObject], refusal: str) -> State:
    unfinished = [p for p in pods if not podlib.is_finished(p)]
    waiting = [podlib.waiting_reason(p) for p in unfinished]
    if unfinished and all(waiting):
        return State("pending", f"Log not available yet: {waiting[0]}", waiting[0].partition(":")[0])
    if unfinished:
        return _running(workload, pods, unfinished)
    if pods:
        return _all_ended(workload, pods)
    reason, why = _without_pods(workload, refusal)
    return State("pending", f"Log not available yet: {why}", reason)


def _all_ended(workload: Workload, pods: list[KubeObject]) -> State:
    """Return the state of a task whose object shows no end, although all its pods have ended."""
    end = podlib.decisive_end(pods)
    if ends_with_pods(workload):  # its recorder finds out whether more pods may come
        return State("running", EVERY_POD_HAS_ENDED, "Ended", end.exit_code if end else None)
    failed, row = _failed_pods(workload, pods), kind_of(workload.ref.kind)
    # Pods with ranks run together. Between two steps of a workflow, every pod has ended.
    if failed or (workload.ref.is_custom and row.ends and row.rank):
        no_end = f"Every pod has ended, and the {workload.title} shows no end yet"
        return State("running", f"{no_end}; {failed}" if failed else no_end, "Ended")
    if end and end.exit_code:
        return State("running", f"Running: the last pod ended with {end}, waiting for the next", "Retrying")
    return State("running", "Running", "Running")  # the workload's own end follows in a moment


def _failed_pods(workload: Workload, pods: list[KubeObject]) -> str:
    """Return how many pods of a custom resource that ends have failed, and which one failed first; empty if none has.

    Pods that newer ones replaced do not count. A Job replaces a failed pod, so its failed pods say little.
    """
    if not workload.ref.is_custom or not kind_of(workload.ref.kind).ends:
        return ""
    if not any(pod.get("status", {}).get("phase") == "Failed" for pod in pods):
        return ""
    current = _last_attempts(workload, pods)
    failed = [pod for pod in current if pod.get("status", {}).get("phase") == "Failed"]
    if not failed:
        return ""
    decided = podlib.decision(failed)
    decided = decided if decided and decided.end.exit_code else None  # an evicted pod may have no exit code
    first = decided.pod if decided else failed[0]
    how = str(decided.end) if decided else f"reason {first['status'].get('reason') or 'unknown'}"
    count = f"{len(failed)} of {len(current)} pods failed" if len(current) > 1 else "it failed"
    order = ":" if len(failed) == 1 else ", among them" if not decided or decided.ties else ", first"
    return f"{count}{order} {_describe_position(workload, first)} with {how}"


def _running(workload: Workload, all_pods: list[KubeObject], pods: list[KubeObject]) -> State:
    """Return the state of a task with pods that have begun. A problem is described in kubectl's words."""
    troubled = [status for status in map(podlib.status_of, pods) if status.is_troubled]
    if not troubled:
        if failed := _failed_pods(workload, all_pods):
            return State("running", failed, "PodFailed")
        percent = progress(workload.obj) if workload.ref.is_custom else None
        return State("running", "Running" if percent is None else f"Running: {percent} % done", "Running")
    first = troubled[0]
    same = sum(status.word == first.word for status in troubled)
    lead = f"{same} of {len(pods)} pods: " if len(pods) > 1 else ""
    # Finished init containers leave a log, but the task itself has not begun.
    name = "running" if any(map(_has_begun, pods)) else "pending"
    return State(name, f"{lead}{first}", first.word)


def _has_begun(pod: KubeObject) -> bool:
    """Return whether a main container has ever run, or an init container runs or has failed."""
    return any(
        c.state == "running" or (c.source and (c.kind != "init" or (c.end and c.end.exit_code)))
        for c in podlib.containers(pod)
    )


def _without_pods(workload: Workload, refusal: str) -> tuple[str, str]:
    """Return why a workload has no pods: the reason as one word, and in words."""
    kind, meta = workload.ref.kind, workload.obj.get("metadata", {})
    spec, status = workload.obj.get("spec") or {}, workload.obj.get("status") or {}
    if kind == "selector":
        return "NoPods", f"no pod has the labels {workload.ref.name}"
    if meta.get("deletionTimestamp"):
        return "Terminating", "it is being deleted"
    for condition in status.get("conditions") or []:
        # Deployments and ReplicaSets have this condition. For Jobs, StatefulSets and DaemonSets there is an event.
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return condition.get("reason") or "FailedCreate", f"FailedCreate: {condition.get('message')}"
    if refusal:
        return "FailedCreate", f"FailedCreate: {refusal}"
    if workload.ref.is_custom:
        words = filter(None, waits_for(kind_of(kind), workload.obj))
        return "NoPods", ": ".join(words) or "no pod has been created"
    size = {"job": "parallelism"}.get(kind, "replicas")
    why = "no pod has been created"
    manager = spec.get("managedBy") or _JOB_CONTROLLER
    if manager != _JOB_CONTROLLER:
        why = f"no pod has been created: the Job is left to {manager} (spec.managedBy)"
    elif spec.get(size) == 0:
        why = f"no pod is wanted (spec.{size} is 0)"
    elif kind == "daemonset" and status.get("desiredNumberScheduled") == 0:
        why = "no node is to run it (status.desiredNumberScheduled is 0)"
    return "NoPods", why


async def refusals(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return the messages of a namespace's events `FailedCreate`, by the UID of the workload.

    They say why a controller cannot create pods: a quota, an admission webhook, a missing service account. The result is
    empty if we may not list events.
    """
    query = {"fieldSelector": "reason=FailedCreate"}
    try:
        events, _ = await cluster.read_list(f"/api/v1/namespaces/{segment(namespace)}/events", query)
    except (NotAllowed, NotFound):
        return {}
    events.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or e["metadata"]["creationTimestamp"])
    return {e["involvedObject"].get("uid", ""): refusal_of(e) for e in events}


def refusal_of(event: KubeObject) -> str:
    """Return the message of an event `FailedCreate` without the parts that differ between the controller's attempts.

    Examples
    --------
    >>> message = '(combined from similar events): Error creating: pods "train-x2k4f" is forbidden: exceeded quota: none'
    >>> refusal_of({"message": message})
    'pods "train-…" is forbidden: exceeded quota: none'
    """
    message = podlib.in_one_line(event.get("message") or "").removeprefix("(combined from similar events): ")
    return _RANDOM_END.sub(r"\1…", message.removeprefix("Error creating: "))
