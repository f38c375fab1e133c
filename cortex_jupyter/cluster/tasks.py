"""Finding the workload that a user names, and listing all tasks of a namespace."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import logging
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.discovery import JOB, discovery, is_absent
from cortex_jupyter.cluster.kueue import explained, may_be_queued, queue_reasons
from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.owners import Owner, Owners, controller_of
from cortex_jupyter.cluster.pods import is_finished, status_of
from cortex_jupyter.cluster.workloads import (
    Workload,
    end_of_pods,
    ends_with_pods,
    fetch,
    fetch_all,
    may_retry,
    refusals,
    segment,
    state_of,
    status_word,
)
from cortex_jupyter.errors import (
    AmbiguousTask,
    BadQuery,
    ClusterError,
    ClusterUnreachable,
    CortexError,
    KindNotFound,
    NotAllowed,
    NotFound,
    TaskNotFound,
)
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster

    #: Returns whether the user may know of a task.
    Visibility = Callable[[TaskRef], Awaitable[bool]]

_log = logging.getLogger(__name__)

#: A valid value of a label. The API server refuses a selector with another one.
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_OTHERS = ("deployment", "statefulset", "daemonset", "cronjob", "pod", "replicaset")
_LISTED = ("job", "cronjob", "deployment", "statefulset", "daemonset", "pod")
#: Kinds whose objects a site's launcher may mark with its own task id.
_LABELLED = ("job", "deployment", "statefulset", "daemonset", "pod")


async def always_visible(_: TaskRef) -> bool:
    """Return True: the user may know of every task."""
    return True


async def resolve(
    cluster: Cluster, ref: TaskRef, task_label: str = "", is_visible: Visibility = always_visible
) -> Workload:
    """Find the workload that a reference names.

    Parameters
    ----------
    cluster : Cluster
    ref : TaskRef
        Without a kind: the Job of that name, or the custom resource that it is a part of; else the only other kind of workload
        with the name, else the only Job or set of pods whose `task_label` has the name as its value.
    task_label : str, optional
        The label that holds the own task id of a site's launcher.
    is_visible : callable, optional
        Tasks that the user may not know of are treated as if they did not exist.

    Returns
    -------
    Workload
        For a CronJob, its newest Job.

    Raises
    ------
    TaskNotFound, AmbiguousTask, NotAllowed, ClusterError
    """
    try:
        if ref.kind == "selector":
            matches = [_selected(ref)] if await is_visible(ref) else []
        elif ref.is_custom:
            matches = await _custom(cluster, ref, is_visible)
        elif ref.kind:
            matches = await _by_kinds(cluster, ref, (ref.kind,), is_visible)
        else:
            matches = await _by_bare_name(cluster, ref, is_visible)
    except NotAllowed as error:
        if not ref.is_custom and ref.kind not in ("", "job"):
            raise
        matches = await _only_visible([await _by_pods(cluster, ref, error)], is_visible)
    if not matches and task_label and not ref.kind:
        matches = await _by_task_label(cluster, ref, task_label, is_visible)
    if len(matches) > 1:
        names = ", ".join(f"{w.ref.kind}/{w.ref.name}" for w in matches)
        raise AmbiguousTask(
            f"{ref.name!r} is the name of {names} in namespace {ref.namespace!r}",
            f"name the kind: {matches[0].ref.key}",
        )
    if not matches:
        raise TaskNotFound(f"there is no {ref.kind or 'task'} {ref.name!r} in namespace {ref.namespace!r}")
    return await _newest_job(cluster, matches[0], is_visible) if matches[0].ref.kind == "cronjob" else matches[0]


async def _by_bare_name(cluster: Cluster, ref: TaskRef, is_visible: Visibility) -> list[Workload]:
    """Return the Job of that name, else all other workloads of that name. A user may lack the right to read Jobs only.

    A Job that belongs to a custom resource is only a part: the submitter of a RayJob has the RayJob's name.
    """
    try:
        if jobs := await _by_kinds(cluster, ref, ("job",), is_visible):
            return [await _topmost_task(cluster, jobs[0], is_visible) or jobs[0]]
    except NotAllowed:
        workloads = await _by_kinds(cluster, ref, _OTHERS, is_visible)
        if not workloads:
            raise
        return workloads
    return await _by_kinds(cluster, ref, _OTHERS, is_visible)


async def _topmost_task(cluster: Cluster, job: Workload, is_visible: Visibility) -> Workload | None:
    """Return the topmost custom resource that owns a Job, ends, and that the user may read; None if there is none."""
    owner = controller_of(job.obj)
    if owner is None or owner.is_built_in:
        return None
    owners = Owners(cluster)
    for owner in reversed(await _chain(job.obj, owners)):
        try:
            resource = await owners.resource(owner)
            if resource is None or resource.is_built_in:
                continue
            tasks = await _only_visible(
                await _read_custom(cluster, resource, job.ref.namespace, owner.name), is_visible
            )
        except ClusterUnreachable:
            raise
        except (NotAllowed, BadQuery, ClusterError, KindNotFound) as error:
            _log.info("%s: its owner %s %s cannot be read: %s", job.ref.key, owner.kind, owner.name, error)
            continue
        if tasks and tasks[0].uid == owner.uid and _shows_ends(tasks[0]):
            return tasks[0]
    return None


async def _by_kinds(cluster: Cluster, ref: TaskRef, kinds: tuple[str, ...], is_visible: Visibility) -> list[Workload]:
    answers = await asyncio.gather(
        *(fetch(cluster, kind, ref.namespace, ref.name) for kind in kinds), return_exceptions=True
    )
    workloads: list[Workload] = []
    denied: NotAllowed | None = None
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(answer, NotAllowed):
            denied = answer
        elif isinstance(answer, NotFound):
            continue
        elif isinstance(answer, BaseException):
            raise answer
        else:
            workloads.append(_workload(kind, ref.namespace, answer))
    workloads = await _only_visible(workloads, is_visible)
    # A refusal for some kinds matters only if none of the other kinds has the name.
    if denied and not workloads:
        raise denied
    return workloads


async def _custom(cluster: Cluster, ref: TaskRef, is_visible: Visibility) -> list[Workload]:
    """Return the custom resources that a reference names, under their kinds and groups: several groups may have the kind.

    Raises
    ------
    NotAllowed, KindNotFound
        Some kinds may not or cannot be read, and none of the others has the object.
    TaskNotFound
        None of several kinds has it.
    """
    resources = await discovery(cluster).find_all(ref.kind)
    answers = await asyncio.gather(
        *(_read_object(cluster, each, ref.namespace, ref.name) for each in resources), return_exceptions=True
    )
    matches: list[Workload] = []
    refusal: NotAllowed | KindNotFound | None = None
    for answer in answers:
        if isinstance(answer, NotAllowed | KindNotFound):
            refusal = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            matches += await _only_visible(answer, is_visible)
    if refusal and not matches:
        raise refusal
    if not matches and len(resources) > 1:
        names = " or ".join(resource.name for resource in resources)
        raise TaskNotFound(f"there is no {names} {ref.name!r} in namespace {ref.namespace!r}")
    return matches


async def _read_object(cluster: Cluster, resource: Resource, namespace: str, name: str) -> list[Workload]:
    if resource.is_built_in:
        return await _by_kinds(cluster, TaskRef(namespace, "", name), (resource.name,), always_visible)
    return await _read_custom(cluster, resource, namespace, name)


async def _read_custom(cluster: Cluster, resource: Resource, namespace: str, name: str) -> list[Workload]:
    """Return the object of a kind that has a name.

    Raises
    ------
    KindNotFound, NotAllowed, ClusterError
    """
    path = resource.path(segment(namespace))
    try:
        obj = kinds.without_bulk(await cluster.json(f"{path}/{segment(name)}"))
    except NotFound as error:
        if is_absent(error, name):
            return []
        discovery(cluster).forget()  # the server may serve another version of the kind now
        raise KindNotFound(
            f"the cluster does not serve {resource.plural}.{resource.group}/{resource.version} at the moment",
            "try again; `kubectl api-resources` lists the kinds",
        ) from None
    return [Workload(TaskRef(namespace, resource.name, name), obj["metadata"]["uid"], obj, path)]


async def _by_pods(cluster: Cluster, ref: TaskRef, refusal: NotAllowed) -> Workload:
    """Return a task whose object we may not read, as the owner references of its pods name it.

    Raises
    ------
    NotAllowed
        No pod names it. The hint says how its pods can be read all the same.
    """
    resources = await discovery(cluster).find_all(ref.kind) if ref.is_custom else [JOB]
    try:
        pods = await fetch_all(cluster, "pod", ref.namespace)
    except (NotAllowed, NotFound):
        raise refusal from None
    owners, newest = Owners(cluster), dict[Owner, str]()
    for pod in pods:
        owners.note(pod)
    for pod in pods:
        for owner in await _chain(pod, owners):
            if owner.name == ref.name and any(map(owner.is_of, resources)):
                newest[owner] = max(newest.get(owner, ""), pod["metadata"]["creationTimestamp"])
    if not newest:
        parts = [part for each in resources for part in await _probable_parts(ref, each, pods, owners)]
        readable = ", ".join(dict.fromkeys(parts))
        pods_alone = f"; with rights on pods alone, read what probably belongs to it: {readable}" if readable else ""
        rights = " or ".join(f"`{each.get_right}`" for each in resources)
        raise NotAllowed(refusal.message, f"ask for the right {rights}{pods_alone}")
    owner = max(newest, key=newest.__getitem__)
    return _unreadable(next(filter(owner.is_of, resources)), ref.namespace, owner, pods)


async def _probable_parts(ref: TaskRef, resource: Resource, pods: list[KubeObject], owners: Owners) -> list[str]:
    """Return the names of tasks that probably have the pods of an unreadable object, if no pod names it as its owner.

    An operator names what it creates after the object: the RayCluster of the RayJob `tune` is `tune-9x2kd`.
    """
    chains = [await _chain(pod, owners) for pod in pods]
    parts = {
        f"{owner.kind.lower()}/{owner.name}"
        for owner in itertools.chain.from_iterable(chains)
        if not owner.is_built_in and (owner.name == ref.name or owner.name.startswith(f"{ref.name}-"))
    }
    labels = [label for label, path in kinds.kind_of(resource.name).labels.items() if path == "metadata.name"]
    used = [label for label in labels if any(pod_labels(pod).get(label) == ref.name for pod in pods)]
    return [*sorted(parts), *(f"-l {label}={ref.name}" for label in used or ([] if parts else labels))]


def _unreadable(resource: Resource, namespace: str, owner: Owner, pods: list[KubeObject]) -> Workload:
    """Return a task from its owner reference: only its name and its UID are known."""
    created = min(pod["metadata"]["creationTimestamp"] for pod in pods)
    meta = {"name": owner.name, "namespace": namespace, "uid": owner.uid, "creationTimestamp": created}
    # The label of a Job's pods: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-labels
    selector = {"matchLabels": {"controller-uid": owner.uid}} if resource.is_built_in else {}
    obj = {"kind": resource.kind, "metadata": meta, "spec": {"selector": selector}, "status": {}}
    ref = TaskRef(namespace, resource.name, owner.name)
    path = "" if resource.is_built_in else resource.path(segment(namespace))
    return Workload(ref, owner.uid, obj, path, resource.get_right)


async def _only_visible(workloads: list[Workload], is_visible: Visibility) -> list[Workload]:
    return [workload for workload in workloads if await is_visible(workload.ref)]


async def _by_task_label(cluster: Cluster, ref: TaskRef, label: str, is_visible: Visibility) -> list[Workload]:
    query = {"labelSelector": f"{label}={ref.name}"}
    for kind in _LABELLED:
        items = await fetch_all(cluster, kind, ref.namespace, query)
        if kind == "pod" and items:
            selector = TaskRef(ref.namespace, "selector", query["labelSelector"])
            return await _only_visible([_selected(selector)], is_visible)
        workloads = [_workload(kind, ref.namespace, item) for item in items]
        if visible := await _only_visible(workloads, is_visible):
            return visible
    return []


def _workload(kind: str, namespace: str, obj: KubeObject) -> Workload:
    return Workload(TaskRef(namespace, kind, obj["metadata"]["name"]), obj["metadata"]["uid"], obj)


async def _newest_job(cluster: Cluster, cronjob: Workload, is_visible: Visibility) -> Workload:
    namespace = cronjob.ref.namespace
    jobs = _jobs_of(cronjob.obj, await fetch_all(cluster, "job", namespace))
    visible = await _only_visible([_workload("job", namespace, job) for job in jobs], is_visible)
    if not visible:
        wait = "resume it (spec.suspend: false)" if cronjob.obj["spec"].get("suspend") else "wait for its schedule"
        by_hand = f"kubectl -n {namespace} create job --from=cronjob/{cronjob.ref.name} NAME"
        raise TaskNotFound(f"{cronjob.ref.key} has no Job: {schedule_of(cronjob)}", f"{wait}, or start one: {by_hand}")
    return max(visible, key=lambda job: _age(job.obj))


async def suggest_name(cluster: Cluster, ref: TaskRef, is_visible: Visibility = always_visible) -> str | None:
    """Return an existing name similar to that of a missing task, of the same kind if the reference names one.

    A custom resource is named with its kind, since its bare name does not name it.

    This is not part of `resolve`, because it lists a whole namespace: worthwhile for a user, but not for a recorder.
    """
    try:
        if ref.is_custom:
            resources = await discovery(cluster).find_all(ref.kind)
            listed = [await _list_custom(cluster, each, ref.namespace) for each in resources]
            existing = [(each.ref.name, each.ref.kind) for workloads in listed for each in workloads.values()]
        elif ref.kind:
            items = await fetch_all(cluster, ref.kind, ref.namespace)
            existing = [(item["metadata"]["name"], ref.kind) for item in items]
        else:
            existing = [(task["name"], task["kind"]) for task in await list_tasks(cluster, ref.namespace)]
        names = {str(name) for name, _ in existing}
        for similar in difflib.get_close_matches(ref.name, names, max(1, len(names))):  # the most similar first
            refs = [TaskRef(ref.namespace, kind, similar) for name, kind in existing if name == similar]
            visible = [each for each in refs if await is_visible(each)]
            if visible:
                return similar if any(not each.is_custom for each in visible) else _with_kind(visible[0])
    except CortexError:
        pass  # the caller reports the missing task, which matters more
    return None


def _with_kind(ref: TaskRef) -> str:
    """Return the shortest name of a custom resource: `pytorchjob/bert`; with the group if a built-in kind has its name."""
    short = TaskRef.parse(f"{ref.kind.partition('.')[0]}/{ref.name}", ref.namespace)
    return f"{short.kind if short.allows_kind(ref.kind) else ref.kind}/{ref.name}"


async def pods_of(cluster: Cluster, workload: Workload, lists: PodLists | None = None) -> list[KubeObject]:
    """List the pods of a task, oldest first.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
    lists : PodLists, optional
        Shares lists of whole namespaces with other tasks.
    """
    if workload.ref.is_custom:
        items = await _custom_pods(cluster, workload, lists or PodLists(cluster))
    else:
        items = await fetch_all(cluster, "pod", workload.ref.namespace, workload.pod_query)
    return sorted(items, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


async def _custom_pods(cluster: Cluster, workload: Workload, lists: PodLists) -> list[KubeObject]:
    """List the pods of a custom resource: the pods with its labels, or, without any, all pods in the namespace that it owns."""
    kind, namespace = kinds.kind_of(workload.ref.kind), workload.ref.namespace
    own_labels = kinds.own_labels(kind, workload.obj)
    is_labelled = kind.labels.keys() == {label for label, _ in own_labels}  # a RayJob first names its cluster
    if is_labelled and own_labels and all(_LABEL_VALUE.fullmatch(value) for _, value in own_labels):
        queries = [{"labelSelector": f"{label}={value}"} for label, value in own_labels]
        answers = await asyncio.gather(*(fetch_all(cluster, "pod", namespace, query) for query in queries))
        labelled = {pod["metadata"]["uid"]: pod for pods in answers for pod in pods}
        owners = Owners(cluster, queries[0])
        owners.note(workload.obj)
        pods = (await _OwnedPods.read(list(labelled.values()), owners)).of(workload)
        if pods or kinds.object_state(kind, workload.obj).name == "suspended":
            return pods
    # Another version of the operator may set other labels.
    return (await lists.read(namespace)).of(workload)


@dataclass(frozen=True, slots=True)
class _OwnedPods:
    """Pods by their owners.

    Parameters
    ----------
    by_owner : dict
        The pods that each object owns, also through others, by its UID.
    unresolved : list of dict
        Pods with an owner that may not, or cannot, be read.
    """

    by_owner: dict[str, list[KubeObject]]
    unresolved: list[KubeObject]

    @classmethod
    async def read(cls, pods: list[KubeObject], owners: Owners) -> _OwnedPods:
        """Find the owners of pods.

        Raises
        ------
        ClusterUnreachable
        """
        result = cls({}, [])
        for pod in pods:
            owners.note(pod)
        for pod in pods:
            try:
                chain = await owners.chain(pod)
            except ClusterUnreachable:
                raise
            except ClusterError as error:
                # The broken kind of another user must not hide the pods of this task.
                _log.warning("the owners of %s are not known: %s", pod["metadata"]["name"], error)
                direct = controller_of(pod)
                chain = [direct] if direct else []
            for uid in {owner.uid for owner in chain}:
                result.by_owner.setdefault(uid, []).append(pod)
            if owners.may_have_more(chain):
                result.unresolved.append(pod)
        return result

    def of(self, workload: Workload) -> list[KubeObject]:
        """Return the pods of a custom resource: by their owners, or by their labels where these may not be read."""
        owned = self.by_owner.get(workload.uid, [])
        uids = {pod["metadata"]["uid"] for pod in owned}
        kind, created = kinds.kind_of(workload.ref.kind), workload.obj["metadata"].get("creationTimestamp", "")
        # An earlier object may have had the same name, and an object of another kind may have it now.
        labelled = [
            pod
            for pod in self.unresolved
            if pod["metadata"]["creationTimestamp"] >= created and kinds.selects(kind, workload.obj, pod)
        ]
        return owned + [pod for pod in labelled if pod["metadata"]["uid"] not in uids]


class PodLists:
    """Lists all pods of a namespace. All calls before a list begins share it.

    A hundred tasks that end together would each list a thousand pods at once.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._next: dict[str, asyncio.Task[_OwnedPods]] = {}  # by namespace, until they begin
        self._reading = asyncio.Lock()

    async def read(self, namespace: str) -> _OwnedPods:
        """List the pods of a namespace, as they are at this moment or later.

        Raises
        ------
        NotAllowed, ClusterError
        """
        if namespace not in self._next:
            task = self._next[namespace] = asyncio.create_task(self._read(namespace))
            task.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # all callers may have been cancelled
        return await asyncio.shield(self._next[namespace])

    async def _read(self, namespace: str) -> _OwnedPods:
        async with self._reading:
            del self._next[namespace]  # a later caller may know of a newer pod
            return await _OwnedPods.read(await fetch_all(self._cluster, "pod", namespace), Owners(self._cluster))


