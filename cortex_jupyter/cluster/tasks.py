"""From the name a user types to a workload, and the list of all tasks of a namespace."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING, Any

from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.pods import status_of
from cortex_jupyter.cluster.workloads import Workload, fetch, fetch_all, refusals, segment, state_of, status_word
from cortex_jupyter.errors import AmbiguousTask, BadQuery, CortexError, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cortex_jupyter.cluster.session import Cluster

    #: Tells whether a task may be known of.
    Mine = Callable[[TaskRef], Awaitable[bool]]

_OTHERS = ("deployment", "statefulset", "daemonset", "cronjob", "pod", "replicaset")
_LISTED = ("job", "cronjob", "deployment", "statefulset", "daemonset", "pod")
#: Kinds whose objects a site's launcher may mark with its own task id.
_LABELLED = ("job", "deployment", "statefulset", "daemonset", "pod")


async def anybodys(_: TaskRef) -> bool:
    """Let everything be known."""
    return True


async def resolve(cluster: Cluster, ref: TaskRef, task_label: str = "", mine: Mine = anybodys) -> Workload:
    """Find the workload that a reference names.

    Parameters
    ----------
    cluster : Cluster
    ref : TaskRef
        Without a kind: the Job of that name, else the one other kind that has it, else the one Job or pod set that
        carries it as `task_label`.
    task_label : str, optional
        The label by which a site's launcher marks its workloads with its own task id.
    mine : callable, optional
        What may not be known of is as if it were not there: it is not named, and hides nothing.

    Returns
    -------
    Workload
        A CronJob gives its newest Job.

    Raises
    ------
    TaskNotFound, AmbiguousTask, NotAllowed, ClusterError
    """
    if ref.kind == "selector":
        found = [_selected(ref)] if await mine(ref) else []
    elif ref.kind:
        found = await _named(cluster, ref, (ref.kind,), mine)
    else:
        found = await _bare(cluster, ref, mine)
    if not found and task_label and not ref.kind:
        found = await _labelled(cluster, ref, task_label, mine)
    if len(found) > 1:
        names = ", ".join(f"{w.ref.kind}/{w.ref.name}" for w in found)
        raise AmbiguousTask(
            f"{ref.name!r} is the name of {names} in namespace {ref.namespace!r}", f"name the kind: {found[0].ref.key}"
        )
    if not found:
        raise TaskNotFound(f"there is no {ref.kind or 'task'} {ref.name!r} in namespace {ref.namespace!r}")
    return await _newest_job(cluster, found[0], mine) if found[0].ref.kind == "cronjob" else found[0]


async def _bare(cluster: Cluster, ref: TaskRef, mine: Mine) -> list[Workload]:
    """Find a Job of that name, else all else that has it; who may not read Jobs may still read one of those."""
    try:
        if found := await _named(cluster, ref, ("job",), mine):
            return found
    except NotAllowed:
        found = await _named(cluster, ref, _OTHERS, mine)
        if not found:
            raise
        return found
    return await _named(cluster, ref, _OTHERS, mine)


async def _named(cluster: Cluster, ref: TaskRef, kinds: tuple[str, ...], mine: Mine) -> list[Workload]:
    answers = await asyncio.gather(
        *(fetch(cluster, kind, ref.namespace, ref.name) for kind in kinds), return_exceptions=True
    )
    found: list[Workload] = []
    denied: NotAllowed | None = None
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(answer, NotAllowed):
            denied = answer
        elif isinstance(answer, NotFound):
            continue
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(_workload(kind, ref.namespace, answer))
    found = await _only(found, mine)
    # Who may read only some kinds is told so only when none of those has the name.
    if denied and not found:
        raise denied
    return found


async def _only(found: list[Workload], mine: Mine) -> list[Workload]:
    return [workload for workload in found if await mine(workload.ref)]


async def _labelled(cluster: Cluster, ref: TaskRef, label: str, mine: Mine) -> list[Workload]:
    query = {"labelSelector": f"{label}={ref.name}"}
    for kind in _LABELLED:
        items = await fetch_all(cluster, kind, ref.namespace, query)
        if kind == "pod" and items:
            own = TaskRef(ref.namespace, "selector", query["labelSelector"])
            return await _only([_selected(own)], mine)
        if found := await _only([_workload(kind, ref.namespace, item) for item in items], mine):
            return found
    return []


def _workload(kind: str, namespace: str, obj: dict[str, Any]) -> Workload:
    return Workload(TaskRef(namespace, kind, obj["metadata"]["name"]), obj["metadata"]["uid"], obj)


async def _newest_job(cluster: Cluster, cronjob: Workload, mine: Mine) -> Workload:
    namespace = cronjob.ref.namespace
    jobs = _jobs_of(cronjob.obj, await fetch_all(cluster, "job", namespace))
    own = await _only([_workload("job", namespace, job) for job in jobs], mine)
    if not own:
        wait = "resume it (spec.suspend: false)" if cronjob.obj["spec"].get("suspend") else "wait for its schedule"
        by_hand = f"kubectl -n {namespace} create job --from=cronjob/{cronjob.ref.name} NAME"
        raise TaskNotFound(f"{cronjob.ref.key} has no Job: {schedule_of(cronjob)}", f"{wait}, or start one: {by_hand}")
    return max(own, key=lambda job: _age(job.obj))


async def meant(cluster: Cluster, ref: TaskRef, mine: Mine = anybodys) -> str | None:
    """Give the name that may have been meant by that of a task which is missing; of its kind, where it says one.

    Apart from `resolve`, because it takes lists of all that a namespace has: a person is worth them, a recorder is not.
    """
    try:
        if ref.kind:
            items = await fetch_all(cluster, ref.kind, ref.namespace)
            named = [(item["metadata"]["name"], ref.kind) for item in items]
        else:
            named = [(task["name"], task["kind"]) for task in await list_tasks(cluster, ref.namespace)]
        names = {str(name) for name, _ in named}
        for near in difflib.get_close_matches(ref.name, names, max(1, len(names))):  # the closest first
            kinds = [kind for name, kind in named if name == near]
            if any([await mine(TaskRef(ref.namespace, kind, near)) for kind in kinds]):
                return near
    except CortexError:
        pass  # what is known is that the task is missing
    return None


async def pods_of(cluster: Cluster, workload: Workload) -> list[dict[str, Any]]:
    """List the pods of a task, oldest first."""
    items = await fetch_all(cluster, "pod", workload.ref.namespace, workload.pod_query)
    return sorted(items, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


async def list_tasks(
    cluster: Cluster, namespace: str, selector: str = "", opened: Iterable[TaskRef] = ()
) -> list[dict[str, Any]]:
    """List the tasks of a namespace as the HTTP contract gives them, newest first.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    selector : str, optional
        A label selector: tasks with a pod that it matches, and those whose template would make such pods.
    opened : iterable of TaskRef, optional
        Label selectors that somebody has opened as tasks: each is a row too.

    Returns
    -------
    list of dict
        As `describe` gives each. A pod that belongs to a listed workload is counted there. A CronJob is as its newest Job.

    Raises
    ------
    NotAllowed
        Not even pods may be listed.
    BadQuery
        The selector is none.
    """
    matches = label_matcher(selector)
    answers = await asyncio.gather(*(fetch_all(cluster, kind, namespace) for kind in _LISTED), return_exceptions=True)
    lists: dict[str, list[dict[str, Any]]] = {}
    for kind, answer in zip(_LISTED, answers, strict=True):
        if isinstance(answer, NotAllowed | NotFound) and kind != "pod":
            continue  # who may not list Deployments still sees Jobs
        if isinstance(answer, BaseException):
            raise answer
        lists[kind] = answer
    pods = lists["pod"]
    by_label = _by_label(pods)
    found: list[tuple[Workload, list[dict[str, Any]]]] = []
    for kind in _LISTED:
        for item in lists.get(kind, []):
            if kind == "cronjob" or (kind == "pod" and _controller(item)):
                continue
            workload = _workload(kind, namespace, item)
            own = [item] if kind == "pod" else _owned(workload, by_label)
            if matches(pod_labels(item)) or any(matches(pod_labels(pod)) for pod in own):
                found.append((workload, own))
    refused: dict[str, str] = {}
    if any(_lacks_pods(workload, own) for workload, own in found):
        refused = await refusals(cluster, namespace)
    rows = [describe(workload, own, refused.get(workload.uid, "")) for workload, own in found]
    jobs = {workload.uid: row for (workload, _), row in zip(found, rows, strict=True)}
    for item in lists.get("cronjob", []):
        if matches(pod_labels(item)):
            newest = max(_jobs_of(item, lists.get("job", [])), key=_age, default=None)
            row = jobs.get(newest["metadata"]["uid"]) if newest else None
            rows.append(_describe_cronjob(_workload("cronjob", namespace, item), row))
    for ref in opened:
        try:
            own_labels = label_matcher(ref.name)
        except BadQuery:
            continue  # the server refused it when it was opened: no pod is of it
        rows.append(describe(_selected(ref), [pod for pod in pods if own_labels(pod_labels(pod))]))
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True)


def _lacks_pods(workload: Workload, pods: list[dict[str, Any]]) -> bool:
    return not pods and state_of(workload, pods).reason == "NoPods"


def _describe_cronjob(workload: Workload, newest: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a CronJob: those of its newest Job, which is what its name means as a task."""
    spec, status, ref = workload.obj["spec"], workload.obj.get("status", {}), workload.ref
    about = schedule_of(workload)
    row = newest or {"state": "pending", "status": "", "exit_code": None, "pods": 0, "restarts": 0, "finished": None}
    message = f"{newest['task'].partition(':')[2]}: {newest['message']}; {about}" if newest else about
    return row | {
        "task": ref.key, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "message": message,
        "status": "Suspended" if spec.get("suspend") else row["status"] or "Scheduled",
        "started": status.get("lastScheduleTime") or workload.started,
    }  # fmt: skip


