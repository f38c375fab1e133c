"""A container's command, environment and working folder on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.process import search_path

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject

_VARIABLE = re.compile(r"\$\((\w+)\)")
_FIELD = re.compile(r"(\w+)\.(\w+)(?:\['(.+)'\])?")


def environment(pod: KubeObject, container: KubeObject, home: Path, port: int) -> dict[str, str]:
    """Return a container's environment variables; of this process's own, only the PATH is passed on.

    Parameters
    ----------
    pod, container : dict
        The pod and the container's spec. Its `env` may have a `value`, whose `$(NAME)` is expanded, or a `fieldRef`.
    home : Path
        The pod's folder.
    port : int
        The API's TCP port.
    """
    env = {
        "PATH": search_path(),
        "HOME": str(home),
        "HOSTNAME": pod["metadata"]["name"],
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
    }
    for item in container.get("env") or []:
        path = (item.get("valueFrom") or {}).get("fieldRef", {}).get("fieldPath")
        env[item["name"]] = field(pod, path) if path else expand(item.get("value") or "", env)
    return env


def expand(text: str, env: dict[str, str]) -> str:
    """Replace `$(NAME)`; an unknown name stays as it is.

    Examples
    --------
    >>> expand("$(A) $(B)", {"A": "1"})
    '1 $(B)'
    """
    return _VARIABLE.sub(lambda match: env.get(match[1], match[0]), text)


def field(pod: KubeObject, path: str) -> str:
    """Return a field of a pod as the downward API does.

    Examples
    --------
    >>> field({"metadata": {"labels": {"a/b": "c"}}}, "metadata.labels['a/b']")
    'c'
    """
    match = _FIELD.fullmatch(path)
    if not match:
        return ""
    value = (pod.get(match[1]) or {}).get(match[2]) or ""
    return str(value.get(match[3], "") if match[3] and isinstance(value, dict) else value)


def command(container: KubeObject, env: dict[str, str]) -> list[str]:
    """Return a container's command and arguments with `$(NAME)` expanded."""
    return [expand(part, env) for part in [*(container.get("command") or []), *(container.get("args") or [])]]


def folder(container: KubeObject, home: Path) -> Path:
    """Return the working folder: `workingDir` if this machine has it, else the pod's home."""
    working_dir = Path(container.get("workingDir") or home)
    return working_dir if working_dir.is_dir() else home