async def list_tasks(
    cluster: Cluster,
    namespace: str,
    selector: str = "",
    opened: Mapping[TaskRef, str] = MappingProxyType({}),
    is_visible: Visibility = always_visible,
) -> list[KubeObject]:
    """Return the tasks of a namespace in the form of the HTTP contract, newest first.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    selector : str, optional
        A label selector: only tasks with a matching pod, or with a template that makes such pods.
    opened : mapping of TaskRef to str, optional
        The tasks that users have opened, with their UIDs. Each one that exists adds a row, if it has none by itself.
    is_visible : callable, optional
        A custom resource that the user may not know of does not hide the objects that it owns.

    Returns
    -------
    list of dict
        The fields of `describe`, and `uid`. A pod of a listed workload counts there. A CronJob has the fields of its newest
        Job. An opened task that belongs to another row has a row with `is_part`: true. An opened task whose kind cannot
        be listed has a row with the error as `unread`.

    Raises
    ------
    NotAllowed
        We may not even list pods.
    BadQuery
        The text is not a label selector.
    """
    matches = label_matcher(selector)
    opened_kinds = {ref.kind for ref in opened}
    listed_kinds = (*_LISTED, "replicaset") if "replicaset" in opened_kinds else _LISTED
    lists, unread = await _lists(cluster, namespace, listed_kinds)
    pods = lists["pod"]
    by_label = _by_label(pods)
    customs = await _CustomTasks.read(cluster, namespace, lists, is_visible, opened_kinds)
    tasks = [(w, of) for w, of in customs.tasks if any(matches(pod_labels(pod)) for pod in of) or not selector]
    for kind in _LISTED:
        for item in lists.get(kind, []):
            if kind == "cronjob" or (kind == "pod" and _controller(item)) or item["metadata"]["uid"] in customs.parts:
                continue
            workload = _workload(kind, namespace, item)
            task_pods = [item] if kind == "pod" else _owned(workload, by_label)
            if matches(pod_labels(item)) or any(matches(pod_labels(pod)) for pod in task_pods):
                tasks.append((workload, task_pods))
    further = _opened_workloads(tasks, customs, lists, opened, by_label)
    visible = [pods for workload, pods in tasks if further and await is_visible(workload.ref)]
    parts = customs.parts.union(pod["metadata"]["uid"] for pods in visible for pod in pods)
    tasks += further
    rows = await _described(cluster, namespace, tasks)
    for opened_row in rows[len(rows) - len(further) :]:
        opened_row["is_part"] = opened_row["uid"] in parts
    jobs = {workload.uid: row for (workload, _), row in zip(tasks, rows, strict=True)}
    for item in lists.get("cronjob", []):
        if matches(pod_labels(item)):
            newest = max(_jobs_of(item, lists.get("job", [])), key=_age, default=None)
            row = jobs.get(newest["metadata"]["uid"]) if newest else None
            rows.append(_describe_cronjob(_workload("cronjob", namespace, item), row))
    rows += _selector_rows(opened, pods)
    unread |= customs.unread
    names = {row["task"] for row in rows}
    rows += [
        {"task": ref.key, "uid": uid, "started": None, "unread": unread[ref.kind]}
        for ref, uid in opened.items()
        if ref.kind in unread and ref.key not in names
    ]
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True)