def schedule_of(cronjob: Workload) -> str:
    """Return when a CronJob runs, in words: `schedule "*/5 * * * *", suspended, last schedule time 2026-01-01T00:00:00Z`."""
    spec, status = cronjob.obj["spec"], cronjob.obj.get("status", {})
    parts = [f'schedule "{spec.get("schedule")}"', "suspended (spec.suspend is true)" if spec.get("suspend") else ""]
    last = status.get("lastScheduleTime")
    return ", ".join(filter(None, [*parts, f"last schedule time {last}" if last else "not scheduled so far"]))


def _jobs_of(cronjob: dict[str, Any], jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    uid = cronjob["metadata"]["uid"]
    return [job for job in jobs if any(o["uid"] == uid for o in job["metadata"].get("ownerReferences") or [])]


def _age(obj: dict[str, Any]) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]


def _selected(ref: TaskRef) -> Workload:
    """Return a label selector as a task: there is no object of it."""
    return Workload(ref, f"selector:{ref.name}", {})


async def has_namespace(cluster: Cluster, namespace: str) -> bool | None:
    """Tell whether the cluster has a namespace; None where we may not ask (`get namespaces`)."""
    try:
        await cluster.json(f"/api/v1/namespaces/{segment(namespace)}")
    except NotFound:
        return False
    except NotAllowed:
        return None
    return True


