"""The demo's Job: put into the cluster that KUBECONFIG names, and taken out of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.cluster.workloads import collection
from cortex_jupyter.errors import CortexError, NotFound

NAME: Final = "train-demo"
_LABEL: Final = {"app.kubernetes.io/managed-by": "cortex-jupyter-demo"}
_PROGRAM: Final = Path(__file__).with_name("train.py")
#: An image without Python, but with the node's own below /host: the project's test cluster.
_LOCAL: Final = "docker.io/local/busybox:1"


async def start() -> None:
    """Create the Job, in place of one of an earlier demo.

    Raises
    ------
    CortexError
        There is a Job of that name which is none of ours, or the cluster refuses.
    """
    async with await Cluster.open() as cluster:
        jobs = collection("job", cluster.namespace)
        await _delete(cluster, jobs)
        image = os.environ.get("CORTEX_DEMO_IMAGE") or await image_of(cluster)
        await cluster.json(jobs, method="POST", body=job(image))


async def clean() -> None:
    """Delete the Job and its pods."""
    async with await Cluster.open() as cluster:
        await _delete(cluster, collection("job", cluster.namespace))


async def _delete(cluster: Cluster, jobs: str) -> None:
    path = f"{jobs}/{NAME}"
    try:
        found = await cluster.json(path)
        if not _LABEL.items() <= (found["metadata"].get("labels") or {}).items():
            raise CortexError(
                f"there is a Job {NAME!r} that is none of the demo's", "delete it, or use another namespace"
            )
        body = {"propagationPolicy": "Background"}
        await cluster.json(path, method="DELETE", body=body)
        for _ in range(100):
            await cluster.json(path)
            await asyncio.sleep(0.1)
    except NotFound:
        return


async def image_of(cluster: Cluster) -> str:
    """Give an image that runs Python there."""
    try:
        nodes = (await cluster.json("/api/v1/nodes"))["items"]
    except CortexError:
        nodes = []  # not everybody may see nodes
    images = {name for node in nodes for i in node["status"].get("images") or [] for name in i.get("names") or []}
    return _LOCAL if _LOCAL in images else "docker.io/library/python:3-slim"


def job(image: str) -> dict[str, Any]:
    """Give the Job: three pods, each with an init container, the training, and a sidecar."""
    local = image == _LOCAL
    length = [{"name": name, "value": os.environ[name]} for name in ("CORTEX_DEMO_SECONDS",) if name in os.environ]
    python = ["busybox", "chroot", "/host", "/usr/bin/python3"] if local else ["python3"]

    def container(name: str, role: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": name, "image": image, "command": [*python, "-u", "-c", _PROGRAM.read_text(), role],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, *length],
        }  # fmt: skip
        if local:
            found |= {
                "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}],
            }
        return found

    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "initContainers": [container("prepare", "prepare")],
        "containers": [container("train", "train"), container("metrics", "metrics")],
    }
    if local:
        spec["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    annotations = {"kubectl.kubernetes.io/default-container": "train"}  # which makes the other one a sidecar
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": NAME, "labels": _LABEL},
        "spec": {
            "parallelism": 3, "completions": 3, "backoffLimit": 0,
            "template": {"metadata": {"labels": _LABEL, "annotations": annotations}, "spec": spec},
        },
    }  # fmt: skip
