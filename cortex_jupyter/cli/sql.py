"""`cortex-jupyter sql`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.archive.extra import library
from cortex_jupyter.notebook.scan import scan

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Ask the logs of tasks, or of files, by SQL."""
    found = scan(options.tasks or None, namespace=options.namespace).sql(options.statement)
    if options.output == "text":
        found.show(max_rows=options.rows, max_width=10_000)
        return 0
    table = found.to_arrow_table()
    if options.output == "csv":
        library("pyarrow.csv").write_csv(table, sys.stdout.buffer)
        return 0
    for row in table.to_pylist():
        print(orjson.dumps(row, default=str).decode())
    return 0
