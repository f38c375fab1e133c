"""What a collector records by itself: the tasks of namespaces, by label, whether anybody reads them or not."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.labels import label_matcher, pod_labels
from cortex_jupyter.cluster.pods import exit_of
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import Workload, collection
from cortex_jupyter.errors import CortexError, NotFound, StoreBusy, StoreFull
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.recorder.process.health import Pulse
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.store import RecordingInfo, Store

_log = logging.getLogger(__name__)

#: What ends by itself. A Deployment's recording would never be complete, and so never leave the store: that is recorded
#: while somebody reads it.
KINDS: Final = ("job", "pod")
#: What had ended for longer than this, seconds, before it was first seen is not begun: its recording may have left the store.
_PAST_S: Final = 3600.0
#: So often, seconds, the store is asked for what a recorder that died has left unfinished.
_LEFT_S: Final = 30.0
#: And of so many of those at most the cluster is asked whether it still has them.
_ASKED: Final = 100


class Selection:
    """Watches for tasks and opens a recording for each; one list and one watch for each kind and namespace.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    namespaces : tuple of str
        None of them: all.
    selector : str
        A label selector, as everywhere of pods: of bare ones, and of those that a Job's template makes.
    pulse : Pulse, optional
        To be told whether they are watched, and what the store refuses.

    Attributes
    ----------
    name : str
        The same for all that select the same.
    namespaces : tuple of str
    ids : set of int
        The recordings that are selected and were not complete when last looked at.
    anew : asyncio.Event
        Set where the store may have lost recordings: what the cluster still has of those tasks is recorded anew.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        namespaces: tuple[str, ...] = (),
        selector: str = "",
        pulse: Pulse | None = None,
    ) -> None:
        self._cluster, self._store = cluster, store
        self.namespaces = namespaces
        self.name = f"{','.join(sorted(namespaces)) or '*'} {selector}"
        self._pulse = pulse or Pulse()
        self._selector, self._matches = selector, label_matcher(selector)
        self._seen: dict[str, _Task] = {}  # by UID
        self._unlisted: set[str] = set()  # paths
        self._listed = asyncio.Event()  # all that is selected has been seen
        self.ids: set[int] = set()
        self.anew = asyncio.Event()

    async def run(self, changed: Callable[[], object]) -> None:
        """Go on until cancelled.

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
        tasks = [asyncio.create_task(c) for c in (self._left(changed), self._begin_anew(changed), *watches)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self, kind: str, path: str, changed: Callable[[], object]) -> None:
        # Which labels a Job's pods have is known by its template, which no list selects by.
        query = {"labelSelector": self._selector} if self._selector and kind == "pod" else {}
        async for change, obj in watch(self._cluster, path, query, _cut):
            self._pulse.watched(path, lost=change == "LOST")
            is_object = change in ("ADDED", "MODIFIED", "DELETED")
            if kind == "job" and is_object and not self._matches(obj["labels"]):
                continue
            if change == "DELETED":
                self._seen.pop(obj["metadata"]["uid"], None)  # its recording still wants its end
            elif change == "LOST":
                _log.warning("%ss are not watched at present: %s", kind, obj["message"])
            elif change == "BACK":
                _log.info("%ss are watched again", kind)
            elif change == "SYNC":
                self._unlisted.discard(path)
                if not self._unlisted:
                    self._listed.set()
            elif known := self._seen.get(obj["metadata"]["uid"]):
                known.obj = obj
            else:
                task = self._seen[obj["metadata"]["uid"]] = _Task(kind, obj)
                if task.wanted:
                    await self._open(task)
                    changed()

    async def _open(self, task: _Task) -> None:
        meta = task.obj["metadata"]
        ref = TaskRef(meta["namespace"], task.kind, meta["name"])
        with self._pulse.writing():
            while True:
                try:
                    task.id = await asyncio.to_thread(self._store.open, self._cluster.id, ref, meta["uid"])
                except (StoreFull, StoreBusy) as error:
                    _log.warning("%s", error)
                    self._pulse.refused(error)
                    await asyncio.sleep(RETRY_S)
                else:
                    self.ids.add(task.id)
                    return

    async def missing(self, ids: set[int]) -> None:
        """Take in which recordings are no longer among what is to be recorded: they are complete, or lost.

        Raises
        ------
        StoreError
        """
        if await asyncio.to_thread(lambda: any(self._store.info(id_) is None for id_ in ids)):
            self.anew.set()
        self.ids -= ids

    async def _begin_anew(self, changed: Callable[[], object]) -> None:
        """Open what the store has lost once more: all of it where it was emptied, the last where it has gone back."""
        while True:
            await self.anew.wait()
            self.anew.clear()
            tasks = [task for task in self._seen.values() if task.id]
            try:
                there = await asyncio.to_thread(self._store.holders, [task.id for task in tasks])
                for task in tasks:
                    if (
                        task.id not in there
                        and await asyncio.to_thread(self._store.info, task.id) is None
                        and task.lost()
                    ):
                        await self._open(task)
                        changed()
            except CortexError as error:
                _log.warning("%s", error)
                self.anew.set()
                await asyncio.sleep(RETRY_S)

    async def _left(self, changed: Callable[[], object]) -> None:
        """Take up what was begun and has no end."""
        await self._listed.wait()
        while True:
            try:
                self.ids |= await self._begun()
                changed()
            except CortexError as error:
                _log.warning("%s", error)
            await asyncio.sleep(_LEFT_S)

    async def _begun(self) -> set[int]:
        """Give what is selected, however long it has been over, and what has left the cluster: of that nothing else is known."""
        begun = {
            info.id: info for info in await asyncio.to_thread(self._store.unfinished, self._cluster.id)
            if info.last_seq and info.ref.kind in KINDS
            and (not self.namespaces or info.ref.namespace in self.namespaces)
        }  # fmt: skip
        seen = {info.id for info in begun.values() if info.uid in self._seen}
        others = begun.keys() - seen - self.ids
        holders = await asyncio.to_thread(self._store.holders, others)
        free = [id_ for id_ in others if not holders.get(id_)]
        asked = random.sample(free, min(len(free), _ASKED))
        return seen | {id_ for id_ in asked if await self._gone(begun[id_])}

    async def _gone(self, info: RecordingInfo) -> bool:
        try:
            return (await resolve(self._cluster, info.ref)).uid != info.uid
        except NotFound:
            return True
        except CortexError:
            return False  # the cluster does not say


def _cut(obj: dict[str, Any]) -> dict[str, Any]:
    """Keep of an object what is looked at: there may be ten thousand."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion", "ownerReferences")}
    # Pods have a phase, Jobs tell their end in conditions.
    names = ("phase",) if "phase" in obj.get("status", {}) else ("conditions", "completionTime")
    status = {k: v for k, v in obj.get("status", {}).items() if k in names}
    if status.get("phase") in ("Succeeded", "Failed"):
        end = exit_of([obj])
        status["finished"] = end.finished if end else 0
    return {"metadata": meta, "status": status, "labels": pod_labels(obj)}