def describe(workload: Workload, pods: list[dict[str, Any]], refusal: str = "") -> dict[str, Any]:
    """Return the fields of one task in `GET tasks`.

    Returns
    -------
    dict
        `task`, `kind`, `namespace`, `name`; `state` (`pending`, `running`, `succeeded`, `failed`), `status` (what `kubectl get`
        shows in that column: `CrashLoopBackOff`, `Complete`), `message`, `restarts` (of its pods' containers), `started`,
        `finished` (RFC 3339 or None), `exit_code` (int or None), `pods` (their number).
    """
    state, ref = state_of(workload, pods, refusal), workload.ref
    started = workload.started or min((p["metadata"]["creationTimestamp"] for p in pods), default=None)
    return {
        "task": ref.key, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "state": state.name,
        "status": status_word(workload, pods, state), "message": state.message, "started": started,
        "finished": workload.finished,
        "exit_code": state.exit_code if state.over else None,
        "restarts": sum(status_of(pod).restarts for pod in pods), "pods": len(pods),
    }  # fmt: skip


def _controller(pod: dict[str, Any]) -> bool:
    return any(o.get("controller") for o in pod["metadata"].get("ownerReferences", []))


def _by_label(pods: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for pod in pods:
        for label in (pod["metadata"].get("labels") or {}).items():
            found.setdefault(label, []).append(pod)
    return found


def _owned(workload: Workload, by_label: dict[tuple[str, str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the pods with all labels that a workload selects by; 300 Jobs and 1 000 pods are too many to try each with each."""
    wanted = (workload.obj["spec"].get("selector") or {}).get("matchLabels") or {}
    candidates = min((by_label.get(label, []) for label in wanted.items()), key=len, default=[])
    return [pod for pod in candidates if wanted.items() <= pod["metadata"]["labels"].items()]
