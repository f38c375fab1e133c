"""One pod's life on the node, from images to the last exit code.

Follows `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`computePodActions`): init containers one after
the other, sidecars (init containers with `restartPolicy: Always`) beside what follows, then all regular
containers at once; the first restart at once, later ones after a growing back-off.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import events, podstatus
from cortex_jupyter.sandbox.crilog import CriLog
from cortex_jupyter.sandbox.objects import copy
from cortex_jupyter.sandbox.podstatus import EPHEMERAL, INIT, MAIN, SIDECAR, Container
from cortex_jupyter.sandbox.process import Process, StartError, search_path

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.sandbox.kubelet import Kubelet

Object = dict[str, Any]
_VARIABLE = re.compile(r"\$\((\w+)\)")


class PodWorker:
    """Runs one pod.

    Parameters
    ----------
    kubelet : Kubelet
        The node: store, faults, settings, log files.
    pod : dict
        The pod as bound to the node.
    """

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self.kubelet = kubelet
        self.meta = pod["metadata"]
        self.name, self.namespace, self.uid = self.meta["name"], self.meta["namespace"], self.meta["uid"]
        self.folder: Path = kubelet.root / "var/log/pods" / f"{self.namespace}_{self.name}_{self.uid}"
        self.home: Path = kubelet.root / "pods" / self.uid
        self.home.mkdir(parents=True, exist_ok=True)
        spec = pod["spec"]
        self.containers = [
            Container(c, SIDECAR if c.get("restartPolicy") == "Always" else INIT)
            for c in spec.get("initContainers") or []
        ]
        self.containers += [Container(c, MAIN) for c in spec["containers"]]
        self.phase = "Pending"
        self.why: dict[str, str] = {}
        self.ending = False
        #: Set on each change of the pod or of a fault: whoever waits for an image looks again.
        self.changed = asyncio.Event()
        self._runs: set[asyncio.Task[Any]] = set()
        self.task = asyncio.create_task(self._life(spec))

    # ------------------------------------------------------------ what others see

    def sync(self) -> None:
        """Write the status to the API."""
        pod = self.kubelet.store.get("pods", self.namespace, self.name)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            new = copy(pod)
            new["status"] = podstatus.build(pod, self.containers, self.phase, **self.why)
            self.kubelet.store.update(new)

    def update(self, pod: Object) -> None:
        """Take over a change of the spec: images, and ephemeral containers."""
        specs = {c["name"]: c for part in ("initContainers", "containers") for c in pod["spec"].get(part) or []}
        for container in self.containers:
            container.spec = specs.get(container.name, container.spec)
        known = {c.name for c in self.containers}
        for spec in pod["spec"].get("ephemeralContainers") or []:
            if spec["name"] not in known and not self.ending:
                container = Container(spec, EPHEMERAL)
                container.wait("ContainerCreating")
                self.containers.append(container)
                self._spawn(self._once(container))
        self.changed.set()

    # ------------------------------------------------------------ life

    async def _life(self, spec: Object) -> None:
        inits = [c for c in self.containers if c.kind in (INIT, SIDECAR)]
        for container in self.containers:
            container.wait("PodInitializing" if inits else "ContainerCreating")
        self.sync()
        policy = spec.get("restartPolicy", "Always")
        if limit := spec.get("activeDeadlineSeconds"):
            self._spawn(self._deadline(limit))
        for container in inits:
            if container.kind == SIDECAR:
                self._spawn(self._supervise(container, "Always"))
                while not container.running:
                    await self._wait_change(0.02)
            elif not await self._supervise(container, "Never" if policy == "Never" else "OnFailure"):
                await self._finish("Failed")
                return
        mains = [c for c in self.containers if c.kind == MAIN]
        for container in mains:
            container.wait("ContainerCreating")
        done = await asyncio.gather(*(self._supervise(c, policy) for c in mains))
        await self._finish("Succeeded" if all(done) else "Failed")

    async def _finish(self, phase: str) -> None:
        """End the pod: sidecars are told to stop, in the reverse order of their start."""
        self.ending = True
        await self._stop([c for c in reversed(self.containers) if c.kind in (SIDECAR, EPHEMERAL)], 5)
        self.phase = phase
        self.sync()

    async def _deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.task.cancel()
        self.ending = True
        self.why = {
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
        }
        events.record(self.kubelet.store, self._pod(), "DeadlineExceeded", self.why["message"])
        await self._stop(self.containers, 2)
        self.phase = "Failed"
        self.sync()

    async def terminate(self, grace: float) -> None:
        """Stop everything and forget the pod; its logs go with it."""
        self.ending = True
        self.task.cancel()
        for container in self.containers:
            if container.running:
                events.record(
                    self.kubelet.store,
                    self._pod(),
                    "Killing",
                    f"Stopping container {container.name}",
                    field=container.field,
                )
        await self._stop(self.containers, grace)
        for task in list(self._runs):
            task.cancel()
        self.sync()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    async def _stop(self, containers: list[Container], grace: float) -> None:
        processes = [c.process for c in containers if c.process is not None and c.running]
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            for process in processes:
                process.signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*(p.ended.wait() for p in processes)), seconds)
            processes = [p for p in processes if not p.ended.is_set()]

    # ------------------------------------------------------------ one container

    async def _supervise(self, container: Container, policy: str) -> bool:
        """Run a container until its restart policy is content; tell whether it succeeded."""
        pause = 0.0
        config = self.kubelet.config
        while True:
            succeeded = await self._once(container)
            if self.ending or policy == "Never" or (policy == "OnFailure" and succeeded):
                return succeeded
            if pause:
                text = f"back-off {pause:g}s restarting failed container={container.name} pod={self.name}_{self.namespace}({self.uid})"
                container.wait("CrashLoopBackOff", text)
                events.record(
                    self.kubelet.store,
                    self._pod(),
                    "BackOff",
                    "Back-off restarting failed container",
                    warning=True,
                    field=container.field,
                )
                self.sync()
                await asyncio.sleep(pause)
            pause = min(config.backoff_max, pause * 2) or config.backoff
            container.restarts += 1

    async def _once(self, container: Container) -> bool:
        await self._image(container)
        run = self._spawn(self._run(container))
        return await asyncio.shield(run)

    async def _run(self, container: Container) -> bool:
        name, store = container.name, self.kubelet.store
        log = CriLog(
            self.folder / name / f"{container.restarts}.log", lambda: self.kubelet.faults.clock(self.name, name)
        )
        for old in (self.folder / name).glob(f"{container.restarts - 2}.log*"):
            old.unlink()  # the kubelet keeps one dead run of a container
        process = Process(log)
        env = self._env(container.spec)
        command = [*(container.spec.get("command") or []), *(container.spec.get("args") or [])]
        command = [_VARIABLE.sub(lambda m: env.get(m[1], m[0]), part) for part in command]
        events.record(store, self._pod(), "Created", f"Created container: {name}", field=container.field)
        try:
            await process.start(command, env, self._cwd(container.spec))
        except StartError as error:
            container.run()
            container.state = {"waiting": {}}
            self.kubelet.logs[container.id] = log
            container.end(128, "StartError", str(error))
            events.record(store, self._pod(), "Failed", f"Error: {error}", warning=True, field=container.field)
            self._sync_running()
            return False
        container.process = process
        container.run()
        self.kubelet.logs[container.id] = log
        events.record(store, self._pod(), "Started", f"Started container {name}", field=container.field)
        self._sync_running()
        code = await process.wait()
        container.end(code, "OOMKilled" if process.oom else "Completed" if code == 0 else "Error")
        process.ended.set()
        self.changed.set()
        self._sync_running()
        return code == 0

    def _sync_running(self) -> None:
        mains = [c for c in self.containers if c.kind == MAIN]
        if any(c.running or "terminated" in c.state for c in mains):
            self.phase = "Running" if self.phase == "Pending" else self.phase
        self.sync()

    async def _image(self, container: Container) -> None:
        """Wait until the image is there, as `pkg/kubelet/images/image_manager.go` words it."""
        pause, first = self.kubelet.config.backoff, True
        store = self.kubelet.store
        while True:
            self.changed.clear()
            image = container.spec.get("image", "")
            missing = self.kubelet.image_problem(container.spec)
            seconds = self.kubelet.faults.pull_seconds(image)
            if missing is None and not seconds:
                text = f'Container image "{image}" already present on machine'
                events.record(store, self._pod(), "Pulled", text, field=container.field)
                return
            if missing is None or missing[0] != "ErrImageNeverPull":
                events.record(store, self._pod(), "Pulling", f'Pulling image "{image}"', field=container.field)
                await asyncio.sleep(seconds)
            if missing is None:
                events.record(
                    store,
                    self._pod(),
                    "Pulled",
                    f'Successfully pulled image "{image}" in {seconds:g}s',
                    field=container.field,
                )
                return
            reason, message = missing
            events.record(store, self._pod(), "Failed", f"Error: {reason}", warning=True, field=container.field)
            container.wait(reason, message)
            self.sync()
            if reason == "ErrImagePull":
                await self._wait_change(pause if not first else 0.5)
                text = f'Back-off pulling image "{image}"'
                if self.kubelet.image_problem(container.spec):
                    container.wait("ImagePullBackOff", text)
                    events.record(store, self._pod(), "BackOff", text, field=container.field)
                    self.sync()
                pause, first = min(pause * 2, self.kubelet.config.backoff_max), False
            if self.kubelet.image_problem(container.spec):
                await self._wait_change(pause)

    # ------------------------------------------------------------ small things

    def _pod(self) -> Object:
        found = self.kubelet.store.get("pods", self.namespace, self.name)
        return found or {"kind": "Pod", "apiVersion": "v1", "metadata": self.meta}

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return task

    async def _wait_change(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)
        self.changed.clear()

    def _cwd(self, spec: Object) -> Path:
        wanted = spec.get("workingDir")
        return self.home.__class__(wanted) if wanted and os.path.isdir(wanted) else self.home  # noqa: PTH112 - one call

    def _env(self, spec: Object) -> dict[str, str]:
        pod = self._pod()
        env = {
            "PATH": search_path(),
            "HOME": str(self.home),
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.kubelet.port),
        }
        for item in spec.get("env") or []:
            path = (item.get("valueFrom") or {}).get("fieldRef", {}).get("fieldPath")
            value = _field(pod, path) if path else item.get("value", "")
            env[item["name"]] = _VARIABLE.sub(lambda m: env.get(m[1], m[0]), value)
        return env


def _field(pod: Object, path: str) -> str:
    found = re.fullmatch(r"(\w+)\.(\w+)(?:\['(.+)'\])?", path)
    if not found:
        return ""
    value = (pod.get(found[1]) or {}).get(found[2])
    return str((value or {}).get(found[3], "") if found[3] else value or "")
