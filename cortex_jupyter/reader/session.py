"""From a task's name to its recording, with a recorder at work: what the server, the notebook and the CLI start from.

`Recordings` opens them, a `Recording` is one of them as its readers have it, and `Keeping` keeps wanted what is being read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from cortex_jupyter.cluster.workloads import COLLECTIONS
from cortex_jupyter.errors import (
    AmbiguousTask,
    ArchiveError,
    CortexError,
    CursorNotHeld,
    NotAllowed,
    NotFound,
    StoreBusy,
    StoreError,
    StoreTooNew,
)
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.retry_deadline import Away
from cortex_jupyter.recorder.process.launch import ensure_recorder
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.store import Readable, RecordingInfo

_log = logging.getLogger(__name__)

#: That a recording can be of.
KINDS: Final = (*COLLECTIONS, "selector")
#: A wish for a recording holds this long, seconds, and is renewed three times in it.
WANTED_S: Final = 30.0
#: So often in a row must recording fail before readers are told to give up.
_FAILURES: Final = 3
#: Whether a recorder lives is asked so often at most, seconds.
_LOOK_S: Final = 0.5
#: Whether the cluster can be asked by now, or gives the right that was missing, is asked so often, seconds.
_AGAIN_S: Final = 2.0
#: `Date` is cut to seconds, so an offset below this, seconds, is none.
_CLOCK_S: Final = 1.0


class Recordings(Connection):
    """The recordings of one store, opened by task name; see `Connection` for what it takes."""

    @cached_property
    def keeping(self) -> Keeping:
        """What is being read of them."""
        return Keeping()

    async def find(self, ref: TaskRef, person: Person | None = None) -> Recording:
        """Find a task, in the cluster or else among what is recorded, and begin to record it where needed.

        Parameters
        ----------
        ref : TaskRef
        person : Person, optional
            On whose behalf; else this process's own.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError
        """
        await self.allow(ref.namespace, person)
        opened = self.cluster is not None
        lacking = asyncio.create_task(self.lacking(ref.namespace))  # beside the search, for it costs a request
        try:
            found = await self._find(ref, person)
            if found.workload is not None:
                found.problem = await (lacking if opened else self.lacking(ref.namespace))
            found.hidden = await self.hidden(ref.namespace, person)
        except NotFound as error:
            raise await self.missing(ref, error, person) from None
        finally:
            lacking.cancel()
        await found.want()
        return found

    async def _find(self, ref: TaskRef, person: Person | None) -> Recording:
        try:
            workload = await self.resolve(ref, person)
        except (NotAllowed, AmbiguousTask):
            raise  # what the cluster does not let them read is not read from the recording either
        except CortexError as error:
            held = await self._newest(self.store, ref, person)
            if held is None or not held.last_seq:
                archived = await self._archived(ref, person)
                if archived is None:
                    raise
                return Recording(self, archived.id, archived.ref, None, store=self.archive)
            absent = isinstance(error, NotFound)
            return Recording(self, held.id, held.ref, None, gone=absent, problem=None if absent else error)
        assert self.cluster is not None
        known = await asyncio.to_thread(self.store.find, workload.ref, self.cluster.id)
        if known is None or known.uid != workload.uid:
            with contextlib.suppress(ArchiveError):  # it must not keep a task from being recorded
                archived = await self._archived(workload.ref, person)
                if archived is not None and archived.uid == workload.uid:
                    return Recording(self, archived.id, archived.ref, workload, store=self.archive)
        uid = await self._uid(workload, known, person)
        id_ = await asyncio.to_thread(self._opened, self.cluster.id, workload.ref, uid)
        return Recording(self, id_, workload.ref, workload)

    def _opened(self, cluster: str, ref: TaskRef, uid: str) -> int:
        self.settings.look()  # a recording in a store that was emptied is to be as those before
        return self.store.open(cluster, ref, uid)

    async def _uid(self, workload: Workload, known: RecordingInfo | None, person: Person | None) -> str:
        """Give that of a task's recording: a label selector is no object, and has the same in each namespace of a name."""
        if workload.ref.kind != "selector" or known is None or self.access is None or self.cluster is None:
            return workload.uid if known is None or not workload.is_of(known.uid) else known.uid
        if await self.readable(known, person):
            return known.uid
        return f"{workload.uid}@{await self.access.created(self.cluster, workload.ref.namespace)}"

    async def _archived(self, ref: TaskRef, person: Person | None) -> RecordingInfo | None:
        return None if self.archive is None else await self._newest(self.archive, ref, person)

    async def _newest(self, place: Readable, ref: TaskRef, person: Person | None) -> RecordingInfo | None:
        """Give the newest recording of a task that may be read, of any kind where the reference has none."""
        cluster = self.cluster.id if self.cluster else None
        found = await asyncio.to_thread(place.find, ref, cluster)
        if found is None or await self.readable(found, person):
            return found
        best = None  # older ones of that kind are no more theirs, but one of another kind may be
        for kind in () if ref.kind else KINDS:
            info = await asyncio.to_thread(place.find, TaskRef(ref.namespace, kind, ref.name), cluster)
            if info is None or not await self.readable(info, person):
                continue
            if kind == "job":
                return info
            best = info if best is None or info.id > best.id else best
        return best

    async def where(self, ref: TaskRef, person: Person | None = None) -> tuple[Readable, RecordingInfo | None]:
        """Give what is recorded of a task and, where nothing is, what is archived; and where that is."""
        info = await self._newest(self.store, ref, person)
        if info is None and self.archive is not None:
            with contextlib.suppress(ArchiveError):  # the answer without it is right too
                return self.archive, await self._archived(ref, person)
        return self.store, info

    async def held(self, namespace: str, person: Person | None = None) -> list[RecordingInfo]:
        """Give what is recorded or archived of a namespace and may be read, newest first; of each recording once.

        Raises
        ------
        NotAllowed, NoCluster, ClusterError, StoreError
        """
        await self.allow(namespace, person)
        found = [i for i in await asyncio.to_thread(self.store.recordings, namespace) if i.last_seq]
        if self.archive is not None:
            try:
                archived = await asyncio.to_thread(self.archive.recordings, namespace)
            except ArchiveError as error:
                _log.warning("archived tasks are not listed: %s", error)
                archived = []
            known = {info.id for info in found}
            found += [info for info in archived if info.id not in known]
        found = [info for info in found if await self.readable(info, person)]
        return sorted(found, key=lambda info: info.id, reverse=True)

    @cached_property
    def _feeds(self) -> WeakValueDictionary[tuple[str, int], Feed]:
        return WeakValueDictionary()

    def feed(self, recording: int, store: Readable | None = None) -> Feed:
        """Give the one feed of a recording in this process, which lasts as long as one of its readers has it."""
        place = store or self.store
        key = (place.url, recording)  # it may have left for the archive since
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(place, recording)
        return feed


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

    def ahead(self, info: RecordingInfo) -> int:
        """Give how far the cluster's clock is ahead of ours, ns; 0 where it is not worth a word."""
        cluster = self.cluster
        offset = info.clock_ms / 1000 or (cluster.clock.offset if cluster and self.workload else 0.0)
        return round(offset * 1e9) if abs(offset) >= _CLOCK_S else 0

    async def info(self) -> RecordingInfo:
        """Give its present state.

        Raises
        ------
        CursorNotHeld
            It has left the store.
        """
        return await asyncio.to_thread(self.held)

    def held(self) -> RecordingInfo:
        """Give the same; it blocks."""
        info = self.store.info(self.id)
        if info is None:
            raise CursorNotHeld(f"the recording of {self.ref.key} is no longer held", NOT_HELD_HINT)
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

    async def caught_up(self) -> RecordingInfo:
        """Wait until what was written before now has been recorded, as far as can be told.

        Returns
        -------
        RecordingInfo
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


class Keeping:
    """The recordings that are being read. Belongs to one event loop."""

    def __init__(self) -> None:
        #: When it was last seen that a recorder lives or begins, monotonic; by namespace.
        self.looked: dict[str, float] = {}
        self._readers: dict[int, list[Recording]] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, recording: Recording) -> Iterator[None]:
        """Keep it wanted while the block lasts."""
        readers = self._readers.setdefault(recording.id, [])
        if recording.workload is not None:
            for other in readers:  # an object of the API is large, and each of them has come with one of their own
                other.workload, other.problem = recording.workload, recording.problem
        readers.append(recording)
        if len(readers) == 1:
            self._keepers[recording.id] = asyncio.create_task(self._keep(readers))
        try:
            yield
        finally:
            readers.remove(recording)
            if not readers:
                del self._readers[recording.id]
                self._keepers.pop(recording.id).cancel()

    async def _keep(self, readers: list[Recording]) -> None:
        failures = 0
        while True:
            newest = readers[-1]  # who came last knows best what the cluster says of the task
            try:
                await newest.want()
                for other in readers:
                    other.workload, other.gone, other.problem = newest.workload, newest.gone, newest.problem
                failures = 0
                newest.feed.fail(None)
            except StoreBusy as error:  # it passes, and readers have a patience of their own
                _log.warning("%s: %s", newest.ref.key, error)
                await asyncio.sleep(1)
                continue
            except CortexError as error:
                failures += 1
                if failures >= _FAILURES or isinstance(error, StoreTooNew):
                    newest.feed.fail(error)
                _log.warning("%s is not being recorded: %s", newest.ref.key, error)
            await asyncio.sleep(min(2.0**failures, WANTED_S / 3))
