"""Record one task: its pods as they come and go, its state, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.cluster import kinds
from cortex_jupyter.cluster.discovery import JOB
from cortex_jupyter.cluster.ends import OwnerReader, state_by_pods
from cortex_jupyter.cluster.kinds import ends_by_itself
from cortex_jupyter.cluster.kueue import explained, may_be_queued
from cortex_jupyter.cluster.owners import Owners, controller_of
from cortex_jupyter.cluster.pods import finished, is_finished
from cortex_jupyter.cluster.tasks import pods_of
from cortex_jupyter.cluster.workloads import (
    State,
    Workload,
    ends_with_pods,
    is_further,
    refusal_of,
    state_of,
    uid_of_task,
)
from cortex_jupyter.errors import ClusterError, CortexError, KindNotFound, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.parsing.rhythm import seconds_text
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
    from cortex_jupyter.store.quotas import Quotas

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
#: A task ends with its pods when all of them have ended for this long (seconds). The next pod may take that long: an admission
#: webhook may not answer (30 s, `timeoutSeconds`), or an operator dies and another one takes its lease (17 s by default). A script
#: that starts Jobs one after the other is faster.
_QUIET_S: Final = 30.0


#: A kind that the API server has not served for this long (seconds) was deleted, and its objects with it. Discovery may lack
#: custom kinds while an API server starts, or while a kind's definition is replaced.
_NO_KIND_S: Final = 60.0


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
        self._channel = writer.open(lease, info.ref.key, info.last_seq, masking, info.masked, info.ref.namespace)
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
        self._silent_s = 0.0  # for how long the task has been silent; 0 if that is usual
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
        self._over_since = 0.0  # when the task ended, if its pods still run (monotonic)
        self._ended_pods: set[str] = set()  # UIDs of all pods once all have ended; empty before
        self._ended_since = 0.0  # when the last of `_ended_pods` ended (monotonic)
        self._end_asked_at = 0.0  # when the owners of the pods were last read for the end (monotonic)
        self._end_by_pods: State | None = None  # the end that they show
        self._owner_reader: OwnerReader | None = None  # created when needed: a collector has thousands of tasks
        self._makes_pods_for_ever = False  # whether a controller makes a selector's pods for ever
        self._jobs_of_selector: set[str] = set()  # UIDs of Jobs with a lookup of owners
        self._owners = Owners(cluster)
        self._form_is_noted = False
        self._jobs: dict[str, KubeObject] = {}  # Jobs of a custom resource, by UID
        self._deleted_jobs: set[str] = set()  # UIDs of deleted ones
        self._jobs_known = False
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

    def set_quotas(self, quotas: Quotas) -> None:
        """Set the quotas of the store: how fast the task may be read."""
        self._channel.limit.set(quotas)

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
        workload = await self._resolve()
        self._is_gone = workload is None or not workload.is_of(self._info.uid)
        if is_further(self._info.uid) and not self._info.last_seq:
            self.put_status(
                "The task had ended, and goes on: what its earlier recording holds is here as far as its pods exist",
                notice="goes_on",
            )
        if workload is None or self._is_gone:
            self._pods.full_lists = 1  # the remaining sources find out themselves what can still be read
            return
        self._workload = workload
        namespace = workload.ref.namespace
        self._spawn(self._watch_pods(self._watches.pods(workload)))
        if workload.ref.kind not in ("pod", "selector"):
            self._spawn(self._watch_object(workload))
        if workload.ref.is_custom:
            self._spawn(self._watch_jobs(workload))
        index = await asyncio.to_thread(self._store.index, self._info.id)
        # Events are stamped in whole seconds.
        last = max((t_max for *_, t_max in index), default=0) // 1_000_000_000 * 1_000_000_000
        self._spawn(self._record_events(namespace, last))

    async def _resolve(self) -> Workload | None:
        """Return the workload of the task; None if it was deleted. Wait while the API server does not serve its kind."""
        started_at = time.monotonic()
        while True:
            try:
                return await self._watches.resolve(self._info.ref)
            except KindNotFound as error:
                if time.monotonic() - started_at >= _NO_KIND_S:
                    return None
                _log.info("%s: %s", self._info.ref.key, error.message)
            except NotFound:
                return None
            await asyncio.sleep(_CHECK_S)

    async def _record_events(self, namespace: str, since: int) -> None:
        # The task's events are identified by its pods. Its state, which is why the pods wait, is recorded before the
        # events that led to it.
        await self._pods_known.wait()
        await record_events(self._watches, namespace, self._channel, self._is_ours, since, self._take_event)

    def _take_event(self, event: KubeObject) -> None:
        """Keep why the controller cannot create pods, for instance because of a quota.

        The object of a Job does not show it.
        """
        if event.get("reason") == "FailedCreate" and event["involvedObject"].get("uid") == uid_of_task(self._info.uid):
            self._refusal = refusal_of(event)
            self._pods.wake()

    def _is_ours(self, uid: str) -> bool:
        return uid == uid_of_task(self._info.uid) or self._pods.is_known(uid)

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
                self._note_owner(pod)
                if self._workload is not None and pod["metadata"]["uid"] == self._workload.uid:
                    self._workload = replace(self._workload, obj=pod)  # a bare pod is its own task
            self._unreachable_since = (self._unreachable_since or time.monotonic()) if kind == "LOST" else 0.0

    def _note_owner(self, pod: KubeObject) -> None:
        """Find out whether a controller of a label selector's pod makes pods for ever. Do it at once: a Job may be deleted soon."""
        owner = controller_of(pod)
        if self._info.ref.kind != "selector" or owner is None or self._makes_pods_for_ever:
            return
        self._makes_pods_for_ever = owner.api_version.startswith("apps/")
        if (owner.api_version, owner.kind) == (JOB.api_version, JOB.kind) and owner.uid not in self._jobs_of_selector:
            self._jobs_of_selector.add(owner.uid)
            self._spawn(self._find_cron_job(pod))

    async def _find_cron_job(self, pod: KubeObject) -> None:
        try:
            chain = await self._owners.chain(pod)
        except ClusterError as error:
            _log.info("the owners of %s are not known: %s", pod["metadata"]["name"], error)
        else:
            self._makes_pods_for_ever |= any((o.api_version, o.kind) == ("batch/v1", "CronJob") for o in chain)

    @property
    def last_committed(self) -> int:
        """The last number that this recorder has committed."""
        return self._channel.last_committed

    @property
    def ends(self) -> bool:
        """Whether the task ends by itself, judged by its kind, its object and its pods."""
        workload = self._workload
        if not self._info.ref.is_custom or workload is None or self._is_gone:
            return ends_by_itself(self._info.ref.kind)
        # Without a known form a database looks like an experiment, but its pods are restarted for ever.
        row, pods = kinds.kind_of(self._info.ref.kind), self._pods.present.values()
        are_kept_up = any(pod["spec"].get("restartPolicy") == "Always" and not is_finished(pod) for pod in pods)
        makes_pods_for_ever = not row.ends or kinds.has_schedule(workload.obj)
        return kinds.shows_ends(row, workload.obj) or not (makes_pods_for_ever or are_kept_up)

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

    async def _watch_jobs(self, workload: Workload) -> None:
        """Follow the Jobs of a custom resource: they may create pods, and may have created pods that no watch showed."""
        try:
            async for kind, job in self._watches.jobs(workload):
                if kind in ("ADDED", "MODIFIED", "DELETED"):
                    self._jobs[job["metadata"]["uid"]] = job
                    self._deleted_jobs |= {job["metadata"]["uid"]} if kind == "DELETED" else set()
                elif kind == "SYNC":
                    self._jobs_known = True
                    self._pods.wake()
        except (NotAllowed, NotFound) as error:
            _log.info("the Jobs of %s are not known: %s", workload.ref.key, error)
            self._jobs_known = True

    # ------------------------------------------------------------------ state

    async def _check(self) -> bool:
        """Handle all changes; return True when the task is over and completely recorded."""
        if not self._pods.full_lists:
            return False
        self._check_watches()
        deleted_before = set(self._pods.deleted)  # pods that are deleted meanwhile are handled the next time
        for pod in self._pods.all:
            await self._sources.update(pod)
        if not self._needs_all_pods:
            self._pods.forget(self._sources.pods_being_read | (self._pods.deleted.keys() - deleted_before))
            self._sources.forget()
        state, by_pods = self._state(), False
        if not state.over and (end := await self._state_by_pods()) is not None:
            state, by_pods = end, True
        if state.over:
            running_pods = self._sources.pods_being_read
            if self._sources.is_reading and not self._may_leave_pods():
                return False
            # Watches may lag behind: read once more whether the object still shows its end, and whether there is a new pod.
            if not self._is_gone and (
                await self._has_gone_back(by_pods=by_pods) or await self._find_late_pods(by_pods=by_pods)
            ):
                return False
            if not await self._report_unseen():
                return False
            self._end(state, running_pods, by_pods=by_pods)
            return True
        self._over_since = self._unseen_until = 0.0
        self._has_unseen_answer = False
        if self._workload is not None and may_be_queued(state):
            state = explained(self._workload, state, await self._watches.queues.reason(self._workload))
        self._report_state(state)
        await self._note_unknown_form()
        self._set_clock()
        self._note_silence()
        if not self._caught_up and self._sources.caught_up:
            self._caught_up = True
            self._channel.put_notice(PendingNotice(update={"caught_up": 1}))
        return False

    @property
    def _needs_all_pods(self) -> bool:
        """Whether the end of the task depends on all pods that it ever had."""
        kind = self._info.ref.kind
        return ends_by_itself(kind) or (kind == "selector" and not self._makes_pods_for_ever)

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
        return time.monotonic() - self._over_since >= _LEFT_OVER_S

    async def _state_by_pods(self) -> State | None:
        """Return the end of the task if its pods alone have shown it for long enough. A new pod restarts the wait."""
        workload = self._workload
        if self._is_gone or workload is None or not self._needs_all_pods or not ends_with_pods(workload):
            return None
        pods = self._pods.all
        if not pods or not all(map(is_finished, self._pods.present.values())):
            self._ended_pods = set()
            return None
        now, uids = time.monotonic(), {pod["metadata"]["uid"] for pod in pods}
        if uids != self._ended_pods:
            self._ended_pods, self._ended_since = uids, now - self._ended_for_s(pods)
            self._end_asked_at, self._end_by_pods = 0.0, None
        is_asked = self._end_asked_at and now - self._end_asked_at < _QUIET_S
        if not self._jobs_known and workload.ref.is_custom:
            return None
        if self._end_by_pods is None and now - self._ended_since >= _QUIET_S and not is_asked:
            self._end_asked_at = now
            try:
                self._owner_reader = self._owner_reader or OwnerReader(self._cluster, workload.ref.namespace)
                jobs = [job for uid, job in self._jobs.items() if uid not in self._deleted_jobs]
                self._end_by_pods = await state_by_pods(self._cluster, workload, pods, jobs, reader=self._owner_reader)
            except (ClusterError, NotAllowed) as error:
                _log.info("%s: whether it has ended is not known: %s", self._info.ref.key, error)
        return self._end_by_pods

    def _ended_for_s(self, pods: list[KubeObject]) -> float:
        """Return how long ago all pods had ended when we first saw it (seconds); 0 if they do not show it."""
        if self._pods.deleted or not all(map(finished, pods)):
            return 0.0
        return max(0.0, time.time() + self._cluster.clock.offset - max(map(finished, pods)) / 1e9)

    async def _has_gone_back(self, *, by_pods: bool) -> bool:
        """Return whether a custom resource does not show its end any more: Argo's `retry` removes it."""
        if self._workload is None or not self._info.ref.is_custom:
            return False
        try:
            newest = await self._watches.resolve(self._info.ref)
        except (ClusterError, NotAllowed, KindNotFound):
            return False  # use the known state
        except NotFound:
            self._is_gone = True
            return not self._state().over
        if newest.uid != self._workload.uid:
            return False  # the watch shows the deletion
        has_end = ends_with_pods(newest) if by_pods else state_of(newest, self._pods.all).over
        if not has_end:
            self._workload = newest
            self._watches.doubt(newest)
        return not has_end

    async def _note_unknown_form(self) -> None:
        """Write a notice, once, that the task will end with its pods."""
        workload = self._workload
        if self._form_is_noted or workload is None or not self._info.ref.is_custom or not self._pods.all:
            return
        row, status = kinds.kind_of(self._info.ref.kind), workload.obj.get("status")
        if not status or kinds.has_known_form(row, workload.obj):
            return
        self._form_is_noted = True
        if not await asyncio.to_thread(self._has_notice, "form"):
            text = (
                f"The status of this {workload.title} has no form that is known: it counts as running until"
                f" all its pods have ended for {_QUIET_S:.0f} s"
            )
            self.put_status(text, notice="form")

    def _has_notice(self, name: str) -> bool:
        """Return whether an earlier recorder of the task has written a kind of notice."""
        entries = (
            self._store.entry(self._info.id, e.seq) for e in self._store.index(self._info.id) if e.event == "status"
        )
        return any(entry and orjson.loads(entry.data).get("notice") == name for entry in entries)

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
            kind = self._workload.title if self._workload else self._info.ref.kind.partition(".")[0].capitalize()
            last_state = state_of(self._workload, self._pods.all) if self._workload else None
            return (
                last_state
                if last_state and last_state.over
                else State("gone", f"{kind or 'Task'} was deleted before it ended", "Deleted")
            )
        ends = ends_by_itself(self._info.ref.kind)  # for a selector only the present pods count
        pods = self._pods.all if ends else list(self._pods.present.values())
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

    def _note_silence(self) -> None:
        """Write a notice when the task is silent for much longer than usual, and one when it goes on."""
        seconds, rhythm = self._channel.silence(time.time_ns())
        if self._silent_s and seconds < self._silent_s:
            self.put_status("Lines come again", notice="hang_over")
            self._silent_s = 0.0
        elif self._silent_s:
            self._silent_s = seconds
        elif rhythm and self._caught_up and self._sources.is_reading and self.ends:
            self._silent_s = seconds
            self.put_status(f"No line for {seconds_text(seconds)}, {rhythm}", notice="hang", level="warning")

    def _end(self, state: State, running_pods: set[str], *, by_pods: bool) -> None:
        """Write the end.

        Parameters
        ----------
        state : State
        running_pods : set of str
            The UIDs of the pods that still run.
        by_pods : bool
            Whether only the pods show the end.
        """
        if running_pods:
            still, writes = (
                ("1 pod still runs", "it writes")
                if len(running_pods) == 1
                else (f"{len(running_pods)} pods still run", "they write")
            )
            text = f"{still} after the end of the task; what {writes} from here on is not recorded"
            self.put_status(text, notice="left")
        if by_pods and self._workload is not None and self._info.ref.is_custom:
            lacks, title = self._workload.lacks, self._workload.title
            why = f"the right `{lacks}` is missing" if lacks else f"the status of the {title} shows none"
            text = f"The end is that of the pods: {why}"
            self.put_status(text, notice="end_of_pods")
        update = self._update(state) | {"done": 1, "caught_up": 1}
        fields = {"state": state.name, "exit_code": state.exit_code, "reason": state.reason}
        fields |= {"pod": state.pod} if state.pod else {}
        self._channel.put_notice(PendingNotice("end", state.message, time.time_ns(), update=update, fields=fields))

    def _update(self, state: State) -> dict[str, Any]:
        update = {"state": state.name, "message": state.message, "reason": state.reason, "exit_code": state.exit_code}
        if self._workload is not None:
            update |= {"started": self._workload.started, "finished": self._workload.finished}
        return update

    async def _report_unseen(self) -> bool:
        """Write a gap for each container that ran, or may have run, unseen. Return False to request the events once more."""
        if self._workload is None or not (self._info.ref.kind == "job" or self._info.ref.is_custom):
            return True
        if self._info.ref.is_custom and not self._jobs_known:
            return False
        since = time_of(self._info.id) // 1_000_000_000 * 1_000_000_000
        seen_containers = self._sources.seen_containers
        known_pods = (seen_containers.keys() | self._pods.names) - self._pods.names_with_unknown_end
        now = time.monotonic()
        self._unseen_until = self._unseen_until or now + _EVENTS_S
        try:
            unseen_runs = await unseen_containers(
                self._cluster, self._workload, seen_containers, since, known_pods, *self._creators()
            )
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
            self._channel.put_notice(gap(source, 0, started, time.time_ns(), reason, loss="pod_unseen"))
        return True

    def _creators(self) -> tuple[list[Workload], list[str]]:
        """Return the Jobs of a custom resource, and the UIDs of the other objects that own its pods."""
        namespace, jobs, creators = self._info.ref.namespace, dict(self._jobs), list[str]()
        for uid, owner in self._pods.owners.items():
            if owner.get("kind") == "Job":  # it may have been deleted while an earlier recorder ran
                jobs.setdefault(uid, {"metadata": {"name": owner.get("name", ""), "uid": uid}})
            elif owner.get("kind") != "Pod":
                creators.append(uid)
        return [
            Workload(TaskRef(namespace, "job", job["metadata"]["name"]), uid, job) for uid, job in jobs.items()
        ], creators

    async def _find_late_pods(self, *, by_pods: bool) -> bool:
        """Return whether the API server has a pod that the watch has not shown yet.

        A pod without lines counts only if the task ends with its pods.
        """
        assert self._workload is not None
        try:
            pods = await pods_of(self._cluster, self._workload, self._watches.pod_lists)
        except (ClusterError, NotAllowed):
            return False  # the cluster does not answer: use the known pods
        count_before = self._sources.count
        for pod in pods:
            self._pods.update(pod)
            await self._sources.update(pod)
        may_write = by_pods and not all(map(is_finished, self._pods.present.values()))
        return may_write or self._sources.count > count_before


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
