"""The tasks that a collector records by itself, selected by namespace and label, with readers or without."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.pods import decisive_end
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import Workload, collection
from cortex_jupyter.errors import CortexError, NotFound, StoreBusy, StoreFull
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import RecordingInfo, Store

_log = logging.getLogger(__name__)

#: Kinds that end by themselves. The recording of a Deployment would never be complete, and so would never leave the
#: store; it is recorded only while it has readers.
KINDS: Final = ("job", "pod")
#: Tasks that finished more than this many seconds before they were first seen are skipped: their recordings may have
#: left the store.
_MAX_AGE_S: Final = 3600.0
#: How often the store is searched for recordings that a dead recorder has left unfinished (seconds).
_UNFINISHED_S: Final = 30.0
#: At most this many of them are looked up in the cluster each time.
_MAX_LOOKUPS: Final = 100


class Selection:
    """Watches for tasks and opens a recording for each; with one list and one watch for each kind and namespace.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    namespaces : tuple of str
        The namespaces to watch; empty for all.
    selector : str
        A label selector for pods: for bare pods, and for those that a Job's template makes.
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
        self._unlisted = {path for _, path in paths}
        watches = (self._watch(*path, changed) for path in paths)
        tasks = [
            asyncio.create_task(c) for c in (self._adopt_unfinished(changed), self._restore_lost(changed), *watches)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self, kind: str, path: str, changed: Callable[[], object]) -> None:
        # The labels of a Job's pods are in its template, and no list selects by them.
        query = {"labelSelector": self._selector} if self._selector and kind == "pod" else {}
        async for change, obj in watch(self._cluster, path, query, _reduce):
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
                self._unlisted.discard(path)
                if not self._unlisted:
                    self._listed.set()
            elif watched := self._seen.get(obj["metadata"]["uid"]):
                watched.obj = obj
            else:
                task = self._seen[obj["metadata"]["uid"]] = _WatchedObject(kind, obj)
                if task.is_wanted:
                    await self._open(task)
                    changed()

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
            and info.ref.kind in KINDS
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


def _reduce(obj: KubeObject) -> KubeObject:
    """Keep only the parts of an object that are used: there may be ten thousand objects."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion", "ownerReferences")}
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

    @property
    def finished(self) -> int:
        """When it ended (ns since the Unix epoch); 0 if it has not."""
        if self.kind == "pod":
            return int(self.obj["status"].get("finished") or 0)
        text = Workload(TaskRef("", self.kind, ""), "", self.obj).finished
        return parse_rfc3339(text) if text else 0

    @property
    def is_wanted(self) -> bool:
        """Whether it is a task of its own, and is not long over."""
        if self.kind == "pod" and any(o.get("controller") for o in self.obj["metadata"].get("ownerReferences") or []):
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