@dataclass(slots=True)
class _Task:
    """What is known of something that is watched: a task, or a part of one.

    Parameters
    ----------
    kind : str
    obj : dict
        As it was last seen.
    id : int
        Of its recording, 0 where there is none.
    again : bool
        It was over, and is recorded anew all the same.

    Examples
    --------
    >>> owned = {"metadata": {"ownerReferences": [{"kind": "Job", "controller": True}]}, "status": {}}
    >>> running = {"metadata": {}, "status": {"phase": "Running"}}
    >>> over = {"metadata": {}, "status": {"completionTime": "2020-01-01T00:00:00Z"}}
    >>> _Task("pod", owned).wanted, _Task("pod", running).wanted, _Task("job", over).wanted
    (False, True, False)
    """

    kind: str
    obj: dict[str, Any]
    id: int = 0
    again: bool = False

    @property
    def finished(self) -> int:
        """When it ended, ns since the epoch; 0 where it has not."""
        if self.kind == "pod":
            return int(self.obj["status"].get("finished") or 0)
        text = Workload(TaskRef("", self.kind, ""), "", self.obj).finished
        return parse_rfc3339(text) if text else 0

    @property
    def wanted(self) -> bool:
        """Whether it is a task of its own, and not long over."""
        if self.kind == "pod" and any(o.get("controller") for o in self.obj["metadata"].get("ownerReferences") or []):
            return False
        return not self.finished or time.time() - self.finished / 1e9 < _PAST_S

    def lost(self) -> bool:
        """Tell whether its recording, which the store has no more, is to be begun anew.

        What is over may have been complete, and have left since: it is begun anew once, not for as long as that goes on.
        """
        if not self.wanted or (self.again and self.finished):
            return False
        self.again = self.finished > 0
        return True
