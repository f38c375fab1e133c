"""Watch the objects, pods and events of tasks: each task alone, or all tasks of a namespace together.

For one task the API server selects the objects and sends nothing else. For hundreds of tasks three watches each would
be too many for it, and what one of them leaves out another one needs. So a collector watches whole namespaces, and
keeps only the parts of each object that are used.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from cortex_jupyter.cluster import KubeObject, kinds
from cortex_jupyter.cluster.discovery import is_absent
from cortex_jupyter.cluster.kueue import QueueReader
from cortex_jupyter.cluster.owners import Owners
from cortex_jupyter.cluster.pods import without_bulk
from cortex_jupyter.cluster.tasks import PodLists, resolve
from cortex_jupyter.cluster.watch import ReopenTrigger, watch
from cortex_jupyter.cluster.workloads import collection, segment
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from cortex_jupyter.cluster.owners import Owner
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.model import TaskRef

    ObjectFilter = Callable[[KubeObject], bool]
    Reduce = Callable[[KubeObject], KubeObject]

Change = tuple[str, KubeObject]
_log = logging.getLogger(__name__)

#: Interval (seconds) between attempts to read an object's owners.
_OWNERS_AGAIN_S: Final = 1.0
#: Timeout (seconds) of the search for owners' owners. A follower that needs them waits for it before a list counts as complete.
_SEARCH_S: Final = 10.0

#: Interval (seconds) between reads of an object that we may get, but not watch.
_POLL_S: Final = 5.0
#: Interval (seconds) between attempts to read an object that we may not read.
_RIGHT_S: Final = 10.0
#: Maximum number of simultaneous lookups of tasks. Each request has its own connection, with a buffer of 256 KiB
#: (`asyncio.sslproto`): a thousand at once took 50 MB.
_LOOKUPS: Final = 8


class Watches:
    """One watch for each task, and one for all events of a namespace. Changes are as `cluster.watch` yields them.

    Parameters
    ----------
    cluster : Cluster

    Attributes
    ----------
    queues : QueueReader
        Reads why tasks wait. It is read on request, not watched.
    pod_lists : PodLists
        Lists the pods when a task ends, in case the watch is late.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._shared: dict[str, _SharedWatch] = {}
        self.queues = QueueReader(cluster)
        self.pod_lists = PodLists(cluster)
        # By task UID, while the task is watched.
        self._reopen_triggers: WeakValueDictionary[str, ReopenTrigger] = WeakValueDictionary()

    async def resolve(self, ref: TaskRef) -> Workload:
        """Return the workload of a task.

        That of a Job, pod or custom resource lacks the parts that are never used (`pods.without_bulk`).

        Raises
        ------
        TaskNotFound, KindNotFound, AmbiguousTask, NotAllowed, ClusterError
        """
        async with self._lookups:
            workload = await resolve(self._cluster, ref)
        # It stays in memory while the task is recorded: 18 kB of JSON would be 70 kB of objects.
        if workload.ref.kind in ("job", "pod") or workload.ref.is_custom:
            workload = replace(workload, obj=_cut_of(workload)(workload.obj))
        return workload

    async def readable(self, workload: Workload) -> Workload:
        """Wait until we may read the object of a task, and return the task with it."""
        path = f"{workload.collection_path}/{segment(workload.ref.name)}"
        while True:
            await asyncio.sleep(_RIGHT_S)
            try:
                obj = _cut_of(workload)(await self._cluster.json(path))
            except (NotAllowed, NotFound, ClusterError):
                continue  # its pods show the end
            if obj["metadata"]["uid"] == workload.uid:
                return replace(workload, obj={"kind": workload.title} | obj, lacks="")

    def pods(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the pods of a task."""
        if workload.ref.is_custom:
            return self._custom_pods(workload)
        path = collection("pod", workload.ref.namespace)
        return watch(self._cluster, path, workload.pod_query, without_bulk, self._reopen_trigger(workload))

    def workload(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the object that is the task."""
        changes = self._watched_or_polled(workload)
        return self._follow_labels(workload, changes) if workload.ref.is_custom else changes

    async def _watched_or_polled(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the object that is the task; a user may be allowed to get it, but neither to list nor to watch its kind."""
        try:
            async for change in self._object(workload):
                yield change
        except NotAllowed as error:
            _log.info("%s is read every %.0f s: %s", workload.ref.key, _POLL_S, error.message)
        path = f"{workload.collection_path}/{segment(workload.ref.name)}"
        while True:
            try:
                yield "MODIFIED", _cut_of(workload)(await self._cluster.json(path))
            except (NotFound, ClusterError) as error:
                if isinstance(error, NotFound) and is_absent(error, workload.ref.name):
                    yield "DELETED", workload.obj
                _log.info("%s cannot be read: %s", workload.ref.key, error)
            await asyncio.sleep(_POLL_S)

    def _object(self, workload: Workload) -> AsyncIterator[Change]:
        query = {"fieldSelector": f"metadata.name={workload.ref.name}"}
        return watch(self._cluster, workload.collection_path, query, _cut_of(workload), self._reopen_trigger(workload))

    def _custom_pods(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the pods of a custom resource. No query selects them, so one watch of all pods serves all such tasks."""
        keys = (workload.uid, *_own_labels(workload, workload.obj))
        return self._all_pods(workload).follow(workload.ref.namespace, *keys, with_all_owners=True)

    async def _follow_labels(self, workload: Workload, changes: AsyncIterator[Change]) -> AsyncIterator[Change]:
        """Yield the changes of a custom resource. With each change, the followers of its pods also follow the labels that it names.

        A RayJob names another RayCluster with each attempt.
        """
        async for kind, obj in changes:
            if kind in ("ADDED", "MODIFIED") and obj["metadata"]["uid"] == workload.uid:
                self._all_pods(workload).follow_also(workload.uid, _own_labels(workload, obj))
            yield kind, obj

    def _all_pods(self, workload: Workload) -> _SharedWatch:
        """Return the watch of all pods of a task's namespace."""
        return self._shared_watch(collection("pod", self._watched_namespace(workload.ref.namespace)), without_bulk)

    def jobs(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the Jobs that a custom resource owns, directly or not."""
        path = collection("job", self._watched_namespace(workload.ref.namespace))
        return self._shared_watch(path, without_bulk).follow(workload.ref.namespace, workload.uid, with_all_owners=True)

    def doubt(self, workload: Workload) -> None:
        """Reopen a task's watches: their connections may be dead.

        They have missed a change that is known from elsewhere.
        """
        self._reopen_trigger(workload).fire()
        pods_path = collection("pod", self._watched_namespace(workload.ref.namespace))
        if workload.ref.is_custom and (shared := self._shared.get(pods_path)):
            shared.reopen.fire()

    def _reopen_trigger(self, workload: Workload) -> ReopenTrigger:
        return self._reopen_triggers.setdefault(workload.uid, ReopenTrigger())

    def events(self, namespace: str, is_ours: Callable[[str], bool]) -> AsyncIterator[Change]:
        """Follow the events about these UIDs. The API server cannot select them, so one watch serves all tasks."""

        def is_about(event: KubeObject) -> bool:
            return is_ours(event.get("involvedObject", {}).get("uid", ""))

        return self._shared_watch(_events_path(self._watched_namespace(namespace)), _reduce_event).follow(
            namespace, "", is_wanted=is_about
        )

    def _watched_namespace(self, namespace: str) -> str:
        return namespace

    def _shared_watch(self, path: str, reduce: Reduce) -> _SharedWatch:
        return self._shared.setdefault(path, _SharedWatch(self._cluster, path, reduce))


class SharedWatches(Watches):
    """One watch for all Jobs, one for all pods and one for all events of a namespace, or of all namespaces.

    A watch lasts while it has followers. The pods of kinds other than `job` and `pod` are found by labels, which only
    the API server matches; each of these few tasks has its own watches.

    Parameters
    ----------
    cluster : Cluster
    whole : bool, optional
        Whether one watch covers all namespaces.
    """

    def __init__(self, cluster: Cluster, *, whole: bool = False) -> None:
        super().__init__(cluster)
        self._whole = whole

    def pods(self, workload: Workload) -> AsyncIterator[Change]:
        """Follow the pods that the task owns."""
        if workload.ref.kind not in ("job", "pod"):
            return super().pods(workload)
        return self._all_pods(workload).follow(workload.ref.namespace, workload.uid)

    def _object(self, workload: Workload) -> AsyncIterator[Change]:
        if workload.ref.kind != "job" and not workload.ref.is_custom:
            return super()._object(workload)
        shared = self._shared_watch(self._object_path(workload), _cut_of(workload))
        return shared.follow(workload.ref.namespace, workload.uid)

    def _object_path(self, workload: Workload) -> str:
        """Return the path of the watched collection that holds the task's object."""
        if not workload.ref.is_custom:
            return collection("job", self._watched_namespace(workload.ref.namespace))
        namespaced = f"/namespaces/{segment(workload.ref.namespace)}/"
        return workload.path.replace(namespaced, "/") if self._whole else workload.path

    def doubt(self, workload: Workload) -> None:
        """Reopen a task's watches, including the shared ones."""
        super().doubt(workload)
        for path in (collection("pod", self._watched_namespace(workload.ref.namespace)), self._object_path(workload)):
            if shared := self._shared.get(path):
                shared.reopen.fire()

    def _watched_namespace(self, namespace: str) -> str:
        return "" if self._whole else namespace


class _SharedWatch:
    """One watch of a collection, shared by all followers of its objects.

    Changes reach the followers of an object and of its direct owners at once. The owners of these owners are read in the
    background: an owner that cannot be read must not hold up the changes of other objects.
    """

    def __init__(self, cluster: Cluster, path: str, reduce: Reduce) -> None:
        self._cluster, self._path, self._reduce = cluster, path, reduce
        self.reopen = ReopenTrigger()
        self._known: dict[str, KubeObject] = {}
        self._listed = False
        self._followers: dict[str, set[_Follower]] = {}  # by UID, or by label
        self._task: asyncio.Task[None] | None = None
        # By namespace of the owned objects; None until a follower needs owners' owners. A UID counts only in its namespace.
        self._owners: dict[str, Owners] | None = None
        # By UID of an object: the UIDs and labels under which it is followed, besides its own UID and its direct owners' UIDs.
        self._further_keys: dict[str, list[str]] = {}
        self._searches: dict[str, asyncio.Task[None]] = {}  # the searches for these keys, by UID
        self._deleted: dict[str, KubeObject] = {}  # last state of objects deleted during their search, by UID
        self._announcements: set[asyncio.Task[None]] = set()

    async def follow(
        self, namespace: str, *keys: str, is_wanted: ObjectFilter = lambda _: True, with_all_owners: bool = False
    ) -> AsyncGenerator[Change, None]:
        """Yield the present objects and then every change, as a watch of these objects alone would.

        Parameters
        ----------
        namespace : str
            Only its objects are followed: an owner reference may hold the UID of an object in another namespace.
        *keys : str
            The UID of the object or of one of its owners, or a label as `namespace/label=value`; "" for any.
        is_wanted : callable, optional
            Returns whether an object is followed.
        with_all_owners : bool, optional
            Whether the owners' owners count too.
        """
        follower = _Follower(namespace, is_wanted, with_all_owners)
        self._begin(follower, keys)
        try:
            while True:
                for change in await follower.take():
                    if isinstance(change, Exception):
                        raise change
                    yield change
        finally:
            for key in follower.keys:
                self._followers[key].discard(follower)
                if not self._followers[key]:
                    del self._followers[key]
            if not self._followers:
                self._stop()

    def _begin(self, follower: _Follower, keys: tuple[str, ...]) -> None:
        """Add a follower; it gets the present objects."""
        if self._task is None:
            self._known, self._listed = {}, False
            self._task = asyncio.create_task(self._run())
        if follower.needs_all_owners and self._owners is None:
            self._owners = {}
            for obj in self._known.values():
                self._search(obj)
        self._add_keys(follower, set(keys))
        if self._listed:
            self._announce(("SYNC", {}), {follower})

    def follow_also(self, uid: str, keys: Iterable[str]) -> None:
        """Add keys to the followers of an object, which get the present objects with these keys."""
        for follower in self._followers.get(uid, set()).copy():
            if new := set(keys) - follower.keys:
                self._add_keys(follower, new)

    def _add_keys(self, follower: _Follower, keys: set[str]) -> None:
        for obj in self._known.values():
            if not keys.isdisjoint(self._keys(obj)) and follower.wants(obj):
                follower.put(("ADDED", obj))
        for key in keys:
            self._followers.setdefault(key, set()).add(follower)
        follower.keys |= keys

    def _stop(self) -> None:
        for task in filter(None, (self._task, *self._announcements, *self._searches.values())):
            task.cancel()
        self._task = self._owners = None
        for state in (self._further_keys, self._searches, self._deleted):
            state.clear()

    async def _run(self) -> None:
        try:
            async for kind, obj in watch(self._cluster, self._path, {}, self._reduce, self.reopen):
                if kind in ("SYNC", "LOST", "BACK"):
                    self._listed |= kind == "SYNC"
                    self._announce((kind, obj), self._all_followers)
                    continue
                uid = obj["metadata"]["uid"]
                if kind == "DELETED":
                    self._known.pop(uid, None)
                else:
                    self._known[uid] = obj
                self._put((kind, obj), self._keys(obj))
                if kind != "DELETED":
                    self._search(obj)
                elif uid in self._searches:
                    self._deleted[uid] = obj
                else:
                    self._further_keys.pop(uid, None)
                    if self._owners is not None:
                        self._owners_of(obj, self._owners).forget(uid)
        except Exception as error:  # noqa: BLE001 - each follower handles it; the next follower opens a new watch
            self._task = None
            for follower in self._all_followers:
                follower.put(error)

    def _keys(self, obj: KubeObject) -> list[str]:
        """Return the keys under which an object is followed, as far as they are known."""
        return [*_followed_uids(obj), *self._further_keys.get(obj["metadata"]["uid"], ())]

    def _search(self, obj: KubeObject) -> None:
        """Begin to find the owners of an object's owners, unless they are known."""
        uid = obj["metadata"]["uid"]
        if self._owners is not None and uid not in self._further_keys and uid not in self._searches:
            owners = self._owners_of(obj, self._owners)
            owners.note(obj)
            self._searches[uid] = asyncio.create_task(self._find_further_keys(uid, obj, owners))

    def _owners_of(self, obj: KubeObject, owners: dict[str, Owners]) -> Owners:
        """Return the owners of the objects in an object's namespace."""
        namespace = obj["metadata"].get("namespace") or ""
        if namespace not in owners:
            owners[namespace] = Owners(self._cluster)
        return owners[namespace]

    async def _find_further_keys(self, uid: str, obj: KubeObject, owners: Owners) -> None:
        chain: list[Owner] = []
        while True:
            try:
                chain = await owners.chain(obj)
                break
            except ClusterError as error:
                # Without its owners a pod would belong to no task, and its lines would be lost.
                _log.warning("the owners of %s are not known: %s", obj["metadata"]["name"], error)
                await asyncio.sleep(_OWNERS_AGAIN_S)
            except Exception:  # noqa: BLE001 - one odd object must not hide all others
                _log.exception("the owners of %s cannot be found", obj["metadata"]["name"])
                break
        direct = set(_followed_uids(obj))
        keys = [owner.uid for owner in chain if owner.uid not in direct]
        keys += kinds.label_keys(obj) if owners.may_have_more(chain) else []
        del self._searches[uid]
        newest, deleted = self._known.get(uid), self._deleted.pop(uid, None)
        if newest is not None:
            self._further_keys[uid] = keys
            self._put(("ADDED", newest), keys)
        elif deleted is not None:
            self._put(("ADDED", deleted), keys)
            self._put(("DELETED", deleted), keys)

    def _put(self, change: Change, keys: Iterable[str]) -> None:
        for follower in {follower for key in keys for follower in self._followers.get(key, ())}:
            if follower.wants(change[1]):
                follower.put(change)

    @property
    def _all_followers(self) -> set[_Follower]:
        return {follower for followers in self._followers.values() for follower in followers}

    def _announce(self, change: Change, followers: set[_Follower]) -> None:
        """Notify followers that the list is complete, that the watch is lost, or that it is back.

        A follower that needs owners' owners learns of a complete list when these are known, or after some seconds.
        """
        waiting = {follower for follower in followers if follower.needs_all_owners} if self._searches else set()
        if change[0] == "LOST":
            for announcement in self._announcements:
                announcement.cancel()
            waiting = set()
        for follower in followers - waiting:
            follower.put(change)
        if waiting:
            announcement = asyncio.create_task(_announce_later(change, waiting, set(self._searches.values())))
            self._announcements.add(announcement)
            announcement.add_done_callback(self._announcements.discard)


@dataclass(slots=True, eq=False)
class _Follower:
    """The changes that one follower has not taken yet.

    A collector has thousands of followers, and an empty `asyncio.Queue` takes 3 kB.

    Parameters
    ----------
    namespace : str
        Only its objects are followed.
    is_wanted : callable
        Returns whether an object is followed.
    needs_all_owners : bool
        Whether the owners' owners of an object count.
    keys : set of str
        The followed keys, see `_SharedWatch.follow`.
    """

    namespace: str
    is_wanted: ObjectFilter
    needs_all_owners: bool
    keys: set[str] = field(default_factory=set)
    _changes: list[Change | Exception] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, obj: KubeObject) -> bool:
        """Return whether an object that has one of the keys is followed."""
        return obj["metadata"].get("namespace", self.namespace) == self.namespace and self.is_wanted(obj)

    def put(self, change: Change | Exception) -> None:
        self._changes.append(change)
        self._arrived.set()

    async def take(self) -> list[Change | Exception]:
        """Wait for changes; return all that have arrived, in order."""
        await self._arrived.wait()
        self._arrived.clear()
        changes, self._changes = self._changes, []
        return changes


async def _announce_later(change: Change, followers: set[_Follower], searches: set[asyncio.Task[None]]) -> None:
    await asyncio.wait(searches, timeout=_SEARCH_S)
    for follower in followers:
        follower.put(change)


def _cut_of(workload: Workload) -> Reduce:
    return kinds.without_bulk if workload.ref.is_custom else without_bulk


def _own_labels(workload: Workload, obj: KubeObject) -> list[str]:
    return kinds.own_label_keys(kinds.kind_of(workload.ref.kind), obj)


def _followed_uids(obj: KubeObject) -> list[str]:
    """Return the UIDs under which an object is followed.

    Examples
    --------
    >>> _followed_uids({"metadata": {"uid": "a", "ownerReferences": [{"uid": "b"}]}})
    ['', 'a', 'b']
    """
    meta = obj["metadata"]
    return ["", meta["uid"], *(owner["uid"] for owner in meta.get("ownerReferences") or [])]


def _events_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{segment(namespace)}/events" if namespace else "/api/v1/events"


def _reduce_event(event: KubeObject) -> KubeObject:
    meta = {
        k: event["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion") if k in event["metadata"]
    }
    about = {k: v for k, v in event.get("involvedObject", {}).items() if k in ("kind", "name", "uid")}
    names = ("reason", "message", "type", "eventTime", "lastTimestamp", "firstTimestamp")
    return {"metadata": meta, "involvedObject": about} | {k: event[k] for k in names if k in event}