async def _lists(
    cluster: Cluster, namespace: str, kinds: tuple[str, ...]
) -> tuple[dict[str, list[KubeObject]], dict[str, CortexError]]:
    """Return the objects of built-in kinds, by kind, and the errors of the kinds that we may not list."""
    answers = await asyncio.gather(*(fetch_all(cluster, kind, namespace) for kind in kinds), return_exceptions=True)
    lists: dict[str, list[KubeObject]] = {}
    unread: dict[str, CortexError] = {}
    for kind, answer in zip(kinds, answers, strict=True):
        if isinstance(answer, NotAllowed) and kind != "pod":
            unread[kind] = answer  # a user who may not list Deployments still sees Jobs
        elif isinstance(answer, NotFound) and kind != "pod":
            continue
        elif isinstance(answer, BaseException):
            raise answer
        else:
            lists[kind] = answer
    return lists, unread


def _selector_rows(opened: Mapping[TaskRef, str], pods: list[KubeObject]) -> list[KubeObject]:
    """Return the fields of opened label selectors."""
    rows: list[KubeObject] = []
    for ref, uid in opened.items():
        if ref.kind != "selector":
            continue
        try:
            matches = label_matcher(ref.name)
        except BadQuery:
            continue  # the API server refused this selector, so it has no pods
        rows.append(describe(_selected(ref), [pod for pod in pods if matches(pod_labels(pod))]) | {"uid": uid})
    return rows


