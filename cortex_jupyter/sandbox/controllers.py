"""The controller manager: runs the controller of an object whenever the object or its dependents change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox import cronjobs, jobs, workloads
from cortex_jupyter.sandbox.deletion import is_marked
from cortex_jupyter.sandbox.objects import controller_of
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Change, Store

Key = tuple[str, str, str]

_RECONCILE: dict[str, Callable[[Store, Config, KubeObject], float | None]] = {
    "jobs.batch": jobs.reconcile,
    "cronjobs.batch": cronjobs.reconcile,
    "deployments.apps": workloads.deployment,
    "replicasets.apps": workloads.replica_set,
    "statefulsets.apps": workloads.stateful_set,
    "daemonsets.apps": workloads.daemon_set,
}
_log = logging.getLogger(__name__)


class Controllers:
    """Runs the reconcile function of each object that changed or is due for another check.

    A reconcile function compares one object's desired state with the objects that it owns, and takes the next step.
    It returns the delay until its next check (seconds), or None.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self._store, self._config = store, config
        self._due: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        store.listen(self._on_change)

    def start(self) -> None:
        """Start to reconcile."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop to reconcile; objects stay unchanged."""
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _on_change(self, change: Change) -> None:
        meta = change.object["metadata"]
        if change.group_resource in _RECONCILE and change.new is not None:
            self._enqueue((change.group_resource, meta.get("namespace", ""), meta["name"]))
        owner = controller_of(change.object)
        resource = self._store.resources.referenced(owner)
        if resource is not None and resource.group_resource in _RECONCILE:
            self._enqueue((resource.group_resource, meta.get("namespace", ""), owner["name"]))

    def _enqueue(self, key: Key) -> None:
        self._due[key] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                key = next(iter(self._due))
                del self._due[key]
                obj = self._store.get(*key)
                if obj is not None:
                    self._reconcile(key, obj)
                await asyncio.sleep(0)

    def _reconcile(self, key: Key, obj: KubeObject) -> None:
        if is_marked(obj) and key[0] != "jobs.batch":
            return  # nothing is started for an object that is being deleted; only the pods of a Job are still counted
        try:
            delay = _RECONCILE[key[0]](self._store, self._config, obj)
        except (ApiError, KeyError, ValueError, TypeError):
            # A bad manifest that this reduced API accepted must not stop the reconciling of other objects.
            _log.exception("cannot reconcile %s", "/".join(key))
            return
        if delay is not None:
            if key in self._timers:
                self._timers[key].cancel()
            self._timers[key] = asyncio.get_running_loop().call_later(max(0.01, delay), self._enqueue, key)
