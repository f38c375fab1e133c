"""Turn the fields of JSON and logfmt lines into typed columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of every row besides its fields.
BASE_COLUMNS: Final = ("time", "seq", "pod", "level")
#: Only this many fields become columns, the most frequent: a log with ids as keys has as many keys as lines.
MAX_FIELDS: Final = 500


@dataclass(slots=True)
class Fields:
    """The fields of a log as columns.

    Parameters
    ----------
    table : pyarrow.Table
        A row per line that has fields: `time`, `seq`, `pod`, `level`, and the fields by name. A field that has one of
        those names gets an underscore at its end. Nested values are JSON text; null if nested deeper than 254.
    conflicts : dict
        Fields with values of several kinds, which become text, and the number of values of each kind.
    left_out : int
        How many different fields are beyond the 500 most frequent.
    """

    table: pa.Table
    conflicts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: int = 0


def fields(table: pa.Table) -> Fields:
    """Return the fields of a table's lines.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns of `BASE_COLUMNS` and `fields`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = pa.table({"time": [1, 2], "seq": [1, 2], "pod": ["a", "a"], "level": ["info", None], "fields": ['{"n":1}', '{"n":"x"}']})
    >>> found = fields(rows)
    >>> found.table["n"].to_pylist(), found.conflicts
    (['1', 'x'], {'n': {'int': 1, 'text': 1}})
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    rows = table.filter(pc.is_valid(table["fields"]))
    docs = [orjson.loads(text) for text in rows["fields"].to_pylist()]
    kinds: dict[str, Counter[str]] = {}
    for doc in docs:
        for name, value in doc.items():
            kinds.setdefault(name, Counter())[_kind(value)] += 1
    names = sorted(kinds, key=lambda name: -kinds[name].total())
    column_names = [name for name in kinds if name in set(names[:MAX_FIELDS])]
    columns = {name: rows[name] for name in BASE_COLUMNS}
    conflicts: dict[str, dict[str, int]] = {}
    for name in column_names:
        value_kinds = set(kinds[name]) - {"null"}
        if value_kinds == {"int", "float"}:
            value_kinds = {"float"}
        values = [doc.get(name) for doc in docs]
        if len(value_kinds) > 1:
            conflicts[name] = {kind: n for kind, n in kinds[name].items() if kind != "null"}
        columns[f"{name}_" if name in BASE_COLUMNS else name] = _column(pa, values, value_kinds)
    return Fields(pa.table(columns), conflicts, max(len(names) - MAX_FIELDS, 0))


def _column(pa: Any, values: list[Any], kinds: set[str]) -> Any:
    if len(kinds) == 1:
        kind = next(iter(kinds))
        types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
        if kind in types:
            try:
                return pa.array(
                    [None if v is None else float(v) if kind == "float" else v for v in values], types[kind]
                )
            except (OverflowError, pa.ArrowInvalid):  # beyond 63 bits
                return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([v if v is None or isinstance(v, str) else _text(v) for v in values], pa.large_string())


def _text(value: object) -> str | None:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested deeper than orjson writes, although it reads it
        return None


def _kind(value: object) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "text")):
        if isinstance(value, kind):
            return name
    return "nested"