def _opened_workloads(
    tasks: list[tuple[Workload, list[KubeObject]]],
    customs: _CustomTasks,
    lists: dict[str, list[KubeObject]],
    opened: Mapping[TaskRef, str],
    by_label: dict[tuple[str, str], list[KubeObject]],
) -> list[tuple[Workload, list[KubeObject]]]:
    """Return the opened tasks that still exist and are not listed yet, each with its pods."""
    uids = set(opened.values()).difference(workload.uid for workload, _ in tasks)
    opened_tasks = [(workload, pods) for workload, pods in customs.non_tasks if workload.uid in uids]
    for kind in ("job", "pod", "replicaset"):
        for item in lists.get(kind, ()):
            if item["metadata"]["uid"] in uids:
                workload = _workload(kind, item["metadata"]["namespace"], item)
                opened_tasks.append((workload, [item] if kind == "pod" else _owned(workload, by_label)))
    return opened_tasks


async def _described(
    cluster: Cluster, namespace: str, tasks: list[tuple[Workload, list[KubeObject]]]
) -> list[KubeObject]:
    """Return the fields of tasks. The reasons why some have no pods are read once for all."""
    refused: dict[str, str] = {}
    queued: dict[str, str] = {}
    states = [state_of(workload, pods) for workload, pods in tasks]
    if any(state.reason == "NoPods" for state in states):
        refused = await refusals(cluster, namespace)
    if any(map(may_be_queued, states)):
        queued = await queue_reasons(cluster, namespace)
    return [
        describe(workload, pods, refused.get(workload.uid, ""), queued.get(workload.uid, "")) | {"uid": workload.uid}
        for workload, pods in tasks
    ]


