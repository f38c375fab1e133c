"""What a container's command, environment and working folder are on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cortex_jupyter.sandbox.process import search_path

Object = dict[str, Any]
_VARIABLE = re.compile(r"\$\((\w+)\)")
_FIELD = re.compile(r"(\w+)\.(\w+)(?:\['(.+)'\])?")


def environment(pod: Object, container: Object, home: Path, port: int) -> dict[str, str]:
    """Give a container's environment; nothing of this process's own but the PATH is in it.

    Parameters
    ----------
    pod, container : dict
        Pod and the container's spec: `env` with `value` or a `fieldRef`, `$(NAME)` expanded.
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
    return _VARIABLE.sub(lambda found: env.get(found[1], found[0]), text)


def field(pod: Object, path: str) -> str:
    """Read a field as the downward API does.

    Examples
    --------
    >>> field({"metadata": {"labels": {"a/b": "c"}}}, "metadata.labels['a/b']")
    'c'
    """
    found = _FIELD.fullmatch(path)
    if not found:
        return ""
    value = (pod.get(found[1]) or {}).get(found[2]) or ""
    return str(value.get(found[3], "") if found[3] and isinstance(value, dict) else value)


def command(container: Object, env: dict[str, str]) -> list[str]:
    """Give a container's command and arguments, expanded."""
    return [expand(part, env) for part in [*(container.get("command") or []), *(container.get("args") or [])]]


def folder(container: Object, home: Path) -> Path:
    """Give the working folder: `workingDir` where this machine has it, else the pod's own."""
    wanted = Path(container.get("workingDir") or home)
    return wanted if wanted.is_dir() else home
