"""Why Kueue holds a task back, and its position in the queue.

Kueue suspends a task, or gates its pods, and keeps an object `Workload` that the task owns. This object is read on request, and only
while the task has no running pod. Facts: kubernetes-sigs/kueue ff69552e, apis/kueue/v1beta2/workload_types.go,
pkg/controller/jobframework/reconciler.go, apis/visibility/v1beta2/types.go, pkg/visibility/storage.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.pods import in_one_line
from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import State, Workload

_log = logging.getLogger(__name__)

_GROUP: Final = "kueue.x-k8s.io"
_VISIBILITY: Final = "visibility.kueue.x-k8s.io"
#: The API groups that are read.
GROUPS: Final = (_GROUP, _VISIBILITY)
#: The rights that reading needs: API group and collection, with the verbs and the subresource.
RIGHTS: Final = {
    (_GROUP, "workloads"): (("list",), ""),
    (_VISIBILITY, "localqueues"): (("get",), "pendingworkloads"),
}
#: The label of a Workload that holds the UID of its task.
_JOB_UID: Final = "kueue.x-k8s.io/job-uid"
#: An answer is cached for this many seconds: a queue moves slowly.
_HOLDS_S: Final = 20.0
#: Timeout (seconds) for the positions. They come from Kueue's own API server, which may be down; the reason is shown without them.
_POSITIONS_S: Final = 3.0
#: If more tasks of a namespace wait, all its Workloads are read at once.
_FEW: Final = 5
#: The reasons of a state that Kueue may explain.
_REASONS: Final = ("Suspended", "NoPods", "SchedulingGated")


def may_be_queued(state: State) -> bool:
    """Return whether a task may wait because of Kueue."""
    return state.name == "pending" and state.reason in _REASONS


def explained(workload: Workload, state: State, queued: str) -> State:
    """Return the state of a task with its reason from `queue_reasons` as the message."""
    if not queued or not may_be_queued(state):
        return state
    return replace(state, message=f"Log not available yet: the {workload.title} {queued}")


class QueueReader:
    """Caches why tasks wait, for many tasks that are checked repeatedly.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._requested_at: dict[str, dict[str, float]] = {}  # time of each UID's last call (monotonic), by namespace
        self._answers: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}  # by namespace, and UID or ""
        self._reading = asyncio.Lock()

    async def reason(self, workload: Workload) -> str:
        """Return the reason of a task as `queue_reasons` does; empty if there is none."""
        namespace, uid, now = workload.ref.namespace, workload.uid, time.monotonic()
        requested_at = self._requested_at.setdefault(namespace, {})
        requested_at[uid] = now
        for old_uid in [key for key, at in requested_at.items() if now - at > 2 * _HOLDS_S]:
            del requested_at[old_uid]
        key = (namespace, uid if len(requested_at) <= _FEW else "")
        async with self._reading:
            self._answers = {k: v for k, v in self._answers.items() if time.monotonic() - v[0] < _HOLDS_S}
            if key not in self._answers:
                reasons = await queue_reasons(self._cluster, *key)
                self._answers[key] = (time.monotonic(), reasons)
            return self._answers[key][1].get(uid, "")


async def queue_reasons(cluster: Cluster, namespace: str, uid: str = "") -> dict[str, str]:
    """Return why tasks wait in a queue, by their UIDs.

    It is empty if the cluster has no Kueue, or its Workloads may not or cannot be read: a task is shown without them too.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
    uid : str, optional
        Only this task.
    """
    resource = await _served(cluster, _GROUP, "Workload")
    if resource is None:
        return {}
    path = resource.path(segment(namespace))
    try:
        workloads, _ = await cluster.read_list(path, {"labelSelector": f"{_JOB_UID}={uid}"} if uid else {}, _reduce)
        if uid and not any(uid in _tasks(workload) for workload in workloads):
            workloads, _ = await cluster.read_list(path, {}, _reduce)  # an owner reference is enough
    except (NotAllowed, NotFound, ClusterError) as error:
        _log.debug("the Workloads of namespace %s are not read: %s", namespace, error)
        return {}
    reasons = [
        (workload, reason)
        for workload in workloads
        if (not uid or uid in _tasks(workload)) and (reason := _reason(workload)) is not None
    ]
    positions = await _positions(
        cluster, namespace, {workload["spec"].get("queueName") or "" for workload, _ in reasons} - {""}
    )
    return {task: _sentence(workload, reason, positions) for workload, reason in reasons for task in _tasks(workload)}