@dataclass(slots=True)
class _CustomTasks:
    """The custom resources of a namespace that are tasks.

    Parameters
    ----------
    tasks : list of (Workload, list of dict)
        Each with its pods.
    parts : set of str
        The UIDs of other objects that belong to them: the Jobs of a JobSet are no tasks of their own.
    non_tasks : list of (Workload, list of dict)
        The custom resources that are no tasks of their own, with their pods.
    unread : dict of str to CortexError
        Why kinds could not be listed.
    """

    tasks: list[tuple[Workload, list[KubeObject]]] = field(default_factory=list)
    non_tasks: list[tuple[Workload, list[KubeObject]]] = field(default_factory=list)
    unread: dict[str, CortexError] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)

    @classmethod
    async def read(
        cls,
        cluster: Cluster,
        namespace: str,
        lists: dict[str, list[KubeObject]],
        is_visible: Visibility,
        opened_kinds: Collection[str] = (),
    ) -> _CustomTasks:
        """Read the custom resources of all kinds in the table, of opened kinds, and of the kinds that own listed objects.

        Only the kinds that we may not list are left out.

        Parameters
        ----------
        cluster : Cluster
        namespace : str
        lists : dict
            The built-in objects of the namespace, by kind.
        is_visible : callable
            An object whose owner the user may not know of is a task of its own.
        opened_kinds : collection of str, optional
            Kinds of tasks that users have opened.
        """
        result, owners = cls(), Owners(cluster)
        objects = [obj for listed in lists.values() for obj in listed]
        for obj in objects:
            owners.note(obj)
        _note_replica_sets(lists, owners)
        try:
            opened_groups = {kind.partition(".")[2] for kind in opened_kinds if "." in kind}
            served = await discovery(cluster).resources(kinds.groups() | opened_groups)
        except (NotAllowed, NotFound, ClusterError) as error:
            result.unread = {kind: error for kind in opened_kinds if "." in kind}
            return result  # without the right to discover kinds a user still sees Jobs
        kind_names = kinds.table().keys() | opened_kinds
        resources = {each for each in served if each.name in kind_names and not each.is_built_in}
        customs, result.unread = await _list_with_owners(cluster, namespace, resources, objects, owners)
        chains = {obj["metadata"]["uid"]: await _chain(obj, owners) for obj in objects}
        customs = {uid: workload for uid, workload in customs.items() if await is_visible(workload.ref)}
        jobs = {job["metadata"]["uid"] for job in lists.get("job", [])}
        tops = {uid: _top(chain, customs, is_job=uid in jobs) for uid, chain in chains.items()}
        cut = {uid for uid, chain in chains.items() if tops[uid] is None and owners.may_have_more(chain)}
        tops |= await _tops_by_labels([pod for pod in lists["pod"] if pod["metadata"]["uid"] in cut], customs, owners)
        result.parts = {uid for uid, top in tops.items() if top}
        pods_of_top: dict[str | None, list[KubeObject]] = {}
        pods_of_owner: dict[str, list[KubeObject]] = {}
        for pod in lists["pod"]:
            for owner in chains[pod["metadata"]["uid"]]:
                pods_of_owner.setdefault(owner.uid, []).append(pod)
            pods_of_top.setdefault(tops[pod["metadata"]["uid"]], []).append(pod)
        for owner, pods in _by_refused_owner(pods_of_top.get(None, []), chains, owners, lists).items():
            resource = await owners.resource(owner)
            if resource is not None and (resource == JOB or not resource.is_built_in):
                workload = _unreadable(resource, namespace, owner, pods)
                if await is_visible(workload.ref):
                    result.tasks.append((workload, pods))
                    result.parts |= {pod["metadata"]["uid"] for pod in pods}
        for workload in customs.values():
            pods = pods_of_top.get(workload.uid, [])
            is_part = _top(await _chain(workload.obj, owners), customs, is_job=False) is not None
            # An object that never ends, and only has the pods of its Jobs, is no task: each of these Jobs is one.
            if not is_part and (pods or _shows_ends(workload)):
                result.tasks.append((workload, pods))
            else:
                result.non_tasks.append((workload, pods or pods_of_owner.get(workload.uid, [])))
            if is_part:
                result.parts.add(workload.uid)
        return result


