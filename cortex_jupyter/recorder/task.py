"""Record one task: its pods as they come and go, its state, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.tasks import pods_of
from cortex_jupyter.cluster.workloads import State, Workload, refusal_of, state_of
from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.notices import gap
from cortex_jupyter.recorder.source.stream_limiter import Turns
from cortex_jupyter.recorder.sources import Sources
from cortex_jupyter.recorder.text.parser import Parser
from cortex_jupyter.recorder.watching.events import record_events
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.watching.unseen import unseen
from cortex_jupyter.recorder.watching.watches import Watches
from cortex_jupyter.recorder.writing.batch import Note
from cortex_jupyter.store.ids import time_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recorder.watching.watches import Change
    from cortex_jupyter.recorder.writing.writer import Writer
    from cortex_jupyter.store import Lease, RecordingInfo, Store

_log = logging.getLogger(__name__)

#: State is looked at again at least this often, seconds; watches bring it sooner.
_LOOK_S: Final = 5.0
#: A state that the API server tells on request comes from the watch within this long, seconds, or the watch is dead.
_BEHIND_S: Final = 3.0
#: How often the events that tell of unseen pods are asked for, where the API server does not answer.
_ASK_EVENTS: Final = 6
#: A clock that is off by more than this, seconds, is said; a change by less than the other is noise.
_CLOCK_S, _CLOCK_STEP_S = 2.0, 1.0
#: Reasons of a state that says why a log cannot be read.
_UNREADABLE: Final = ("ReadFailed", NotAllowed.__name__)
#: Kinds whose state is told by all pods they ever had; the others have new ones for ever.
_ENDING: Final = ("job", "pod")


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
    turns : Turns, optional
        Those that it shares with others.
    masked : bool, optional
        Secrets are masked before lines are stored; in a recording that has begun so they are in any case.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        writer: Writer,
        lease: Lease,
        info: RecordingInfo,
        watches: Watches | None = None,
        turns: Turns | None = None,
        *,
        masked: bool = False,
    ) -> None:
        self._cluster, self._store, self._info = cluster, store, info
        self._watches = watches or Watches(cluster)
        self.masked = masked or info.masked is not None
        parser = Parser(self.masked)
        self._channel = writer.open(lease, info.ref.key, info.last_seq, parser, info.masked)
        self._pods = Pods()
        self._workload: Workload | None = None
        self._refusal = ""
        self._gone = False
        self._idle, self._idle_for = (
            0.0,
            0.0,
        )  # since when nothing is left to read (monotonic), and for how long it may be so
        self._unanswered = 0  # how often it could not be asked which pods there were
        self._lost = 0.0  # since when the API server does not answer, monotonic
        self._said = State(info.state, info.message, info.reason, info.exit_code)
        self._caught_up = False
        self._looked = asyncio.Event()  # what there was when it began has been taken in
        self._offset = info.clock_ms / 1000
        context = Context(cluster, info.ref.namespace, store, lease, self._channel, parser, turns or Turns())
        self._sources = Sources(context, self._pods, self._spawn)
        self._failed: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Record to the end of the task; cancel to stop earlier.

        Raises
        ------
        StoreError, ClusterError, NotAllowed
            It cannot go on; what was committed stays, another attempt goes on from there.
        """
        try:
            await self._begin()
            while not await self._look():
                if self._pods.lists:
                    self._looked.set()
                await self._pods.change(_LOOK_S)
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
        """Wait until what was read is committed; to be called when `run` has ended."""
        with contextlib.suppress(CortexError):  # another recorder reads it again from the anchor
            await self._channel.flush()

    def read(self, *, on: bool) -> None:
        """Say whether anybody reads it."""
        self._channel.read(on=on)

    def say(self, message: str, **fields: Any) -> None:
        """Put a notice of the recorder's own into the sequence.

        Raises
        ------
        CortexError
            Nothing more can be recorded.
        """
        self._channel.note(Note("status", message, fields=fields))

    async def _begin(self) -> None:
        await self._sources.load()
        if self.masked and self._info.masked is None and self._info.last_seq:
            self.say("From here on secrets are masked before lines are stored", notice="mask")
        try:
            workload = await self._watches.resolve(self._info.ref)
            self._gone = not workload.is_of(self._info.uid)
        except NotFound:
            self._gone = True
        if self._gone:
            self._pods.lists = 1  # sources that are left find out by themselves what can still be read
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
        # By its pods it is known which are its own; and its state, which is why they wait, comes before what led to it.
        await self._looked.wait()
        await record_events(self._watches, namespace, self._channel, self._ours, since, self._take_event)

    def _take_event(self, event: dict[str, Any]) -> None:
        """Keep why the controller cannot create pods: a quota, for instance. The object of a Job does not say."""
        if event.get("reason") == "FailedCreate" and event["involvedObject"].get("uid") == self._info.uid:
            self._refusal = refusal_of(event)
            self._pods.touch()

    def _ours(self, uid: str) -> bool:
        return uid == self._info.uid or self._pods.known(uid)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = task.exception()
        self._pods.touch()

    async def _watch_pods(self, changes: AsyncIterator[Change]) -> None:
        async for kind, pod in changes:
            if kind in ("SYNC", "BACK"):
                self._pods.lists += 1
                self._pods.touch()
            elif kind == "DELETED":
                self._pods.drop(pod)
                # The task of a bare pod is that pod.
                self._gone |= self._info.ref.kind == "pod" and pod["metadata"]["uid"] == self._info.uid
            elif kind != "LOST":
                self._pods.put(pod, watched=True)
                if self._workload is not None and pod["metadata"]["uid"] == self._workload.uid:
                    self._workload = replace(self._workload, obj=pod)  # the task of a bare pod is that pod
            self._lost = (self._lost or time.monotonic()) if kind == "LOST" else 0.0

    @property
    def reached(self) -> int:
        """The last number that was recorded."""
        return self._channel.reached

    @property
    def away(self) -> float:
        """How long the API server has not answered, seconds."""
        return time.monotonic() - self._lost if self._lost else 0.0

    async def _watch_object(self, workload: Workload) -> None:
        async for kind, obj in self._watches.workload(workload):
            if kind in ("SYNC", "LOST", "BACK"):
                continue
            if obj["metadata"]["uid"] != workload.uid or kind == "DELETED":
                self._gone = True
            else:
                self._workload = Workload(workload.ref, workload.uid, obj)
            self._pods.touch()

    # ------------------------------------------------------------------ state

    async def _look(self) -> bool:
        """Take in what has changed; True when the task is over and all of it is recorded."""
        if not self._pods.lists:
            return False
        self._check_watches()
        gone = set(self._pods.deleted)  # those that go meanwhile are looked at the next time
        for pod in self._pods.all:
            await self._sources.take(pod)
        if self._info.ref.kind not in _ENDING:
            self._pods.forget(self._sources.reading | (self._pods.deleted.keys() - gone))
            self._sources.forget()
        state = self._state()
        if state.over:
            if self._sources.working:
                return False
            # The watch of pods may lag behind that of the task: look once more for one that came last.
            if not self._gone and await self._late_pods():
                return False
            if not await self._told_unseen():
                return False
            self._end(state)
            return True
        self._say(state)
        self._set_clock()
        if not self._caught_up and self._sources.caught_up:
            self._caught_up = True
            self._channel.note(Note(update={"caught_up": 1}))
        return False

    def _check_watches(self) -> None:
        """Open the watches anew where something shows that one of them may be dead."""
        if self._workload is None:
            return
        now, behind = time.monotonic(), self._pods.behind
        if self._sources.working or not self._sources.count:
            self._idle, self._idle_for = now, _BEHIND_S
        elif now - self._idle > self._idle_for:
            # All has been read, and the task is not over: it restarts, or the watch that would tell its end is dead.
            self._idle, self._idle_for = now, 2 * self._idle_for
            behind = 0.0
        if behind is not None and now - behind > _BEHIND_S:
            self._pods.behind = None
            self._watches.doubt(self._workload)

    def _state(self) -> State:
        if self._gone or self._workload is None:
            word = self._info.ref.kind.capitalize() or "Task"
            known = state_of(self._workload, self._pods.all) if self._workload else None
            return known if known and known.over else State("gone", f"{word} was deleted before it ended", "Deleted")
        pods = self._pods.all if self._info.ref.kind in _ENDING else list(self._pods.present.values())
        state = state_of(self._workload, pods, self._refusal)
        if state.name == "running" and (failure := self._sources.failure):
            return State("running", failure, "ReadFailed")
        return state

    def _say(self, state: State) -> None:
        if (state.name, state.message) == (self._said.name, self._said.message):
            return
        # Tried again after it was refused: what was said of that holds until a source can be read.
        if self._said.reason in _UNREADABLE and not state.over and not self._sources.caught_up:
            return
        self._said = state
        self._channel.note(
            Note(
                "status",
                state.message,
                update=self._update(state),
                fields={"state": state.name, "reason": state.reason, "notice": "state"},
            )
        )

    def _set_clock(self) -> None:
        """Keep how far the cluster's clock is ahead: what people call the last minute is a minute of its clock."""
        # A line from the future shows the node to be at least that far ahead; one from the past shows nothing.
        offset = max(self._cluster.clock.offset, self._channel.ahead)
        if abs(offset - self._offset) < _CLOCK_STEP_S:
            return
        self._offset = offset
        note = Note(update={"clock_ms": round(offset * 1000)})
        if abs(offset) > _CLOCK_S:
            side = "ahead of" if offset > 0 else "behind"
            note.event, note.fields = "status", {"notice": "clock", "clock_offset_ms": round(offset * 1000)}
            note.message = f"The cluster's clock is {abs(offset):.1f} s {side} this machine's; times are the cluster's"
        self._channel.note(note)

    def _end(self, state: State) -> None:
        update = self._update(state) | {"done": 1, "caught_up": 1}
        fields = {"state": state.name, "exit_code": state.exit_code, "reason": state.reason}
        self._channel.note(Note("end", state.message, time.time_ns(), update=update, fields=fields))

    def _update(self, state: State) -> dict[str, Any]:
        update = {"state": state.name, "message": state.message, "reason": state.reason, "exit_code": state.exit_code}
        if self._workload is not None:
            update |= {"started": self._workload.started, "finished": self._workload.finished}
        return update

    async def _told_unseen(self) -> bool:
        """Say which containers ran and went while nothing told of them; False where it is to be asked once more."""
        if self._workload is None or self._info.ref.kind != "job":
            return True
        since = time_of(self._info.id) // 1_000_000_000 * 1_000_000_000
        try:
            found = await unseen(self._cluster, self._workload, self._sources.known, since)
        except ClusterError as error:
            self._unanswered += 1
            if self._unanswered < _ASK_EVENTS:
                return False
            _log.warning("whether pods came and went unseen could not be asked: %s", error)
            return True
        for source, started, runs in found:
            reason = "its pod came and went before it could be seen"
            if runs > 1:
                reason = f"runs 0 to {runs - 1} came and went with their pod before they could be seen"
            self._channel.note(gap(source, 0, started, time.time_ns(), reason))
        return True

    async def _late_pods(self) -> bool:
        """Tell whether a pod has come that the watch did not show yet."""
        assert self._workload is not None
        try:
            pods = await pods_of(self._cluster, self._workload)
        except (ClusterError, NotAllowed):
            return False  # the cluster is away; what was seen has to do
        before = self._sources.count
        for pod in pods:
            self._pods.put(pod)
            await self._sources.take(pod)
        return self._sources.count > before
