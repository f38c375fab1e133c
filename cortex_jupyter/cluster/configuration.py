"""Where the cluster is, and as whom we ask it: a kubeconfig, or the service account of the pod we run in."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

from cortex_jupyter.errors import NoCluster

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def configure(kubeconfig: str | None, context: str | None) -> tuple[Any, str, str]:
    """Read it; it takes half a second, and a credential plugin is a process that may take more.

    Returns
    -------
    kubernetes.aio.client.Configuration, str, str
        The namespace that it names, and what belongs behind the address of the cluster to tell it from others.

    Raises
    ------
    NoCluster
    """
    from kubernetes.aio import config  # noqa: PLC0415
    from kubernetes.aio.client.configuration import Configuration  # noqa: PLC0415

    configuration = Configuration()
    named = kubeconfig or os.environ.get("KUBECONFIG")
    paths = named or str(Path.home() / ".kube" / "config")
    there = any(Path(p).expanduser().exists() for p in paths.split(os.pathsep) if p)
    in_pod = not named and (_SERVICE_ACCOUNT / "token").exists()
    if not there and not in_pod:
        raise NoCluster(
            f"there is no kubeconfig at {paths}" + ("" if named else ", and this is not a pod of a cluster")
        )
    try:
        if not there:
            config.load_incluster_config(client_configuration=configuration)
            return configuration, (_SERVICE_ACCOUNT / "namespace").read_text().strip() or "default", _mark()
        load = config.load_kube_config(
            config_file=paths, context=context, client_configuration=configuration, persist_config=False
        )
        loader = asyncio.run(load)  # we are in a thread of our own, which has no loop
    except Exception as error:
        raise NoCluster(f"the kubeconfig {paths} cannot be used: {error}") from error
    return configuration, loader.current_context["context"].get("namespace") or "default", ""


def _mark() -> str:
    """Tell this pod's cluster from others with its address: each has a certificate authority of its own."""
    return "#" + hashlib.sha256((_SERVICE_ACCOUNT / "ca.crt").read_bytes().strip()).hexdigest()[:12]
