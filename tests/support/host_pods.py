"""Pods of the collector, Hub service and Valkey server on the real cluster, which has no images of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from support.kube import IMAGE

import cortex_jupyter

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(cortex_jupyter.__file__).parents[1]
#: What the commands of the objects are on this machine.
_PROGRAMS = {"cortex-jupyter": [sys.executable, "-m", "cortex_jupyter.cli"], "python": [sys.executable]}


def _with_port(arguments: list[str], ports: Mapping[int, int]) -> list[str]:
    """Name the port of the Valkey server: it is the default one, so no command has it."""
    port = ports.get(6379)
    texts = {"valkey-server ": f"valkey-server --port {port} ", "valkey-cli ": f"valkey-cli -p {port} "}
    for old, new in texts.items():
        arguments = [argument.replace(old, new) for argument in arguments]
    return arguments


def on_this_machine(text: str, ports: Mapping[int, int]) -> str:
    """Let pods run this source tree and this machine's programs, and reach the API server on its loopback.

    Parameters
    ----------
    text : str
        The objects as YAML.
    ports : mapping
        Free ports in place of those that the objects name: the pods share the machine's network.
    """
    for port, free in ports.items():
        text = text.replace(str(port), str(free))
    objects = list(yaml.safe_load_all(text))
    for found in objects:
        if found["kind"] not in ("Deployment", "StatefulSet"):
            continue
        if found["kind"] == "Deployment":
            found["spec"]["strategy"] = {"type": "Recreate"}  # two pods cannot listen on the machine's one port
        pod = found["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        program, *arguments = container["command"]
        container["command"] = [*_PROGRAMS.get(program, [program]), *_with_port(arguments, ports)]
        for probe in ("readinessProbe", "livenessProbe"):
            if command := container[probe].get("exec"):
                command["command"] = _with_port(command["command"], ports)
        container |= {"image": IMAGE, "imagePullPolicy": "Never"}
        env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        env |= {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        container["env"] += [{"name": k, "value": v} for k, v in env.items()]
        wanted = {"/usr", "/lib", "/lib64", "/etc/ssl", sys.base_prefix, sys.prefix, str(ROOT)}
        if any(Path(path).stat().st_mode & 0o005 != 0o005 for path in wanted):
            # Only its owner can run a Python in a private folder. Root without capabilities cannot read other users' files.
            pod["securityContext"] |= {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0}
        pod["hostNetwork"] = True
        paths = sorted(p for p in wanted if not any(p.startswith(f"{other}/") for other in wanted))
        for i, path in enumerate(paths):
            pod["volumes"].append({"name": f"host{i}", "hostPath": {"path": path}})
            container["volumeMounts"].append({"name": f"host{i}", "mountPath": path, "readOnly": True})
    return yaml.safe_dump_all(objects)
