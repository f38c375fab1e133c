"""The tasks that this recorder has leased: take them, record them, give them up."""

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
from cortex_jupyter.recorder.high_water_marks import HighWaterMarks
from cortex_jupyter.recorder.losses import Losses
from cortex_jupyter.recorder.refusals import Refusals
from cortex_jupyter.recorder.reporting import report_failure, report_rollback
from cortex_jupyter.recorder.task import RunningTask, TaskRecorder
from cortex_jupyter.recorder.upkeep import Upkeep
from cortex_jupyter.store import Commit
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.quotas import Quotas
from cortex_jupyter.telemetry import logs, recorder_metrics, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.heartbeat import Heartbeat
    from cortex_jupyter.recorder.source.stream_limiter import StreamLimiter
    from cortex_jupyter.recorder.watching.watches import Watches
    from cortex_jupyter.recorder.writing.writer import Writer
    from cortex_jupyter.store import Lease, Store
    from cortex_jupyter.telemetry.tracing import Attributes

_log = logging.getLogger(__name__)

#: How often the cluster is asked whether a missing right has been granted (seconds).
_RIGHTS_S: Final = 2.0
#: Time without an answer of its cluster before a task is given up (seconds). When a reader comes back, it resumes from
#: its anchor.
_AWAY_S: Final = 600.0


