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
from cortex_jupyter.errors import CortexError, StoreBusy, StoreFull
from cortex_jupyter.recorder.collector.sharing import Sharing
from cortex_jupyter.recorder.heartbeat import BEAT_S, Heart
from cortex_jupyter.recorder.process.health import Pulse
from cortex_jupyter.recorder.source.stream_limiter import Turns
from cortex_jupyter.recorder.tasks import Tasks
from cortex_jupyter.recorder.watching.watches import SharedWatches, Watches
from cortex_jupyter.recorder.writing.commit_retrier import RETRY_S
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import HEARTBEAT_S, RecorderInfo, RecordingInfo, Store
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.collector.selection import Selection

_log = logging.getLogger(__name__)

#: A recorder with nothing to do ends after this long, seconds.
IDLE_S: Final = 120.0
#: Who records what is looked at so often at most, seconds.
_SHARE_S: Final = 0.5
#: And so long, seconds, after the heartbeat of one of those who share it has gone cold.
_COLD_S: Final = 0.02


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
    pulse : Pulse, optional
        To be told how it is.
    told : mapping, optional
        As `Settings` takes it.
    rights : str, optional
        The same for all processes that have the cluster's credentials.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        idle: float = IDLE_S,
        selection: Selection | None = None,
        turns: Turns | None = None,
        pulse: Pulse | None = None,
        told: Mapping[str, str] | None = None,
        rights: str = "",
    ) -> None:
        self._store, self._cluster, self._idle = store, cluster, idle if selection is None else math.inf
        self._selection = selection
        watches = SharedWatches(cluster, whole=not selection.namespaces) if selection else Watches(cluster)
        self._pulse = pulse or Pulse()
        self._me = RecorderInfo(
            uuid.uuid4().hex,
            cluster.id,
            socket.gethostname(),
            os.getpid(),
            0,
            __version__,
            time.time(),
            self._pulse.port,
            namespaces=selection.namespaces if selection else (),
            selection=selection.name if selection else "",
            rights=rights,
        )
        self._heart = Heart(store, self._me, self._pulse)
        self._sharing, self._shared = Sharing(self._me.id), float("-inf")  # and when it last did, monotonic
        self._cold = float("inf")  # when the first of the others will be dead unless it is heard of again, monotonic
        self._settings = Settings(store, told, marks=True, administrator=selection is not None)
        self._changed = asyncio.Event()
        self._tasks = Tasks(store, cluster, self._heart, watches, turns or Turns(), self._changed.set)

    async def run(self) -> None:
        """Record until there is nothing left to do; cancel to end earlier.

        Raises
        ------
        StoreError
            The store cannot be used at all.
        NotAllowed, ClusterError
            What is selected cannot be listed.
        """
        with logs.about(recorder=self._me.id[:8]):
            await self._run()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        try:
            with Writer(self._store, self._pulse) as writer:
                await self._heart.appear(patient=self._selection is not None)
                unsubscribe = self._store.subscribe(wake)
                upkeep = self._tasks.upkeep
                side = [
                    asyncio.create_task(c) for c in (self._beat(), upkeep.compact(), upkeep.retain(), upkeep.archive())
                ]
                work = asyncio.create_task(self._work(writer))
                selecting = asyncio.create_task(self._selection.run(self._changed.set)) if self._selection else work
                try:
                    done, _ = await asyncio.wait({work, selecting}, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                finally:
                    unsubscribe()
                    everything = [*side, work, selecting, *(one.task for one in self._tasks.running.values())]
                    for task in everything:
                        task.cancel()
                    await asyncio.gather(*everything, return_exceptions=True)
        finally:
            # Also when it is stopped or fails: a recorder on another machine would wait for our heartbeat to go cold.
            with contextlib.suppress(CortexError):
                await self._heart.leave()

    async def _work(self, writer: Writer) -> None:
        busy = time.monotonic()
        while True:
            self._changed.clear()
            if self._tasks.damaged is not None:
                raise self._tasks.damaged
            try:
                wanted = await self._take(writer)
            except (StoreFull, StoreBusy) as error:
                # It passes, and meanwhile the tasks at hand go on.
                _log.warning("%s", error)
                self._pulse.refused(error)
                self._pulse.came_round(looked=False)
                await asyncio.sleep(RETRY_S)
                continue
            self._pulse.came_round()
            if self._tasks.running or wanted:
                busy = time.monotonic()
            elif time.monotonic() - busy > self._idle:
                return
            # Every commit is a change, our own included; a new wish is looked for ten times a second at most.
            await asyncio.sleep(0.1)
            try:
                async with asyncio.timeout(min(BEAT_S, max(0.0, self._cold - time.monotonic()))):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _take(self, writer: Writer) -> list[RecordingInfo]:
        """Begin what is wanted, end what is not any more; gives what is wanted."""
        all_ = await asyncio.to_thread(self._store.wanted, self._cluster.id)
        wanted = [info for info in all_ if not self._me.namespaces or info.ref.namespace in self._me.namespaces]
        if await asyncio.to_thread(self._settings.look) and self._selection is not None:
            self._selection.anew.set()
        mask = self._settings.masked
        for one in self._tasks.running.values():
            # Switched on meanwhile: it goes on from its anchor, and what it reads from now on is masked.
            if mask and not one.recorder.masked and not one.task.cancelling():
                one.task.cancel()
        read = {info.id for info in wanted}
        ids = set(read)
        if self._selection is not None:
            begin = await self._share(self._selection.ids, read)
            ids |= self._selection.ids
        else:
            begin = [info.id for info in wanted]
        await self._tasks.leave_to_others(ids)
        for id_ in begin:
            if self._tasks.free(id_):
                await self._tasks.start(writer, id_, masked=mask)
                self._pulse.came_round()  # of thousands not all are begun in a moment
        for id_, one in self._tasks.running.items():
            one.recorder.read(on=id_ in read)
        await self._tasks.release(ids)
        return wanted

    async def _share(self, selected: set[int], wanted: set[int]) -> list[int]:
        """Hand over what is too much, and give what to begin."""
        if time.monotonic() - self._shared < _SHARE_S and time.monotonic() < self._cold:
            return []
        self._shared = time.monotonic()
        asked = selected | wanted
        holders = await asyncio.to_thread(self._store.holders, asked)
        if self._selection is not None:
            await self._selection.missing(asked - holders.keys())
        self._tasks.reached.over(asked - holders.keys())
        fellows = await self._fellows()
        # What another records for a reader is no part of what they share.
        holders = {i: o for i, o in holders.items() if o in fellows or (not o and not self._tasks.refusals.waits(i))}
        for id_ in self._sharing.give(holders, len(fellows)):
            if id_ in self._tasks.running:
                await self._tasks.hand_over(self._tasks.running[id_])
                holders[id_] = ""
        # What failed here just now is ours in the store, and free all the same.
        mine = {id_ for id_, owner in holders.items() if owner == self._me.id}
        return [*(mine - self._tasks.running.keys()), *self._sharing.take(holders, len(fellows))]

    async def _fellows(self) -> set[str]:
        """Give the recorders that select the same, this one included; and note when one of them would be found dead."""
        living = await asyncio.to_thread(self._store.recorders, self._cluster.id)
        others = [one for one in living if one.selection == self._me.selection and one.id != self._me.id]
        left = min((one.heartbeat for one in others), default=math.inf) + HEARTBEAT_S - time.time()
        self._cold = time.monotonic() + left + _COLD_S
        return {self._me.id, *(one.id for one in others)}

    async def _beat(self) -> None:
        self._tasks.damaged = await self._heart.beat()  # those who have updated start one of theirs
        self._changed.set()
