"""The recorder: takes every wanted task of its cluster that no other recorder has, and records it to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError, LeaseLost, StoreBusy, StoreError, StoreFull, StoreTooNew
from cortex_jupyter.recording.collector.sharing import Sharing
from cortex_jupyter.recording.process import telemetry
from cortex_jupyter.recording.process.archiving import archive_completed
from cortex_jupyter.recording.recorder.task import TaskRecorder
from cortex_jupyter.recording.source.turns import Turns
from cortex_jupyter.recording.store import Commit, Info, Lease, Recorder, Store
from cortex_jupyter.recording.store.compact import compact
from cortex_jupyter.recording.store.retention import retain
from cortex_jupyter.recording.watching.watches import SharedWatches, Watches
from cortex_jupyter.recording.writing.patience import RETRY_S
from cortex_jupyter.recording.writing.writer import Writer
from cortex_jupyter.records import notice

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recording.collector.selection import Selection

_log = logging.getLogger(__name__)

#: A recorder with nothing to do ends after this long, seconds.
IDLE_S: Final = 120.0
#: How long, seconds, it tries to write its first heartbeat into a store that is full or busy.
_APPEAR_S: Final = 60.0
_BEAT_S: Final = 1.0
#: Who records what is looked at so often at most, seconds.
_SHARE_S: Final = 0.5
_COMPACT_S: Final = 10.0
_RETAIN_S: Final = 60.0
#: Kinds that end by themselves are recorded to their end, whoever has left; the others as long as they are wanted.
_ENDING: Final = ("job", "pod")
#: But not in a cluster that has not answered for so long, seconds: a reader who comes back has it go on from its anchor.
_AWAY_S: Final = 600.0


class Recording:
    """The recorder of one store and one cluster.

    Parameters
    ----------
    store : Store
    cluster : Cluster
    idle : float, optional
        Seconds without anything to record after which it ends.
    selection : Selection, optional
        What it records besides, wanted or not; it then has no idle end, and shares tasks with the others of its kind.
    turns : Turns, optional
        How many logs it reads at once.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        idle: float = IDLE_S,
        selection: Selection | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._store, self._cluster, self._idle = store, cluster, idle if selection is None else math.inf
        self._selection, self._turns = selection, turns or Turns()
        self._watches = SharedWatches(cluster, whole=not selection.namespaces) if selection else Watches(cluster)
        self._me = Recorder(uuid.uuid4().hex, cluster.id, socket.gethostname(), os.getpid(), 0)
        self._sharing, self._shared = Sharing(self._me.id), float("-inf")  # and when it last did, monotonic
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leases: dict[int, Lease] = {}
        self._infos: dict[int, Info] = {}
        self._recorders: dict[int, TaskRecorder] = {}
        self._merged: dict[int, int] = {}  # up to which number nothing is left to merge
        self._reached: dict[int, int] = {}  # the last number that we have recorded of what has ended here
        self._large: set[int] = set()  # recordings that have said that they are over the budget
        self._later: dict[int, float] = {}  # after a failure: not before then, monotonic
        self._damaged: StoreError | None = None  # the store does not even take a message
        self._changed = asyncio.Event()
        self._completed = asyncio.Event()

    async def run(self) -> None:
        """Record until there is nothing left to do; cancel to end earlier.

        Raises
        ------
        StoreError
            The store cannot be used at all.
        NotAllowed, ClusterError
            What is selected cannot be listed.
        """
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        try:
            with Writer(self._store) as writer:
                await self._appear()
                unsubscribe = self._store.subscribe(wake)
                side = [
                    asyncio.create_task(c) for c in (self._beat(), self._compact(), self._retain(), self._archive())
                ]
                work = asyncio.create_task(self._work(writer))
                selecting = asyncio.create_task(self._selection.run(self._changed.set)) if self._selection else work
                try:
                    done, _ = await asyncio.wait({work, selecting}, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                finally:
                    unsubscribe()
                    everything = [*side, work, selecting, *self._tasks.values()]
                    for task in everything:
                        task.cancel()
                    await asyncio.gather(*everything, return_exceptions=True)
        finally:
            # Also when it is stopped or fails: a recorder on another machine would wait for our heartbeat to go cold.
            with contextlib.suppress(CortexError):
                await asyncio.to_thread(self._store.leave, self._me.id)

    async def _appear(self) -> None:
        """Be seen by who looks for a recorder, as soon as the store takes it."""
        end = time.monotonic() + _APPEAR_S
        while True:
            try:
                await asyncio.to_thread(self._store.beat, self._me)
                telemetry.BEAT.set_to_current_time()
            except (StoreFull, StoreBusy):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _work(self, writer: Writer) -> None:
        busy = time.monotonic()
        while True:
            self._changed.clear()
            if self._damaged is not None:
                raise self._damaged
            try:
                wanted = await self._take(writer)
            except (StoreFull, StoreBusy) as error:
                # It passes, and meanwhile the tasks at hand go on.
                _log.warning("%s", error.message)
                await asyncio.sleep(RETRY_S)
                continue
            if self._tasks or wanted:
                busy = time.monotonic()
            elif time.monotonic() - busy > self._idle:
                return
            # Every commit is a change, our own included; a new wish is looked for ten times a second at most.
            await asyncio.sleep(0.1)
            try:
                async with asyncio.timeout(_BEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _take(self, writer: Writer) -> list[Info]:
        """Begin what is wanted, end what is not any more; gives what is wanted."""
        wanted = await asyncio.to_thread(self._store.wanted, self._cluster.id)
        mask = await asyncio.to_thread(self._store.setting, "mask") == "1"
        for id_, recorder in self._recorders.items():
            # Switched on meanwhile: it goes on from its anchor, and what it reads from now on is masked.
            if mask and not recorder.masked and not self._tasks[id_].cancelling():
                self._tasks[id_].cancel()
        read = {info.id for info in wanted}
        ids = set(read)
        if self._selection is not None:
            begin = await self._share(self._selection.ids, read)
            ids |= self._selection.ids
        else:
            begin = [info.id for info in wanted]
        for id_ in begin:
            if id_ not in self._tasks and self._later.get(id_, 0) < time.monotonic():
                await self._start(writer, id_, masked=mask)
        for id_, recorder in self._recorders.items():
            recorder.read(on=id_ in read)
        await self._release(ids)
        return wanted

    async def _share(self, selected: set[int], wanted: set[int]) -> list[int]:
        """Hand over what is too much, and give what to begin."""
        if time.monotonic() - self._shared < _SHARE_S:
            return []
        self._shared = time.monotonic()
        asked = selected | wanted
        holders = await asyncio.to_thread(self._store.holders, asked)
        selected -= asked - holders.keys()  # they are complete
        recorders = len(await asyncio.to_thread(self._store.recorders, self._cluster.id))
        for id_ in self._sharing.give(holders, recorders):
            if id_ in self._tasks:
                await self._hand_over(id_)
                holders[id_] = ""
        # What failed here just now is ours in the store, and free all the same.
        mine = {id_ for id_, owner in holders.items() if owner == self._me.id}
        return [*(mine - self._tasks.keys()), *self._sharing.take(holders, recorders)]

    async def _hand_over(self, id_: int) -> None:
        task, recorder, lease = self._tasks[id_], self._recorders[id_], self._leases[id_]
        task.cancel()
        await asyncio.wait([task])
        await recorder.drain()
        await asyncio.to_thread(self._store.release, lease)
        telemetry.LEASES.labels("handed over").inc()

    async def _start(self, writer: Writer, id_: int, *, masked: bool) -> None:
        lease = await asyncio.to_thread(self._store.lease, id_, self._me.id)
        if lease is None:
            return
        # Read again under the lease: the one before us may have committed meanwhile.
        now = await asyncio.to_thread(self._store.info, id_)
        if now is None or now.done:
            return
        if (reached := self._reached.pop(id_, 0)) > now.last_seq:
            now = await self._say_back(lease, now, reached)
        recorder = TaskRecorder(
            self._cluster, self._store, writer, lease, now, self._watches, self._turns, masked=masked
        )
        self._leases[id_], self._infos[id_] = lease, now
        self._recorders[id_] = recorder
        self._tasks[id_] = asyncio.create_task(self._record(recorder, now))
        telemetry.LEASES.labels("taken").inc()
        telemetry.TASKS.set(len(self._tasks))

    async def _record(self, recorder: TaskRecorder, info: Info) -> None:
        try:
            await recorder.run()
            lease = self._leases[info.id]
            await asyncio.to_thread(compact, self._store, lease, done=True)
            self._completed.set()
            telemetry.LEASES.labels("finished").inc()
        except LeaseLost as error:
            telemetry.LEASES.labels("lost").inc()
            _log.warning("%s: %s", info.ref.key, error.message)
        except CortexError as error:
            _log.warning("%s: %s", info.ref.key, error)
            telemetry.failed(error)
            self._later[info.id] = time.monotonic() + 5
            await self._tell(info.id, error)
        except Exception as error:  # noqa: BLE001 - one task's fault must not end the others
            _log.exception("%s: recording failed", info.ref.key)
            telemetry.failed(error)
            self._later[info.id] = time.monotonic() + 15
        finally:
            self._reached[info.id] = recorder.reached
            # The others only keep what a pass that is under way still asks for.
            for known in (self._tasks, self._recorders, self._leases, self._infos, self._merged):
                known.pop(info.id, None)
            telemetry.TASKS.set(len(self._tasks))
            self._changed.set()

    async def _say_back(self, lease: Lease, info: Info, reached: int) -> Info:
        """Say that the store has lost what it had: a server that failed over, or lost its power.

        Readers may have seen those numbers, so they are not given again; the notice takes them. What they stood for is
        read again from the anchor that the store has.
        """
        lost = reached - info.last_seq
        said = notice(
            info.ref.key, reached + 1, time.time_ns(), "status",
            f"The store has lost its last {lost} records: what the cluster still has of them follows once more",
            notice="store", hint="see what a Valkey server promises with which settings: docs/valkey.md",
        )  # fmt: skip
        said.seq, said.n = info.last_seq + 1, lost + 1
        await asyncio.to_thread(self._store.commit, lease, Commit([said]))
        return replace(info, last_seq=said.last)

    async def _tell(self, id_: int, error: CortexError) -> None:
        """Say in the recording why it cannot go on; its readers see nothing else of the recorder."""
        try:
            # A lease of its own: what the attempt had still to write must not come after this.
            lease = await asyncio.to_thread(self._store.lease, id_, self._me.id)
            info = await asyncio.to_thread(self._store.info, id_)
            text = f"Log not available yet: {error.message}"
            if lease is None or info is None or info.done or info.message == text:
                return
            said = notice(
                info.ref.key, info.last_seq + 1, time.time_ns(), "status", text, state=info.state, reason=error.code,
                notice="state",
            )  # fmt: skip
            update = {"message": text, "reason": error.code}
            await asyncio.to_thread(self._store.commit, lease, Commit([said], update=update))
        except (StoreFull, StoreBusy, LeaseLost) as second:
            _log.warning("%s", second)
        except StoreError as second:
            # It is the store itself that fails, so nothing can be said in it. Whoever asks for a recorder is told.
            self._damaged = second

    async def _release(self, wanted: set[int]) -> None:
        """Stop what nobody wants any more and never ends, or is in a cluster that has been away for long."""
        for id_, task in list(self._tasks.items()):
            endless = self._infos[id_].ref.kind not in _ENDING or self._recorders[id_].away > _AWAY_S
            if id_ not in wanted and endless and not task.cancelling():
                task.cancel()
                # Who wants it again must not take what was recorded before for all there is.
                with contextlib.suppress(LeaseLost):
                    await asyncio.to_thread(self._store.commit, self._leases[id_], Commit(update={"caught_up": 0}))

    async def _beat(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(_BEAT_S)
            try:
                await asyncio.to_thread(self._store.beat, self._me)
                telemetry.BEAT.set_to_current_time()
                said = ""
            except StoreTooNew as error:
                self._damaged = error  # those who have updated start one of theirs
                self._changed.set()
            except CortexError as error:
                if error.message != said:  # not every second: our log may be on the same full disk
                    _log.warning("%s", error.message)
                said = error.message

    async def _retain(self) -> None:
        """Keep the store within its budget."""
        ended = threading.Event()
        try:
            while True:
                try:
                    await asyncio.to_thread(self._store.keep_reserve)
                    kept = await asyncio.to_thread(retain, self._store, ended.is_set)
                    telemetry.STORE.set(await asyncio.to_thread(self._store.used))
                    telemetry.BUDGET.set((await asyncio.to_thread(self._store.budget)).max_bytes or 0)
                    if kept.left:
                        _log.info("%d recordings have left: the store was over its budget", kept.left)
                    if kept.over:
                        await self._say_over(kept.budget)
                except CortexError as error:
                    _log.warning("%s", error.message)
                await asyncio.sleep(_RETAIN_S)
        finally:
            ended.set()

    async def _archive(self) -> None:
        """Archive each recording when it is complete, and what an earlier recorder has left."""
        while True:
            self._completed.clear()
            try:
                await archive_completed(self._store)
            except CortexError as error:
                _log.warning("%s", error.message)
            with contextlib.suppress(TimeoutError):
                # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the event.
                async with asyncio.timeout(_RETAIN_S):
                    await self._completed.wait()

    async def _say_over(self, budget: int) -> None:
        """Say it in a recording that is larger than the whole budget; it goes on."""
        for id_, recorder in list(self._recorders.items()):
            if id_ in self._large or await asyncio.to_thread(self._store.bytes_of, id_) <= budget:
                continue
            self._large.add(id_)
            recorder.say(
                f"This recording is larger than the store's budget of {budget / 1e6:.0f} MB; it goes on",
                notice="retention", hint="raise store_max_bytes (CORTEX_STORE_MAX_BYTES), or make the task write less",
            )  # fmt: skip

    async def _compact(self) -> None:
        while True:
            await asyncio.sleep(_COMPACT_S)
            for id_, lease in list(self._leases.items()):
                try:
                    after = self._merged.get(id_, 0)
                    self._merged[id_] = await asyncio.to_thread(compact, self._store, lease, after)
                except CortexError as error:
                    _log.warning("recording %d cannot be compacted: %s", id_, error.message)
