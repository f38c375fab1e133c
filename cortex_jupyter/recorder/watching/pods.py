"""The pods of one task as the watch last saw them, including deleted ones."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.pods import Container, containers, is_finished, may_restart, without_bulk
from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.model import Source

#: This many UIDs of deleted pods are remembered, so that a late answer does not bring a pod back.
_MAX_FORGOTTEN: Final = 1000


class Pods:
    """The pods of a task.

    Attributes
    ----------
    present : dict
        Pod UID to Pod object.
    deleted : dict
        The same for deleted pods: their last state holds the exit codes.
    full_lists : int
        How many complete lists have arrived: one at first, one more after each outage.
    behind_since : float or None
        Since when (monotonic) the watch lacks a state that the API server has returned on request; None if it lacks
        none.
    """

    def __init__(self) -> None:
        self.present: dict[str, KubeObject] = {}
        self.deleted: dict[str, KubeObject] = {}
        self.full_lists = 0
        self.behind_since: float | None = None
        self._forgotten: dict[str, None] = {}  # UIDs, oldest first
        self._changed = asyncio.Event()

    @property
    def all(self) -> list[KubeObject]:
        """Every pod that was ever seen, oldest first."""
        pods = [*self.deleted.values(), *self.present.values()]
        return sorted(pods, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))

    @property
    def names(self) -> set[str]:
        """The names of the pods."""
        return {pod["metadata"]["name"] for pod in self.all}

    @property
    def owners(self) -> dict[str, dict[str, str]]:
        """The references to the objects that own the pods, by UID."""
        return {owner["uid"]: owner for pod in self.all for owner in pod["metadata"].get("ownerReferences") or ()}

    @property
    def names_with_unknown_end(self) -> set[str]:
        """The names of deleted pods that may have run on after their last known state: the watch was lost when they went."""
        return {
            pod["metadata"]["name"]
            for pod in self.deleted.values()
            if not pod["metadata"].get("deletionTimestamp") and not is_finished(pod)
        }

    def update(self, pod: KubeObject, *, watched: bool = False) -> None:
        """Store the newest state of a pod; a late answer does not bring back a deleted pod.

        Parameters
        ----------
        pod : dict
        watched : bool, optional
            Whether the state comes from the watch; else it is the answer to a request.
        """
        uid = pod["metadata"]["uid"]
        if uid in self.deleted or uid in self._forgotten:
            return
        pod = without_bulk(pod)  # a label selector may select hundreds of pods
        before, self.present[uid] = self.present.get(uid), pod
        if watched:
            self.behind_since = None
        elif before is not None and _version(before) != _version(pod):
            self.behind_since = self.behind_since or time.monotonic()
        self.wake()

    def note_missing(self, uid: str) -> None:
        """Note that a request found no such pod; the watch still has to report its deletion."""
        if uid in self.present:
            self.behind_since = self.behind_since or time.monotonic()

    def remove(self, pod: KubeObject) -> None:
        """Store the last state of a deleted pod."""
        uid = pod["metadata"]["uid"]
        self.behind_since = None
        self.present.pop(uid, None)
        self.deleted[uid] = without_bulk(pod)
        self.wake()

    def forget(self, needed: set[str]) -> None:
        """Forget all deleted pods but these; a Deployment makes new ones for ever."""
        for uid in self.deleted.keys() - needed:
            del self.deleted[uid]
            self._forgotten[uid] = None
        while len(self._forgotten) > _MAX_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

    def is_known(self, uid: str) -> bool:
        """Return whether a pod is or was one of them."""
        return uid in self.present or uid in self.deleted or uid in self._forgotten

    def wake(self) -> None:
        """Wake everything that waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - a wait that may end early, not a deadline
        """Wait for the next change, at most this many seconds."""
        try:
            # Not wait_for: before Python 3.12 it drops a cancellation that comes together with the change.
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    def container(self, source: Source) -> Container | None:
        """Return the present state of the source's container; None if its pod is deleted."""
        return _container_named(self.present.get(source.pod_uid), source.container)

    def may_restart(self, source: Source, exit_code: int | None = None) -> bool:
        """Return whether a container of the source's pod may be restarted in place; True if the pod is not known."""
        pod = self.present.get(source.pod_uid)
        return pod is None or may_restart(pod, exit_code)

    def may_be_of_next_run(self, source: Source, line_time: int) -> bool:
        """Return whether a line that the node serves as the newest run's may be of a run after this one.

        It may if the API server shows such a run by now, or if it shows that this run had ended (to the second) before the
        line was written.

        Parameters
        ----------
        source : Source
            A run that has ended.
        line_time : int
            When the line was written (ns).
        """
        container = self.container(source)
        if container is None:
            return False
        if container.source is not None and container.source.container_id != source.container_id:
            return True
        end = container.end
        return end is not None and 0 < end.finished <= line_time and self.may_restart(source, end.exit_code)

    def creation_time(self, source: Source) -> int:
        """Return when the pod of a source was created (ns); 0 if the pod is not known."""
        pod = self.present.get(source.pod_uid) or self.deleted.get(source.pod_uid)
        return parse_rfc3339(pod["metadata"]["creationTimestamp"]) if pod else 0

    def last_known(self, source: Source) -> Container | None:
        """Return the last known state of that container, also if its pod is deleted."""
        return self.container(source) or _container_named(self.deleted.get(source.pod_uid), source.container)


def _version(pod: KubeObject) -> str:
    return str(pod["metadata"].get("resourceVersion", ""))


def _container_named(pod: KubeObject | None, name: str) -> Container | None:
    return next((c for c in containers(pod) if c.name == name), None) if pod else None
