"""Whether a container's image is there, and the waiting where it is not (`pkg/kubelet/images/image_manager.go`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.pod import PodWorker
    from cortex_jupyter.sandbox.podstatus import Container

Object = dict[str, Any]
#: Seconds that ErrImagePull is shown before the back-off; a kubelet's next sync is about as soon.
_SHOWN = 0.5


def problem(spec: Object, faults: Faults) -> tuple[str, str] | None:
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
        missing, seconds = problem(container.spec, faults), faults.pull_seconds(image)
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
            if problem(container.spec, faults):
                text = f'Back-off pulling image "{image}"'
                worker.tell("BackOff", text, container)
                _show(worker, container, "ImagePullBackOff", text)
        if problem(container.spec, faults):
            await worker.wait_change(pause)
            pause = min(pause * 2, config.backoff_max)


def _show(worker: PodWorker, container: Container, reason: str, message: str) -> None:
    worker.tell("Failed", f"Error: {reason}", container, warning=True)
    container.wait(reason, message)
    worker.sync()
