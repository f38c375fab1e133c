"""See, keep and analyse the logs of Kubernetes tasks from a notebook, and lose none of them.

    import cortex_jupyter as cortex

    cortex.tasks(namespace="ml")        # a table of tasks
    cortex.search("CUDA out of memory") # the lines of all tasks that match
    log = cortex.logs("train-1")        # shows the live viewer when it is a cell's value
    log.to_pandas()

Each name is loaded when it is first used. Importing the package therefore takes a few milliseconds and loads no
Kubernetes client, pandas or Jupyter Server, so every server and kernel can afford it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cortex_jupyter._version import __version__

if TYPE_CHECKING:
    from cortex_jupyter.notebook.magic import load_ipython_extension
    from cortex_jupyter.notebook.search import search
    from cortex_jupyter.notebook.tasklog import TaskLog, logs, tasks

_LAZY = {
    "TaskLog": "cortex_jupyter.notebook.tasklog",
    "open": "cortex_jupyter.notebook.open_file",
    "scan": "cortex_jupyter.notebook.scan",
    "logs": "cortex_jupyter.notebook.tasklog",
    "search": "cortex_jupyter.notebook.search",
    "tasks": "cortex_jupyter.notebook.tasklog",
    "load_ipython_extension": "cortex_jupyter.notebook.magic",
    "errors": "",
}

__all__ = ["TaskLog", "__version__", "load_ipython_extension", "logs", "open", "scan", "search", "tasks"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _LAZY[name]
    return getattr(import_module(module), name) if module else import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    # Inside the function: importing Jupyter Server's ExtensionApp takes seconds, and only a server needs it.
    from cortex_jupyter.server.app import CortexJupyter

    return [{"module": "cortex_jupyter", "app": CortexJupyter}]
