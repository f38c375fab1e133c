"""The demo's Job: create it in the cluster of KUBECONFIG, and delete it again."""

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
#: The image of the project's test cluster. It has no Python; the Job mounts the node's file system at /host and uses its Python.
_LOCAL: Final = "docker.io/local/busybox:1"


async def start() -> None:
    """Create the Job. Delete the Job of an earlier demo first.

    Raises
    ------
    CortexError
        The cluster has a Job of that name that is not the demo's, or refuses the request.
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
        existing = await cluster.json(path)
        if not _LABEL.items() <= (existing["metadata"].get("labels") or {}).items():
            raise CortexError(
                f"the cluster has a Job {NAME!r} that is not the demo's", "delete it, or use another namespace"
            )
        body = {"propagationPolicy": "Background"}
        await cluster.json(path, method="DELETE", body=body)
        for _ in range(100):
            await cluster.json(path)
            await asyncio.sleep(0.1)
    except NotFound:
        return


async def image_of(cluster: Cluster) -> str:
    """Return an image with which the cluster can run Python."""
    try:
        nodes = (await cluster.json("/api/v1/nodes"))["items"]
    except CortexError:
        nodes = []  # many users may not list nodes
    images = {name for node in nodes for i in node["status"].get("images") or [] for name in i.get("names") or []}
    return _LOCAL if _LOCAL in images else "docker.io/library/python:3-slim"


def job(image: str) -> dict[str, Any]:
    """Return the Job: three pods, each with an init container, the training and a sidecar."""
    local = image == _LOCAL
    length = [{"name": name, "value": os.environ[name]} for name in ("CORTEX_DEMO_SECONDS",) if name in os.environ]
    python = ["busybox", "chroot", "/host", "/usr/bin/python3"] if local else ["python3"]

    def container(name: str, role: str) -> dict[str, Any]:
        container: dict[str, Any] = {
            "name": name,
            "image": image,
            "command": [*python, "-u", "-c", _PROGRAM.read_text(), role],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, *length],
        }
        if local:
            container |= {
                "imagePullPolicy": "Never",
                "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}],
            }
        return container

    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "initContainers": [container("prepare", "prepare")],
        "containers": [container("train", "train"), container("metrics", "metrics")],
    }
    if local:
        spec["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    annotations = {"kubectl.kubernetes.io/default-container": "train"}  # so the other container counts as a sidecar
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "labels": _LABEL},
        "spec": {
            "parallelism": 3,
            "completions": 3,
            "backoffLimit": 0,
            "template": {"metadata": {"labels": _LABEL, "annotations": annotations}, "spec": spec},
        },
    }