async def _list_with_owners(
    cluster: Cluster, namespace: str, resources: set[Resource], objects: list[KubeObject], owners: Owners
) -> tuple[dict[str, Workload], dict[str, CortexError]]:
    """Return the objects of kinds, and of all kinds that own these or `objects`, by UID; and the errors of the other kinds."""
    customs: dict[str, Workload] = {}
    unread: dict[str, CortexError] = {}
    listed: set[Resource] = set()
    while resources:
        listed |= resources
        requested = list(resources)
        answers = await asyncio.gather(
            *(_list_custom(cluster, each, namespace) for each in requested), return_exceptions=True
        )
        for resource, answer in zip(requested, answers, strict=True):
            if isinstance(answer, NotFound):
                continue  # the kind was deleted a moment ago
            if isinstance(answer, NotAllowed | ClusterError):
                unread[resource.name] = answer
                if isinstance(answer, ClusterError):
                    _log.warning("the %s of namespace %s are not listed: %s", resource.plural, namespace, answer)
                continue
            if isinstance(answer, BaseException):
                raise answer
            customs |= answer
            for workload in answer.values():
                owners.note(workload.obj)
        resources = await _kinds_of_owners([*objects, *(w.obj for w in customs.values())], owners) - listed
    return customs, unread


def _by_refused_owner(
    pods: list[KubeObject], chains: dict[str, list[Owner]], owners: Owners, lists: dict[str, list[KubeObject]]
) -> dict[Owner, list[KubeObject]]:
    """Return pods by their topmost known owner, if that may not be read and nothing below it is a task that is listed."""
    listed = {obj["metadata"]["uid"] for kind, objects in lists.items() if kind != "pod" for obj in objects}
    by_owner: dict[Owner, list[KubeObject]] = {}
    for pod in pods:
        chain = chains[pod["metadata"]["uid"]]
        if chain and owners.is_refused(chain[-1]) and listed.isdisjoint(owner.uid for owner in chain):
            by_owner.setdefault(chain[-1], []).append(pod)
    return by_owner


