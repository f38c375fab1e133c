"""Record one task: its pods as they come and go, its state, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.cluster.kueue import explained, may_be_queued
from cortex_jupyter.cluster.tasks import pods_of
from cortex_jupyter.cluster.workloads import State, Workload, refusal_of, state_of
from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.recorder.backoff import Backoff
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.notices import gap
from cortex_jupyter.recorder.source.stream_limiter import StreamLimiter
from cortex_jupyter.recorder.sources import Sources
from cortex_jupyter.recorder.text.masking import Masking
from cortex_jupyter.recorder.watching.events import record_events
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.watching.unseen import unseen_containers
from cortex_jupyter.recorder.watching.watches import Watches
from cortex_jupyter.recorder.writing.batch import PendingNotice
from cortex_jupyter.store.ids import time_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.watching.watches import Change
    from cortex_jupyter.recorder.writing.writer import Writer
    from cortex_jupyter.store import Lease, RecordingInfo, Store

_log = logging.getLogger(__name__)

#: The task's state is checked at least this often (seconds); watches bring changes sooner.
_CHECK_S: Final = 5.0
#: If the API server returns a state on request, the watch brings it within this long (seconds), or the watch is dead.
_BEHIND_S: Final = 3.0
#: The events that show unseen pods are requested for this long (seconds) while the API server does not answer, or while they
#: do not say whether a pod ran.
_EVENTS_S: Final = 30.0
#: A clock that is off by more than this (seconds) is reported.
_CLOCK_S = 2.0
#: A change of a clock's offset by less than this (seconds) is noise.
_CLOCK_STEP_S = 1.0
#: The reasons of states that mean a log cannot be read.
_UNREADABLE: Final = ("ReadFailed", NotAllowed.__name__)
#: Pods of a custom resource that still run this long (seconds) after its end are not read further: a RayJob may leave its
#: cluster running for the next one.
_LEFT_OVER_S: Final = 30.0


class TaskRecorder:
    """Records one task to its end.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    writer : Writer
    lease : Lease
    info : RecordingInfo
        The recording as it stands.
    watches : Watches, optional
    limiter : StreamLimiter, optional
        Shared with the other tasks of the recorder.
    masked : bool, optional
        Whether secrets are masked before lines are stored. They always are in a recording that was begun so.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        writer: Writer,
        lease: Lease,
        info: RecordingInfo,
        *,
        watches: Watches | None = None,
        limiter: StreamLimiter | None = None,
        masked: bool = False,
    ) -> None:
        self._cluster, self._store, self._info = cluster, store, info
        self._watches = watches or Watches(cluster)
        self.masked = masked or info.masked is not None
        masking = Masking(self.masked)
        self._channel = writer.open(lease, info.ref.key, info.last_seq, masking, info.masked)
        self._pods = Pods()
        self._workload: Workload | None = None
        self._refusal = ""
        self._is_gone = False
        self._idle_since = 0.0  # since when nothing is left to read (monotonic)
        self._idle_backoff = Backoff(_BEHIND_S, math.inf)  # how long that may be so
        self._unseen_until = 0.0  # how long the events of unseen pods are waited for (monotonic)
        self._has_unseen_answer = False
        self._unreachable_since = 0.0  # since when the API server does not answer (monotonic)
        self._reported_state = State(info.state, info.message, info.reason, info.exit_code)
        self._caught_up = False
        self._pods_known = asyncio.Event()  # set when the first list of pods has been taken in
        self._clock_offset = info.clock_ms / 1000
        context = Context(
            cluster,
            info.ref.namespace,
            store,
            lease,
            self._channel,
            masking=masking,
            limiter=limiter or StreamLimiter(),
            kind=info.ref.kind,
        )
        self._sources = Sources(context, self._pods, self._spawn)
        self._failed: BaseException | None = None
        self._over_since = 0.0  # monotonic
        self._left_is_noted = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Record to the end of the task; cancel to stop earlier.

        Raises
        ------
        StoreError, ClusterError, NotAllowed
            Recording cannot go on. Committed lines stay, and another attempt resumes from there.
        """
        try:
            await self._begin()
            while not await self._check():
                if self._pods.full_lists:
                    self._pods_known.set()
                await self._pods.wait_for_change(_CHECK_S)
                if self._failed is not None:
                    raise self._failed
                if (refusal := self._sources.refusal) is not None:
                    raise refusal
            await self._channel.flush()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until the lines that were read are committed. Call it when `run` has ended."""
        with contextlib.suppress(CortexError):  # another recorder reads the lines again from the anchor
            await self._channel.flush()

    def set_has_readers(self, *, has_readers: bool) -> None:
        """Set whether the task has readers."""
        self._channel.set_has_readers(has_readers=has_readers)

    def put_status(self, message: str, **fields: object) -> None:
        """Add a notice of the recorder itself to the recording.

        Raises
        ------
        CortexError
            Nothing more can be recorded.
        """
        self._channel.put_notice(PendingNotice("status", message, fields=fields))

    async def _begin(self) -> None:
        await self._sources.load()
        if self.masked and self._info.masked is None and self._info.last_seq:
            self.put_status("From here on secrets are masked before lines are stored", notice="mask")
        try:
            workload = await self._watches.resolve(self._info.ref)
            self._is_gone = not workload.is_of(self._info.uid)
        except NotFound:
            self._is_gone = True
        if self._is_gone:
            self._pods.full_lists = 1  # the remaining sources find out themselves what can still be read
            return
        self._workload = workload
        namespace = workload.ref.namespace
        self._spawn(self._watch_pods(self._watches.pods(workload)))
        if workload.ref.kind not in ("pod", "selector"):
            self._spawn(self._watch_object(workload))
        index = await asyncio.to_thread(self._store.index, self._info.id)
        # Events are stamped in whole seconds.
        last = max((t_max for *_, t_max in index), default=0) // 1_000_000_000 * 1_000_000_000
        self._spawn(self._record_events(namespace, last))

    async def _record_events(self, namespace: str, since: int) -> None:
        # The task's events are identified by its pods. Its state, which is why the pods wait, is recorded before the
        # events that led to it.
        await self._pods_known.wait()
        await record_events(self._watches, namespace, self._channel, self._is_ours, since, self._take_event)

    def _take_event(self, event: KubeObject) -> None:
        """Keep why the controller cannot create pods, for instance because of a quota.

        The object of a Job does not show it.
        """
        if event.get("reason") == "FailedCreate" and event["involvedObject"].get("uid") == self._info.uid:
            self._refusal = refusal_of(event)
            self._pods.wake()

    def _is_ours(self, uid: str) -> bool:
        return uid == self._info.uid or self._pods.is_known(uid)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = task.exception()
        self._pods.wake()

    async def _watch_pods(self, changes: AsyncIterator[Change]) -> None:
        async for kind, pod in changes:
            if kind in ("SYNC", "BACK"):
                self._pods.full_lists += 1
                self._pods.wake()
            elif kind == "DELETED":
                self._pods.remove(pod)
                # A bare pod is its own task.
                self._is_gone |= self._info.ref.kind == "pod" and pod["metadata"]["uid"] == self._info.uid
            elif kind != "LOST":
                self._pods.update(pod, watched=True)
                if self._workload is not None and pod["metadata"]["uid"] == self._workload.uid:
                    self._workload = replace(self._workload, obj=pod)  # a bare pod is its own task
            self._unreachable_since = (self._unreachable_since or time.monotonic()) if kind == "LOST" else 0.0

    @property
    def last_committed(self) -> int:
        """The last number that this recorder has committed."""
        return self._channel.last_committed

    @property
    def unreachable_s(self) -> float:
        """How long the API server has not answered (seconds)."""
        return time.monotonic() - self._unreachable_since if self._unreachable_since else 0.0

    async def _watch_object(self, workload: Workload) -> None:
        if workload.lacks:
            workload = self._workload = await self._watches.readable(workload)
        async for kind, obj in self._watches.workload(workload):
            if kind in ("SYNC", "LOST", "BACK"):
                continue
            if obj["metadata"]["uid"] != workload.uid or kind == "DELETED":
                self._is_gone = True
            else:
                self._workload = replace(workload, obj={"kind": workload.title} | obj)
            self._pods.wake()

    # ------------------------------------------------------------------ state

    async def _check(self) -> bool:
        """Take in what has changed; return True when the task is over and completely recorded."""
        if not self._pods.full_lists:
            return False
        self._check_watches()
        deleted_before = set(self._pods.deleted)  # pods that are deleted meanwhile are handled the next time
        for pod in self._pods.all:
            await self._sources.update(pod)
        if not ends_by_itself(self._info.ref.kind):
            self._pods.forget(self._sources.pods_being_read | (self._pods.deleted.keys() - deleted_before))
            self._sources.forget()
        state = self._state()
        if state.over:
            if self._sources.is_reading and not self._may_leave_pods():
                return False
            # The watch of pods may lag behind that of the task: ask once more for a pod that came last.
            if not self._is_gone and await self._find_late_pods():
                return False
            if not await self._report_unseen():
                return False
            self._end(state)
            return True
        self._over_since = 0.0
        if self._workload is not None and may_be_queued(state):
            state = explained(self._workload, state, await self._watches.queues.reason(self._workload))
        self._report_state(state)
        self._set_clock()
        if not self._caught_up and self._sources.caught_up:
            self._caught_up = True
            self._channel.put_notice(PendingNotice(update={"caught_up": 1}))
        return False

    def _may_leave_pods(self) -> bool:
        """Return whether the task may end although pods of it still run: a custom resource long after its end."""
        present = self._pods.present
        are_stopping = any(
            uid in present and present[uid]["metadata"].get("deletionTimestamp")
            for uid in self._sources.pods_being_read
        )
        if not self._info.ref.is_custom or self._is_gone or are_stopping or not self._sources.caught_up:
            return False
        self._over_since = self._over_since or time.monotonic()
        if time.monotonic() - self._over_since < _LEFT_OVER_S:
            return False
        if self._left_is_noted:
            return True
        self._left_is_noted = True
        count = len(self._sources.pods_being_read)
        left = "1 pod still runs" if count == 1 else f"{count} pods still run"
        self.put_status(f"{left} after the end of the task; what it writes from here on is not recorded", notice="left")
        return True

    def _check_watches(self) -> None:
        """Reopen the watches if something shows that one of them may be dead."""
        if self._workload is None:
            return
        now, behind_since = time.monotonic(), self._pods.behind_since
        if self._sources.is_reading or not self._sources.count:
            self._idle_since = now
            self._idle_backoff.reset()
        elif now - self._idle_since > self._idle_backoff.wait_s:
            # Everything is read and the task is not over: it restarts, or the watch that would show its end is dead.
            self._idle_since = now
            self._idle_backoff.next()
            behind_since = 0.0
        if behind_since is not None and now - behind_since > _BEHIND_S:
            self._pods.behind_since = None
            self._watches.doubt(self._workload)

    def _state(self) -> State:
        if self._is_gone or self._workload is None:
            kind = self._info.ref.kind.capitalize() or "Task"
            last_state = state_of(self._workload, self._pods.all) if self._workload else None
            return (
                last_state
                if last_state and last_state.over
                else State("gone", f"{kind} was deleted before it ended", "Deleted")
            )
        pods = self._pods.all if ends_by_itself(self._info.ref.kind) else list(self._pods.present.values())
        state = state_of(self._workload, pods, self._refusal)
        if state.name == "running" and (failure := self._sources.failure_message):
            return State("running", failure, "ReadFailed")
        return state

    def _report_state(self, state: State) -> None:
        if (state.name, state.message) == (self._reported_state.name, self._reported_state.message):
            return
        # After a refused attempt, its message stays until a source can be read.
        if self._reported_state.reason in _UNREADABLE and not state.over and not self._sources.caught_up:
            return
        self._reported_state = state
        self._channel.put_notice(
            PendingNotice(
                "status",
                state.message,
                update=self._update(state),
                fields={"state": state.name, "reason": state.reason, "notice": "state"},
            )
        )

    def _set_clock(self) -> None:
        """Store how far the cluster's clock is ahead: for a reader, the last minute is a minute of that clock."""
        # A line from the future shows that the node is at least that far ahead; a line from the past shows nothing.
        offset = max(self._cluster.clock.offset, self._channel.clock_ahead_s)
        if abs(offset - self._clock_offset) < _CLOCK_STEP_S:
            return
        self._clock_offset = offset
        note = PendingNotice(update={"clock_ms": round(offset * 1000)})
        if abs(offset) > _CLOCK_S:
            side = "ahead of" if offset > 0 else "behind"
            note.event, note.fields = "status", {"notice": "clock", "clock_offset_ms": round(offset * 1000)}
            note.message = f"The cluster's clock is {abs(offset):.1f} s {side} this machine's; times are the cluster's"
        self._channel.put_notice(note)

    def _end(self, state: State) -> None:
        update = self._update(state) | {"done": 1, "caught_up": 1}
        fields = {"state": state.name, "exit_code": state.exit_code, "reason": state.reason}
        self._channel.put_notice(PendingNotice("end", state.message, time.time_ns(), update=update, fields=fields))

    def _update(self, state: State) -> dict[str, Any]:
        update = {"state": state.name, "message": state.message, "reason": state.reason, "exit_code": state.exit_code}
        if self._workload is not None:
            update |= {"started": self._workload.started, "finished": self._workload.finished}
        return update

    async def _report_unseen(self) -> bool:
        """Write a gap for each container that ran, or may have run, unseen; return False to request the events once more."""
        if self._workload is None or self._info.ref.kind != "job":
            return True
        since = time_of(self._info.id) // 1_000_000_000 * 1_000_000_000
        seen = self._sources.seen_containers
        known = (seen.keys() | self._pods.names) - self._pods.names_with_unknown_end
        now = time.monotonic()
        self._unseen_until = self._unseen_until or now + _EVENTS_S
        try:
            unseen_runs = await unseen_containers(self._cluster, self._workload, seen, since, known)
        except ClusterError as error:
            if now < self._unseen_until:
                return False
            text = f"It could not be checked whether pods came and went unseen: {error.message}"
            self.put_status(text, notice="unchecked")
            return True
        if not self._has_unseen_answer:
            self._has_unseen_answer, self._unseen_until = True, now + _EVENTS_S
        if now < self._unseen_until and any(runs == 0 for *_, runs in unseen_runs):
            return False
        for source, started, runs in unseen_runs:
            reason = "its pod came and went before it could be seen"
            if runs == 0:
                reason += "; no event says whether it ran"
            elif runs > 1:
                reason = f"runs 0 to {runs - 1} came and went with their pod before they could be seen"
            self._channel.put_notice(gap(source, 0, started, time.time_ns(), reason))
        return True

    async def _find_late_pods(self) -> bool:
        """Return whether the API server has a pod that the watch has not shown yet."""
        assert self._workload is not None
        try:
            pods = await pods_of(self._cluster, self._workload, self._watches.pod_lists)
        except (ClusterError, NotAllowed):
            return False  # the cluster does not answer; the known pods must do
        count_before = self._sources.count
        for pod in pods:
            self._pods.update(pod)
            await self._sources.update(pod)
        return self._sources.count > count_before


@dataclass(slots=True)
class RunningTask:
    """A task that is being recorded.

    Parameters
    ----------
    lease : Lease
    info : RecordingInfo
        The recording as it was when it was leased.
    recorder : TaskRecorder
    merged : int
        The number up to which nothing is left to merge.

    Attributes
    ----------
    task : asyncio.Task
    """

    lease: Lease
    info: RecordingInfo
    recorder: TaskRecorder
    merged: int = 0
    task: asyncio.Task[None] = field(init=False)
