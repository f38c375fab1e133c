"""The controller manager: brings what runs in line with what is wanted, whenever one of them changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import cronjobs, jobs, workloads
from cortex_jupyter.sandbox.objects import controller_of
from cortex_jupyter.sandbox.resources import BY_KIND
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Change, Store

Object = dict[str, Any]
Key = tuple[str, str, str]

_RECONCILE: dict[str, Callable[[Store, Config, Object], float | None]] = {
    "jobs": jobs.reconcile,
    "cronjobs": cronjobs.reconcile,
    "deployments": workloads.deployment,
    "replicasets": workloads.replica_set,
    "statefulsets": workloads.stateful_set,
    "daemonsets": workloads.daemon_set,
}
_log = logging.getLogger(__name__)


class Controllers:
    """Runs the reconcile function of each object that changed, or whose time has come.

    A reconcile function compares one object with what it owns, takes the next step, and gives the
    seconds after which it wants to look again, or None.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self._store, self._config = store, config
        self._due: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        store.listen(self._changed)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what runs is left as it is."""
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _changed(self, change: Change) -> None:
        meta = change.object["metadata"]
        if change.plural in _RECONCILE and change.new is not None:
            self._mark((change.plural, meta.get("namespace", ""), meta["name"]))
        owner = controller_of(change.object)
        if owner.get("kind") in BY_KIND:
            self._mark((BY_KIND[owner["kind"]].plural, meta.get("namespace", ""), owner["name"]))

    def _mark(self, key: Key) -> None:
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

    def _reconcile(self, key: Key, obj: Object) -> None:
        try:
            again = _RECONCILE[key[0]](self._store, self._config, obj)
        except (ApiError, KeyError, ValueError, TypeError):
            # A manifest this much reduced API did not refuse; others must go on.
            _log.exception("cannot reconcile %s", "/".join(key))
            return
        if again is not None:
            if key in self._timers:
                self._timers[key].cancel()
            self._timers[key] = asyncio.get_running_loop().call_later(max(0.01, again), self._mark, key)
