"""The life of one pod on the node, from pulling its images to its last exit code.

The rules come from `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`computePodActions`): Init containers run one
after the other. A sidecar (an init container with `restartPolicy: Always`) keeps running beside the containers after
it. Then all regular containers start together. The first restart is immediate; later ones wait for a growing back-off.
Pulling images follows `pkg/kubelet/images/image_manager.go`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox import environment, events, podstatus
from cortex_jupyter.sandbox.crilog import CriLog
from cortex_jupyter.sandbox.jobs import matches_exit_codes
from cortex_jupyter.sandbox.objects import copy
from cortex_jupyter.sandbox.podstatus import EPHEMERAL, INIT, MAIN, SIDECAR, Container
from cortex_jupyter.sandbox.process import Process, StartError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.objects import Store

#: How long ErrImagePull is shown before the back-off (seconds); about the time to a kubelet's next sync.
_ERR_IMAGE_PULL_S = 0.5


class Node:
    """State that all pods of a node share.

    Attributes
    ----------
    port : int
        TCP port of the API server.
    logs : dict of CriLog
        The log of each run that the runtime still has, by container ID.
    """

    def __init__(self, store: Store, faults: Faults, config: Config, root: Path) -> None:
        self.store, self.faults, self.config, self.root = store, faults, config, root
        self.port = 0
        self.logs: dict[str, CriLog] = {}


class PodWorker:
    """Runs one pod.

    Parameters
    ----------
    node : Node
        The node with its store, faults, settings and log files.
    pod : dict
        The pod, bound to the node.
    """

    def __init__(self, node: Node, pod: KubeObject) -> None:
        self.node = node
        self.meta = pod["metadata"]
        self.name, self.namespace, self.uid = self.meta["name"], self.meta["namespace"], self.meta["uid"]
        self.folder: Path = node.root / "var/log/pods" / f"{self.namespace}_{self.name}_{self.uid}"
        self.home: Path = node.root / "pods" / self.uid
        self.home.mkdir(parents=True, exist_ok=True)
        spec = pod["spec"]
        self.containers = [
            Container(c, SIDECAR if c.get("restartPolicy") == "Always" else INIT)
            for c in spec.get("initContainers") or []
        ]
        self.containers += [Container(c, MAIN) for c in spec["containers"]]
        self.phase = "Pending"
        self.pod_reason: dict[str, str] = {}
        self.is_ending = False
        #: Set on each change of the pod or of a fault, so that a container that waits for its image checks again.
        self.changed = asyncio.Event()
        #: Tasks that run a container; the end of the pod waits for them. It cancels all other tasks.
        self._runs: set[asyncio.Task[object]] = set()
        self._background: set[asyncio.Task[object]] = set()
        self._sidecars: list[asyncio.Task[bool]] = []
        #: Why all containers are being restarted, or empty; and the delay before the next such restart (seconds).
        self._restart_reason, self._restart_delay = "", 0.0
        self._was_restarted = False
        self._pod_task = self._spawn(self._run_pod(spec))

    # ------------------------------------------------------------ status and events

    def sync(self) -> None:
        """Write the status to the API."""
        pod = self.node.store.get("pods", self.namespace, self.name)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            new = copy(pod)
            new["status"] = podstatus.build(pod, self.containers, self.phase, **self.pod_reason)
            if self._was_restarted:
                condition = podstatus.restarting_condition(pod, self._restart_reason)
                new["status"]["conditions"].append(condition)
            self.node.store.update(new, manager="kubelet")

    def record_event(
        self, reason: str, message: str, container: Container | None = None, *, warning: bool = False
    ) -> None:
        """Record an event about the pod or one of its containers."""
        field = "" if container is None else container.field_path
        events.record(self.node.store, self._pod(), reason, message, warning=warning, field=field)

    def update(self, pod: KubeObject) -> None:
        """Apply a change of the spec: new images and ephemeral containers."""
        specs = {c["name"]: c for part in ("initContainers", "containers") for c in pod["spec"].get(part) or []}
        for container in self.containers:
            container.spec = specs.get(container.name, container.spec)
        names = {c.name for c in self.containers}
        for spec in pod["spec"].get("ephemeralContainers") or []:
            if spec["name"] not in names and not self.is_ending:
                container = Container(spec, EPHEMERAL)
                container.set_waiting("ContainerCreating")
                self.containers.append(container)
                self._spawn(self._run_once(container))
        self.changed.set()

    # ------------------------------------------------------------ life

    async def _run_pod(self, spec: KubeObject) -> None:
        policy = spec.get("restartPolicy", "Always")
        if limit := spec.get("activeDeadlineSeconds"):
            self._spawn(self._deadline(limit))
        while (phase := await self._run_containers(policy)) is None:
            await self._restart_all()
        await self._finish(phase)

    async def _run_containers(self, policy: str) -> str | None:
        """Run all containers from the first on; return the pod's final phase, or None if all of them must be restarted."""
        inits = [c for c in self.containers if c.kind in (INIT, SIDECAR)]
        mains = [c for c in self.containers if c.kind == MAIN]
        for container in inits + mains:
            container.set_waiting("PodInitializing" if inits else "ContainerCreating")
        self.sync()
        for container in inits:
            if container.kind == SIDECAR:
                self._sidecars.append(self._spawn(self._supervise(container, "Always")))
                while not container.running and not self._restart_reason:
                    await self.wait_change(0.02)
            elif not await self._supervise(container, "Never" if policy == "Never" else "OnFailure"):
                return None if self._restart_reason else "Failed"
            if self._restart_reason:
                return None
        for container in mains:
            container.set_waiting("ContainerCreating")
        done = await asyncio.gather(*(self._supervise(c, c.spec.get("restartPolicy", policy)) for c in mains))
        if self._restart_reason:
            return None
        return "Succeeded" if all(done) else "Failed"

    async def _restart_all(self) -> None:
        """Kill all containers, delete their logs, and count one restart for each; the pod itself stays.

        As in KEP-5532, containers get no SIGTERM, and the runtime removes exited containers with their logs.
        """
        self.sync()
        await self._stop([c for c in self.containers if c.kind in (MAIN, SIDECAR, INIT)], 0)
        await asyncio.gather(*self._sidecars)
        self._sidecars.clear()
        await asyncio.sleep(self._restart_delay)
        self._restart_delay = min(self.node.config.backoff_max, self._restart_delay * 2) or self.node.config.backoff
        for container in self.containers:
            if container.kind != EPHEMERAL and container.id:
                shutil.rmtree(self.folder / container.name, ignore_errors=True)
                self.node.logs.pop(container.id, None)
                container.restarts += 1
        self._restart_reason = ""
        self.sync()

    async def _finish(self, phase: str) -> None:
        """End the pod: stop the sidecars in the reverse order of their start (KEP-753)."""
        self.is_ending = True
        await self._stop([c for c in self.containers if c.kind == EPHEMERAL], 5)
        for container in reversed([c for c in self.containers if c.kind == SIDECAR]):
            await self._stop([container], 5)
        self.phase = phase
        self.sync()

    async def _deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._pod_task.cancel()
        self.is_ending = True
        text = "Pod was active on the node longer than the specified deadline"
        self.pod_reason = {"reason": "DeadlineExceeded", "message": text}
        self.record_event("DeadlineExceeded", text)
        await self._stop(self.containers, 2)
        self.phase = "Failed"
        self.sync()

    async def terminate(self, grace: float) -> None:
        """Stop all containers within `grace` seconds, and delete the pod's logs and home."""
        self.is_ending = True
        for container in self.containers:
            if container.running:
                self.record_event("Killing", f"Stopping container {container.name}", container)
        for task in self._background:
            task.cancel()
        sidecars = [c for c in reversed(self.containers) if c.kind == SIDECAR]
        end = asyncio.get_running_loop().time() + grace
        # Main containers first, then the sidecars in the reverse order of their start, within one deadline.
        for group in ([c for c in self.containers if c.kind != SIDECAR], *([c] for c in sidecars)):
            await self._stop(group, max(0.0, end - asyncio.get_running_loop().time()))
        if self._runs:  # a container that has just started kills itself
            await asyncio.wait(self._runs, timeout=5)
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
        """Run a container until its restart policy requires no further run; return whether it succeeded."""
        delay = 0.0
        config = self.node.config
        while True:
            if container.restarts and self._is_halted:
                return False
            succeeded = await self._run_once(container)
            action = self._exit_rule_action(container)
            if action == "RestartAllContainers" and not self.is_ending and not self._restart_reason:
                code = container.state["terminated"]["exitCode"]
                self._restart_reason = f"Container {container.name} exited with code {code}, triggering pod restart"
                self._was_restarted = True
                self._spawn(self._stop(self.containers, 0))
            if self._is_halted:
                return succeeded and not self._restart_reason
            if action == "Restart":
                succeeded = False
            elif policy == "Never" or (policy == "OnFailure" and succeeded):
                return succeeded
            if delay:
                text = f"back-off {delay:g}s restarting failed container={container.name} pod={self.name}_{self.namespace}({self.uid})"
                container.set_waiting("CrashLoopBackOff", text)
                self.record_event("BackOff", "Back-off restarting failed container", container, warning=True)
                self.sync()
                await asyncio.sleep(delay)
            delay = min(config.backoff_max, delay * 2) or config.backoff
            container.restarts += 1

    @property
    def _is_halted(self) -> bool:
        """Whether restart policies are suspended, because the pod ends or all containers are being restarted."""
        return self.is_ending or bool(self._restart_reason)

    @staticmethod
    def _exit_rule_action(container: Container) -> str:
        """Return the action of the first of `restartPolicyRules` that the exit code meets, or an empty string (KEP-5307)."""
        code = container.state.get("terminated", {}).get("exitCode", 0)
        rules = container.spec.get("restartPolicyRules") or []
        return next((r["action"] for r in rules if matches_exit_codes(r["exitCodes"], code)), "")

    async def _run_once(self, container: Container) -> bool:
        await wait_for_image(self, container)
        run = asyncio.create_task(self._run(container))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return await asyncio.shield(run)

    async def _run(self, container: Container) -> bool:
        name, spec = container.name, container.spec
        folder = self.folder / name
        log = CriLog(folder / f"{container.restarts}.log", lambda: self.node.faults.clock(self.name, name))
        for old_log in folder.glob(f"{container.restarts - 2}.log*"):
            old_log.unlink()  # the kubelet keeps one dead run of a container
        process = Process(log)
        env = environment.environment(self._pod(), spec, self.home, self.node.port)
        self.record_event("Created", f"Created container: {name}", container)
        try:
            await process.start(environment.command(spec, env), env, environment.folder(spec, self.home))
        except StartError as error:
            container.set_start_failed(str(error))
            self.node.logs[container.id] = log
            self.record_event("Failed", f"Error: {error}", container, warning=True)
            self._sync_running()
            return False
        container.process = process
        container.set_running()
        self.node.logs[container.id] = log
        if self.is_ending:  # the pod was deleted while the container started
            process.signal(signal.SIGKILL)
        self.record_event("Started", f"Started container {name}", container)
        self._sync_running()
        code = await process.wait()
        container.set_terminated(code, "OOMKilled" if process.is_oom_killed else "Completed" if code == 0 else "Error")
        process.ended.set()
        self.changed.set()
        self._sync_running()
        return code == 0

    def _sync_running(self) -> None:
        mains = [c for c in self.containers if c.kind == MAIN]
        if any(c.running or "terminated" in c.state for c in mains):
            self.phase = "Running" if self.phase == "Pending" else self.phase
        self.sync()

    # ------------------------------------------------------------ helpers

    def _pod(self) -> KubeObject:
        pod = self.node.store.get("pods", self.namespace, self.name)
        return pod or {"kind": "Pod", "apiVersion": "v1", "metadata": self.meta}

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background_done)
        return task

    def _background_done(self, task: asyncio.Task[object]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.result()  # raises into the event loop's exception handler, which prints it

    async def wait_change(self, seconds: float) -> None:
        """Wait for a change of the pod or of a fault, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)
        self.changed.clear()


def image_problem(spec: KubeObject, faults: Faults) -> tuple[str, str] | None:
    """Return why a container's image cannot be used, or None if it can.

    Parameters
    ----------
    spec : dict
        The container's spec.
    faults : Faults
        May make an image present or missing. Without such a fault, an image is present unless its name contains
        `missing`; with `imagePullPolicy: Never`, only `busybox` and `local/...` are present. Every image runs the
        programs of this machine.

    Returns
    -------
    tuple of str, or None
        Waiting reason and message, worded as by the kubelet.
    """
    image = spec.get("image", "")
    never = spec.get("imagePullPolicy") == "Never"
    present = faults.image_present(image)
    if present is None:
        present = "missing" not in image and (not never or "busybox" in image or "local/" in image)
    if present:
        return None
    if never:
        return "ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never'
    text = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    return "ErrImagePull", f"rpc error: code = NotFound desc = {text}"


async def wait_for_image(worker: PodWorker, container: Container) -> None:
    """Wait until a container's image is present; a patch of the pod or a fault may change that.

    Parameters
    ----------
    worker : PodWorker
        The pod; its status and events show the wait.
    container : Container
        The container that needs the image.
    """
    faults, config = worker.node.faults, worker.node.config
    delay = config.backoff
    while True:
        image = container.spec.get("image", "")
        problem, seconds = image_problem(container.spec, faults), faults.pull_seconds(image)
        if problem is None and not seconds:
            worker.record_event("Pulled", f'Container image "{image}" already present on machine', container)
            return
        if problem is None or problem[0] == "ErrImagePull":
            worker.record_event("Pulling", f'Pulling image "{image}"', container)
            await asyncio.sleep(seconds)
        if problem is None:
            worker.record_event("Pulled", f'Successfully pulled image "{image}" in {seconds:g}s', container)
            return
        reason, message = problem
        if reason == "ErrImagePull":
            worker.record_event("Failed", f'Failed to pull image "{image}": {message}', container, warning=True)
        else:
            worker.record_event(reason, message, container, warning=True)
        _show_problem(worker, container, reason, message)
        if reason == "ErrImagePull":
            await worker.wait_change(_ERR_IMAGE_PULL_S)
            if image_problem(container.spec, faults):
                text = f'Back-off pulling image "{image}"'
                worker.record_event("BackOff", text, container)
                _show_problem(worker, container, "ImagePullBackOff", text)
        if image_problem(container.spec, faults):
            await worker.wait_change(delay)
            delay = min(delay * 2, config.backoff_max)


def _show_problem(worker: PodWorker, container: Container, reason: str, message: str) -> None:
    worker.record_event("Failed", f"Error: {reason}", container, warning=True)
    container.set_waiting(reason, message)
    worker.sync()
