"""The fields of JSON and logfmt lines as columns with types of their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cortex_jupyter.archive.optional import import_optional

#: What every row has besides its fields.
WITH: Final = ("time", "seq", "pod", "level")
#: So many different fields become columns, the most frequent: a log whose keys are ids would have as many as lines.
MOST: Final = 500


@dataclass(slots=True)
class Fields:
    """Fields as columns.

    Parameters
    ----------
    table : pyarrow.Table
        A row per line that has fields: `time`, `seq`, `pod`, `level`, and the fields by name; one that is called as one
        of those has an underscore after it. What is nested is JSON, null where it is nested deeper than 254.
    conflicts : dict
        Fields with values of several kinds, which are text, and how many values there are of each kind.
    left_out : int
        Different fields beyond the 500 most frequent.
    """

    table: Any
    conflicts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: int = 0


def fields(table: Any) -> Fields:
    """Give the fields of a frame's lines.

    Parameters
    ----------
    table : pyarrow.Table
        With the columns of `WITH` and `fields`.

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
    kept = [name for name in kinds if name in set(names[:MOST])]
    columns = {name: rows[name] for name in WITH}
    conflicts: dict[str, dict[str, int]] = {}
    for name in kept:
        found = set(kinds[name]) - {"null"}
        if found == {"int", "float"}:
            found = {"float"}
        values = [doc.get(name) for doc in docs]
        if len(found) > 1:
            conflicts[name] = {kind: n for kind, n in kinds[name].items() if kind != "null"}
        columns[f"{name}_" if name in WITH else name] = _column(pa, values, found)
    return Fields(pa.table(columns), conflicts, max(len(names) - MOST, 0))


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


def _text(value: Any) -> str | None:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # deeper than orjson writes, though not than it reads
        return None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "text")):
        if isinstance(value, kind):
            return name
    return "nested"
