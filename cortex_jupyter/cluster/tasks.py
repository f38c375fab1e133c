"""From the name a user types to a workload, and the list of all tasks of a namespace."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING, Any

from cortex_jupyter.cluster.pods import exit_of
from cortex_jupyter.cluster.workloads import Workload, fetch, state_of
from cortex_jupyter.errors import AmbiguousTask, CortexError, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.records import TaskRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cortex_jupyter.cluster.session import Cluster

    #: Tells whether a task may be known of.
    Mine = Callable[[TaskRef], Awaitable[bool]]

_OTHERS = ("deployment", "statefulset", "daemonset", "cronjob", "pod", "replicaset")
_LISTED = ("job", "deployment", "statefulset", "daemonset", "pod")


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
        found = [Workload(ref, f"selector:{ref.name}", {})] if await mine(ref) else []
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
    for kind in _LISTED:
        items = (await fetch(cluster, kind, ref.namespace, "", query))["items"]
        if kind == "pod" and items:
            own = TaskRef(ref.namespace, "selector", query["labelSelector"])
            return await _only([Workload(own, f"selector:{own.name}", {})], mine)
        if found := await _only([_workload(kind, ref.namespace, item) for item in items], mine):
            return found
    return []


def _workload(kind: str, namespace: str, obj: dict[str, Any]) -> Workload:
    return Workload(TaskRef(namespace, kind, obj["metadata"]["name"]), obj["metadata"]["uid"], obj)


async def _newest_job(cluster: Cluster, cronjob: Workload, mine: Mine) -> Workload:
    namespace = cronjob.ref.namespace
    jobs = (await fetch(cluster, "job", namespace))["items"]
    of_it = [j for j in jobs if any(o["uid"] == cronjob.uid for o in j["metadata"].get("ownerReferences", []))]
    own = await _only([_workload("job", namespace, job) for job in of_it], mine)
    if not own:
        raise TaskNotFound(
            f"{cronjob.ref.key} has not started a Job yet", "wait for its schedule, or start one by hand"
        )
    return max(own, key=lambda job: (job.obj["metadata"]["creationTimestamp"], job.ref.name))


async def meant(cluster: Cluster, ref: TaskRef, mine: Mine = anybodys) -> str | None:
    """Give the name that may have been meant by that of a task which is missing; of its kind, where it says one.

    Apart from `resolve`, because it takes lists of all that a namespace has: a person is worth them, a recorder is not.
    """
    try:
        if ref.kind:
            items = (await fetch(cluster, ref.kind, ref.namespace))["items"]
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
    items: list[dict[str, Any]] = (await fetch(cluster, "pod", workload.ref.namespace, "", workload.pod_query))["items"]
    return sorted(items, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


async def list_tasks(cluster: Cluster, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """List the tasks of a namespace as the HTTP contract gives them, newest first.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    selector : str, optional
        A label selector.

    Returns
    -------
    list of dict
        `task`, `kind`, `namespace`, `name`, `state`, `started`, `finished`, `exit_code`, `pods` (their number).
        A pod that belongs to a listed workload is counted there.

    Raises
    ------
    NotAllowed
        Not even pods may be listed.
    """
    query = {"labelSelector": selector} if selector else None
    # All pods, since those of a selected workload need not have its labels; of the bare ones the server selects.
    answers = await asyncio.gather(
        *(fetch(cluster, kind, namespace, "", query) for kind in _LISTED[:-1]),
        fetch(cluster, "pod", namespace),
        return_exceptions=True,
    )
    lists: dict[str, list[dict[str, Any]]] = {}
    for kind, answer in zip(_LISTED, answers, strict=True):
        if isinstance(answer, NotAllowed | NotFound) and kind != "pod":
            continue  # who may not list Deployments still sees Jobs
        if isinstance(answer, BaseException):
            raise answer
        lists[kind] = answer["items"]
    selected = lists["pod"] if query is None else (await fetch(cluster, "pod", namespace, "", query))["items"]
    chosen = {pod["metadata"]["uid"] for pod in selected}
    rows = []
    for kind, items in lists.items():
        for item in items:
            if kind == "pod" and (_controller(item) or item["metadata"]["uid"] not in chosen):
                continue
            workload = _workload(kind, namespace, item)
            own = [item] if kind == "pod" else [p for p in lists["pod"] if _owned(p, workload)]
            rows.append(describe(workload, own))
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True)


def describe(workload: Workload, pods: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the fields of one task in `GET tasks`."""
    state, end, ref = state_of(workload, pods), exit_of(pods), workload.ref
    exit_code = state.exit_code if state.over else None
    return {
        "task": ref.key, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "state": state.name,
        "message": state.message, "started": workload.started, "finished": workload.finished,
        "exit_code": end.exit_code if exit_code is None and state.over and end else exit_code, "pods": len(pods),
    }  # fmt: skip


def _controller(pod: dict[str, Any]) -> bool:
    return any(o.get("controller") for o in pod["metadata"].get("ownerReferences", []))


def _owned(pod: dict[str, Any], workload: Workload) -> bool:
    wanted = (workload.obj["spec"].get("selector") or {}).get("matchLabels") or {}
    labels = pod["metadata"].get("labels", {})
    return bool(wanted) and all(labels.get(k) == v for k, v in wanted.items())
