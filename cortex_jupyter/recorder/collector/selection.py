"""The tasks that a collector records by itself, selected by namespace and label, with readers or without."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.access import OWN_REFUSAL_HOLDS_S, Access
from cortex_jupyter.cluster.discovery import discovery
from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.owners import Owners, controller_of
from cortex_jupyter.cluster.pods import decisive_end
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import Workload, collection, further_uid, uid_of_task
from cortex_jupyter.errors import (
    ClusterError,
    CortexError,
    NotAllowed,
    NotFound,
    RecordingDeleted,
    StoreBusy,
    StoreError,
    StoreFull,
)
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import RecordingInfo, Store

_log = logging.getLogger(__name__)

#: The built-in kinds that end by themselves. The recording of a Deployment would never be complete, and so would never
#: leave the store; it is recorded only while it has readers.
KINDS: Final = ("job", "pod")
#: Interval (seconds) between attempts to watch custom resources that we may not watch.
_REFUSED_S: Final = 60.0
#: Interval (seconds) between attempts to list the tasks of a namespace where we may not.
_REFUSED_NAMESPACE_S = 10.0
#: Interval (seconds) between checks of our rights.
_RIGHTS_S = 30.0
#: The watch of one kind may be behind the watch of another kind by this time (seconds).
_LAG_S: Final = 3
#: Timeout (seconds) of the search for an object's task. Its lines must not be lost if the kind of its owner is broken.
_SETTLE_S: Final = 60.0
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

    Custom resources are watched too: the kinds in the table, and the kinds that own a pod. Objects that belong to one of
    them are no tasks of their own.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    namespaces : tuple of str
        The namespaces to watch; empty for all.
    selector : str
        A label selector for bare pods, for the template of a Job's pods, and for the pods of custom resources.
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
        self._lost: set[str] = set()  # paths of built-in kinds whose watch is lost
        self._listed = asyncio.Event()  # set when all selected objects have been seen
        self._refused: dict[str, str] = {}  # by namespace, "" for all: which right is missing
        self._refused_paths: dict[str, str] = {}  # the namespace of each built-in kind that we may not list, by path
        self._owners = Owners(cluster)
        self._custom_watches: dict[str, _CustomWatch] = {}  # by path
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None  # gets the error of a background task
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
            The tasks cannot be listed in any of the namespaces.
        """
        spaces = self.namespaces or ("",)
        self._unlisted = {collection(kind, namespace) for kind in KINDS for namespace in spaces}
        self._failed = asyncio.get_running_loop().create_future()
        for kind in KINDS:
            for namespace in spaces:
                self._spawn(self._watch_built_in(kind, namespace, changed))
        for coroutine in (
            self._adopt_unfinished(changed),
            self._restore_lost(changed),
            self._watch_table(changed),
            self._check_rights(),
        ):
            self._spawn(coroutine)
        try:
            await self._failed
        finally:
            for task in self._tasks:
                task.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background; its error ends `run`."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    @property
    def refused_namespaces(self) -> tuple[str, ...]:
        """The namespaces that are skipped, because the cluster does not let us record their tasks."""
        return tuple(sorted(namespace for namespace in self._refused if namespace))

    async def _watch_built_in(self, kind: str, namespace: str, changed: Callable[[], object]) -> None:
        """Watch Jobs or pods of a namespace. If they cannot be listed, skip the namespace and try again later."""
        path = collection(kind, namespace)
        while True:
            try:
                await self._watch(kind, path, changed)
            except NotAllowed as error:
                self._refused_paths[path] = namespace
                if set(self._refused_paths.values()) >= set(self.namespaces or ("",)) and not self._listed.is_set():
                    raise  # nothing at all can be recorded
                self._refuse(namespace, error.message)
            self._note_listed(path)  # the others must not wait for it
            await asyncio.sleep(_REFUSED_NAMESPACE_S)

    async def _check_rights(self) -> None:
        """Ask for our rights again and again. A watch goes on for minutes after they are withdrawn."""
        access = Access(refusal_holds_s=OWN_REFUSAL_HOLDS_S)
        while True:
            await asyncio.sleep(_RIGHTS_S)
            for namespace in self.namespaces or ("",):
                try:
                    error = await access.missing_rights(self._cluster, namespace)
                except CortexError:
                    continue  # no access reviews, or no answer
                if error is not None:
                    self._refuse(namespace, error.message)
                elif namespace not in self._refused_paths.values():
                    self._allow(namespace)

    def _refuse(self, namespace: str, message: str) -> None:
        if namespace not in self._refused:
            name = f"the namespace {namespace}" if namespace else "every namespace"
            _log.warning("%s is skipped until the missing right is granted: %s", name, message)
        self._refused[namespace] = message
        self._health.refused_namespaces = dict(self._refused)
        recorder_metrics.REFUSED_NAMESPACES.set(len(self._refused))

    def _allow(self, namespace: str) -> None:
        if self._refused.pop(namespace, None) is not None:
            _log.info("the namespace %s is recorded again", namespace)
            self._health.refused_namespaces = dict(self._refused)
            recorder_metrics.REFUSED_NAMESPACES.set(len(self._refused))

    async def _watch_table(self, changed: Callable[[], object]) -> None:
        """Watch the kinds of custom resources that the table has and the cluster serves."""
        while True:
            try:
                for resource in await discovery(self._cluster).resources(kinds.groups()):
                    if resource.name in kinds.table():
                        self._watch_custom(resource, changed)
            except NotAllowed as error:
                _log.warning("custom resources are not recorded: %s", error)
            except (NotFound, ClusterError):
                await asyncio.sleep(RETRY_S)  # the watches of Jobs and pods report that the API server does not answer
                continue
            return

    def _watch_custom(self, resource: Resource, changed: Callable[[], object]) -> None:
        """Begin to watch a kind of custom resources, unless it is watched already."""
        for namespace in self.namespaces or ("",):
            path = resource.path(namespace)
            if path not in self._custom_watches:
                self._custom_watches[path] = _CustomWatch()
                self._spawn(self._run_custom_watch(resource, path, changed))

    async def _run_custom_watch(self, resource: Resource, path: str, changed: Callable[[], object]) -> None:
        custom = self._custom_watches[path]
        while True:
            try:
                await self._watch(resource.name, path, changed)
            except (NotAllowed, NotFound, ClusterError) as error:
                log = _log.info if custom.answered.is_set() and not custom.is_allowed else _log.warning
                log("the %s are not recorded as tasks: %s", resource.plural, error)
            custom.is_allowed = False
            custom.answered.set()
            self._health.watch_changed(path, lost=False)  # it is no reason to restart the process
            # The objects that these own are recorded as tasks of their own.
            for task in self._seen.values():
                if task.part_of == path:
                    task.part_of = ""
                    await self._open_if_wanted(task, changed)
            await asyncio.sleep(_REFUSED_S)

    async def _settle(self, task: _WatchedObject, changed: Callable[[], object]) -> None:
        """Find out whether an object belongs to a custom resource that is a task; record it if not."""
        path_and_task: tuple[str, _WatchedObject] | None = None
        while True:
            try:
                async with asyncio.timeout(_SETTLE_S):
                    path_and_task = await self._task_of(task, changed)
                break
            except TimeoutError:
                if not self._lost:  # otherwise the API server is unreachable: go on waiting
                    name = task.obj["metadata"]["name"]
                    _log.warning(
                        "the %s %s is recorded as a task of its own: its owners are not known", task.kind, name
                    )
                    break
        if path_and_task is not None:
            task.part_of, top = path_and_task
            if task.kind == "pod" and self._selector:
                self._selected.add(top.obj["metadata"]["uid"])
                await self._open_if_wanted(top, changed)
        task.is_settled = True
        await self._open_if_wanted(task, changed)

    async def _task_of(self, part: _WatchedObject, changed: Callable[[], object]) -> tuple[str, _WatchedObject] | None:
        """Return the custom resource that is the task of an object, with the path of its kind; None if there is none."""
        meta = part.obj["metadata"]
        while True:
            try:
                chain = await self._owners.chain(part.obj)
                resources = [(owner, await self._owners.resource(owner)) for owner in chain]
                break
            except ClusterError as error:
                _log.warning("the owners of %s are not known: %s", meta["name"], error)
                await asyncio.sleep(RETRY_S)
        for owner, resource in reversed(resources):  # the topmost one that ends is the task
            if resource is None or resource.is_built_in:
                continue
            self._watch_custom(resource, changed)
            path = resource.path(meta["namespace"] if self.namespaces else "")
            custom = self._custom_watches[path]
            await custom.answered.wait()
            top = await self._wait_for(owner.uid) if custom.is_allowed else None
            # An owner reference may hold the UID of an object in another namespace: the API server does not check it.
            is_here = top is not None and top.obj["metadata"]["namespace"] == meta["namespace"]
            if custom.is_allowed and top is not None and is_here and top.ends:
                return path, top
        return None

    async def _wait_for(self, uid: str) -> _WatchedObject | None:
        """Return an object that its watch is about to show; None if it does not show it in time."""
        for _ in range(_LAG_S * 10):
            if uid in self._seen:
                break
            await asyncio.sleep(0.1)
        return self._seen.get(uid)

    def _may_be_part(self, kind: str, obj: KubeObject) -> bool:
        """Return whether an object may belong to a custom resource."""
        owner = controller_of(obj)
        # The owners of a Job's pods are found from the Job.
        return owner is not None and (
            kind != "pod" or bool(self._selector) or not owner.api_version.startswith(_BUILT_IN)
        )

    async def _open_if_wanted(self, task: _WatchedObject, changed: Callable[[], object]) -> None:
        is_selected = not self._selector or task.kind in KINDS or task.obj["metadata"]["uid"] in self._selected
        if task.is_settled and not task.id and task.is_wanted and is_selected:
            await self._open(task)
            changed()

    async def _watch(self, kind: str, path: str, changed: Callable[[], object]) -> None:
        # The labels of a Job's pods are in its template, and no list selects by them.
        query = {"labelSelector": self._selector} if self._selector and kind == "pod" else {}
        async for change, obj in watch(self._cluster, path, query, partial(_reduce, kind)):
            # A deleted CustomResourceDefinition has no objects any more, so its watch is not lost.
            is_lost = change == "LOST" and not (kind not in KINDS and obj["is_missing"])
            self._health.watch_changed(path, lost=is_lost)
            if kind in KINDS:
                self._lost = self._lost | {path} if is_lost else self._lost - {path}
            is_object = change in ("ADDED", "MODIFIED", "DELETED")
            if kind == "job" and is_object and not self._matches(obj["labels"]):
                continue
            if change == "DELETED":
                self._seen.pop(obj["metadata"]["uid"], None)  # its recording still needs its end
                self._owners.forget(obj["metadata"]["uid"])
                self._selected.discard(obj["metadata"]["uid"])
            elif change == "LOST":
                _log.warning("the watch of %ss is lost: %s", kind, obj["message"])
            elif change == "BACK":
                _log.info("the watch of %ss is back", kind)
            elif change == "SYNC":
                self._note_listed(path)
                self._refused_paths.pop(path, None)
                if custom := self._custom_watches.get(path):
                    custom.is_allowed = True
                    custom.answered.set()
            else:
                await self._take(kind, obj, changed)

    def _note_listed(self, path: str) -> None:
        self._unlisted.discard(path)
        if not self._unlisted:
            self._listed.set()

    async def _take(self, kind: str, obj: KubeObject, changed: Callable[[], object]) -> None:
        """Handle a new or changed object."""
        if watched := self._seen.get(obj["metadata"]["uid"]):
            had_shown_ends, watched.obj = watched.ends, obj
            watched.has_ended |= kind not in KINDS and watched.finished > 0
            if watched.goes_on and (watched.id not in self.ids or await self._is_complete(watched.id)):
                await self._record_further(watched)
                changed()
            elif watched.ends and not had_shown_ends:
                await self._open_if_wanted(watched, changed)
            return
        self._owners.note(obj)
        task = self._seen[obj["metadata"]["uid"]] = _WatchedObject(kind, obj)
        task.has_ended = kind not in KINDS and task.finished > 0
        if self._may_be_part(kind, obj):
            self._spawn(self._settle(task, changed))
        else:
            task.is_settled = True
            await self._open_if_wanted(task, changed)

    async def _open(self, task: _WatchedObject) -> None:
        meta = task.obj["metadata"]
        ref = TaskRef(meta["namespace"], task.kind, meta["name"])
        with self._health.write_in_progress():
            while True:
                try:
                    task.id = await asyncio.to_thread(self._open_recording, ref, task)
                except (StoreFull, StoreBusy) as error:
                    self._health.store_refused(error, "open")
                    await asyncio.sleep(RETRY_S)
                except RecordingDeleted as error:
                    task.id = 0
                    _log.info("%s: %s", ref.key, error.message)
                    return
                else:
                    self._health.store_log.worked("open")
                    self.ids.add(task.id)
                    return

    async def _is_complete(self, id_: int) -> bool:
        """Return whether a recording has its end. An unfinished one continues with its task."""
        try:
            info = await asyncio.to_thread(self._store.info, id_)
        except StoreError as error:
            _log.warning("%s", error)
            return False  # `handle_missing` sees it later
        return info is not None and info.done

    async def _record_further(self, task: _WatchedObject) -> None:
        """Begin a further recording of a task that runs again after its end, unless the task is not recorded at all."""
        if task.id:
            task.id, task.has_ended = 0, False
            await self._open(task)

    def _open_recording(self, ref: TaskRef, task: _WatchedObject) -> int:
        """Open the recording of a task; a further one if the task runs again after its end."""
        uid = task.obj["metadata"]["uid"]
        newest = self._store.find(ref, self._cluster.id) if task.kind not in KINDS else None
        if newest is not None and uid_of_task(newest.uid) == uid:
            uid = further_uid(newest.uid) if newest.done and task.is_under_way else newest.uid
        return self._store.open(self._cluster.id, ref, uid)

    async def handle_missing(self, ids: set[int]) -> None:
        """Handle recordings that are no longer unfinished in the store: they are complete, or lost.

        Raises
        ------
        StoreError
        """
        if await asyncio.to_thread(lambda: any(self._store.info(id_) is None for id_ in ids)):
            self.store_lost.set()
        self.ids -= ids
        for task in [task for task in self._seen.values() if task.id in ids and task.goes_on]:
            await self._record_further(task)

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
                self._health.store_log.worked("restore")
            except CortexError as error:
                self._health.store_log.failed("restore", error)
                self.store_lost.set()
                await asyncio.sleep(RETRY_S)

    async def _adopt_unfinished(self, changed: Callable[[], object]) -> None:
        """Adopt recordings that were begun and have no end."""
        await self._listed.wait()
        while True:
            try:
                self.ids |= await self._unfinished()
                self._health.store_log.worked("adopt")
                changed()
            except CortexError as error:
                self._health.store_log.failed("adopt", error)
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
        watched = {id_: self._seen.get(uid_of_task(info.uid)) for id_, info in unfinished.items()}
        in_cluster = {id_ for id_, task in watched.items() if task is not None and task.ends}
        unseen = {id_ for id_, task in watched.items() if task is None} - self.ids
        holders = await asyncio.to_thread(self._store.holders, unseen)
        free = [id_ for id_ in unseen if not holders.get(id_)]
        to_look_up = random.sample(free, min(len(free), _MAX_LOOKUPS))
        return in_cluster | {id_ for id_ in to_look_up if await self._is_gone(unfinished[id_])}

    async def _is_gone(self, info: RecordingInfo) -> bool:
        try:
            return not (await resolve(self._cluster, info.ref)).is_of(info.uid)
        except NotFound:
            return True
        except CortexError:
            return False  # the cluster does not say


