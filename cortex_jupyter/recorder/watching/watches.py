"""What of the API server is watched for tasks: a watch for each task, or one for all of a namespace.

For one task the server selects, and sends nothing else. For hundreds, three watches each are too many for it, and what
each of them would leave out is needed by another. So a collector watches whole namespaces, and keeps of each object what
is looked at.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from cortex_jupyter.cluster.pods import without_bulk
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.watch import ReopenTrigger, watch
from cortex_jupyter.cluster.workloads import collection, segment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.model import TaskRef

    Wants = Callable[[dict[str, Any]], bool]
    Cut = Callable[[dict[str, Any]], dict[str, Any]]

Change = tuple[str, dict[str, Any]]

#: Tasks that are looked up at a time. Each request has a connection of its own, for which `asyncio.sslproto` allocates a
#: buffer of 256 KiB: a thousand at once were 50 MB.
_LOOKUPS: Final = 8


class Watches:
    """A watch for each task, and one for all events of a namespace. What is given is as `cluster.watch` gives it.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._shared: dict[str, _Shared] = {}
        self._reopen_triggers: WeakValueDictionary[str, ReopenTrigger] = (
            WeakValueDictionary()
        )  # by the task's UID, while it is watched

    async def resolve(self, ref: TaskRef) -> Workload:
        """Find the workload of a task; of a Job or pod without what is never looked at (`pods.without_bulk`).

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError
        """
        async with self._lookups:
            workload = await resolve(self._cluster, ref)
        # It is kept for as long as the task is recorded: 18 kB of JSON would be 70 kB of objects.
        return replace(workload, obj=without_bulk(workload.obj)) if workload.ref.kind in ("job", "pod") else workload

    def pods(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the pods of a task."""
        path = collection("pod", workload.ref.namespace)
        return watch(self._cluster, path, workload.pod_query, without_bulk, self._reopen_trigger(workload))

    def workload(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the object that is the task."""
        query = {"fieldSelector": f"metadata.name={workload.ref.name}"}
        path = collection(workload.ref.kind, workload.ref.namespace)
        return watch(self._cluster, path, query, reopen=self._reopen_trigger(workload))

    def doubt(self, workload: Workload) -> None:
        """Open the watches of a task anew, which have not told what is known otherwise: their connections may be dead."""
        self._reopen_trigger(workload).fire()

    def _reopen_trigger(self, workload: Workload) -> ReopenTrigger:
        return self._reopen_triggers.setdefault(workload.uid, ReopenTrigger())

    def events(self, namespace: str, ours: Callable[[str], bool]) -> AsyncIterator[Change]:
        """Follow the events of the UIDs that are ours; the server cannot select them, so what it sends serves all tasks."""

        def about(event: dict[str, Any]) -> bool:
            return ours(event.get("involvedObject", {}).get("uid", ""))

        return self._at(_events(self._where(namespace)), _cut_event).follow("", about)

    def _where(self, namespace: str) -> str:
        return namespace

    def _at(self, path: str, cut: Cut) -> _Shared:
        return self._shared.setdefault(path, _Shared(self._cluster, path, cut))


class SharedWatches(Watches):
    """One watch for all Jobs, one for all pods and one for all events of a namespace, or of all namespaces.

    It lasts as long as anybody follows. The pods of other kinds than `job` and `pod` are found by labels, which only the
    server matches; each of these few tasks has watches of its own.

    Parameters
    ----------
    cluster : Cluster
    whole : bool, optional
        Whether all namespaces are watched as one.
    """

    def __init__(self, cluster: Cluster, *, whole: bool = False) -> None:
        super().__init__(cluster)
        self._whole = whole

    def pods(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the pods that the task owns."""
        if workload.ref.kind not in ("job", "pod"):
            return super().pods(workload)
        return self._at(collection("pod", self._where(workload.ref.namespace)), without_bulk).follow(workload.uid)

    def workload(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the object that is the task."""
        if workload.ref.kind != "job":
            return super().workload(workload)
        return self._at(collection("job", self._where(workload.ref.namespace)), without_bulk).follow(workload.uid)

    def doubt(self, workload: Workload) -> None:
        """Open the watches of a task anew, the shared ones for all."""
        super().doubt(workload)
        for kind in ("pod", "job"):
            if shared := self._shared.get(collection(kind, self._where(workload.ref.namespace))):
                shared.reopen.fire()

    def _where(self, namespace: str) -> str:
        return "" if self._whole else namespace


class _Shared:
    """One watch of a collection, for all who follow some of its objects."""

    def __init__(self, cluster: Cluster, path: str, cut: Cut) -> None:
        self._cluster, self._path, self._cut = cluster, path, cut
        self.reopen = ReopenTrigger()
        self._known: dict[str, dict[str, Any]] = {}
        self._listed = False
        self._followers: dict[str, set[_Follower]] = {}  # by UID
        self._task: asyncio.Task[None] | None = None

    async def follow(self, uid: str, wants: Wants = lambda _: True) -> AsyncGenerator[Change, None]:
        """Give what is there and then every change, as a watch of these objects alone would.

        Parameters
        ----------
        uid : str
            Of the object itself, or of an owner of it; "" for any.
        wants : callable, optional
            Tells which of them.
        """
        follower = _Follower(wants)
        if self._task is None:
            self._known, self._listed = {}, False
            self._task = asyncio.create_task(self._run())
        for obj in self._known.values():
            if uid in _of(obj) and wants(obj):
                follower.put(("ADDED", obj))
        if self._listed:
            follower.put(("SYNC", {}))
        self._followers.setdefault(uid, set()).add(follower)
        try:
            while True:
                for change in await follower.take():
                    if isinstance(change, Exception):
                        raise change
                    yield change
        finally:
            self._followers[uid].discard(follower)
            if not self._followers[uid]:
                del self._followers[uid]
            if not self._followers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        try:
            async for kind, obj in watch(self._cluster, self._path, {}, self._cut, self.reopen):
                if kind in ("SYNC", "LOST", "BACK"):
                    self._listed |= kind == "SYNC"
                    self._tell_all((kind, obj))
                    continue
                if kind == "DELETED":
                    self._known.pop(obj["metadata"]["uid"], None)
                else:
                    self._known[obj["metadata"]["uid"]] = obj
                for uid in _of(obj):
                    for follower in self._followers.get(uid, ()):
                        if follower.wants(obj):
                            follower.put((kind, obj))
        except Exception as error:  # noqa: BLE001 - it is each follower's to handle; who comes next begins anew
            self._task = None
            self._tell_all(error)

    def _tell_all(self, change: Change | Exception) -> None:
        for followers in self._followers.values():
            for follower in followers:
                follower.put(change)


@dataclass(slots=True, eq=False)
class _Follower:
    """What one follower has not taken yet. A collector has thousands, and an `asyncio.Queue` holds 3 kB when it is empty.

    Parameters
    ----------
    wants : callable
        Tells which objects it follows.
    """

    wants: Wants
    _changes: list[Change | Exception] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, change: Change | Exception) -> None:
        self._changes.append(change)
        self._arrived.set()

    async def take(self) -> list[Change | Exception]:
        """Wait for changes; return all that have come, in their order."""
        await self._arrived.wait()
        self._arrived.clear()
        changes, self._changes = self._changes, []
        return changes


def _of(obj: dict[str, Any]) -> list[str]:
    """Give the UIDs by which an object is followed.

    Examples
    --------
    >>> _of({"metadata": {"uid": "a", "ownerReferences": [{"uid": "b"}]}})
    ['', 'a', 'b']
    """
    meta = obj["metadata"]
    return ["", meta["uid"], *(owner["uid"] for owner in meta.get("ownerReferences") or [])]


def _events(namespace: str) -> str:
    return f"/api/v1/namespaces/{segment(namespace)}/events" if namespace else "/api/v1/events"


def _cut_event(event: dict[str, Any]) -> dict[str, Any]:
    meta = {k: event["metadata"].get(k) for k in ("name", "uid", "resourceVersion")}
    about = {k: v for k, v in event.get("involvedObject", {}).items() if k in ("kind", "name", "uid")}
    names = ("reason", "message", "type", "eventTime", "lastTimestamp", "firstTimestamp")
    return {"metadata": meta, "involvedObject": about} | {k: event[k] for k in names if k in event}