class LeasedTasks:
    """The tasks of one recorder.

    Parameters
    ----------
    store : Store
    cluster : Cluster
    heartbeat : Heartbeat
        Holds the identity under which tasks are leased.
    watches : Watches
    limiter : StreamLimiter
    changed : callable
        Called when a task has ended.

    Attributes
    ----------
    running : dict
        The running tasks, by recording.
    high_water_marks : HighWaterMarks
    refusals : Refusals
    upkeep : Upkeep
        The upkeep of the store.
    losses : Losses
        Of what the store has lost.
    skipped_namespaces : tuple of str
        The namespaces that the selection skips.
    damaged : StoreError or None
        The error if the store does not even take a message.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        heartbeat: Heartbeat,
        watches: Watches,
        limiter: StreamLimiter,
        changed: Callable[[], object],
    ) -> None:
        self._store, self._cluster, self._heartbeat, self._me = store, cluster, heartbeat, heartbeat.me
        self._watches, self._limiter, self._changed = watches, limiter, changed
        self.running: dict[int, RunningTask] = {}
        self.high_water_marks = HighWaterMarks()
        self.refusals = Refusals()
        self.upkeep = Upkeep(store, self.running, heartbeat.health)
        self.losses = Losses()
        self._quotas = Quotas()
        self.damaged: StoreError | None = None
        self.skipped_namespaces: tuple[str, ...] = ()
        self._access = Access(refusal_holds_s=OWN_REFUSAL_HOLDS_S)
        self._rights_asked_at = float("-inf")  # when rights were last checked (monotonic)
        self._namespaces_lacking_rights: set[str] = set()  # where the cluster says that we lack a right
        self._holders: dict[int, str] = {}  # by recording: the other recorder that was last seen to have it
        self._not_before: dict[int, float] = {}  # after a failure: earliest next start (monotonic)

    def note_holders(self, holders: Mapping[int, str]) -> None:
        """Note which recorder has each recording now, "" for none, so that our log can name a task's previous recorder."""
        self._holders = {id_: owner or self._holders.get(id_, "") for id_, owner in holders.items()}

    def _previous_holder(self, lease: Lease) -> str:
        """Describe the recorder that had a task before."""
        if lease.previous:
            return f" from recorder {lease.previous[:8]}, which has died"
        seen = self._holders.get(lease.recording, "")
        return f" from recorder {seen[:8]}, which gave it up" if seen not in ("", self._me.id) else ""

    def can_start(self, recording: int) -> bool:
        """Return whether a recording may be started now."""
        return (
            recording not in self.running
            and not self.refusals.is_left_to_others(recording)
            and self._not_before.get(recording, 0) < time.monotonic()
        )

    def set_quotas(self, quotas: Quotas) -> None:
        """Set the quotas of namespaces, for the running tasks and all later ones."""
        if quotas != self._quotas:
            self._quotas = quotas
            for running in self.running.values():
                running.recorder.set_quotas(quotas)

    async def start(self, writer: Writer, id_: int, *, masked: bool) -> None:
        """Lease a recording, unless another recorder has it, and begin to record it.

        Raises
        ------
        StoreError
        """
        started_at = time.monotonic()
        last_committed = self.high_water_marks.get(id_)
        lease_call = partial(
            self._store.lease,
            id_,
            self._me.id,
            assume_alive=self._heartbeat.waits_for_others,
            last_written=last_committed,
        )
        lease = await asyncio.to_thread(lease_call)
        if lease is None:
            return
        # Read the row again under the lease: the recorder before us may have committed meanwhile.
        info = await asyncio.to_thread(self._store.info, id_)
        if info is None or info.done:
            self.high_water_marks.expire([id_])
            return
        if last_committed > info.last_seq:
            try:
                lost_count = last_committed - info.last_seq
                info = await asyncio.to_thread(report_rollback, self._store, lease, info, last_committed)
                self.losses.add(info.ref.key, "store_rollback", lost_count)
            except LeaseLost as error:  # another recorder has just taken it
                _log.warning("%s: %s", info.ref.key, error)
                return
        recorder = TaskRecorder(
            self._cluster, self._store, writer, lease, info, watches=self._watches, limiter=self._limiter, masked=masked
        )
        if self._quotas:
            recorder.set_quotas(self._quotas)
        running = self.running[id_] = RunningTask(lease, info, recorder)
        ref = info.ref
        attributes: Attributes = {
            "k8s.namespace.name": ref.namespace,
            "cortex.task": ref.key,
            "cortex.lease.epoch": lease.epoch,
        }
        with tracing.span("cortex.task.take", attributes, ago_s=time.monotonic() - started_at):
            running.task = asyncio.create_task(self._record(running))  # its work belongs to the same trace
        recorder_metrics.LEASES.labels("taken").inc()
        _log.info(
            "taken%s", self._previous_holder(lease), extra={"task": ref.key, "seconds": time.monotonic() - started_at}
        )
        recorder_metrics.TASKS.set(len(self.running))

    async def _record(self, running: RunningTask) -> None:
        with logs.about(task=running.info.ref.key):
            await self._record_to_end(running)

    async def _record_to_end(self, running: RunningTask) -> None:
        info, done = running.info, False
        try:
            await running.recorder.run()
            done = True
            await asyncio.to_thread(compact, self._store, running.lease, done=True)
            self.upkeep.completed.set()
            recorder_metrics.LEASES.labels("finished").inc()
            _log.info("recorded to its end")
        except LeaseLost as error:
            recorder_metrics.LEASES.labels("lost").inc()
            _log.warning("%s: %s", info.ref.key, error)
        except NotAllowed as error:
            _log.warning("%s: %s", info.ref.key, error)
            recorder_metrics.count_error(error)
            self.refusals.add(info, error)
            await self._give_up(running)
        except CortexError as error:
            _log.warning("%s: %s", info.ref.key, error)
            recorder_metrics.count_error(error)
            self._not_before[info.id] = time.monotonic() + 5
            await self._report(info.id, error)
        except Exception as error:  # noqa: BLE001 - a bug in one task must not end the others
            _log.exception("%s: recording failed", info.ref.key)
            recorder_metrics.count_error(error)
            self._not_before[info.id] = time.monotonic() + 15
        finally:
            self.high_water_marks.set(info.id, running.recorder.last_committed)
            if done:
                self.high_water_marks.expire([info.id])
            del self.running[info.id]
            recorder_metrics.TASKS.set(len(self.running))
            self._changed()

    async def _give_up(self, running: RunningTask) -> None:
        """Give up a task that we may not read, and publish that at once.

        A reader who may read it has a recorder of its own started.
        """
        await running.recorder.drain()
        with contextlib.suppress(CortexError):
            await asyncio.to_thread(self._store.release, running.lease)
            await self._heartbeat.change(replace(self._me, refused=self._refused_namespaces))

    @property
    def _refused_namespaces(self) -> tuple[str, ...]:
        return tuple(sorted({*self.refusals.namespaces, *self.skipped_namespaces}))

    async def hand_over(self, running: RunningTask) -> None:
        """Leave a task to the other recorders; its lines that were read are committed first.

        Raises
        ------
        StoreError
        """
        running.task.cancel()
        await asyncio.wait([running.task])
        await running.recorder.drain()
        await asyncio.to_thread(self._store.release, running.lease)
        recorder_metrics.LEASES.labels("handed over").inc()
        _log.info("handed over to the other recorders", extra={"task": running.info.ref.key})

    async def handle_refusals(self, requested: set[int]) -> None:
        """Leave to others what we may not read; if no other recorder takes a recording either, tell its readers why."""
        self.refusals.retain(requested)
        await self._retry_granted()
        for id_, error, is_repeat in self.refusals.due_reports():
            await self._report(id_, error, is_repeat=is_repeat, keep=False)
        self._heartbeat.me = replace(self._me, refused=self._refused_namespaces)

    async def _retry_granted(self) -> None:
        """Retry at once what was refused if the missing right has been granted since."""
        namespaces = set(self.refusals.namespaces)
        self._namespaces_lacking_rights &= namespaces
        if not namespaces or time.monotonic() - self._rights_asked_at < _RIGHTS_S:
            return
        self._rights_asked_at = time.monotonic()
        for namespace in namespaces:
            try:
                is_lacking = await self._access.missing_rights(self._cluster, namespace) is not None
            except CortexError:  # no access reviews, or no answer: `Refusals` decides when to retry
                continue
            if is_lacking:
                self._namespaces_lacking_rights.add(namespace)
            elif namespace in self._namespaces_lacking_rights:  # else it was refused for another reason, which remains
                self._namespaces_lacking_rights.discard(namespace)
                self.refusals.retry_namespace(namespace)

    async def _report(self, id_: int, error: CortexError, *, is_repeat: bool = False, keep: bool = True) -> None:
        try:
            lease = await asyncio.to_thread(report_failure, self._store, self._me.id, id_, error, is_repeat=is_repeat)
            if lease and not keep:
                await asyncio.to_thread(self._store.release, lease)
        except (StoreFull, StoreBusy, LeaseLost) as reporting_error:
            _log.warning("%s", reporting_error)
        except StoreError as reporting_error:
            # The store itself fails, so nothing can be written into it. Whatever starts the next recorder is told.
            self.damaged = reporting_error

    async def stop_unwanted(self, requested: set[int]) -> None:
        """Stop tasks that no reader wants and that do not end by themselves, or whose cluster has not answered for long."""
        for id_, running in list(self.running.items()):
            may_stop = not running.recorder.ends or running.recorder.unreachable_s > _AWAY_S
            if id_ not in requested and may_stop and not running.task.cancelling():
                running.task.cancel()
                # A later reader must not take the recorded lines for all there is.
                with contextlib.suppress(LeaseLost):
                    await asyncio.to_thread(self._store.commit, running.lease, Commit(update={"caught_up": 0}))
