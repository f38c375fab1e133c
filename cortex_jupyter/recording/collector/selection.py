"""What a collector records by itself: the tasks of namespaces, by label, whether anybody reads them or not."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.pods import exit_of
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import Workload, collection
from cortex_jupyter.errors import CortexError, StoreBusy, StoreFull
from cortex_jupyter.recording.process.pulse import Pulse
from cortex_jupyter.recording.writing.patience import RETRY_S
from cortex_jupyter.records import TaskRef, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recording.store import Store

_log = logging.getLogger(__name__)

#: What ends by itself. A Deployment's recording would never be complete, and so never leave the store: that is recorded
#: while somebody reads it.
KINDS: Final = ("job", "pod")
#: What had ended for longer than this, seconds, before it was first seen is not begun: its recording may have left the store.
_PAST_S: Final = 3600.0
#: So often, seconds, the store is asked for what a recorder that died has left unfinished.
_LEFT_S: Final = 30.0


class Selection:
    """Watches for tasks and opens a recording for each; one list and one watch for each kind and namespace.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    namespaces : tuple of str
        None of them: all.
    selector : str
        A label selector; of the Jobs and bare pods themselves.
    pulse : Pulse, optional
        To be told whether they are watched, and what the store refuses.

    Attributes
    ----------
    namespaces : tuple of str
    ids : set of int
        The recordings that are selected and were not complete when last looked at.
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
        self._pulse = pulse or Pulse()
        self._query = {"labelSelector": selector} if selector else {}
        self._seen: set[str] = set()  # UIDs
        self.ids: set[int] = set()

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
        tasks = [asyncio.create_task(c) for c in (self._left(changed), *(self._watch(*p, changed) for p in paths))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self, kind: str, path: str, changed: Callable[[], object]) -> None:
        async for change, obj in watch(self._cluster, path, self._query, _cut):
            self._pulse.watched(path, lost=change == "LOST")
            if change == "DELETED":
                self._seen.discard(obj["metadata"]["uid"])  # its recording still wants its end
            elif change == "LOST":
                _log.warning("%ss are not watched at present: %s", kind, obj["message"])
            elif change != "SYNC" and obj["metadata"]["uid"] not in self._seen:
                self._seen.add(obj["metadata"]["uid"])
                if _wanted(kind, obj):
                    self.ids.add(await self._open(kind, obj["metadata"]))
                    changed()

    async def _open(self, kind: str, meta: dict[str, Any]) -> int:
        ref = TaskRef(meta["namespace"], kind, meta["name"])
        with self._pulse.writing():
            while True:
                try:
                    return await asyncio.to_thread(self._store.open, self._cluster.id, ref, meta["uid"])
                except (StoreFull, StoreBusy) as error:
                    _log.warning("%s", error)
                    self._pulse.refused(error)
                    await asyncio.sleep(RETRY_S)

    async def _left(self, changed: Callable[[], object]) -> None:
        """Take up what was begun and has no end, be its task gone from the cluster or not."""
        while True:
            try:
                for info in await asyncio.to_thread(self._store.unfinished, self._cluster.id):
                    ours = not self.namespaces or info.ref.namespace in self.namespaces
                    if ours and info.last_seq and info.ref.kind in KINDS:
                        self.ids.add(info.id)
                changed()
            except CortexError as error:
                _log.warning("%s", error)
            await asyncio.sleep(_LEFT_S)


def _cut(obj: dict[str, Any]) -> dict[str, Any]:
    """Keep of an object what is looked at: there may be ten thousand."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "namespace", "uid", "resourceVersion", "ownerReferences")}
    status = {k: v for k, v in obj.get("status", {}).items() if k in ("conditions", "completionTime", "phase")}
    if status.get("phase") in ("Succeeded", "Failed"):
        end = exit_of([obj])
        status["finished"] = end.finished if end else 0
    return {"metadata": meta, "status": status}


def _wanted(kind: str, obj: dict[str, Any]) -> bool:
    """Tell whether something is a task of its own, and not long over.

    Examples
    --------
    >>> owned = {"metadata": {"ownerReferences": [{"kind": "Job", "controller": True}]}, "status": {}}
    >>> _wanted("pod", owned), _wanted("pod", {"metadata": {}, "status": {"phase": "Running"}})
    (False, True)
    >>> _wanted("job", {"metadata": {}, "status": {"completionTime": "2020-01-01T00:00:00Z"}})
    False
    """
    if kind == "pod":
        if any(o.get("controller") for o in obj["metadata"].get("ownerReferences") or []):
            return False
        finished = obj["status"].get("finished")
    else:
        text = Workload(TaskRef("", kind, ""), "", obj).finished
        finished = parse_rfc3339(text) if text else 0
    return not finished or time.time() - finished / 1e9 < _PAST_S
