"""Find the end of a task whose object does not show it: a label selector, or a custom resource with a status of unknown form.

Its pods show how it ended. The owners of the pods show whether more pods may come.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.discovery import JOB
from cortex_jupyter.cluster.owners import FEW, Owner, Owners
from cortex_jupyter.cluster.pods import decisive_end, is_finished, without_bulk
from cortex_jupyter.cluster.tasks import pods_of
from cortex_jupyter.cluster.workloads import State, Workload, end_of_pods, ends_with_pods, may_retry, segment, state_of
from cortex_jupyter.errors import BadQuery, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster

#: An owner shows that it is over (a `State`), that it may create more pods (this), or neither (None): then the objects
#: that it owns decide.
_ALIVE: Final = "alive"


async def state_by_pods(
    cluster: Cluster,
    workload: Workload,
    pods: list[KubeObject],
    jobs: Iterable[KubeObject] = (),
    *,
    reader: OwnerReader | None = None,
) -> State | None:
    """Return the end of a task by that of its pods; None while an owner may create more pods.

    An owner that we may not read shows nothing, and a deleted one creates nothing. But a Job that we may not read waits up to
    6 minutes before its next attempt, so only its success is an end.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
        A task with `ends_with_pods`.
    pods : list of dict
        All its pods. All have ended.
    jobs : iterable of dict, optional
        The Jobs that a custom resource owns, with pods or without.
    reader : OwnerReader, optional
        Caches the owners between two calls for the same task.

    Raises
    ------
    ClusterError, ClusterUnreachable
    """
    reader = reader or OwnerReader(cluster, workload.ref.namespace)
    reader.forget()
    for pod in pods:
        reader.owners.note(pod)
    # A Job that is suspended, or waits for its next attempt, has no pod.
    if not all(reader.note_job(job).over for job in jobs):
        return None
    deciding: list[KubeObject] = []
    failed_owner: State | None = None
    for pod in pods:
        owner_end = await reader.end_of_pod(pod, workload.uid)
        if owner_end == _ALIVE:
            return None
        if owner_end is None:
            deciding.append(pod)
        elif isinstance(owner_end, State) and owner_end.name == "failed":
            deciding.append(pod)
            failed_owner = failed_owner or owner_end
    state = end_of_pods(workload, deciding)
    if may_retry(workload, state) or any(map(_has_failed, reader.pods_of_unread_jobs.values())):
        return None
    if state.name != "failed" and failed_owner is not None:  # its pods ended well or are gone: a deadline, for instance
        return replace(failed_owner, message=f"{workload.title} failed: {failed_owner.message}")
    if deciding and decisive_end(deciding) is None and not any(_phase(pod) == "Succeeded" for pod in deciding):
        return State("failed", f"{workload.title} failed: its pods were deleted before they ended", "Deleted")
    return state


async def goes_on(cluster: Cluster, workload: Workload, recorded: Collection[str]) -> bool:
    """Return whether a task runs again although a recording of it has an end.

    Argo's `retry` and a resumed Volcano Job remove the end of an object, and a label selector may select new pods. Jobs and
    pods never run again.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload
        The task as it is now.
    recorded : collection of str
        The UIDs of the pods in the recording.

    Raises
    ------
    ClusterError, ClusterUnreachable, NotAllowed
    """
    if workload.ref.is_custom:
        if state_of(workload, []).over:
            return False
        if not ends_with_pods(workload):
            return kinds.kind_of(workload.ref.kind).ends
    elif workload.ref.kind != "selector":
        return False
    return any(
        pod["metadata"]["uid"] not in recorded and (not is_finished(pod) or _has_run(pod))
        for pod in await pods_of(cluster, workload)
    )


def _phase(pod: KubeObject) -> str:
    return pod.get("status", {}).get("phase") or ""


def _has_run(pod: KubeObject) -> bool:
    statuses = pod.get("status", {})
    return any(
        status.get("containerID")
        for name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for status in statuses.get(name) or ()
    )


def _has_failed(pods: list[KubeObject]) -> bool:
    """Return whether the pods of a Job show that it may begin another attempt."""
    job = Workload(TaskRef("", "job", ""), "", {})
    return may_retry(job, end_of_pods(job, pods))


def _job_state(job: KubeObject, namespace: str) -> State:
    return state_of(Workload(TaskRef(namespace, "job", job["metadata"]["name"]), job["metadata"]["uid"], job), [])


class OwnerReader:
    """Reads whether the owners of pods are over, each owner once per call; Jobs that are over are never read again.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self.owners = Owners(cluster)
        self._ends: dict[str, State | str | None] = {}  # by UID
        self._jobs_over: set[str] = set()  # UIDs
        self._missing: dict[str, int] = {}  # number of owners that were read, by path of their collection
        self._listed: dict[str, dict[str, KubeObject]] = {}  # by path of the collection, then by UID
        self._unread_jobs: set[str] = set()  # UIDs
        self.pods_of_unread_jobs: dict[str, list[KubeObject]] = {}

    def forget(self) -> None:
        """Drop what may have changed since the last call. The end of a custom resource may vanish, that of a Job does not."""
        self._ends = {uid: end for uid, end in self._ends.items() if uid in self._jobs_over}
        for state in (self._missing, self._listed, self._unread_jobs, self.pods_of_unread_jobs):
            state.clear()

    def note_job(self, job: KubeObject) -> State:
        """Remember the end of a Job, and return its state."""
        state, uid = _job_state(job, self._namespace), job["metadata"]["uid"]
        self._ends[uid] = state if state.over else _ALIVE
        self._jobs_over |= {uid} if state.over else set()
        return state

    async def end_of_pod(self, pod: KubeObject, below: str) -> State | str | None:
        """Return the end that the topmost owner of a pod shows, ignoring the object `below` and its owners; None if none shows it."""
        chain = await self.owners.chain(pod)
        uids = [owner.uid for owner in chain]
        chain = chain[: uids.index(below)] if below in uids else chain
        owner_end = await self._end_of_chain(chain)
        for uid in self._unread_jobs.intersection(owner.uid for owner in chain) if owner_end is None else ():
            self.pods_of_unread_jobs.setdefault(uid, []).append(pod)
        return owner_end

    async def _end_of_chain(self, chain: list[Owner]) -> State | str | None:
        for owner in reversed(chain):
            if owner.uid not in self._ends:
                self._ends[owner.uid] = await self._end_of(owner)
            if self._ends[owner.uid] is not None:
                return self._ends[owner.uid]
        return None

    async def _end_of(self, owner: Owner) -> State | str | None:
        resource = await self.owners.resource(owner)
        if resource is None:
            return None
        is_ending = resource.name in ("job", "pod") if resource.is_built_in else kinds.kind_of(resource.name).ends
        if not is_ending:
            return _ALIVE
        try:
            obj = await self._object(resource, owner)
        except (NotAllowed, NotFound, BadQuery) as error:
            if isinstance(error, NotAllowed) and resource == JOB:
                self._unread_jobs.add(owner.uid)
            return None
        if obj is None or obj["metadata"]["uid"] != owner.uid:
            return None  # it is gone, and a new object may have its name
        return self._end_shown_by(resource, obj)

    def _end_shown_by(self, resource: Resource, obj: KubeObject) -> State | str | None:
        if resource.name == "pod":
            return None if is_finished(obj) else _ALIVE
        if resource == JOB:
            return state if (state := self.note_job(obj)).over else _ALIVE
        meta = obj["metadata"]
        workload = Workload(TaskRef(self._namespace, resource.name, meta["name"]), meta["uid"], obj)
        shows_only_that = kinds.object_state(kinds.kind_of(resource.name), obj).name == "ended"
        if ends_with_pods(workload) or shows_only_that:
            return None
        state = state_of(workload, [])
        return state if state.over else _ALIVE

    async def _object(self, resource: Resource, owner: Owner) -> KubeObject | None:
        """Return the object of an owner, or another one with its name; None if the list of its collection lacks it."""
        path = resource.path(segment(self._namespace))
        cut = without_bulk if resource.is_built_in else kinds.without_bulk
        self._missing[path] = self._missing.get(path, 0) + 1
        if self._missing[path] == FEW + 1:
            with contextlib.suppress(NotAllowed):  # a user may be allowed to get single ones
                objects, _ = await self._cluster.read_list(path, None, cut)
                self._listed[path] = {obj["metadata"]["uid"]: obj for obj in objects}
        if path in self._listed:
            return self._listed[path].get(owner.uid)
        return cut(await self._cluster.json(f"{path}/{segment(owner.name)}"))