def _note_replica_sets(lists: dict[str, list[KubeObject]], owners: Owners) -> None:
    """Note the Deployments that own the ReplicaSets of listed pods. Their names show it, so none need be read.

    A Deployment names its ReplicaSets after itself and the pods' label `pod-template-hash` (kubernetes/kubernetes,
    pkg/controller/deployment/sync.go, getNewReplicaSet).
    """
    deployments = {deployment["metadata"]["name"]: deployment["metadata"] for deployment in lists.get("deployment", [])}
    for pod in lists["pod"]:
        owner = controller_of(pod)
        template_hash = pod_labels(pod).get("pod-template-hash")
        if owner is None or not template_hash or (owner.api_version, owner.kind) != ("apps/v1", "ReplicaSet"):
            continue
        meta = deployments.get(owner.name.removesuffix(f"-{template_hash}"))
        if meta is not None and not owners.is_known(owner.uid):
            owners.note_owner(owner.uid, Owner(meta["uid"], "apps/v1", "Deployment", meta["name"]))


async def _kinds_of_owners(objects: list[KubeObject], owners: Owners) -> set[Resource]:
    """Return the kinds of custom resources that own some of these objects and are not known yet."""
    direct = [owner for obj in objects if (owner := controller_of(obj)) and not owners.is_known(owner.uid)]
    kinds_named = {(owner.api_version, owner.kind): owner for owner in direct}
    resources: set[Resource] = set()
    for owner in kinds_named.values():
        try:
            resource = await owners.resource(owner)
        except ClusterError:
            continue
        if resource is not None and resource.may_create_pods and not resource.is_built_in:
            resources.add(resource)
    return resources


async def _chain(obj: KubeObject, owners: Owners) -> list[Owner]:
    try:
        return await owners.chain(obj)
    except ClusterError as error:
        _log.warning("the owners of %s are not known: %s", obj["metadata"]["name"], error)
        return []


def _top(chain: list[Owner], customs: dict[str, Workload], *, is_job: bool) -> str | None:
    """Return the UID of the custom resource in a chain of owners that is the task: the topmost one that ends.

    If none ends it is the topmost one, unless the object is a Job or has a Job as an owner: a Job is a task of its own.
    """
    owning = [customs[owner.uid] for owner in reversed(chain) if owner.uid in customs]
    ending = next((workload.uid for workload in owning if _shows_ends(workload)), None)
    if ending or is_job or any((owner.api_version, owner.kind) == ("batch/v1", "Job") for owner in chain):
        return ending
    return owning[0].uid if owning else None


async def _tops_by_labels(pods: list[KubeObject], customs: dict[str, Workload], owners: Owners) -> dict[str, str]:
    """Return the UID of each pod's task, by the pod's UID. The labels of the pods show it if their owners may not be read."""
    by_label: dict[tuple[str, str], list[Workload]] = {}
    for workload in customs.values() if pods else ():
        for label in kinds.own_labels(kinds.kind_of(workload.ref.kind), workload.obj):
            by_label.setdefault(label, []).append(workload)
    tops: dict[str, str] = {}
    for pod in pods:
        created = pod["metadata"]["creationTimestamp"]
        labelled = [workload for label in pod_labels(pod).items() for workload in by_label.get(label, ())]
        # An earlier object may have had the same name.
        task = next((w for w in labelled if created >= w.obj["metadata"].get("creationTimestamp", "")), None)
        if task is not None:
            top = _top(await _chain(task.obj, owners), customs, is_job=False)
            tops[pod["metadata"]["uid"]] = top or task.uid
    return tops


def _shows_ends(workload: Workload) -> bool:
    return kinds.shows_ends(kinds.kind_of(workload.ref.kind), workload.obj)


