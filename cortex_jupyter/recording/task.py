"""Record one task: its pods as they come and go, its state, its end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.pods import containers
from cortex_jupyter.cluster.tasks import pods_of, resolve
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.cluster.workloads import State, Workload, collection, state_of
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recording.batch import Note
from cortex_jupyter.recording.pods import Pods
from cortex_jupyter.recording.source import SourceReader
from cortex_jupyter.recording.store import Anchor
from cortex_jupyter.records import parse_rfc3339

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recording.store import Info, Lease, Store
    from cortex_jupyter.recording.writer import Writer
    from cortex_jupyter.records import Source

#: State is looked at again at least this often, seconds; watches bring it sooner.
_LOOK_S: Final = 5.0


class TaskRecorder:
    """Records one task to its end.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    writer : Writer
    lease : Lease
    info : Info
        The recording as it stands.
    """

    def __init__(self, cluster: Cluster, store: Store, writer: Writer, lease: Lease, info: Info) -> None:
        self._cluster, self._store, self._lease, self._info = cluster, store, lease, info
        self._channel = writer.open(lease, info.ref.key, info.last_seq)
        self._pods = Pods()
        self._workload: Workload | None = None
        self._gone = False
        self._said = State(info.state, info.message, info.reason, info.exit_code)
        self._caught_up = False
        self._readers: dict[Source, SourceReader | None] = {}  # None: read to its end before we came
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
                await self._pods.change(_LOOK_S)
                if self._failed is not None:
                    raise self._failed
            await self._channel.flush()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self) -> None:
        for sid, (source, anchor) in (await asyncio.to_thread(self._store.sources, self._info.id)).items():
            self._channel.track(sid, source, anchor)
            if anchor.ended:
                self._readers[source] = None
            else:
                self._read(sid, source)
        try:
            workload = await resolve(self._cluster, self._info.ref)
            self._gone = workload.uid != self._info.uid
        except NotFound:
            self._gone = True
        if self._gone:
            self._pods.synced = True  # sources that are left find out by themselves what can still be read
            return
        self._workload = workload
        namespace = workload.ref.namespace
        self._spawn(self._watch_pods(collection("pod", namespace), workload.pod_query))
        if workload.ref.kind not in ("pod", "selector"):
            self._spawn(self._watch_object(workload))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = task.exception()
        self._pods.touch()

    async def _watch_pods(self, path: str, query: dict[str, str]) -> None:
        async for kind, pod in watch(self._cluster, path, query):
            if kind == "SYNC":
                self._pods.synced = True
                self._pods.touch()
            elif kind == "DELETED":
                self._pods.drop(pod)
                # The task of a bare pod is that pod.
                self._gone |= self._info.ref.kind == "pod" and pod["metadata"]["uid"] == self._info.uid
            elif kind != "LOST":
                self._pods.put(pod)

    async def _watch_object(self, workload: Workload) -> None:
        query = {"fieldSelector": f"metadata.name={workload.ref.name}"}
        async for kind, obj in watch(self._cluster, collection(workload.ref.kind, workload.ref.namespace), query):
            if kind in ("SYNC", "LOST"):
                continue
            if obj["metadata"]["uid"] != workload.uid or kind == "DELETED":
                self._gone = True
            else:
                self._workload = Workload(workload.ref, workload.uid, obj)
            self._pods.touch()

    # ------------------------------------------------------------------ state

    async def _look(self) -> bool:
        """Take in what has changed; True when the task is over and all of it is recorded."""
        if not self._pods.synced:
            return False
        for pod in self._pods.all:
            await self._take(pod)
        state = self._state()
        working = [r for s, r in self._readers.items() if r is not None]
        if state.over:
            if working:
                return False
            # The watch of pods may lag behind that of the task: look once more for one that came last.
            if not self._gone and await self._late_pods():
                return False
            self._end(state)
            return True
        self._say(state)
        if not self._caught_up and all(r.caught_up for r in working):
            self._caught_up = True
            self._channel.note(Note(update={"caught_up": 1}))
        return False

    async def _take(self, pod: dict[str, Any]) -> None:
        for container in containers(pod):
            if container.previous and container.previous[0] not in self._readers:
                # The run before the present one: read as long as the node keeps it.
                await self._add(container.previous[0], 0)
            if container.source and container.source not in self._readers:
                detail = next(iter(_states(pod, container.name)), {})
                await self._add(container.source, parse_rfc3339(detail["startedAt"]) if "startedAt" in detail else 0)

    async def _add(self, source: Source, started: int) -> None:
        sid = await asyncio.to_thread(self._store.add_source, self._lease, source)
        self._channel.track(sid, source, Anchor())
        note = f"{source.pod} · {source.container} started" + (f" (run {source.run + 1})" if source.run else "")
        self._channel.note(Note("status", note, started, sid, fields={"notice": "started"}))
        self._read(sid, source)

    def _read(self, sid: int, source: Source) -> None:
        reader = SourceReader(
            self._cluster, self._store, self._lease, self._channel, self._pods, self._info.ref.namespace, sid, source
        )
        self._readers[source] = reader

        async def run() -> None:
            await reader.run()
            self._readers[source] = None

        self._spawn(run())

    def _state(self) -> State:
        if self._gone or self._workload is None:
            word = self._info.ref.kind.capitalize() or "Task"
            known = state_of(self._workload, self._pods.all) if self._workload else None
            return known if known and known.over else State("gone", f"{word} was deleted before it ended", "Deleted")
        pods = self._pods.all if self._info.ref.kind in ("job", "pod") else list(self._pods.present.values())
        state = state_of(self._workload, pods)
        failures = [r.failure for r in self._readers.values() if r is not None and r.failure]
        if state.name == "running" and failures and not self._caught_up:
            return State("running", f"Log not available yet: {failures[0]}", "ReadFailed")
        return state

    def _say(self, state: State) -> None:
        if (state.name, state.message) == (self._said.name, self._said.message):
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

    def _end(self, state: State) -> None:
        update = self._update(state) | {"done": 1, "caught_up": 1}
        fields = {"state": state.name, "exit_code": state.exit_code, "reason": state.reason}
        self._channel.note(Note("end", state.message, time.time_ns(), update=update, fields=fields))

    def _update(self, state: State) -> dict[str, Any]:
        update = {"state": state.name, "message": state.message, "reason": state.reason, "exit_code": state.exit_code}
        if self._workload is not None:
            update |= {"started": self._workload.started, "finished": self._workload.finished}
        return update

    async def _late_pods(self) -> bool:
        """Tell whether a pod has come that the watch did not show yet."""
        assert self._workload is not None
        try:
            pods = await pods_of(self._cluster, self._workload)
        except (ClusterError, NotAllowed):
            return False  # the cluster is away; what was seen has to do
        before = len(self._readers)
        for pod in pods:
            self._pods.put(pod)
            await self._take(pod)
        return len(self._readers) > before


def _states(pod: dict[str, Any], name: str) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    lists = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found = [s for key in lists for s in status.get(key) or [] if s["name"] == name]
    return [detail for s in found for detail in (s.get("state") or {}).values()]
