"""What tasks there are, in the cluster, recorded and archived; for HTTP, Python and the command line alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef, check_namespace
from cortex_jupyter.reader.state import completeness_of, gone, recorded, unasked

if TYPE_CHECKING:
    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.reader.session import Recordings

#: Pods whose events are asked for, newest first; each is a request.
_PODS: Final = 20


async def list_tasks(
    recordings: Recordings, namespace: str, selector: str = "", person: Person | None = None
) -> tuple[list[dict[str, Any]], CortexError | None]:
    """List tasks, of the cluster, of the recordings and of the archive.

    Parameters
    ----------
    recordings : Recordings
    namespace : str
    selector : str, optional
        A label selector, of pods' labels. Recordings keep no labels, so with it only the cluster's tasks are given.
    person : Person, optional
        On whose behalf.

    Returns
    -------
    list of dict, CortexError or None
        The tasks, newest first; and why the cluster could not be asked, where it could not. The states of the tasks are
        then the last that were recorded.

    Raises
    ------
    BadQuery
        It is no namespace.
    NotFound
        The cluster has no such namespace, and nothing is recorded of it.
    NoCluster, ClusterError
        The cluster cannot be asked, and nothing is recorded.
    NotAllowed
    """
    held = await recordings.held(check_namespace(namespace), person)
    rows: list[dict[str, Any]] = []
    problem: CortexError | None = None
    try:
        cluster = await recordings.connected()
        from cortex_jupyter.cluster.tasks import has_namespace  # noqa: PLC0415
        from cortex_jupyter.cluster.tasks import list_tasks as present  # noqa: PLC0415

        held = [i for i in held if i.cluster == cluster.id]
        opened = {i.ref for i in held if i.ref.kind == "selector" and not selector}
        listed_now = await present(cluster, namespace, selector, opened)
        rows = [row for row in listed_now if await recordings.mine(TaskRef.parse(row["task"]), person)]
        if not (rows or held) and await has_namespace(cluster, namespace) is False:
            raise NotFound(f'namespaces "{namespace}" not found', "`kubectl get namespaces` lists those of the cluster")
    except ClusterError as error:
        if selector or not held:
            raise
        problem = error
    known = {i.ref.key for i in held}
    for one in rows:
        one["recorded"] = one["task"] in known
    listed = {one["task"] for one in rows}
    for info in [] if selector else held:  # newest first: an older one of the same name is left out
        if info.ref.key not in listed:
            listed.add(info.ref.key)
            row = gone(info) if problem is None else unasked(info, problem)
            rows.append(row | {"status": row["reason"], "restarts": None, "pods": 0, "recorded": True})
    return sorted(rows, key=lambda r: r["started"] or "", reverse=True), problem


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
    except CortexError as error:
        store, info = await recordings.where(ref, person)
        if info is None or not info.last_seq:
            raise
        doc: dict[str, Any] = gone(info) if isinstance(error, NotFound) else unasked(info, error)
        doc |= {"pods": [], "events": [], "hidden": {}}
    else:
        cluster = recordings.cluster
        assert cluster is not None
        store, info = await recordings.where(workload.ref, person)
        info = info if info is not None and workload.is_of(info.uid) else None
        hidden = await recordings.hidden(workload.ref.namespace, person)
        doc = await _present(cluster, workload, hidden)
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


async def _present(cluster: Cluster, workload: Workload, hidden: dict[str, str]) -> dict[str, Any]:
    """Describe a task, without what may not be shown. Its state is that of the list of tasks, whatever is hidden."""
    from cortex_jupyter.cluster.tasks import describe, pods_of  # noqa: PLC0415
    from cortex_jupyter.cluster.workloads import refusals, state_of  # noqa: PLC0415

    hidden = dict(hidden)
    pods = await pods_of(cluster, workload)
    refusal = ""
    if not pods and "events" not in hidden:
        refusal = (await refusals(cluster, workload.ref.namespace)).get(workload.uid, "")
    doc = describe(workload, pods, refusal)
    doc["reason"] = state_of(workload, pods, refusal).reason
    doc["pods"] = [] if "pods" in hidden else [_pod(pod) for pod in pods]
    doc["events"] = []
    if "events" not in hidden:
        uids = [workload.uid, *(pod["metadata"]["uid"] for pod in reversed(pods))][: _PODS + 1]
        try:
            lists = await asyncio.gather(*(_events(cluster, workload.ref.namespace, uid) for uid in uids))
        except NotAllowed as error:  # our own right, where nobody else's counts
            hidden["events"] = f"events are not shown: {error.message}"
        else:
            doc["events"] = sorted((e for one in lists for e in one), key=lambda e: e["time"] or "")
    doc["hidden"] = hidden
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
    """Return the events of one object.

    Raises
    ------
    NotAllowed, ClusterError
    """
    if uid.startswith("selector:"):
        return []
    from cortex_jupyter.cluster.workloads import segment  # noqa: PLC0415

    query = {"fieldSelector": f"involvedObject.uid={uid}"}
    try:
        items, _ = await cluster.read_list(f"/api/v1/namespaces/{segment(namespace)}/events", query)
    except NotFound:
        return []
    return [
        {
            "type": e.get("type"), "reason": e.get("reason"), "message": e.get("message"),
            "time": e.get("lastTimestamp") or e.get("eventTime") or e["metadata"].get("creationTimestamp"),
            "object": f"{e['involvedObject'].get('kind', '').lower()}/{e['involvedObject'].get('name', '')}",
        }
        for e in items
    ]  # fmt: skip
