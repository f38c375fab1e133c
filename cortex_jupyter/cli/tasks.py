"""`cortex-jupyter tasks`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.notebook.tasklog import tasks

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """List the tasks of a namespace."""
    found = tasks(options.namespace, options.selector, kubeconfig=options.kubeconfig, context=options.context)
    if options.output == "json":
        print(orjson.dumps({"tasks": list(found)}).decode())
    elif found:
        print(found)
    else:
        print("no tasks here; -n names another namespace", file=sys.stderr)
    return 0