async def _served(cluster: Cluster, group: str, kind: str) -> Resource | None:
    try:
        resources = await discovery(cluster).resources((group,))
    except (NotAllowed, NotFound, ClusterError):
        return None
    return next((resource for resource in resources if (resource.group, resource.kind) == (group, kind)), None)


def _reduce(workload: KubeObject) -> KubeObject:
    """Keep only the fields that are used: a Workload holds the templates of all its pods."""
    meta, spec, status = (workload.get(name) or {} for name in ("metadata", "spec", "status"))
    return {
        "metadata": {name: meta.get(name) for name in ("name", "labels", "ownerReferences", "creationTimestamp")},
        "spec": {name: spec.get(name) for name in ("queueName", "active")},
        "conditions": {
            condition.get("type"): condition
            for condition in status.get("conditions") or ()
            if isinstance(condition, dict)
        },
    }


def _tasks(workload: KubeObject) -> set[str]:
    """Return the UIDs of the objects that a Workload admits: one object, or the pods of a group."""
    owners = {owner.get("uid", "") for owner in workload["metadata"]["ownerReferences"] or ()}
    return owners or {(workload["metadata"]["labels"] or {}).get(_JOB_UID, "")} - {""}


def _reason(workload: KubeObject) -> str | None:
    """Return why a Workload waits, in Kueue's words; None if it does not wait."""
    conditions: dict[str, dict[str, Any]] = workload["conditions"]

    def message(name: str) -> str:
        return in_one_line(conditions.get(name, {}).get("message") or "")

    def is_true(name: str) -> bool:
        return conditions.get(name, {}).get("status") == "True"

    if is_true("Finished") or is_true("Admitted"):
        return None
    if is_true("QuotaReserved"):
        return message("Admitted") or "its admission checks are not satisfied"
    evicted = ""
    if is_true("Evicted"):
        evicted = f"evicted ({conditions['Evicted'].get('reason') or 'Evicted'})"
        if workload["spec"]["active"] is False:
            evicted = "deactivated"
    why = message("QuotaReserved") or (message("Evicted") if evicted else "")
    return ": ".join(filter(None, (evicted, why)))


async def _positions(cluster: Cluster, namespace: str, queues: Iterable[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the positions of waiting Workloads in their queue and in its ClusterQueue, from 1, by queue and name."""
    queues = sorted(queues)
    resource = await _served(cluster, _VISIBILITY, "LocalQueue") if queues else None
    if resource is None:
        return {}
    path = resource.path(segment(namespace))
    try:
        async with asyncio.timeout(_POSITIONS_S):
            answers = await asyncio.gather(
                *(cluster.json(f"{path}/{segment(queue)}/pendingworkloads") for queue in queues), return_exceptions=True
            )
    except TimeoutError:
        return {}
    positions: dict[tuple[str, str], tuple[int, int]] = {}
    for queue, answer in zip(queues, answers, strict=True):
        if isinstance(answer, NotAllowed | NotFound | ClusterError):
            continue
        if isinstance(answer, BaseException):
            raise answer
        for item in answer.get("items") or ():
            position = item.get("positionInLocalQueue", 0) + 1, item.get("positionInClusterQueue", 0) + 1
            positions[queue, item["metadata"]["name"]] = position
    return positions


def _sentence(workload: KubeObject, reason: str, positions: dict[tuple[str, str], tuple[int, int]]) -> str:
    """Return why and where a task waits.

    Examples
    --------
    >>> workload = {"metadata": {"name": "jobset-train-1f0e"}, "spec": {"queueName": "team"}}
    >>> _sentence(workload, "insufficient quota for nvidia.com/gpu", {("team", "jobset-train-1f0e"): (3, 12)})
    'waits in the queue team of Kueue, at place 3 (12 in the cluster queue): insufficient quota for nvidia.com/gpu'
    """
    queue = workload["spec"]["queueName"]
    where = f"waits in the queue {queue} of Kueue" if queue else "waits for Kueue"
    if position := positions.get((queue or "", workload["metadata"]["name"])):
        where += f", at place {position[0]} ({position[1]} in the cluster queue)"
    return f"{where}: {reason}" if reason else where
