"""Read the numbers in lines by a user's own pattern."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cortex_jupyter.analysis.by_shape import Values
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.parsing import metrics as rules
from cortex_jupyter.query.pattern import finder

if TYPE_CHECKING:
    from cortex_jupyter.archive.optional import Flags, Floats, Texts


def read_by_pattern(text: Texts, pattern: str) -> Values:
    """Read the values that a pattern with named groups finds in lines.

    Raises
    ------
    BadQuery
        The pattern is invalid, or has no named group besides `step` and `rank`.
    """
    np = import_optional("numpy")
    finder("pattern", pattern)
    compiled = re.compile(pattern)
    groups = list(compiled.groupindex)
    if not set(groups) - {"step", "rank"}:
        raise BadQuery(
            f"pattern={pattern[:60]!r} names no value", r"name its groups: loss[=:]\s*(?P<loss>\S+).*step (?P<step>\d+)"
        )
    hits, rows = [], []
    for row, line in enumerate(text.to_pylist()):
        if match := compiled.search(line):
            hits.append(match.groupdict())
            rows.append(row)
    columns = {name: _floats([hit[name] for hit in hits]) for name in groups}
    none = np.full(len(rows), np.nan)
    names = [name for name in groups if name not in ("step", "rank")]
    name_count = len(names)
    values = np.stack([columns[name] for name in names], axis=1).reshape(-1)
    stated = np.stack([_stated(hits, name) for name in names], axis=1).reshape(-1)
    keep = np.flatnonzero(~np.isnan(values) | stated)
    codes = np.tile(np.arange(name_count), len(rows))
    each = (np.array(rows, np.int64), columns.get("step", none), none, columns.get("rank", none))
    lines, steps, epochs, ranks = (np.repeat(column, name_count)[keep] for column in each)
    return Values(lines, codes[keep], names, values[keep], steps, epochs, ranks)


def _floats(texts: list[str | None]) -> Floats:
    np = import_optional("numpy")
    return np.array([_float(text) for text in texts], np.float64)


def _float(text: str | None) -> float | None:
    if text is None:
        return None
    number = rules.number(text.rstrip(",;"))
    if number is not None:
        return number
    try:
        return float(text)
    except ValueError:
        return None


def _stated(hits: list[dict[str, str | None]], name: str) -> Flags:
    """Return which hits literally say NaN."""
    return import_optional("numpy").array(
        [(hit[name] or "").strip().lower().lstrip("+-") == "nan" for hit in hits], bool
    )
