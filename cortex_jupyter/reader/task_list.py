"""List and describe tasks, in the cluster, recorded and archived; for HTTP, Python and the command line."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.workloads import EVERY_POD_HAS_ENDED, uid_of_task
from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef, check_namespace
from cortex_jupyter.reader.state import completeness_of, gone_task, recorded, unasked

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.errors import ArchiveError
    from cortex_jupyter.reader.session import Session
    from cortex_jupyter.store import RecordingInfo

#: Number of pods whose events are read, newest first; each costs a request.
_PODS: Final = 20


async def list_tasks(
    session: Session, namespace: str, selector: str = "", person: Person | None = None
) -> tuple[list[dict[str, Any]], CortexError | None]:
    """List the tasks of the cluster, of the store and of the archive.

    Parameters
    ----------
    session : Session
    namespace : str
    selector : str, optional
        A label selector for pods. Recordings hold no labels, so with a selector only the cluster's tasks are returned.
    person : Person, optional
        The person who reads; by default the user of this process.

    Returns
    -------
    list of dict, CortexError or None
        The tasks, newest first, and the error if the cluster did not answer. Then the states are the last that were
        recorded.

    Raises
    ------
    BadQuery
        The name is no namespace's.
    NotFound
        The cluster has no such namespace, and nothing of it is recorded.
    NoCluster, ClusterError
        The cluster does not answer, and nothing is recorded.
    NotAllowed
    """
    rows, _, problem = await list_with_recordings(session, namespace, selector, person)
    return rows, problem


async def list_with_recordings(
    session: Session,
    namespace: str,
    selector: str = "",
    person: Person | None = None,
    failures: list[ArchiveError] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, RecordingInfo], CortexError | None]:
    """List tasks as `list_tasks` does. Also return the existing recordings, by the task's key.

    A task that the cluster has does not have the recording of an earlier task of its name. If the archive cannot be listed,
    its tasks are left out, and the error is added to `failures`.
    """
    recorded_infos = await session.readable_recordings(check_namespace(namespace), person, failures)
    rows: list[dict[str, Any]] = []
    parts: set[str] = set()
    unread: dict[str, CortexError] = {}
    problem: CortexError | None = None
    try:
        cluster = await session.connected()
        from cortex_jupyter.cluster.tasks import has_namespace
        from cortex_jupyter.cluster.tasks import list_tasks as present

        recorded_infos = [i for i in recorded_infos if i.cluster == cluster.id]
        opened = {} if selector else {i.ref: uid_of_task(i.uid) for i in reversed(recorded_infos)}
        listed_now = await present(cluster, namespace, selector, opened, partial(session.mine, person=person))
        parts = {row["task"] for row in listed_now if row.pop("is_part", False)}
        unread = {row["task"]: row["unread"] for row in listed_now if "unread" in row}
        rows = [row for row in listed_now if row["task"] not in parts.union(unread)]
        rows = [row for row in rows if await session.mine(TaskRef.parse(row["task"]), person)]
        if not (rows or recorded_infos) and await has_namespace(cluster, namespace) is False:
            raise NotFound(f'namespaces "{namespace}" not found', "`kubectl get namespaces` lists those of the cluster")
    except ClusterError as error:
        if selector or not recorded_infos:
            raise
        problem = error
    newest = {info.ref.key: info for info in reversed(recorded_infos)}
    recordings = {} if selector else dict(newest)
    for row in rows:
        info, uid = newest.get(row["task"]), row.pop("uid")
        row["recorded"] = info is not None
        is_its_own = info is not None and uid == uid_of_task(info.uid)
        if info is not None and is_its_own:
            recordings[row["task"]] = info
        else:
            recordings.pop(row["task"], None)
        if info is not None and is_its_own and _ends_with_its_recording(row, info):
            status = row["status"] if row["state"] == info.state else _status_of_end(info)
            end = {name: recorded(info)[name] for name in ("state", "message", "exit_code", "finished")}
            row.update({name: value for name, value in end.items() if value is not None}, status=status)
    listed = parts.union(row["task"] for row in rows)
    for info in [] if selector else recorded_infos:  # newest first: an older one of the same name is left out
        if info.ref.key not in listed:
            listed.add(info.ref.key)
            obstacle = problem or unread.get(info.ref.key)
            row = unasked(info, obstacle) if obstacle else gone_task(info)
            status = _status_of_end(info) if info.done else row["reason"]
            rows.append(row | {"status": status, "restarts": None, "pods": 0, "recorded": True})
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True), recordings, problem


def _ends_with_its_recording(row: dict[str, Any], info: RecordingInfo) -> bool:
    """Return whether the recorded end of a task counts although the cluster still has the task.

    The recorder has seen pods that are deleted by now. The cluster may show no pods, or only ended ones.
    """
    if not info.done:
        return False
    if row["message"] == EVERY_POD_HAS_ENDED:
        return info.started in (None, row["started"])  # new pods of a selector may have come and ended since
    return bool(row["state"] == info.state or (info.ref.kind == "selector" and not row["pods"]))


def _status_of_end(info: RecordingInfo) -> str:
    """Return STATUS of an ended task, as `kubectl get` showed it while the object existed.

    A selector has the STATUS of its pods.
    """
    words = {"succeeded": "Complete", "failed": "Failed"}
    if info.ref.kind in ("pod", "selector"):
        words = {"succeeded": "Completed"}
    return words.get(info.state, info.reason)


def _goes_on(row: dict[str, Any], info: RecordingInfo) -> bool:
    """Return whether the cluster shows that a custom resource or a label selector runs again after its recorded end."""
    is_under_way = row["state"] in ("pending", "running") and not _ends_with_its_recording(row, info)
    return is_under_way and bool(row["pods"]) and (info.ref.is_custom or info.ref.kind == "selector")


async def describe_task(session: Session, ref: TaskRef, person: Person | None = None) -> dict[str, Any]:
    """Return one task as the contract has it.

    Parameters
    ----------
    session : Session
    ref : TaskRef
    person : Person, optional
        The person who reads; by default the user of this process.

    Raises
    ------
    TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster
    """
    await session.allow(ref.namespace, person)
    try:
        return await _described(session, ref, person)
    except NotFound as error:
        raise await session.missing(ref, error, person) from None


async def _described(session: Session, ref: TaskRef, person: Person | None) -> dict[str, Any]:
    try:
        workload = await session.resolve(ref, person)
    except NotAllowed:
        raise
    except CortexError as error:
        store, info = await session.where(ref, person)
        if info is None or not info.last_seq:
            raise
        if isinstance(error, NotFound) and info.ref.is_custom and not ref.kind:
            with contextlib.suppress(NotAllowed):  # the custom resource may outlive its Jobs
                return await _described(session, info.ref, person)
        doc: dict[str, Any] = gone_task(info) if isinstance(error, NotFound) else unasked(info, error)
        doc |= {"pods": [], "events": [], "hidden": {}}
    else:
        cluster = session.cluster
        assert cluster is not None
        store, info = await session.where(workload.ref, person)
        info = info if info is not None and workload.is_of(info.uid) else None
        hidden = await session.hidden(workload.ref.namespace, person)
        doc = await _present(cluster, workload, hidden)
        if info is not None and info.done and not _goes_on(doc, info):
            doc |= {k: v for k, v in recorded(info).items() if v is not None}
    empty: dict[str, Any] = {"records": 0, "from": None, "to": None, "gaps": [], "sources": 0}
    recorded_json = empty if info is None else completeness_of(await asyncio.to_thread(store.complete, info.id))
    offset = info.clock_ms / 1000 if info else 0.0
    if not offset and session.cluster is not None:
        offset = session.cluster.clock.offset
    doc["clock"] = {"offset_s": round(offset, 1)}
    doc["recorded"] = recorded_json | {"complete": info is not None and info.done}
    return doc


async def _present(cluster: Cluster, workload: Workload, hidden: dict[str, str]) -> dict[str, Any]:
    """Describe a task without what may not be shown. Its state equals that in the list of tasks, whatever is hidden."""
    from cortex_jupyter.cluster.kueue import may_be_queued, queue_reasons
    from cortex_jupyter.cluster.tasks import describe, pods_of
    from cortex_jupyter.cluster.workloads import refusals, state_of

    hidden = dict(hidden)
    pods = await pods_of(cluster, workload)
    refusal = ""
    if not pods and "events" not in hidden:
        refusal = (await refusals(cluster, workload.ref.namespace)).get(workload.uid, "")
    queued = ""
    if may_be_queued(state_of(workload, pods, refusal)):
        queued = (await queue_reasons(cluster, workload.ref.namespace, workload.uid)).get(workload.uid, "")
    doc = describe(workload, pods, refusal, queued)
    doc["reason"] = state_of(workload, pods, refusal).reason
    doc["pods"] = [] if "pods" in hidden else [_pod(pod) for pod in pods]
    doc["events"] = []
    if "events" not in hidden:
        uids = [workload.uid, *(pod["metadata"]["uid"] for pod in reversed(pods))][: _PODS + 1]
        try:
            lists = await asyncio.gather(*(_events(cluster, workload.ref.namespace, uid) for uid in uids))
        except NotAllowed as error:  # this process lacks the right, and no other rights are checked
            hidden["events"] = f"events are not shown: {error.message}"
        else:
            doc["events"] = sorted((e for events in lists for e in events), key=lambda e: e["time"] or "")
    doc["hidden"] = hidden
    return doc


def _pod(pod: KubeObject) -> dict[str, Any]:
    from cortex_jupyter.cluster.pods import containers

    return {
        "name": pod["metadata"]["name"],
        "node": pod["spec"].get("nodeName"),
        "phase": pod.get("status", {}).get("phase"),
        "containers": [
            {
                "name": c.name,
                "kind": c.kind,
                "state": c.state,
                "reason": c.reason,
                "message": c.message,
                "run": c.source.run if c.source else 0,
                "exit_code": c.end.exit_code if c.end else None,
            }
            for c in containers(pod)
        ],
    }


async def _events(cluster: Cluster, namespace: str, uid: str) -> list[dict[str, Any]]:
    """Return the events of one object.

    Raises
    ------
    NotAllowed, ClusterError
    """
    if uid.startswith("selector:"):
        return []
    from cortex_jupyter.cluster.workloads import segment

    query = {"fieldSelector": f"involvedObject.uid={uid}"}
    try:
        items, _ = await cluster.read_list(f"/api/v1/namespaces/{segment(namespace)}/events", query)
    except NotFound:
        return []
    return [
        {
            "type": e.get("type"),
            "reason": e.get("reason"),
            "message": e.get("message"),
            "time": e.get("lastTimestamp") or e.get("eventTime") or e["metadata"].get("creationTimestamp"),
            "object": f"{e['involvedObject'].get('kind', '').lower()}/{e['involvedObject'].get('name', '')}",
        }
        for e in items
    ]
