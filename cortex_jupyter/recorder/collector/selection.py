"""The tasks that a collector records by itself, selected by namespace and label, with readers or without."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.owners import Owners, controller_of
from cortex_jupyter.cluster.pods import decisive_end
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import Workload, collection
from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound, StoreBusy, StoreFull
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import RecordingInfo, Store

_log = logging.getLogger(__name__)

#: The built-in kinds that end by themselves. The recording of a Deployment would never be complete, and so would never
#: leave the store; it is recorded only while it has readers.
KINDS: Final = ("job", "pod")
#: Stands among the paths that are not listed yet for what the cluster serves.
_DISCOVERY: Final = "/apis"
#: API groups whose objects are no custom resources, as the `apiVersion` of an owner reference begins.
_BUILT_IN: Final = ("v1", "apps/", "batch/v1")
#: Tasks that finished more than this many seconds before they were first seen are skipped: their recordings may have
#: left the store.
_MAX_AGE_S: Final = 3600.0
#: How often the store is searched for recordings that a dead recorder has left unfinished (seconds).
_UNFINISHED_S: Final = 30.0
#: At most this many of them are looked up in the cluster each time.
_MAX_LOOKUPS: Final = 100


class Selection:
    """Watches for tasks and opens a recording for each; with one list and one watch for each kind and namespace.

    Custom resources are watched too: those of the kinds in the table, and those that own a pod. What belongs to one is no
    task of its own.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    namespaces : tuple of str
        The namespaces to watch; empty for all.
    selector : str
        A label selector for pods: for bare pods, for those that a Job's template makes, and for those of custom resources.
    health : Health, optional
        Notified of lost watches and errors of the store.

    Attributes
    ----------
    name : str
        The same for all recorders with the same selection.
    namespaces : tuple of str
    ids : set of int
        The selected recordings that were not complete when last checked.
    store_lost : asyncio.Event
        Set when the store may have lost recordings: the tasks that the cluster still has are recorded again.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        *,
        namespaces: tuple[str, ...] = (),
        selector: str = "",
        health: Health | None = None,
    ) -> None:
        self._cluster, self._store = cluster, store
        self.namespaces = namespaces
        self.name = f"{','.join(sorted(namespaces)) or '*'} {selector}"
        self._health = health or Health()
        self._selector, self._matches = selector, label_matcher(selector)
        self._seen: dict[str, _WatchedObject] = {}  # by UID
        self._unlisted: set[str] = set()  # paths
        self._listed = asyncio.Event()  # set when all selected objects have been seen
        self._owners = Owners(cluster)
        self._custom_watches: dict[str, asyncio.Task[None]] = {}  # by path
        self._selected: set[str] = set()  # UIDs of the owners of selected pods
        self.ids: set[int] = set()
        self.store_lost = asyncio.Event()

    async def run(self, changed: Callable[[], object]) -> None:
        """Watch until cancelled.

        Parameters
        ----------
        changed : callable
            Called when there is something new to record.

        Raises
        ------
        NotAllowed, ClusterError
            The tasks cannot be listed.
        """
        paths = [(kind, collection(kind, namespace)) for kind in KINDS for namespace in self.namespaces or ("",)]
        self._unlisted = {_DISCOVERY, *(path for _, path in paths)}
        watches = (self._watch(*path, changed) for path in paths)
        tasks = [
            asyncio.create_task(c)
            for c in (
                self._adopt_unfinished(changed),
                self._restore_lost(changed),
                self._watch_table(changed),
                *watches,
            )
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in [*tasks, *self._custom_watches.values()]:
                task.cancel()

    async def _watch_table(self, changed: Callable[[], object]) -> None:
        """Watch the kinds of custom resources that the table has and the cluster serves."""
        while True:
            try:
                served = await discovery(self._cluster).resources(kinds.GROUPS)
                break
            except (NotAllowed, NotFound) as error:
                _log.warning("custom resources are not recorded: %s", error)
                served = []
                break
            except ClusterError:
                await asyncio.sleep(RETRY_S)  # the watches of Jobs and pods say that it does not answer
        for resource in served:
            if resource.name in kinds.TABLE:
                self._watch_custom(resource, changed)
        self._listed_all_of(_DISCOVERY)

    def _watch_custom(self, resource: Resource, changed: Callable[[], object]) -> None:
        """Begin to watch a kind of custom resources, unless it is watched, or may not be."""
        for namespace in self.namespaces or ("",):
            path = resource.path(namespace)
            if path not in self._custom_watches:
                self._unlisted.add(path)
                self._custom_watches[path] = asyncio.create_task(self._run_custom_watch(resource, path, changed))

    async def _run_custom_watch(self, resource: Resource, path: str, changed: Callable[[], object]) -> None:
        try:
            await self._watch(resource.name, path, changed)
        except (NotAllowed, ClusterError) as error:
            # What these objects own is recorded as tasks of its own.
            _log.warning("the %s are not recorded as tasks: %s", resource.plural, error)
            self._listed_all_of(path)

    def _listed_all_of(self, path: str) -> None:
        self._unlisted.discard(path)
        if not self._unlisted:
            self._listed.set()

    async def _is_part(self, kind: str, obj: KubeObject, changed: Callable[[], object]) -> bool:
        """Return whether an object belongs to a custom resource that is watched; begin to watch its owner's kind."""
        owner = controller_of(obj)
        if owner is None or (kind == "pod" and not self._selector and owner.api_version.startswith(_BUILT_IN)):
            return False
        while True:
            try:
                chain = await self._owners.chain(obj)
                resources = [await self._owners.resource(owner) for owner in chain]
                break
            except ClusterError as error:
                _log.warning("the owners of %s are not known: %s", obj["metadata"]["name"], error)
                await asyncio.sleep(RETRY_S)
        is_part = False
        for resource in resources:
            if resource is None or resource.is_built_in:
                continue
            self._watch_custom(resource, changed)
            is_part |= not all(self._custom_watches[resource.path(n)].done() for n in self.namespaces or ("",))
        if kind == "pod" and self._selector:
            self._selected |= {owner.uid for owner in chain}
            for selected in filter(None, (self._seen.get(owner.uid) for owner in chain)):
                await self._open_if_wanted(selected, changed)
        return is_part

    async def _open_if_wanted(self, task: _WatchedObject, changed: Callable[[], object]) -> None:
        is_selected = not self._selector or task.kind in KINDS or task.obj["metadata"]["uid"] in self._selected
        if not task.id and task.is_wanted and is_selected:
            await self._open(task)
            changed()

    async def _watch(self, kind: str, path: str, changed: Callable[[], object]) -> None:
        # The labels of a Job's pods are in its template, and no list selects by them.
        query = {"labelSelector": self._selector} if self._selector and kind == "pod" else {}
        async for change, obj in watch(self._cluster, path, query, partial(_reduce, kind)):
            self._health.watch_changed(path, lost=change == "LOST")
            is_object = change in ("ADDED", "MODIFIED", "DELETED")
            if kind == "job" and is_object and not self._matches(obj["labels"]):
                continue
            if change == "DELETED":
                self._seen.pop(obj["metadata"]["uid"], None)  # its recording still needs its end
            elif change == "LOST":
                _log.warning("the watch of %ss is lost: %s", kind, obj["message"])
            elif change == "BACK":
                _log.info("the watch of %ss is back", kind)
            elif change == "SYNC":
                self._listed_all_of(path)
            elif watched := self._seen.get(obj["metadata"]["uid"]):
                watched.obj = obj
            else:
                self._owners.note(obj)
                task = _WatchedObject(kind, obj, is_part=await self._is_part(kind, obj, changed))
                self._seen[obj["metadata"]["uid"]] = task
                await self._open_if_wanted(task, changed)

    async def _open(self, task: _WatchedObject) -> None:
        meta = task.obj["metadata"]
        ref = TaskRef(meta["namespace"], task.kind, meta["name"])
        with self._health.write_in_progress():
            while True:
                try:
                    task.id = await asyncio.to_thread(self._store.open, self._cluster.id, ref, meta["uid"])
                except (StoreFull, StoreBusy) as error:
                    _log.warning("%s", error)
                    self._health.store_refused(error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self.ids.add(task.id)
                    return

    async def handle_missing(self, ids: set[int]) -> None:
        """Handle recordings that are no longer unfinished in the store: they are complete, or lost.

        Raises
        ------
        StoreError
        """
        if await asyncio.to_thread(lambda: any(self._store.info(id_) is None for id_ in ids)):
            self.store_lost.set()
        self.ids -= ids

    async def _restore_lost(self, changed: Callable[[], object]) -> None:
        """Open lost recordings again: all if the store was emptied, the last ones if it was rolled back."""
        while True:
            await self.store_lost.wait()
            self.store_lost.clear()
            tasks = [task for task in self._seen.values() if task.id]
            try:
                present = await asyncio.to_thread(self._store.holders, [task.id for task in tasks])
                for task in tasks:
                    if (
                        task.id not in present
                        and await asyncio.to_thread(self._store.info, task.id) is None
                        and task.restore_once()
                    ):
                        await self._open(task)
                        changed()
            except CortexError as error:
                _log.warning("%s", error)
                self.store_lost.set()
                await asyncio.sleep(RETRY_S)

    async def _adopt_unfinished(self, changed: Callable[[], object]) -> None:
        """Adopt recordings that were begun and have no end."""
        await self._listed.wait()
        while True:
            try:
                self.ids |= await self._unfinished()
                changed()
            except CortexError as error:
                _log.warning("%s", error)
            await asyncio.sleep(_UNFINISHED_S)

    async def _unfinished(self) -> set[int]:
        """Return the unfinished recordings of selected tasks, however long these are over.

        They include recordings of tasks that have left the cluster; nothing else shows these.
        """
        unfinished = {
            info.id: info
            for info in await asyncio.to_thread(self._store.unfinished, self._cluster.id)
            if info.last_seq
            and kinds.ends_by_itself(info.ref.kind)
            and (not self.namespaces or info.ref.namespace in self.namespaces)
        }
        in_cluster = {info.id for info in unfinished.values() if info.uid in self._seen}
        unseen = unfinished.keys() - in_cluster - self.ids
        holders = await asyncio.to_thread(self._store.holders, unseen)
        free = [id_ for id_ in unseen if not holders.get(id_)]
        to_look_up = random.sample(free, min(len(free), _MAX_LOOKUPS))
        return in_cluster | {id_ for id_ in to_look_up if await self._is_gone(unfinished[id_])}

    async def _is_gone(self, info: RecordingInfo) -> bool:
        try:
            return (await resolve(self._cluster, info.ref)).uid != info.uid
        except NotFound:
            return True
        except CortexError:
            return False  # the cluster does not say


def _reduce(kind: str, obj: KubeObject) -> KubeObject:
    """Keep only the parts of an object that are used: there may be ten thousand objects."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion", "ownerReferences")}
    if kind not in KINDS:
        return {"metadata": meta, "status": {"finished": kinds.finished(kinds.kind_of(kind), obj)}, "labels": {}}
    # Pods have a phase; Jobs show their end in conditions.
    names = ("phase",) if "phase" in obj.get("status", {}) else ("conditions", "completionTime")
    status = {k: v for k, v in obj.get("status", {}).items() if k in names}
    if status.get("phase") in ("Succeeded", "Failed"):
        end = decisive_end([obj])
        status["finished"] = end.finished if end else 0
    return {"metadata": meta, "status": status, "labels": pod_labels(obj)}


@dataclass(slots=True)
class _WatchedObject:
    """A watched object: a task, or a part of one.

    Parameters
    ----------
    kind : str
    obj : dict
        The object as it was last seen.
    id : int
        The id of its recording; 0 if there is none.
    was_restored : bool
        Whether it was over, and is recorded again all the same.
    is_part : bool
        Whether it belongs to a custom resource that is a task.

    Examples
    --------
    >>> owned = {"metadata": {"ownerReferences": [{"kind": "Job", "controller": True}]}, "status": {}}
    >>> running = {"metadata": {}, "status": {"phase": "Running"}}
    >>> over = {"metadata": {}, "status": {"completionTime": "2020-01-01T00:00:00Z"}}
    >>> _WatchedObject("pod", owned).is_wanted, _WatchedObject("pod", running).is_wanted, _WatchedObject("job", over).is_wanted
    (False, True, False)
    """

    kind: str
    obj: KubeObject
    id: int = 0
    was_restored: bool = False
    is_part: bool = False

    @property
    def finished(self) -> int:
        """When it ended (ns since the Unix epoch); 0 if it has not."""
        if self.kind != "job":
            return int(self.obj["status"].get("finished") or 0)
        text = Workload(TaskRef("", self.kind, ""), "", self.obj).finished
        return parse_rfc3339(text) if text else 0

    @property
    def is_wanted(self) -> bool:
        """Whether it is a task of its own, and is not long over."""
        if self.kind == "pod" and any(o.get("controller") for o in self.obj["metadata"].get("ownerReferences") or []):
            return False
        if self.is_part or not kinds.ends_by_itself(self.kind):
            return False
        return not self.finished or time.time() - self.finished / 1e9 < _MAX_AGE_S

    def restore_once(self) -> bool:
        """Return whether its lost recording is to be begun again; a finished task is restored only once.

        The recording of a finished task may have been complete and may have left the store since.
        """
        if not self.is_wanted or (self.was_restored and self.finished):
            return False
        self.was_restored = self.finished > 0
        return True
