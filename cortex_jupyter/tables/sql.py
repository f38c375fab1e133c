"""Run SQL over logs with DuckDB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.tables.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

_COUNTED: Final = re.compile(r"count\s*\(\s*\*\s*\)", re.IGNORECASE)


def needed(text: str) -> Sequence[str]:
    """Return the columns that a statement may need; only those are read and computed.

    Examples
    --------
    >>> needed("select level, count(*) from log group by 1"), len(needed("from log"))
    (('level',), 17)
    """
    words = set(re.findall(r"\w+", text.lower()))
    rest = _COUNTED.sub("", text)
    if "*" in rest or "select" not in words or "columns" in words:
        return COLUMNS
    return tuple(name for name in COLUMNS if name in words) or ("seq",)


def run(text: str, name: str, table: Any) -> Any:
    """Run a statement over one table.

    Parameters
    ----------
    text : str
    name : str
        The table's name in the statement.
    table : pyarrow.Table
        `time` becomes a `TIMESTAMP` in UTC with microseconds: DuckDB has few functions for nanoseconds, and needs an
        extension from the network for time zones.

    Returns
    -------
    duckdb.DuckDBPyRelation
        It displays as a table; use `.df()`, `.pl()`, `.arrow()`, `.fetchall()`.

    Raises
    ------
    BadQuery
        DuckDB cannot run the statement; the message has DuckDB's error.
    MissingExtra
        duckdb is not installed.
    """
    pa, duckdb = import_optional("pyarrow"), import_optional("duckdb")
    if "time" in table.column_names:
        time = table["time"].cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.timestamp("us"))
        table = table.set_column(table.column_names.index("time"), "time", time)
    connection = duckdb.connect()
    connection.register(name, table)
    try:
        relation = connection.sql(text)
        if relation is not None:
            relation.columns  # noqa: B018 - binds the statement now, so that its error is raised here
    except duckdb.Error as error:
        raise BadQuery(
            f"DuckDB cannot run this: {error}", f"the table is {name!r}, its columns are {', '.join(COLUMNS)}"
        ) from error
    if relation is None:
        raise BadQuery("this statement returns no rows", f"select something, for instance `from {name} limit 10`")
    return relation
