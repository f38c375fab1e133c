"""One pod's life on the node, from images to the last exit code.

Follows `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`computePodActions`): init containers one after
the other, sidecars (init containers with `restartPolicy: Always`) beside what follows, then all regular
containers at once; the first restart at once, later ones after a growing back-off. Images are those of
`pkg/kubelet/images/image_manager.go`.
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

    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]
#: Seconds that ErrImagePull is shown before the back-off; a kubelet's next sync is about as soon.
_SHOWN = 0.5


class Node:
    """What the pods of a node share.

    Attributes
    ----------
    port : int
        Where the API server listens.
    logs : dict of CriLog
        The log of each run that is still held, by container ID.
    """

    def __init__(self, store: Store, faults: Faults, config: Config, root: Path) -> None:
        self.store, self.faults, self.config, self.root = store, faults, config, root
        self.port = 0
        self.logs: dict[str, CriLog] = {}


class PodWorker:
    """Runs one pod.

    Parameters
    ----------
    kubelet : Node
        Store, faults, settings, log files.
    pod : dict
        The pod as bound to the node.
    """

    def __init__(self, kubelet: Node, pod: Object) -> None:
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
        #: Containers that run; they are waited for. Whatever else is under way is cancelled at the end.
        self._runs: set[asyncio.Task[Any]] = set()
        self._chores: set[asyncio.Task[Any]] = set()
        self._sidecars: list[asyncio.Task[bool]] = []
        #: Why all containers are restarted, while they are; and how long the next time waits, in seconds.
        self._restarting, self._pause = "", 0.0
        self._restarted = False
        self._life_task = self._spawn(self._life(spec))

    # ------------------------------------------------------------ what others see

    def sync(self) -> None:
        """Write the status to the API."""
        pod = self.kubelet.store.get("pods", self.namespace, self.name)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            new = copy(pod)
            new["status"] = podstatus.build(pod, self.containers, self.phase, **self.why)
            if self._restarted:
                restarting = podstatus.restarting(pod, self._restarting)
                new["status"]["conditions"].append(restarting)
            self.kubelet.store.update(new, manager="kubelet")

    def tell(self, reason: str, message: str, container: Container | None = None, *, warning: bool = False) -> None:
        """Record an event about the pod, or about one of its containers."""
        about = "" if container is None else container.field
        events.record(self.kubelet.store, self._pod(), reason, message, warning=warning, field=about)

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
        policy = spec.get("restartPolicy", "Always")
        if limit := spec.get("activeDeadlineSeconds"):
            self._spawn(self._deadline(limit))
        while (phase := await self._round(policy)) is None:
            await self._restart_all()
        await self._finish(phase)

    async def _round(self, policy: str) -> str | None:
        """Run all containers from the first on; return the phase it comes to, None where all shall be restarted."""
        inits = [c for c in self.containers if c.kind in (INIT, SIDECAR)]
        mains = [c for c in self.containers if c.kind == MAIN]
        for container in inits + mains:
            container.wait("PodInitializing" if inits else "ContainerCreating")
        self.sync()
        for container in inits:
            if container.kind == SIDECAR:
                self._sidecars.append(self._spawn(self._supervise(container, "Always")))
                while not container.running and not self._restarting:
                    await self.wait_change(0.02)
            elif not await self._supervise(container, "Never" if policy == "Never" else "OnFailure"):
                return None if self._restarting else "Failed"
            if self._restarting:
                return None
        for container in mains:
            container.wait("ContainerCreating")
        done = await asyncio.gather(*(self._supervise(c, c.spec.get("restartPolicy", policy)) for c in mains))
        if self._restarting:
            return None
        return "Succeeded" if all(done) else "Failed"

    async def _restart_all(self) -> None:
        """Kill what still runs, forget what ran, and count one restart for each container; the pod stays as it is.

        KEP-5532: nothing is told to stop before it is killed, and exited containers leave the runtime with their logs.
        """
        self.sync()
        await self._stop([c for c in self.containers if c.kind in (MAIN, SIDECAR, INIT)], 0)
        await asyncio.gather(*self._sidecars)
        self._sidecars.clear()
        await asyncio.sleep(self._pause)
        self._pause = min(self.kubelet.config.backoff_max, self._pause * 2) or self.kubelet.config.backoff
        for container in self.containers:
            if container.kind != EPHEMERAL and container.id:
                shutil.rmtree(self.folder / container.name, ignore_errors=True)
                self.kubelet.logs.pop(container.id, None)
                container.restarts += 1
        self._restarting = ""
        self.sync()

    async def _finish(self, phase: str) -> None:
        """End the pod: sidecars are told to stop, each when those started after it have ended (KEP-753)."""
        self.ending = True
        await self._stop([c for c in self.containers if c.kind == EPHEMERAL], 5)
        for container in reversed([c for c in self.containers if c.kind == SIDECAR]):
            await self._stop([container], 5)
        self.phase = phase
        self.sync()

    async def _deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._life_task.cancel()
        self.ending = True
        text = "Pod was active on the node longer than the specified deadline"
        self.why = {"reason": "DeadlineExceeded", "message": text}
        self.tell("DeadlineExceeded", text)
        await self._stop(self.containers, 2)
        self.phase = "Failed"
        self.sync()

    async def terminate(self, grace: float) -> None:
        """Stop everything and forget the pod; its logs go with it."""
        self.ending = True
        for container in self.containers:
            if container.running:
                self.tell("Killing", f"Stopping container {container.name}", container)
        for task in self._chores:
            task.cancel()
        sidecars = [c for c in reversed(self.containers) if c.kind == SIDECAR]
        end = asyncio.get_running_loop().time() + grace
        # Main containers first, then the sidecars in the reverse order of their start; one deadline for all.
        for group in ([c for c in self.containers if c.kind != SIDECAR], *([c] for c in sidecars)):
            await self._stop(group, max(0.0, end - asyncio.get_running_loop().time()))
        if self._runs:  # one that had only begun is killed by itself
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
        """Run a container until its restart policy is content; tell whether it succeeded."""
        pause = 0.0
        config = self.kubelet.config
        while True:
            if container.restarts and self._halted:
                return False
            succeeded = await self._once(container)
            action = self._rule(container)
            if action == "RestartAllContainers" and not self.ending and not self._restarting:
                code = container.state["terminated"]["exitCode"]
                self._restarting = f"Container {container.name} exited with code {code}, triggering pod restart"
                self._restarted = True
                self._spawn(self._stop(self.containers, 0))
            if self._halted:
                return succeeded and not self._restarting
            if action == "Restart":
                succeeded = False
            elif policy == "Never" or (policy == "OnFailure" and succeeded):
                return succeeded
            if pause:
                text = f"back-off {pause:g}s restarting failed container={container.name} pod={self.name}_{self.namespace}({self.uid})"
                container.wait("CrashLoopBackOff", text)
                self.tell("BackOff", "Back-off restarting failed container", container, warning=True)
                self.sync()
                await asyncio.sleep(pause)
            pause = min(config.backoff_max, pause * 2) or config.backoff
            container.restarts += 1

    @property
    def _halted(self) -> bool:
        """Whether no container is restarted by its own policy: the pod ends, or all of it is restarted."""
        return self.ending or bool(self._restarting)

    @staticmethod
    def _rule(container: Container) -> str:
        """Return the action of the first of a container's `restartPolicyRules` that its exit code meets (KEP-5307)."""
        code = container.state.get("terminated", {}).get("exitCode", 0)
        rules = container.spec.get("restartPolicyRules") or []
        return next((r["action"] for r in rules if matches_exit_codes(r["exitCodes"], code)), "")

    async def _once(self, container: Container) -> bool:
        await wait_for_image(self, container)
        run = asyncio.create_task(self._run(container))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return await asyncio.shield(run)

    async def _run(self, container: Container) -> bool:
        name, spec = container.name, container.spec
        folder = self.folder / name
        log = CriLog(folder / f"{container.restarts}.log", lambda: self.kubelet.faults.clock(self.name, name))
        for old in folder.glob(f"{container.restarts - 2}.log*"):
            old.unlink()  # the kubelet keeps one dead run of a container
        process = Process(log)
        env = environment.environment(self._pod(), spec, self.home, self.kubelet.port)
        self.tell("Created", f"Created container: {name}", container)
        try:
            await process.start(environment.command(spec, env), env, environment.folder(spec, self.home))
        except StartError as error:
            container.fail(str(error))
            self.kubelet.logs[container.id] = log
            self.tell("Failed", f"Error: {error}", container, warning=True)
            self._sync_running()
            return False
        container.process = process
        container.run()
        self.kubelet.logs[container.id] = log
        if self.ending:  # the pod was deleted while this began
            process.signal(signal.SIGKILL)
        self.tell("Started", f"Started container {name}", container)
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

    # ------------------------------------------------------------ small things

    def _pod(self) -> Object:
        found = self.kubelet.store.get("pods", self.namespace, self.name)
        return found or {"kind": "Pod", "apiVersion": "v1", "metadata": self.meta}

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)
        return task

    def _chore_done(self, task: asyncio.Task[Any]) -> None:
        self._chores.discard(task)
        if not task.cancelled():
            task.result()  # raises into the loop's handler, which prints it

    async def wait_change(self, seconds: float) -> None:
        """Wait for a change of the pod or of a fault, at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)
        self.changed.clear()


def image_problem(spec: Object, faults: Faults) -> tuple[str, str] | None:
    """Say why a container's image cannot be had.

    Parameters
    ----------
    spec : dict
        The container.
    faults : Faults
        May say that an image is there or not. Otherwise one with `missing` in its name is not, and with
        `imagePullPolicy: Never` only `busybox` and what is `local/` is: any image runs what the machine has.

    Returns
    -------
    tuple of str, or None
        Waiting reason and message, in the kubelet's words.
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
    """Wait until a container's image is there; a patch of the pod or a fault may bring it.

    Parameters
    ----------
    worker : PodWorker
        The pod; its status and events tell what is waited for.
    container : Container
        Whose image.
    """
    faults, config = worker.kubelet.faults, worker.kubelet.config
    pause = config.backoff
    while True:
        image = container.spec.get("image", "")
        missing, seconds = image_problem(container.spec, faults), faults.pull_seconds(image)
        if missing is None and not seconds:
            worker.tell("Pulled", f'Container image "{image}" already present on machine', container)
            return
        if missing is None or missing[0] == "ErrImagePull":
            worker.tell("Pulling", f'Pulling image "{image}"', container)
            await asyncio.sleep(seconds)
        if missing is None:
            worker.tell("Pulled", f'Successfully pulled image "{image}" in {seconds:g}s', container)
            return
        reason, message = missing
        if reason == "ErrImagePull":
            worker.tell("Failed", f'Failed to pull image "{image}": {message}', container, warning=True)
        else:
            worker.tell(reason, message, container, warning=True)
        _show(worker, container, reason, message)
        if reason == "ErrImagePull":
            await worker.wait_change(_SHOWN)
            if image_problem(container.spec, faults):
                text = f'Back-off pulling image "{image}"'
                worker.tell("BackOff", text, container)
                _show(worker, container, "ImagePullBackOff", text)
        if image_problem(container.spec, faults):
            await worker.wait_change(pause)
            pause = min(pause * 2, config.backoff_max)


def _show(worker: PodWorker, container: Container, reason: str, message: str) -> None:
    worker.tell("Failed", f"Error: {reason}", container, warning=True)
    container.wait(reason, message)
    worker.sync()
