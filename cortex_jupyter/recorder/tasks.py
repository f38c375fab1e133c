"""The tasks that this recorder has: taken by lease, recorded, and given up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.access import OWN_REFUSAL_HOLDS_S, Access
from cortex_jupyter.errors import CortexError, LeaseLost, NotAllowed, StoreBusy, StoreError, StoreFull
from cortex_jupyter.recorder.high_water_marks import Reached
from cortex_jupyter.recorder.refusals import Refusals
from cortex_jupyter.recorder.reporting import say_back, tell
from cortex_jupyter.recorder.running import Running
from cortex_jupyter.recorder.task import TaskRecorder
from cortex_jupyter.recorder.upkeep import Upkeep
from cortex_jupyter.store import Commit
from cortex_jupyter.store.compact import compact
from cortex_jupyter.telemetry import logs, recorder_metrics, tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.heartbeat import Heart
    from cortex_jupyter.recorder.source.stream_limiter import Turns
    from cortex_jupyter.recorder.watching.watches import Watches
    from cortex_jupyter.recorder.writing.writer import Writer
    from cortex_jupyter.store import Store
    from cortex_jupyter.telemetry.tracing import Attributes

_log = logging.getLogger(__name__)

#: Kinds that end by themselves are recorded to their end, whoever has left; the others as long as they are wanted.
_ENDING: Final = ("job", "pod")
#: Whether a right that was missing has been given is asked so often, seconds.
_RIGHTS_S: Final = 2.0
#: But not in a cluster that has not answered for so long, seconds: a reader who comes back has it go on from its anchor.
_AWAY_S: Final = 600.0


class Tasks:
    """Those of one recorder.

    Parameters
    ----------
    store : Store
    cluster : Cluster
    heart : Heart
        As whom it takes them.
    watches : Watches
    turns : Turns
    changed : callable
        Called when one has ended.

    Attributes
    ----------
    running : dict
        By recording.
    reached : Reached
    refusals : Refusals
    upkeep : Upkeep
        Of the store that they are in.
    damaged : StoreError or None
        The store does not even take a message.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        heart: Heart,
        watches: Watches,
        turns: Turns,
        changed: Callable[[], object],
    ) -> None:
        self._store, self._cluster, self._heart, self._me = store, cluster, heart, heart.me
        self._watches, self._turns, self._changed = watches, turns, changed
        self.running: dict[int, Running] = {}
        self.reached = Reached()
        self.refusals = Refusals()
        self.upkeep = Upkeep(store, self.running)
        self.damaged: StoreError | None = None
        self._access = Access(refusal_holds_s=OWN_REFUSAL_HOLDS_S)
        self._asked = float("-inf")  # when rights were last asked for, monotonic
        self._lacking: set[str] = set()  # namespaces in which the cluster says that we lack one
        self._later: dict[int, float] = {}  # after a failure: not before then, monotonic

    def free(self, recording: int) -> bool:
        """Tell whether one may be begun now."""
        return (
            recording not in self.running
            and not self.refusals.waits(recording)
            and self._later.get(recording, 0) < time.monotonic()
        )

    async def start(self, writer: Writer, id_: int, *, masked: bool) -> None:
        """Take one, where no other recorder has it, and begin to record it.

        Raises
        ------
        StoreError
        """
        begun = time.monotonic()
        reached = self.reached.of(id_)
        take = partial(self._store.lease, id_, self._me.id, assume_alive=self._heart.patient, last_written=reached)
        lease = await asyncio.to_thread(take)
        if lease is None:
            return
        # Read again under the lease: the one before us may have committed meanwhile.
        now = await asyncio.to_thread(self._store.info, id_)
        if now is None or now.done:
            self.reached.over([id_])
            return
        if reached > now.last_seq:
            try:
                now = await asyncio.to_thread(say_back, self._store, lease, now, reached)
            except LeaseLost as error:  # another has taken it just now: it is his
                _log.warning("%s: %s", now.ref.key, error)
                return
        recorder = TaskRecorder(
            self._cluster, self._store, writer, lease, now, self._watches, self._turns, masked=masked
        )
        one = self.running[id_] = Running(lease, now, recorder)
        ref = now.ref
        known: Attributes = {
            "k8s.namespace.name": ref.namespace,
            "cortex.task": ref.key,
            "cortex.lease.epoch": lease.epoch,
        }
        with tracing.span("cortex.task.take", known, ago=time.monotonic() - begun):
            one.task = asyncio.create_task(self._record(one))  # what it does belongs to the same trace
        recorder_metrics.LEASES.labels("taken").inc()
        _log.info("taken", extra={"task": ref.key, "seconds": time.monotonic() - begun})
        recorder_metrics.TASKS.set(len(self.running))

    async def _record(self, one: Running) -> None:
        with logs.about(task=one.info.ref.key):
            await self._recorded(one)

    async def _recorded(self, one: Running) -> None:
        info, done = one.info, False
        try:
            await one.recorder.run()
            done = True
            await asyncio.to_thread(compact, self._store, one.lease, done=True)
            self.upkeep.completed.set()
            recorder_metrics.LEASES.labels("finished").inc()
            _log.info("recorded to its end")
        except LeaseLost as error:
            recorder_metrics.LEASES.labels("lost").inc()
            _log.warning("%s: %s", info.ref.key, error)
        except NotAllowed as error:
            _log.warning("%s: %s", info.ref.key, error)
            recorder_metrics.failed(error)
            self.refusals.add(info, error)
            await self._give_back(one)
        except CortexError as error:
            _log.warning("%s: %s", info.ref.key, error)
            recorder_metrics.failed(error)
            self._later[info.id] = time.monotonic() + 5
            await self._tell(info.id, error)
        except Exception as error:  # noqa: BLE001 - one task's fault must not end the others
            _log.exception("%s: recording failed", info.ref.key)
            recorder_metrics.failed(error)
            self._later[info.id] = time.monotonic() + 15
        finally:
            self.reached.note(info.id, one.recorder.reached)
            if done:
                self.reached.over([info.id])
            del self.running[info.id]
            recorder_metrics.TASKS.set(len(self.running))
            self._changed()

    async def _give_back(self, one: Running) -> None:
        """Give up what we may not read, and say so at once: readers who may have a recorder of their own started."""
        await one.recorder.drain()
        with contextlib.suppress(CortexError):
            await asyncio.to_thread(self._store.release, one.lease)
            await self._heart.change(replace(self._me, refused=self.refusals.namespaces))

    async def hand_over(self, one: Running) -> None:
        """Leave one to the other recorders; what was read of it is written before.

        Raises
        ------
        StoreError
        """
        one.task.cancel()
        await asyncio.wait([one.task])
        await one.recorder.drain()
        await asyncio.to_thread(self._store.release, one.lease)
        recorder_metrics.LEASES.labels("handed over").inc()

    async def leave_to_others(self, asked: set[int]) -> None:
        """See to what we may not read, of what we are asked for; where nobody else records it either its readers are told why."""
        self.refusals.keep(asked)
        await self._look_for_rights()
        for id_, error, again in self.refusals.due():
            await self._tell(id_, error, again=again, keep=False)
        self._heart.me = replace(self._me, refused=self.refusals.namespaces)

    async def _look_for_rights(self) -> None:
        """Try at once what was refused where the right that was missing has been given since."""
        namespaces = set(self.refusals.namespaces)
        self._lacking &= namespaces
        if not namespaces or time.monotonic() - self._asked < _RIGHTS_S:
            return
        self._asked = time.monotonic()
        for namespace in namespaces:
            try:
                lacking = await self._access.lacking(self._cluster, namespace) is not None
            except CortexError:  # no reviews, or no answer: it is tried again as `Refusals` has it
                continue
            if lacking:
                self._lacking.add(namespace)
            elif namespace in self._lacking:  # else it was refused for another reason, which holds
                self._lacking.discard(namespace)
                self.refusals.again(namespace)

    async def _tell(self, id_: int, error: CortexError, *, again: bool = False, keep: bool = True) -> None:
        try:
            lease = await asyncio.to_thread(tell, self._store, self._me.id, id_, error, again=again)
            if lease and not keep:
                await asyncio.to_thread(self._store.release, lease)
        except (StoreFull, StoreBusy, LeaseLost) as second:
            _log.warning("%s", second)
        except StoreError as second:
            # It is the store itself that fails, so nothing can be said in it. Whoever asks for a recorder is told.
            self.damaged = second

    async def release(self, wanted: set[int]) -> None:
        """Stop what nobody wants any more and never ends, or is in a cluster that has been away for long."""
        for id_, one in list(self.running.items()):
            endless = one.info.ref.kind not in _ENDING or one.recorder.away > _AWAY_S
            if id_ not in wanted and endless and not one.task.cancelling():
                one.task.cancel()
                # Who wants it again must not take what was recorded before for all there is.
                with contextlib.suppress(LeaseLost):
                    await asyncio.to_thread(self._store.commit, one.lease, Commit(update={"caught_up": 0}))
