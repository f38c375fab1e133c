"""The pods of one task as the watch last saw them, those that are gone included."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.pods import Container, containers, may_restart, without_bulk
from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.model import Source

#: UIDs of pods long gone that are still known, so that a late answer does not bring them back.
_FORGOTTEN: Final = 1000


class Pods:
    """What is known of a task's pods.

    Attributes
    ----------
    present : dict
        Pod UID to Pod object.
    deleted : dict
        The same for pods that are gone: their last state tells exit codes.
    lists : int
        How many complete lists have come: one at first, one more after each outage.
    behind : float or None
        Since when (monotonic) the watch owes a state that the API server has told on request, None where it owes none.
    """

    def __init__(self) -> None:
        self.present: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        self.lists = 0
        self.behind: float | None = None
        self._forgotten: dict[str, None] = {}  # UIDs, oldest first
        self._changed = asyncio.Event()

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every pod that was ever seen, oldest first."""
        pods = [*self.deleted.values(), *self.present.values()]
        return sorted(pods, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))

    def put(self, pod: dict[str, Any], *, watched: bool = False) -> None:
        """Take the newest state of a pod; one that is gone does not come back with a late answer.

        Parameters
        ----------
        pod : dict
        watched : bool, optional
            Whether the watch told it; else it is the answer to a request.
        """
        uid = pod["metadata"]["uid"]
        if uid in self.deleted or uid in self._forgotten:
            return
        pod = without_bulk(pod)  # a selector may have hundreds
        before, self.present[uid] = self.present.get(uid), pod
        if watched:
            self.behind = None
        elif before is not None and _version(before) != _version(pod):
            self.behind = self.behind or time.monotonic()
        self.touch()

    def missing(self, uid: str) -> None:
        """Note that the API server has no such pod, as a request was told; the watch owes its end."""
        if uid in self.present:
            self.behind = self.behind or time.monotonic()

    def drop(self, pod: dict[str, Any]) -> None:
        """Take the last state of a pod that has been deleted."""
        uid = pod["metadata"]["uid"]
        self.behind = None
        self.present.pop(uid, None)
        self.deleted[uid] = without_bulk(pod)
        self.touch()

    def forget(self, needed: set[str]) -> None:
        """Keep of the pods that are gone only these; a Deployment has new ones for ever."""
        for uid in self.deleted.keys() - needed:
            del self.deleted[uid]
            self._forgotten[uid] = None
        while len(self._forgotten) > _FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

    def known(self, uid: str) -> bool:
        """Tell whether a pod is or was one of them."""
        return uid in self.present or uid in self.deleted or uid in self._forgotten

    def touch(self) -> None:
        """Wake whoever waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def change(self, timeout: float) -> None:  # noqa: ASYNC109 - a wait that may end early, not a deadline
        """Wait for the next change, at most that many seconds."""
        try:
            # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the change.
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    def container(self, source: Source) -> Container | None:
        """Give the present state of the container that a source is a run of, None where its pod is gone."""
        return _named(self.present.get(source.pod_uid), source.container)

    def may_restart(self, source: Source) -> bool:
        """Return whether a container of the source's pod may be started again in place; True where the pod is not known."""
        pod = self.present.get(source.pod_uid)
        return pod is None or may_restart(pod)

    def created(self, source: Source) -> int:
        """Return when the pod of a source was created, ns; 0 where the pod is not known."""
        pod = self.present.get(source.pod_uid) or self.deleted.get(source.pod_uid)
        return parse_rfc3339(pod["metadata"]["creationTimestamp"]) if pod else 0

    def last_known(self, source: Source) -> Container | None:
        """Give the last known state of that container, its pod being gone or not."""
        return self.container(source) or _named(self.deleted.get(source.pod_uid), source.container)


def _version(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("resourceVersion", ""))


def _named(pod: dict[str, Any] | None, name: str) -> Container | None:
    return next((c for c in containers(pod) if c.name == name), None) if pod else None
