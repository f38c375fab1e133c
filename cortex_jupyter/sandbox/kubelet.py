"""The node: schedules pods onto itself, runs them, rotates their logs, and carries out faults."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.defaults import qos
from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.pod import Node, PodWorker

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Fault, Faults
    from cortex_jupyter.sandbox.objects import Change, Store
    from cortex_jupyter.sandbox.podstatus import Container

Object = dict[str, Any]
NODE = "node-1"
NODE_LABELS = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
#: Delays scheduling by so many seconds: the annotation of a pod.
SCHEDULE_AFTER = "sandbox.cortex/schedule-after"


class Kubelet(Node):
    """Scheduler and kubelet of the one node."""

    def __init__(self, store: Store, faults: Faults, config: Config, root: Path) -> None:
        super().__init__(store, faults, config, root)
        self.workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        store.listen(self._changed)

    def start(self) -> None:
        """Begin to look at log sizes."""
        (self.root / "var/log/pods").mkdir(parents=True, exist_ok=True)
        self._spawn(self._rotate_by_size())

    async def close(self) -> None:
        """End all pods, at once and for good."""
        self._closing = True
        await asyncio.gather(*(w.terminate(1.0) for w in list(self.workers.values())))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ pods come, change and go

    def _changed(self, change: Change) -> None:
        if change.plural != "pods" or self._closing:
            return
        uid = change.object["metadata"]["uid"]
        worker = self.workers.get(uid)
        if change.new is None:
            if worker is not None:
                self._spawn(self._remove(worker, 0.0))
        elif change.old is None:
            self._spawn(self._schedule(change.new))
        elif worker is not None:
            deleting = "deletionTimestamp" in change.new["metadata"]
            if deleting and "deletionTimestamp" not in change.old["metadata"]:
                self._spawn(self._remove(worker, change.new["metadata"].get("deletionGracePeriodSeconds", 30)))
            elif change.new["spec"] != change.old["spec"]:
                worker.update(change.new)

    async def _remove(self, worker: PodWorker, grace: float) -> None:
        await worker.terminate(grace)
        self.workers.pop(worker.uid, None)
        pod = self.store.get("pods", worker.namespace, worker.name)
        if pod is not None and pod["metadata"]["uid"] == worker.uid:
            self.store.remove(pod)
        # A stream that follows this pod ends by itself; a request that comes later finds no pod.
        for ident in [i for i, log in self.logs.items() if worker.folder in log.path.parents]:
            self.logs.pop(ident)

    async def _schedule(self, pod: Object) -> None:
        meta = pod["metadata"]
        selector = pod["spec"].get("nodeSelector") or {}
        after = (meta.get("annotations") or {}).get(SCHEDULE_AFTER)
        if after is not None:
            await asyncio.sleep(float(after))
        if any(NODE_LABELS.get(k) != v for k, v in selector.items()):
            text = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
            self._condition(pod, "False", "Unschedulable", text)
            events.record(self.store, pod, "FailedScheduling", text, component="default-scheduler", warning=True)
            return
        bound = self._condition(pod, "True", "", "")
        if bound is None:
            return
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {NODE}"
        events.record(self.store, bound, "Scheduled", text, component="default-scheduler")
        self.workers[meta["uid"]] = PodWorker(self, bound)

    def _condition(self, pod: Object, status: str, reason: str, message: str) -> Object | None:
        found = self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if found is None or found["metadata"]["uid"] != pod["metadata"]["uid"]:
            return None
        new = copy(found)
        if status == "True":
            new["spec"]["nodeName"] = NODE
        condition: Object = {
            "type": "PodScheduled",
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": now(),
        }
        condition |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
        new["status"] = {"phase": "Pending", "conditions": [condition], "qosClass": qos(pod)}
        # A binding is the API server's own doing (`assignPod` in `pkg/registry/core/pod/storage/storage.go`).
        return self.store.update(new, manager="" if status == "True" else "kube-scheduler")

    # ------------------------------------------------------------ logs

    async def _rotate_by_size(self) -> None:
        while True:
            await asyncio.sleep(self.config.log_check)
            for log in list(self.logs.values()):
                if not log.ended and log.size >= self.config.log_max_size:
                    await log.rotate(self.config.log_max_files)

    def containers(self, fault: Fault) -> list[tuple[PodWorker, Container]]:
        """Give the containers a fault is about."""
        pairs = [(w, c) for w in self.workers.values() for c in w.containers]
        return [(w, c) for w, c in pairs if fault.matches(pod=w.name, container=c.name)]

    async def act(self, fault: Fault) -> None:
        """Carry out a fault that acts at once."""
        for worker, container in self.containers(fault):
            log = self.logs.get(container.id)
            if fault.kind == "rotate" and log is not None and not log.ended:
                await log.rotate(self.config.log_max_files)
            elif fault.kind == "delete-log" and log is not None:
                for path in log.path.parent.glob("*"):
                    path.unlink()
                self.logs.pop(container.id)
            elif fault.kind in ("kill", "oom") and container.process is not None and container.running:
                if fault.kind == "oom":
                    container.process.oom = True
                    text = f"Memory cgroup out of memory: Killed process of container {container.name} in pod {worker.name}"
                    node = self.store.select("nodes")[0]
                    events.record(self.store, node, "OOMKilling", text, component="kernel-monitor", warning=True)
                container.process.signal(int(fault.options.get("signal", signal.SIGKILL)))
            else:
                continue
            fault.hits += 1

    def poke(self) -> None:
        """Let every pod that waits, and every stream that follows, look again."""
        for worker in self.workers.values():
            worker.changed.set()
        for log in self.logs.values():
            log.wake()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.result()
