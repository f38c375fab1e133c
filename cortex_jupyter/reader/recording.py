"""One task's recording as its readers have it: kept wanted, and a recorder at work, as long as they read."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError, CursorNotHeld, NotAllowed, NotFound, StoreBusy, StoreError
from cortex_jupyter.reader.keep_alive import WANTED_S
from cortex_jupyter.reader.retry_deadline import Away
from cortex_jupyter.recorder.process.launch import ensure_recorder
from cortex_jupyter.store.budget import NOT_HELD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.reader.feed import Feed
    from cortex_jupyter.reader.session import Recordings
    from cortex_jupyter.store import Info, Readable

_log = logging.getLogger(__name__)

#: Whether a recorder lives is asked so often at most, seconds.
_LOOK_S: Final = 0.5
#: Whether the cluster can be asked by now, or gives the right that was missing, is asked so often, seconds.
_AGAIN_S: Final = 2.0
#: `Date` is cut to seconds, so an offset below this, seconds, is none.
_CLOCK_S: Final = 1.0


class Recording:
    """One task's recording, from a reader's side.

    Attributes
    ----------
    id : int
    ref : TaskRef
        Resolved.
    workload : Workload or None
        The task in the cluster, None where only the recording is left.
    gone : bool
        The cluster says that it has no such task; a recorder then gives an unfinished recording its end.
    problem : CortexError or None
        Why nothing can be recorded from here: a right is missing, or the cluster cannot be asked. It is looked at again
        while somebody reads.
    hidden : dict
        What its reader may not see beside the lines, `events` or `pods`, and why.
    """

    def __init__(
        self,
        recordings: Recordings,
        id_: int,
        ref: TaskRef,
        workload: Workload | None,
        *,
        gone: bool = False,
        problem: CortexError | None = None,
        store: Readable | None = None,
    ) -> None:
        self._recordings = recordings
        #: Where it is read from: the store, or the archive.
        self.store: Readable = store or recordings.store
        self.id = id_
        self.ref = ref
        self.workload = workload
        self.gone = gone
        self.problem = problem
        self.hidden: dict[str, str] = {}
        self._looked = time.monotonic()  # when the problem was last looked at
        self._written = float("-inf")  # when the wish was last written, monotonic
        self._done = False  # by then

    @cached_property
    def feed(self) -> Feed:
        """The live sequence, the same for all who read it now."""
        return self._recordings.feed(self.id, self.store)

    @property
    def cluster(self) -> Cluster | None:
        """The cluster that it is looked for in; None where there is no kubeconfig."""
        return self._recordings.cluster

    def ahead(self, info: Info) -> int:
        """Give how far the cluster's clock is ahead of ours, ns; 0 where it is not worth a word."""
        cluster = self.cluster
        offset = info.clock_ms / 1000 or (cluster.clock.offset if cluster and self.workload else 0.0)
        return round(offset * 1e9) if abs(offset) >= _CLOCK_S else 0

    async def info(self) -> Info:
        """Give its present state.

        Raises
        ------
        CursorNotHeld
            It has left the store.
        """
        return await asyncio.to_thread(self.held)

    def held(self) -> Info:
        """Give the same; it blocks."""
        info = self.store.info(self.id)
        if info is None:
            raise CursorNotHeld(f"the recording of {self.ref.key} is no longer held", NOT_HELD)
        return info

    async def want(self) -> None:
        """See to it that the wish is written, which keeps it in the store, and that a recorder runs where one is needed.

        May be called at any rate: a wish is written, and whether the task is done read, only when the last is a third over.

        Raises
        ------
        RecorderError
            The recorder does not start.
        """
        if time.monotonic() - self._written > WANTED_S / 3:
            await asyncio.to_thread(self._wish)
        if self.problem is not None and time.monotonic() - self._looked > _AGAIN_S:
            await self._look_again()
        cluster = self.cluster
        if self._done or cluster is None or (self.workload is None and not self.gone):
            return
        # One look is for all tasks of a namespace: there may be hundreds, and each asks every second.
        looked, namespace = self._recordings.keeping.looked, self.ref.namespace
        if time.monotonic() - looked.get(namespace, float("-inf")) < _LOOK_S:
            return
        looked[namespace] = time.monotonic()
        try:
            await asyncio.to_thread(
                ensure_recorder, self._recordings.store, cluster.id, cluster.kubeconfig, cluster.context, namespace
            )
        except BaseException:
            looked.pop(namespace, None)  # it is each reader's to be told
            raise

    async def _look_again(self) -> None:
        """See whether the cluster can be asked by now, or the missing right has been given."""
        self._looked = time.monotonic()
        if self.workload is None:
            try:
                workload = await self._recordings.resolve(self.ref)
            except NotFound:
                self.gone, self.problem = True, None
                return
            except CortexError as error:
                self.problem = error
                return
            if not workload.is_of((await self.info()).uid):
                self.gone, self.problem = True, None  # another task has its name now
                return
            self.workload = workload
        self.problem = await self._recordings.lacking(self.ref.namespace)

    async def obstacle(self) -> CortexError | None:
        """Return `problem`, but None where it is none.

        The recording is complete, or a recorder has the task all the same: with other rights, or from another place.
        """
        return self.problem and await asyncio.to_thread(self._obstacle)

    def _obstacle(self) -> CortexError | None:
        if self.held().done or self._recordings.store.holders([self.id]).get(self.id):
            return None
        return self.problem

    def _wish(self) -> None:
        self._done = self.held().done
        try:
            self.store.want(self.id, WANTED_S)
            self._written = time.monotonic()
        except StoreError as error:
            # Full, busy or read-only: what is recorded can be read all the same.
            _log.warning("%s: %s", self.ref.key, error)

    @asynccontextmanager
    async def wanted(self) -> AsyncIterator[None]:
        """Keep it wanted, and a recorder running, as long as the block lasts.

        A recorder that dies is noticed within a second and another one started.
        """
        with self._recordings.keeping.reading(self):
            yield

    async def caught_up(self) -> Info:
        """Wait until what was written before now has been recorded, as far as can be told.

        Returns
        -------
        Info
            Done, or caught up with the running containers.

        Raises
        ------
        RecorderError
            No recorder takes the task.
        NotAllowed
            A right is missing to record it.
        """
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        away = Away()
        unsubscribe = self.store.subscribe(wake, self.id)
        try:
            while True:
                changed.clear()
                try:
                    info = await self.info()
                    if info.done or info.caught_up or (self.workload is None and not self.gone):
                        return info
                    await self.want()
                    if isinstance(obstacle := await self.obstacle(), NotAllowed):
                        raise obstacle
                    away.over()
                except StoreBusy as error:
                    await away.wait(error)
                try:
                    async with asyncio.timeout(1):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            unsubscribe()
