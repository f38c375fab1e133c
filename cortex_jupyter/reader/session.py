"""Open a task's recording by name and keep a recorder at work: where server, notebook and command line begin.

`Session` opens recordings, a `Recording` is one of them as a reader sees it, and `KeepAlive` renews the wish for each
recording that is being read.
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

from cortex_jupyter.cluster.workloads import COLLECTIONS, further_uid
from cortex_jupyter.errors import (
    AmbiguousTask,
    ArchiveError,
    ClusterError,
    CortexError,
    NotAllowed,
    NotFound,
    RecorderError,
    StoreBusy,
    StoreError,
    StoreTooNew,
)
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.reader.connection import Connection, start_time
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.retry_deadline import RetryDeadline
from cortex_jupyter.recorder.process.launch import ensure_recorder
from cortex_jupyter.store import REQUEST_S
from cortex_jupyter.store.deletion import not_held
from cortex_jupyter.store.quotas import not_held_hint
from cortex_jupyter.telemetry.logs import OutageLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.store import Readable, RecordingInfo

_log = logging.getLogger(__name__)

#: Kinds of tasks that can have a recording.
KINDS: Final = (*COLLECTIONS, "selector")
#: A wish is valid for this time (seconds), and is renewed three times within it.
WANTED_S: Final = 30.0
#: Readers are told to give up after recording has failed this many times in a row.
_FAILURES: Final = 3
#: Interval (seconds) between checks whether a recorder has begun what this user, who may only read, asked for.
_REQUEST_CHECK_S: Final = 0.05
#: Shortest interval (seconds) between two checks that a recorder lives.
_RECORDER_CHECK_S: Final = 0.5
#: Interval (seconds) between checks whether the cluster answers again, or has granted the missing right.
_PROBLEM_CHECK_S: Final = 2.0
#: The header `Date` has whole seconds, so a clock offset below this (seconds) counts as none.
_CLOCK_S: Final = 1.0


class Session(Connection):
    """Opens the recordings of one store by task name; see `Connection` for its parameters."""

    @cached_property
    def keep_alive(self) -> KeepAlive:
        """The recordings that are being read."""
        return KeepAlive()

    async def find(self, ref: TaskRef, person: Person | None = None) -> Recording:
        """Find a task, in the cluster or else among the recordings, and begin to record it if needed.

        Parameters
        ----------
        ref : TaskRef
        person : Person, optional
            The person who reads; by default the user of this process.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError
        """
        await self.allow(ref.namespace, person)
        opened = self.cluster is not None
        lacking = asyncio.create_task(self.lacking(ref.namespace))  # at the same time, for it costs a request
        try:
            recording = await self._find(ref, person)
            if recording.workload is not None:
                recording.problem = await (lacking if opened else self.lacking(ref.namespace))
            recording.hidden = await self.hidden(ref.namespace, person)
        except NotFound as error:
            raise await self.missing(ref, error, person) from None
        finally:
            lacking.cancel()
        await recording.want()
        return recording

    async def _find(self, ref: TaskRef, person: Person | None) -> Recording:
        try:
            workload = await self.resolve(ref, person)
        except (NotAllowed, AmbiguousTask):
            raise  # if the cluster refuses, the recording must not be read either
        except CortexError as error:
            info = await self._newest(self.store, ref, person)
            archived = None if info is not None and info.last_seq else await self._archived(ref, person)
            recorded = archived or info
            if recorded is None or (archived is None and not recorded.last_seq):
                await self._check_not_deleted(ref, person)
                raise
            if isinstance(error, NotFound) and recorded.ref.is_custom and not ref.kind:
                # In the cluster a bare name means a Job, but its custom resource may outlive the Job.
                with contextlib.suppress(NotAllowed):
                    return await self._find(recorded.ref, person)
            if info is None or archived is not None:
                return Recording(self, recorded.id, recorded.ref, None, store=self.archive)
            absent = isinstance(error, NotFound)
            return Recording(self, info.id, info.ref, None, is_gone=absent, problem=None if absent else error)
        assert self.cluster is not None
        stored = await asyncio.to_thread(self.store.find, workload.ref, self.cluster.id)
        if stored is None or not workload.is_of(stored.uid):
            with contextlib.suppress(ArchiveError):  # a broken archive must not keep a task from being recorded
                archived = await self._archived(workload.ref, person)
                if archived is not None and workload.is_of(archived.uid):
                    assert self.archive is not None
                    if not await self._goes_on(workload, self.archive, archived):
                        return Recording(self, archived.id, archived.ref, workload, store=self.archive)
                    uid = further_uid(archived.uid)
                    id_ = await self._opened(self.cluster.id, workload.ref, uid)
                    return Recording(self, id_, workload.ref, workload)
        uid = await self._uid(workload, stored, person)
        if (
            stored is not None
            and stored.uid == uid
            and stored.done
            and await self._goes_on(workload, self.store, stored)
        ):
            uid = further_uid(uid)
        id_ = await self._opened(self.cluster.id, workload.ref, uid)
        return Recording(self, id_, workload.ref, workload)

    async def _check_not_deleted(self, ref: TaskRef, person: Person | None) -> None:
        """Refuse a task that is neither in the cluster nor recorded, if its recording was deleted and could be read.

        Raises
        ------
        RecordingDeleted
        """
        deletion = await asyncio.to_thread(self.store.last_deletion, ref.namespace, ref.name)
        if deletion is None or not ref.allows_kind(deletion.kind) or self.name not in (None, deletion.cluster):
            return
        if self.cluster is not None and self.access is not None:
            began, is_ours = deletion.first or 0, deletion.cluster == self.cluster.id
            if not is_ours or not await self.access.may_read_recorded(self.cluster, ref.namespace, began, person):
                return
        raise deletion.error(f"the recording of {deletion.ref.key}")

    async def _opened(self, cluster: str, ref: TaskRef, uid: str) -> int:
        """Return the id of a task's recording; if this user of the store may only read, wait for a recorder to create it.

        Raises
        ------
        StoreBusy
            No recorder has created it.
        StoreError
        """
        # If the store was emptied, it must get its settings again before a recording.
        await asyncio.to_thread(self.settings.look)
        if not await asyncio.to_thread(self.store.request, cluster, ref, uid):
            return await asyncio.to_thread(self.store.open, cluster, ref, uid)
        end = time.monotonic() + REQUEST_S
        while time.monotonic() < end:
            if (id_ := await asyncio.to_thread(self.store.requested, cluster, ref, uid)) is not None:
                return id_
            await asyncio.sleep(_REQUEST_CHECK_S)  # not in a thread: there are few, and other requests need them
        raise StoreBusy(
            f"no recorder has begun a recording of {ref.key} within {REQUEST_S:g} s",
            f"see a collector's log: it may have no right in namespace {ref.namespace!r}, or record others only (-n)",
        )

    async def _uid(self, workload: Workload, stored: RecordingInfo | None, person: Person | None) -> str:
        """Return the uid of a task's recording.

        A label selector is no object of the cluster: it has the same uid in a namespace that was deleted and created
        again.
        """
        if workload.ref.kind != "selector" or stored is None or self.access is None or self.cluster is None:
            return workload.uid if stored is None or not workload.is_of(stored.uid) else stored.uid
        if await self.readable(stored, person):
            return stored.uid
        return f"{workload.uid}@{await self.access.namespace_created(self.cluster, workload.ref.namespace)}"

    async def _goes_on(self, workload: Workload, store: Readable, info: RecordingInfo) -> bool:
        """Return whether a task runs again although a recording of it has an end."""
        if workload.ref.kind in ("job", "pod"):
            return False
        from cortex_jupyter.cluster.ends import goes_on

        assert self.cluster is not None
        sources = await asyncio.to_thread(store.sources, info.id)
        recorded = {source.pod_uid for source, _ in sources.values()}
        try:
            return await goes_on(self.cluster, workload, recorded)
        except (ClusterError, NotAllowed) as error:
            _log.info("%s: whether it goes on is not known: %s", workload.ref.key, error)
            return False

    async def _archived(self, ref: TaskRef, person: Person | None) -> RecordingInfo | None:
        return None if self.archive is None else await self._newest(self.archive, ref, person)

    async def _newest(self, store: Readable, ref: TaskRef, person: Person | None) -> RecordingInfo | None:
        """Return the newest readable recording of a task; of any kind if the reference has none.

        Raises
        ------
        AmbiguousTask
            Several groups have the kind, and tasks of the name are recorded from more than one of them.
        """
        cluster = self.cluster_id
        ref, *further_refs = await self.with_groups(ref)
        if further_refs:
            infos = [await self._newest(store, each, person) for each in (ref, *further_refs)]
            recorded = [info for info in infos if info is not None and info.last_seq]
            if len(recorded) > 1:
                names = ", ".join(f"{info.ref.kind}/{info.ref.name}" for info in recorded)
                message = f"recorded in namespace {ref.namespace!r} under that name are {names}"
                raise AmbiguousTask(message, f"name the kind: {recorded[0].ref.key}")
            return recorded[0] if recorded else None
        newest = await asyncio.to_thread(store.find, ref, cluster)
        if newest is not None and newest.ref.kind == "job" and not ref.kind:
            owner = await asyncio.to_thread(_recorded_owner, store, newest)
            newest = owner if owner is not None and await self.readable(owner, person) else newest
        if newest is None or await self.readable(newest, person):
            return newest
        best = None  # older recordings of that kind cannot be readable either, but one of another kind may be
        for kind in () if ref.kind else KINDS:
            info = await asyncio.to_thread(store.find, TaskRef(ref.namespace, kind, ref.name), cluster)
            if info is None or not await self.readable(info, person):
                continue
            if kind == "job":
                return info
            best = info if best is None or info.id > best.id else best
        return best

    async def where(self, ref: TaskRef, person: Person | None = None) -> tuple[Readable, RecordingInfo | None]:
        """Return where a task is recorded or else archived, and the recording's state, or None."""
        info = await self._newest(self.store, ref, person)
        if info is None and self.archive is not None:
            with contextlib.suppress(ArchiveError):  # without the archive the answer is still correct
                return self.archive, await self._archived(ref, person)
        return self.store, info

    async def readable_recordings(
        self, namespace: str, person: Person | None = None, failures: list[ArchiveError] | None = None
    ) -> list[RecordingInfo]:
        """Return the readable recordings of a namespace, in the store or archived, newest first, each once.

        If the archive cannot be listed, those in the store are returned, and the error is added to `failures`.

        Raises
        ------
        NotAllowed, NoCluster, ClusterError, StoreError
        """
        await self.allow(namespace, person)
        infos = [i for i in await asyncio.to_thread(self.store.recordings, namespace) if i.last_seq]
        if self.archive is not None:
            try:
                archived = await asyncio.to_thread(self.archive.recordings, namespace)
            except ArchiveError as error:
                _log.warning("archived tasks are not listed: %s", error)
                archived = []
                if failures is not None:
                    failures.append(error)
            stored_ids = {info.id for info in infos}
            infos += [info for info in archived if info.id not in stored_ids]
        infos = [info for info in infos if await self.readable(info, person)]
        return sorted(infos, key=lambda info: info.id, reverse=True)

    @cached_property
    def _feeds(self) -> WeakValueDictionary[tuple[str, int], Feed]:
        return WeakValueDictionary()

    def feed(self, recording: int, store: Readable | None = None) -> Feed:
        """Return the one feed of a recording in this process. It lives as long as one of its readers holds it."""
        store = store or self.store
        key = (store.url, recording)  # the recording may have left for the archive since
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(store, recording)
        return feed


