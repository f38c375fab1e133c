"""What tasks there are, in the cluster, recorded and archived; for HTTP, Python and the command line alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError, NoCluster, NotAllowed, NotFound
from cortex_jupyter.records import TaskRef, checked_namespace
from cortex_jupyter.server.state import completeness_of, gone, recorded

if TYPE_CHECKING:
    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.recording.reading.open import Recordings

#: Pods whose events are asked for, newest first; each is a request.
_PODS: Final = 20


async def list_tasks(
    recordings: Recordings, namespace: str, selector: str = "", person: Person | None = None
) -> list[dict[str, Any]]:
    """List tasks, of the cluster, of the recordings and of the archive.

    Parameters
    ----------
    recordings : Recordings
    namespace : str
    selector : str, optional
        A label selector, of pods' labels. Recordings keep no labels, so with it only the cluster's tasks are given.
    person : Person, optional
        On whose behalf.

    Raises
    ------
    BadQuery
        It is no namespace.
    NotFound
        The cluster has no such namespace, and nothing is recorded of it.
    NoCluster
        There is none, and nothing is recorded.
    NotAllowed, ClusterError
    """
    held = await recordings.held(checked_namespace(namespace), person)
    rows: list[dict[str, Any]] = []
    if recordings.cluster is not None:
        from cortex_jupyter.cluster.tasks import has_namespace  # noqa: PLC0415
        from cortex_jupyter.cluster.tasks import list_tasks as present  # noqa: PLC0415

        host = recordings.cluster.id
        held = [i for i in held if i.cluster == host]
        opened = {i.ref for i in held if i.ref.kind == "selector" and not selector}
        listed_now = await present(recordings.cluster, namespace, selector, opened)
        rows = [row for row in listed_now if await recordings.mine(TaskRef.parse(row["task"]), person)]
        if not (rows or held) and await has_namespace(recordings.cluster, namespace) is False:
            raise NotFound(f'namespaces "{namespace}" not found', "`kubectl get namespaces` lists those of the cluster")
    elif not held:
        raise NoCluster("there is no kubeconfig, and no task of this namespace is recorded")
    known = {i.ref.key for i in held}
    for one in rows:
        one["recorded"] = one["task"] in known
    listed = {one["task"] for one in rows}
    for info in [] if selector else held:  # newest first: an older one of the same name is left out
        if info.ref.key not in listed:
            listed.add(info.ref.key)
            row = gone(info)
            rows.append(row | {"status": row["reason"], "restarts": None, "pods": 0, "recorded": True})
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True)


async def describe_task(recordings: Recordings, ref: TaskRef, person: Person | None = None) -> dict[str, Any]:
    """Give one task as the contract has it.

    Parameters
    ----------
    recordings : Recordings
    ref : TaskRef
    person : Person, optional
        On whose behalf.

    Raises
    ------
    TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster
    """
    await recordings.allow(ref.namespace, person)
    try:
        return await _described(recordings, ref, person)
    except NotFound as error:
        raise await recordings.missing(ref, error, person) from None


async def _described(recordings: Recordings, ref: TaskRef, person: Person | None) -> dict[str, Any]:
    try:
        workload = await recordings.resolve(ref, person)
    except NotAllowed:
        raise
    except CortexError:
        store, info = await recordings.where(ref, person)
        if info is None or not info.last_seq:
            raise
        doc: dict[str, Any] = gone(info) | {"pods": [], "events": []}
    else:
        cluster = recordings.cluster
        assert cluster is not None
        store, info = await recordings.where(workload.ref, person)
        info = info if info is not None and workload.is_of(info.uid) else None
        doc = await _present(cluster, workload)
        if info is not None and info.done:
            doc |= {k: v for k, v in recorded(info).items() if v is not None}
    empty: dict[str, Any] = {"records": 0, "from": None, "to": None, "gaps": [], "sources": 0}
    held = empty if info is None else completeness_of(await asyncio.to_thread(store.complete, info.id))
    offset = info.clock_ms / 1000 if info else 0.0
    if not offset and recordings.cluster is not None:
        offset = recordings.cluster.clock.offset
    doc["clock"] = {"offset_s": round(offset, 1)}
    doc["recorded"] = held | {"complete": info is not None and info.done}
    return doc


async def _present(cluster: Cluster, workload: Workload) -> dict[str, Any]:
    from cortex_jupyter.cluster.tasks import describe, pods_of  # noqa: PLC0415
    from cortex_jupyter.cluster.workloads import refusals, state_of  # noqa: PLC0415

    pods = await pods_of(cluster, workload)
    refusal = "" if pods else (await refusals(cluster, workload.ref.namespace)).get(workload.uid, "")
    doc = describe(workload, pods, refusal)
    doc["reason"] = state_of(workload, pods, refusal).reason
    doc["pods"] = [_pod(pod) for pod in pods]
    uids = [workload.uid, *(pod["metadata"]["uid"] for pod in reversed(pods))][: _PODS + 1]
    lists = await asyncio.gather(*(_events(cluster, workload.ref.namespace, uid) for uid in uids))
    doc["events"] = sorted((e for one in lists for e in one), key=lambda e: e["time"] or "")
    return doc


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    from cortex_jupyter.cluster.pods import containers  # noqa: PLC0415

    return {
        "name": pod["metadata"]["name"],
        "node": pod["spec"].get("nodeName"),
        "phase": pod.get("status", {}).get("phase"),
        "containers": [
            {
                "name": c.name, "kind": c.kind, "state": c.state, "reason": c.reason, "message": c.message,
                "run": c.source.run if c.source else 0, "exit_code": c.end.exit_code if c.end else None,
            }
            for c in containers(pod)
        ],
    }  # fmt: skip


async def _events(cluster: Cluster, namespace: str, uid: str) -> list[dict[str, Any]]:
    """Give the events of one object; none where they may not be read, for they are an extra."""
    if uid.startswith("selector:"):
        return []
    from cortex_jupyter.cluster.workloads import segment  # noqa: PLC0415

    query = {"fieldSelector": f"involvedObject.uid={uid}"}
    try:
        items = (await cluster.json(f"/api/v1/namespaces/{segment(namespace)}/events", query))["items"]
    except (NotAllowed, NotFound):
        return []
    return [
        {
            "type": e.get("type"), "reason": e.get("reason"), "message": e.get("message"),
            "time": e.get("lastTimestamp") or e.get("eventTime") or e["metadata"].get("creationTimestamp"),
            "object": f"{e['involvedObject'].get('kind', '').lower()}/{e['involvedObject'].get('name', '')}",
        }
        for e in items
    ]  # fmt: skip
