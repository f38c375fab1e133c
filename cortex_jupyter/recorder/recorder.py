"""The recorder: takes every wanted task of its cluster that no other recorder has, and records it to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING, Final

from cortex_jupyter._version import __version__
from cortex_jupyter.cluster.tasks import resolve
from cortex_jupyter.errors import CortexError, NotFound, RecordingDeleted, StoreBusy, StoreFull
from cortex_jupyter.recorder.collector.sharing import Plan, TaskSharing
from cortex_jupyter.recorder.heartbeat import BEAT_S, Heartbeat
from cortex_jupyter.recorder.process.health import Health
from cortex_jupyter.recorder.process.launch import inode_of
from cortex_jupyter.recorder.source.stream_limiter import StreamLimiter
from cortex_jupyter.recorder.tasks import LeasedTasks
from cortex_jupyter.recorder.watching.watches import SharedWatches, Watches
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import HEARTBEAT_S, RecorderInfo, RecordingInfo, RecordingRequest, Store
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.collector.selection import Selection

_log = logging.getLogger(__name__)

#: A recorder without work ends after this long (seconds).
IDLE_S: Final = 120.0
#: A recorder for readers ends after this long without its store (seconds). No reader can reach it then, and a reader
#: who reaches the store again starts another one. A collector waits: nothing else starts it again.
STORELESS_S = 300.0
#: Who records what is checked at most this often (seconds).
_SHARE_S: Final = 0.5
#: It is also checked this long (seconds) after the heartbeat of a fellow recorder has expired.
_EXPIRY_MARGIN_S: Final = 0.02
#: Timeout (seconds) of looking up a task that a reader asks to record.
_LOOKUP_S: Final = 3.0
#: A task that could not be looked up is not looked up again for this long (seconds).
_REFUSED_S: Final = 5.0


class Recorder:
    """The recorder of one store and one cluster.

    Parameters
    ----------
    store : Store
    cluster : Cluster
    idle : float, optional
        Time without work before it ends (seconds).
    selection : Selection, optional
        The tasks that it records without being asked. With a selection it has no idle end, and shares its tasks with
        recorders of the same selection.
    limiter : StreamLimiter, optional
        Limits how many logs it reads at once.
    health : Health, optional
        Collects the state of the process for its probes.
    start_settings : mapping, optional
        The settings that the process was started with; see `Settings`.
    rights : str, optional
        The same for all processes that have the cluster's credentials (`launch.credentials_id`).
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        *,
        idle: float = IDLE_S,
        selection: Selection | None = None,
        limiter: StreamLimiter | None = None,
        health: Health | None = None,
        start_settings: Mapping[str, str] | None = None,
        rights: str = "",
    ) -> None:
        self._store, self._cluster, self._idle = store, cluster, idle if selection is None else math.inf
        self._selection = selection
        watches = SharedWatches(cluster, whole=not selection.namespaces) if selection else Watches(cluster)
        self._health = health or Health()
        self._me = RecorderInfo(
            uuid.uuid4().hex,
            cluster.id,
            socket.gethostname(),
            os.getpid(),
            0,
            __version__,
            time.time(),
            self._health.port,
            namespaces=selection.namespaces if selection else (),
            selection=selection.name if selection else "",
            rights=rights,
        )
        self._inode = inode_of(store.url)
        self._heartbeat = Heartbeat(store, self._me, self._health)
        self._sharing = TaskSharing(self._me.id)
        self._shared_at = float("-inf")  # when tasks were last shared (monotonic)
        self._next_expiry = float("inf")  # when the heartbeat of the first fellow recorder expires (monotonic)
        self._settings = Settings(store, start_settings, marks=True, administrator=selection is not None)
        self._lookups: set[asyncio.Task[None]] = set()  # of tasks that readers ask to record
        self._next_lookups: dict[bytes, float] = {}  # when a request may be looked up again (monotonic)
        self._changed = asyncio.Event()
        self._tasks = LeasedTasks(
            store, cluster, self._heartbeat, watches, limiter or StreamLimiter(), self._changed.set
        )

    async def run(self) -> None:
        """Record until there is nothing left to do; cancel to end earlier.

        Raises
        ------
        StoreError
            The store cannot be used at all.
        NotAllowed, ClusterError
            The selected tasks cannot be listed.
        """
        with logs.about(recorder=self._me.id[:8]):
            await self._run()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        try:
            with Writer(self._store, self._health) as writer:
                await self._heartbeat.first(patient=self._selection is not None)
                unsubscribe = self._store.subscribe(wake)
                upkeep = self._tasks.upkeep
                side = [
                    asyncio.create_task(c)
                    for c in (self._send_heartbeats(), upkeep.compact(), upkeep.retain(), upkeep.archive())
                ]
                work = asyncio.create_task(self._work(writer))
                selecting = asyncio.create_task(self._selection.run(self._changed.set)) if self._selection else work
                try:
                    done, _ = await asyncio.wait({work, selecting}, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                finally:
                    unsubscribe()
                    everything = [
                        *side,
                        work,
                        selecting,
                        *self._lookups,
                        *(running.task for running in self._tasks.running.values()),
                    ]
                    for task in everything:
                        task.cancel()
                    await asyncio.gather(*everything, return_exceptions=True)
        finally:
            # Do this also after a cancellation or failure: a recorder on another machine would wait until our heartbeat
            # expires.
            with contextlib.suppress(CortexError):
                await self._heartbeat.leave()

    async def _work(self, writer: Writer) -> None:
        busy_at = stored_at = time.monotonic()
        while True:
            self._changed.clear()
            if self._selection is None and time.monotonic() - stored_at > STORELESS_S:
                _log.warning(
                    "the recorder ends: the store %s has been away for %.0f s; readers start another one",
                    self._store.url,
                    time.monotonic() - stored_at,
                )
                return
            if self._tasks.damaged is not None:
                raise self._tasks.damaged
            try:
                wanted_tasks = await self._update_tasks(writer)
            except (StoreFull, StoreBusy) as error:
                # The error will pass; the running tasks go on meanwhile.
                self._health.store_refused(error, "tasks")
                self._health.looked_for_tasks(succeeded=False)
                await asyncio.sleep(RETRY_S)
                continue
            self._health.store_log.worked("tasks")
            self._health.looked_for_tasks()
            if inode_of(self._store.url) == self._inode:  # else it writes into a file that no reader can open any more
                stored_at = time.monotonic()
            if self._tasks.running or wanted_tasks:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at > self._idle:
                return
            # Every commit, also our own, is a change. Look for new wishes at most ten times a second.
            await asyncio.sleep(0.1)
            try:
                async with asyncio.timeout(min(BEAT_S, max(0.0, self._next_expiry - time.monotonic()))):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _update_tasks(self, writer: Writer) -> list[RecordingInfo]:
        """Start the wanted tasks, stop the others, and return the wanted ones."""
        await self._answer_requests()
        all_wanted = await asyncio.to_thread(self._store.wanted, self._cluster.id)
        wanted_tasks = [info for info in all_wanted if self._me.serves(info.ref.namespace)]
        if await asyncio.to_thread(self._settings.look):
            self._tasks.losses.add("", "store_emptied")
            if self._selection is not None:
                self._selection.store_lost.set()
        self._tasks.set_quotas(self._settings.quotas)
        mask = self._settings.masked
        for running in self._tasks.running.values():
            # Masking was turned on: the task resumes from its anchor, and everything from then on is masked.
            if mask and not running.recorder.masked and not running.task.cancelling():
                running.task.cancel()
        with_readers = {info.id for info in wanted_tasks}
        if self._selection is None:
            plan = Plan(take=tuple(info.id for info in wanted_tasks))
        else:
            plan = await self._plan_sharing(self._selection, with_readers)
        for id_ in plan.hand_over:
            if id_ in self._tasks.running:  # it may have ended meanwhile
                await self._tasks.hand_over(self._tasks.running[id_])
        ids = with_readers | (self._selection.ids if self._selection is not None else set())
        self._tasks.skipped_namespaces = self._selection.refused_namespaces if self._selection is not None else ()
        await self._tasks.handle_refusals(ids)
        for id_ in plan.take:
            if self._tasks.can_start(id_):
                await self._tasks.start(writer, id_, masked=mask)
                self._health.looked_for_tasks()  # starting thousands takes a while
        for id_, running in self._tasks.running.items():
            running.recorder.set_has_readers(has_readers=id_ in with_readers)
        await self._tasks.stop_unwanted(ids)
        return wanted_tasks

    async def _answer_requests(self) -> None:
        """Begin to look up what readers ask to record, beside the loop: a slow answer delays no wanted task.

        Raises
        ------
        StoreError
            Of an earlier call.
        """
        for done in [lookup for lookup in self._lookups if lookup.done()]:
            self._lookups.remove(done)
            done.result()
        now = time.monotonic()
        self._next_lookups = {text: at for text, at in self._next_lookups.items() if at > now}
        for request in await asyncio.to_thread(self._store.requests, self._cluster.id):
            if request.text not in self._next_lookups and self._me.serves(request.ref.namespace):
                self._next_lookups[request.text] = math.inf
                self._lookups.add(asyncio.create_task(self._open_requested(request)))

    async def _open_requested(self, request: RecordingRequest) -> None:
        """Open a recording for a reader who may not, if the cluster has that task and we may record it.

        Raises
        ------
        StoreError
        """
        ref, again_at = request.ref, 0.0
        try:
            try:
                async with asyncio.timeout(_LOOKUP_S):
                    workload = await resolve(self._cluster, ref)
            except NotFound:
                is_real = False
            except (CortexError, TimeoutError) as error:
                _log.info("%s: a reader asks to record it, and it cannot be looked up: %s", ref.key, error)
                again_at = time.monotonic() + _REFUSED_S
                return  # another recorder may have the right, or a later look may succeed; a request expires
            else:
                is_real = workload.ref == ref and workload.is_of(request.uid)
            if is_real:
                with contextlib.suppress(RecordingDeleted):  # just now; the reader asks again, and is told
                    await asyncio.to_thread(self._store.open, self._cluster.id, ref, request.uid)
            await asyncio.to_thread(self._store.drop_request, request)
        finally:
            self._next_lookups[request.text] = again_at

    async def _plan_sharing(self, selection: Selection, with_readers: set[int]) -> Plan:
        """Return which of the selected and wanted tasks to take, and which to hand over."""
        if time.monotonic() - self._shared_at < _SHARE_S and time.monotonic() < self._next_expiry:
            return Plan()
        self._shared_at = time.monotonic()
        relevant = selection.ids | with_readers
        holders = await asyncio.to_thread(self._store.holders, relevant)
        self._tasks.note_holders(holders)
        await selection.handle_missing(relevant - holders.keys())
        self._tasks.high_water_marks.expire(relevant - holders.keys())
        fellows = await self._fellow_recorders()
        # What another recorder records for a reader is not shared, nor what we may not read.
        shared = {
            id_: owner
            for id_, owner in holders.items()
            if owner in fellows or (not owner and not self._tasks.refusals.is_left_to_others(id_))
        }
        return self._sharing.plan(shared, len(fellows), self._tasks.running)

    async def _fellow_recorders(self) -> set[str]:
        """Return the recorders with the same selection, including this one.

        Notes when the first of their heartbeats expires.
        """
        recorders = await asyncio.to_thread(self._store.recorders, self._cluster.id)
        fellows = [
            recorder
            for recorder in recorders
            if recorder.selection == self._me.selection and recorder.id != self._me.id
        ]
        remaining_s = min((recorder.heartbeat for recorder in fellows), default=math.inf) + HEARTBEAT_S - time.time()
        self._next_expiry = time.monotonic() + remaining_s + _EXPIRY_MARGIN_S
        return {self._me.id, *(recorder.id for recorder in fellows)}

    async def _send_heartbeats(self) -> None:
        self._tasks.damaged = await self._heartbeat.run()  # programs of a newer version start a recorder of theirs
        self._changed.set()
