"""`cortex-jupyter tasks`: list the tasks of a namespace."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.notebook.tasklog import tasks

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """List the tasks of a namespace."""
    table = tasks(options.namespace, options.selector, kubeconfig=options.kubeconfig, context=options.context)
    if options.output == "json":
        print(orjson.dumps({"tasks": list(table)}).decode())
    elif table:
        print(table)
    else:
        print("there are no tasks in this namespace; choose another with -n", file=sys.stderr)
    return 0