async def _list_custom(cluster: Cluster, resource: Resource, namespace: str) -> dict[str, Workload]:
    """Return the objects of a kind of custom resources, by UID.

    Raises
    ------
    NotAllowed, NotFound, ClusterError
    """
    path = resource.path(segment(namespace))
    objects, _ = await cluster.read_list(path, cut=kinds.without_bulk)
    return {
        obj["metadata"]["uid"]: Workload(
            TaskRef(namespace, resource.name, obj["metadata"]["name"]),
            obj["metadata"]["uid"],
            obj | {"kind": resource.kind},
            path,
        )
        for obj in objects
    }


def _describe_cronjob(workload: Workload, newest: KubeObject | None) -> KubeObject:
    """Return the fields of a CronJob: the fields of its newest Job, because a CronJob's name means that Job as a task."""
    spec, status, ref = workload.obj["spec"], workload.obj.get("status", {}), workload.ref
    about = schedule_of(workload)
    none = {"state": "pending", "status": "", "exit_code": None, "pods": 0, "restarts": 0, "finished": None}
    row = newest or none | {"uid": workload.uid}
    message = f"{newest['task'].partition(':')[2]}: {newest['message']}; {about}" if newest else about
    return row | {
        "task": ref.key,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "message": message,
        "status": "Suspended" if spec.get("suspend") else row["status"] or "Scheduled",
        "started": status.get("lastScheduleTime") or workload.started,
    }


def schedule_of(cronjob: Workload) -> str:
    """Return when a CronJob runs, in words: `schedule "*/5 * * * *", suspended, last schedule time 2026-01-01T00:00:00Z`."""
    spec, status = cronjob.obj["spec"], cronjob.obj.get("status", {})
    parts = [f'schedule "{spec.get("schedule")}"', "suspended (spec.suspend is true)" if spec.get("suspend") else ""]
    last = status.get("lastScheduleTime")
    return ", ".join(filter(None, [*parts, f"last schedule time {last}" if last else "not scheduled so far"]))


def _jobs_of(cronjob: KubeObject, jobs: list[KubeObject]) -> list[KubeObject]:
    uid = cronjob["metadata"]["uid"]
    return [job for job in jobs if any(o["uid"] == uid for o in job["metadata"].get("ownerReferences") or [])]


def _age(obj: KubeObject) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]


def _selected(ref: TaskRef) -> Workload:
    """Return a label selector as a task; it has no object in the cluster."""
    return Workload(ref, f"selector:{ref.name}", {})


async def has_namespace(cluster: Cluster, namespace: str) -> bool | None:
    """Return whether the cluster has a namespace; None if we may not ask (`get namespaces`)."""
    try:
        await cluster.json(f"/api/v1/namespaces/{segment(namespace)}")
    except NotFound:
        return False
    except NotAllowed:
        return None
    return True


def describe(workload: Workload, pods: list[KubeObject], refusal: str = "", queued: str = "") -> KubeObject:
    """Return the fields of one task in `GET tasks`.

    Parameters
    ----------
    workload : Workload
    pods : list of dict
    refusal : str, optional
        As in `state_of`.
    queued : str, optional
        What `kueue.queue_reasons` says of it.

    Returns
    -------
    dict
        `task`, `kind`, `namespace`, `name`; `state` (`pending`, `running`, `succeeded`, `failed`), `status` (the STATUS of
        `kubectl get`: `CrashLoopBackOff`, `Complete`), `message`, `restarts` (of its pods' containers), `started`, `finished`
        (RFC 3339 or None), `exit_code` (int or None), `pods` (their number).
    """
    state, ref = explained(workload, state_of(workload, pods, refusal), queued), workload.ref
    if workload.lacks and pods and all(map(is_finished, pods)) and ends_with_pods(workload):
        end = end_of_pods(workload, pods)
        state = state if may_retry(workload, end) else end
    started = workload.started or min((p["metadata"]["creationTimestamp"] for p in pods), default=None)
    return {
        "task": ref.key,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "state": state.name,
        "status": status_word(workload, pods, state),
        "message": state.message,
        "started": started,
        "finished": workload.finished,
        "exit_code": state.exit_code if state.over else None,
        "restarts": sum(status_of(pod).restarts for pod in pods),
        "pods": len(pods),
    }


def _controller(pod: KubeObject) -> bool:
    return any(o.get("controller") for o in pod["metadata"].get("ownerReferences", []))


def _by_label(pods: list[KubeObject]) -> dict[tuple[str, str], list[KubeObject]]:
    by_label: dict[tuple[str, str], list[KubeObject]] = {}
    for pod in pods:
        for label in (pod["metadata"].get("labels") or {}).items():
            by_label.setdefault(label, []).append(pod)
    return by_label


def _owned(workload: Workload, by_label: dict[tuple[str, str], list[KubeObject]]) -> list[KubeObject]:
    """Return the pods with all labels that a workload selects by. An index, because each Job with each pod takes too long."""
    selected = (workload.obj["spec"].get("selector") or {}).get("matchLabels") or {}
    candidates = min((by_label.get(label, []) for label in selected.items()), key=len, default=[])
    return [pod for pod in candidates if selected.items() <= pod["metadata"]["labels"].items()]