def _reduce(kind: str, obj: KubeObject) -> KubeObject:
    """Keep only the parts of an object that are used: there may be ten thousand objects."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion", "ownerReferences")}
    if kind not in KINDS:
        row = kinds.kind_of(kind)
        obj = kinds.without_bulk(obj)
        return {
            "metadata": meta,
            "status": {
                "finished": kinds.finished(row, obj),
                "ends": kinds.shows_ends(row, obj),
                "is_known": kinds.has_known_form(row, obj),
            },
            "labels": {},
        }
    # Pods have a phase; Jobs show their end in conditions.
    names = ("phase",) if "phase" in obj.get("status", {}) else ("conditions", "completionTime")
    status = {k: v for k, v in obj.get("status", {}).items() if k in names}
    if status.get("phase") in ("Succeeded", "Failed"):
        end = decisive_end([obj])
        status["finished"] = end.finished if end else 0
    return {"metadata": meta, "status": status, "labels": pod_labels(obj)}


@dataclass(slots=True)
class _CustomWatch:
    """The watch of a kind of custom resources.

    Parameters
    ----------
    answered : asyncio.Event
        Set when the objects are listed, or when we know that we may not list them.
    is_allowed : bool
    """

    answered: asyncio.Event = field(default_factory=asyncio.Event)
    is_allowed: bool = False


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
    part_of : str
        The path of its task's collection, if the task is a custom resource that owns it.
    is_settled : bool
        Whether `part_of` is known.
    has_ended : bool
        Whether it has shown an end.

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
    part_of: str = ""
    is_settled: bool = False
    has_ended: bool = False

    @property
    def finished(self) -> int:
        """When it ended (ns since the Unix epoch); 0 if it has not."""
        if self.kind != "job":
            return int(self.obj["status"].get("finished") or 0)
        text = Workload(TaskRef("", self.kind, ""), "", self.obj).finished
        return parse_rfc3339(text) if text else 0

    @property
    def ends(self) -> bool:
        """Whether it ends by itself, judged by its kind or its object."""
        return self.kind in KINDS or bool(self.obj["status"]["ends"])

    @property
    def is_under_way(self) -> bool:
        """Whether the object of a custom resource shows that it has not ended."""
        return self.kind not in KINDS and not self.finished and bool(self.obj["status"]["is_known"])

    @property
    def goes_on(self) -> bool:
        """Whether it has shown an end, and does not show one any more."""
        return self.has_ended and self.is_under_way

    @property
    def is_wanted(self) -> bool:
        """Whether it is a task of its own, and is not long over."""
        if self.kind == "pod" and any(o.get("controller") for o in self.obj["metadata"].get("ownerReferences") or []):
            return False
        if self.part_of or not self.ends:
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