def _recorded_owner(store: Readable, job: RecordingInfo) -> RecordingInfo | None:
    """Return the recording of the custom resource that probably owned a recorded Job: it had the same name at the same time.

    A recording does not hold the owner of its task.
    """
    began = start_time(job)
    for info in store.recordings(job.ref.namespace):
        is_namesake = info.ref.is_custom and info.ref.name == job.ref.name and info.cluster == job.cluster
        if is_namesake and start_time(info) <= began and (not info.finished or began <= parse_rfc3339(info.finished)):
            return info
    return None


class Recording:
    """One task's recording, as a reader sees it.

    Attributes
    ----------
    id : int
    ref : TaskRef
        The resolved reference.
    workload : Workload or None
        The task in the cluster; None if only the recording is left.
    is_gone : bool
        The cluster has no such task. A recorder then ends an unfinished recording.
    problem : CortexError or None
        Why this process cannot record: a right is missing, the cluster does not answer, or this user of the store may only
        read and no recorder is alive. Checked again while the recording is read.
    hidden : dict
        What the reader may not see beside the lines (`events`, `pods`), with the reason.
    """

    def __init__(
        self,
        session: Session,
        id_: int,
        ref: TaskRef,
        workload: Workload | None,
        *,
        is_gone: bool = False,
        problem: CortexError | None = None,
        store: Readable | None = None,
    ) -> None:
        self._session = session
        #: Where it is read from: the store, or the archive.
        self.store: Readable = store or session.store
        self.id = id_
        self.ref = ref
        self.workload = workload
        self.is_gone = is_gone
        self.problem = problem
        self.hidden: dict[str, str] = {}
        self._checked_at = time.monotonic()  # when the problem was last checked
        self._wish_log = OutageLog(_log, f"{ref.key}: the store takes wishes again")
        self._wished_at = float("-inf")  # when the wish was last written, monotonic
        self._done = False  # whether the task was done at that time

    @cached_property
    def feed(self) -> Feed:
        """The live sequence; all present readers share it."""
        return self._session.feed(self.id, self.store)

    @property
    def cluster(self) -> Cluster | None:
        """The cluster of the task; None without a kubeconfig."""
        return self._session.cluster

    def clock_ahead(self, info: RecordingInfo) -> int:
        """Return how far the cluster's clock is ahead of ours (ns); 0 if the difference is negligible."""
        cluster = self.cluster
        offset = info.clock_ms / 1000 or (cluster.clock.offset if cluster and self.workload else 0.0)
        return round(offset * 1e9) if abs(offset) >= _CLOCK_S else 0

    async def info(self) -> RecordingInfo:
        """Return the recording's present state.

        Raises
        ------
        CursorNotHeld
            The recording has left the store.
        """
        return await asyncio.to_thread(self.read_info)

    def read_info(self) -> RecordingInfo:
        """Return the recording's present state; it blocks."""
        info = self.store.info(self.id)
        if info is None:
            hint = not_held_hint(self._session.store, self.ref.namespace)
            raise not_held(self._session.store, self.id, f"the recording of {self.ref.key}", hint)
        return info

    async def want(self) -> None:
        """Write the wish, which keeps the recording in the store, and start a recorder if one is needed.

        It may be called at any rate. It writes the wish, and checks whether the task is done, only when a third of the
        last
        wish's time is over.

        Raises
        ------
        RecorderError
            The recorder does not start.
        """
        if time.monotonic() - self._wished_at > WANTED_S / 3:
            await asyncio.to_thread(self._wish)
        is_unrecorded = isinstance(self.problem, RecorderError)  # that is checked below
        if self.problem is not None and not is_unrecorded and time.monotonic() - self._checked_at > _PROBLEM_CHECK_S:
            await self._check_problem()
        cluster = self.cluster
        if self._done or cluster is None or (self.workload is None and not self.is_gone):
            return
        # One check serves all tasks of a namespace: there may be hundreds, and each asks every second.
        recorder_seen_at, namespace = self._session.keep_alive.recorder_seen_at, self.ref.namespace
        if time.monotonic() - recorder_seen_at.get(namespace, float("-inf")) < _RECORDER_CHECK_S:
            return
        recorder_seen_at[namespace] = time.monotonic()
        try:
            unrecorded = await asyncio.to_thread(
                ensure_recorder,
                self._session.store,
                cluster.id,
                cluster.kubeconfig,
                cluster.context,
                namespace,
                cluster.name,
            )
        except BaseException:
            recorder_seen_at.pop(namespace, None)  # so that each reader gets the error
            raise
        if unrecorded is not None:
            recorder_seen_at.pop(namespace, None)
        if self.problem is None or isinstance(self.problem, RecorderError):
            self.problem = unrecorded

    async def _check_problem(self) -> None:
        """Check whether the cluster answers by now, or has granted the missing right."""
        self._checked_at = time.monotonic()
        if self.workload is None:
            try:
                workload = await self._session.resolve(self.ref)
            except NotFound:
                self.is_gone, self.problem = True, None
                return
            except CortexError as error:
                self.problem = error
                return
            if not workload.is_of((await self.info()).uid):
                self.is_gone, self.problem = True, None  # a new task has the name now
                return
            self.workload = workload
        self.problem = await self._session.lacking(self.ref.namespace)

    async def obstacle(self) -> CortexError | None:
        """Return `problem`, or None if it does not matter.

        It does not matter if the recording is complete, or if another recorder holds the task (with other rights, or
        elsewhere).
        """
        return self.problem and await asyncio.to_thread(self._obstacle)

    def _obstacle(self) -> CortexError | None:
        if self.read_info().done or self._session.store.holders([self.id]).get(self.id):
            return None
        return self.problem

    def _wish(self) -> None:
        self._done = self.read_info().done
        try:
            self.store.want(self.id, WANTED_S)
            self._wished_at = time.monotonic()
        except StoreError as error:
            # The store is full, busy or read-only: recordings can still be read.
            self._wish_log.failed("wish", error, self.ref.key)
        else:
            self._wish_log.worked("wish")

    @asynccontextmanager
    async def keep_wanted(self) -> AsyncIterator[None]:
        """Keep the recording wanted, and a recorder running, for the time of the block.

        A recorder that dies is noticed within a second, and another one is started.
        """
        with self._session.keep_alive.reading(self):
            yield

    async def caught_up(self) -> RecordingInfo:
        """Wait until everything written before now is recorded, as far as can be known.

        Returns
        -------
        RecordingInfo
            The recording is done, or has caught up with the running containers.

        Raises
        ------
        RecorderError
            No recorder takes the task.
        NotAllowed
            A right to record the task is missing.
        """
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        retry_deadline = RetryDeadline()
        unsubscribe = self.store.subscribe(wake, self.id)
        try:
            while True:
                changed.clear()
                try:
                    info = await self.info()
                    if info.done or info.caught_up or (self.workload is None and not self.is_gone):
                        return info
                    await self.want()
                    if isinstance(obstacle := await self.obstacle(), NotAllowed | RecorderError):
                        raise obstacle
                    retry_deadline.clear()
                except StoreBusy as error:
                    await retry_deadline.wait(error)
                try:
                    async with asyncio.timeout(1):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            unsubscribe()


