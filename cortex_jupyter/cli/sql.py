"""`cortex-jupyter sql`: query logs with SQL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.cli.export import FORMULA
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.notebook.scan import scan

if TYPE_CHECKING:
    import argparse

    import pyarrow as pa


def run(options: argparse.Namespace) -> int:
    """Run a statement on the logs of tasks or files, and write its result."""
    if options.spreadsheet and options.output != "csv":
        raise BadQuery("--spreadsheet works with CSV only", "add -o csv")
    result = scan(options.tasks or None, namespace=options.namespace).sql(options.statement)
    if options.output == "text":
        result.show(max_rows=options.rows, max_width=10_000)
        return 0
    table = result.to_arrow_table()
    if options.output == "csv":
        table = _flat(table)
        if options.spreadsheet:
            table = _without_formulas(table)
        import_optional("pyarrow.csv").write_csv(table, sys.stdout.buffer)
        return 0
    for row in table.to_pylist():
        print(orjson.dumps(row, default=str).decode())
    return 0


def _flat(table: pa.Table) -> pa.Table:
    """Return a table with JSON instead of lists, structures and maps, which CSV cannot hold."""
    pa = import_optional("pyarrow")
    for i, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = table.column(i).to_pylist()
            if pa.types.is_map(field.type):  # pyarrow returns a map as pairs
                values = [value and dict(value) for value in values]
            texts = [None if value is None else _json(value) for value in values]
            table = table.set_column(i, field.name, pa.array(texts, pa.large_string()))
    return table


def _json(value: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _without_formulas(table: pa.Table) -> pa.Table:
    """Return a table with an apostrophe before each text that a spreadsheet would run as a formula."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            texts = table.column(i).cast(pa.large_string())
            quoted = pc.binary_join_element_wise(
                pa.scalar("'", pa.large_string()), texts, pa.scalar("", pa.large_string())
            )
            table = table.set_column(i, field.name, pc.if_else(pc.match_substring_regex(texts, FORMULA), quoted, texts))
    return table
