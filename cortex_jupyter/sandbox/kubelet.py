"""The only node of the cluster: it schedules pods, runs them, rotates their logs, and carries out faults."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.defaults import qos
from cortex_jupyter.sandbox.deletion import is_marked, remove
from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.pod import Node, PodWorker

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Fault, Faults
    from cortex_jupyter.sandbox.objects import Change, Store
    from cortex_jupyter.sandbox.podstatus import Container

NODE = "node-1"
NODE_LABELS = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
#: A pod's annotation that delays its scheduling (seconds).
SCHEDULE_AFTER = "sandbox.cortex/schedule-after"


class Kubelet(Node):
    """Scheduler and kubelet of the only node."""

    def __init__(self, store: Store, faults: Faults, config: Config, root: Path) -> None:
        super().__init__(store, faults, config, root)
        self.workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = False
        store.listen(self._on_change)

    def start(self) -> None:
        """Start to check the sizes of the logs."""
        (self.root / "var/log/pods").mkdir(parents=True, exist_ok=True)
        self._spawn(self._rotate_by_size())

    async def close(self) -> None:
        """Stop all pods; containers get 1 s to end before they are killed."""
        self._closing = True
        await asyncio.gather(*(w.terminate(1.0) for w in list(self.workers.values())))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ life cycle of pods

    def _on_change(self, change: Change) -> None:
        if change.group_resource != "pods" or self._closing:
            return
        uid = change.object["metadata"]["uid"]
        worker = self.workers.get(uid)
        if change.new is None:
            if worker is not None:
                self._spawn(self._remove(worker, 0.0))
        elif change.old is None:
            self._spawn(self._schedule(change.new))
        elif worker is not None:
            if is_marked(change.new) and not is_marked(change.old):
                self._spawn(self._remove(worker, change.new["metadata"].get("deletionGracePeriodSeconds", 30)))
            elif change.new["spec"] != change.old["spec"]:
                worker.update(change.new)

    async def _remove(self, worker: PodWorker, grace: float) -> None:
        await worker.terminate(grace)
        self.workers.pop(worker.uid, None)
        pod = self.store.get("pods", worker.namespace, worker.name)
        if pod is not None and pod["metadata"]["uid"] == worker.uid:
            remove(self.store, pod)
        # A stream that follows one of these logs ends by itself; a later request gets a 404 for the pod.
        for container_id in [i for i, log in self.logs.items() if worker.folder in log.path.parents]:
            self.logs.pop(container_id)

    async def _schedule(self, pod: KubeObject) -> None:
        meta = pod["metadata"]
        selector = pod["spec"].get("nodeSelector") or {}
        delay_s = (meta.get("annotations") or {}).get(SCHEDULE_AFTER)
        if delay_s is not None:
            await asyncio.sleep(float(delay_s))
        if any(NODE_LABELS.get(k) != v for k, v in selector.items()):
            text = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
            self._set_scheduled(pod, "False", "Unschedulable", text)
            events.record(self.store, pod, "FailedScheduling", text, component="default-scheduler", warning=True)
            return
        bound = self._set_scheduled(pod, "True", "", "")
        if bound is None:
            return
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {NODE}"
        events.record(self.store, bound, "Scheduled", text, component="default-scheduler")
        self.workers[meta["uid"]] = PodWorker(self, bound)

    def _set_scheduled(self, pod: KubeObject, status: str, reason: str, message: str) -> KubeObject | None:
        current = self.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if current is None or current["metadata"]["uid"] != pod["metadata"]["uid"]:
            return None
        new = copy(current)
        if status == "True":
            new["spec"]["nodeName"] = NODE
        condition: KubeObject = {
            "type": "PodScheduled",
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": now(),
        }
        condition |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
        new["status"] = {"phase": "Pending", "conditions": [condition], "qosClass": qos(pod)}
        # The API server itself writes a binding, so it has no field manager (`assignPod` in `pkg/registry/core/pod/storage/storage.go`).
        return self.store.update(new, manager="" if status == "True" else "kube-scheduler")

    # ------------------------------------------------------------ logs

    async def _rotate_by_size(self) -> None:
        while True:
            await asyncio.sleep(self.config.log_check)
            for log in list(self.logs.values()):
                if not log.ended and log.size >= self.config.log_max_size:
                    await log.rotate(self.config.log_max_files)

    def containers(self, fault: Fault) -> list[tuple[PodWorker, Container]]:
        """Return the containers that match a fault."""
        pairs = [(w, c) for w in self.workers.values() for c in w.containers]
        return [(w, c) for w, c in pairs if fault.matches(pod=w.name, container=c.name)]

    async def apply_fault(self, fault: Fault) -> None:
        """Carry out a fault that acts once, on the containers that match it."""
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
                    container.process.is_oom_killed = True
                    text = f"Memory cgroup out of memory: Killed process of container {container.name} in pod {worker.name}"
                    node = self.store.select("nodes")[0]
                    events.record(self.store, node, "OOMKilling", text, component="kernel-monitor", warning=True)
                container.process.signal(int(fault.options.get("signal", signal.SIGKILL)))
            else:
                continue
            fault.hits += 1

    def wake_all(self) -> None:
        """Make every waiting pod and every following stream check its faults again."""
        for worker in self.workers.values():
            worker.changed.set()
        for log in self.logs.values():
            log.wake()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.result()