class KeepAlive:
    """The recordings that are being read; renews their wishes. Belongs to one event loop."""

    def __init__(self) -> None:
        #: When a living or starting recorder was last seen (monotonic), by namespace.
        self.recorder_seen_at: dict[str, float] = {}
        self._readers: dict[int, list[Recording]] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, recording: Recording) -> Iterator[None]:
        """Keep a recording wanted for the time of the block."""
        readers = self._readers.setdefault(recording.id, [])
        if recording.workload is not None:
            for reader in readers:  # share one object of the API, which is large; each reader came with a copy
                reader.workload, reader.problem = recording.workload, recording.problem
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
        failures, outage = 0, OutageLog(_log, f"{readers[-1].ref.key} is being recorded again")
        while True:
            newest = readers[-1]  # the last reader to come has the newest state from the cluster
            try:
                await newest.want()
                for reader in readers:
                    reader.workload, reader.is_gone, reader.problem = newest.workload, newest.is_gone, newest.problem
                failures = 0
                outage.worked("wish")
                newest.feed.fail(None)
            except StoreBusy as error:  # temporary; readers have a deadline of their own
                outage.failed("wish", error, newest.ref.key)
                await asyncio.sleep(1)
                continue
            except CortexError as error:
                failures += 1
                if failures >= _FAILURES or isinstance(error, StoreTooNew):
                    newest.feed.fail(error)
                outage.failed("wish", error, f"{newest.ref.key} is not being recorded")
            await asyncio.sleep(min(2.0**failures, WANTED_S / 3))
