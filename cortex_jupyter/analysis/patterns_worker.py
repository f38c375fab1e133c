"""A process that finds the patterns of a recording's lines: `python -m cortex_jupyter.analysis.patterns_worker`.

It reads one line of JSON from its input and writes server-sent events: `progress`; then `patterns` with the patterns, their
counts over time, and the commonest values of the lines' fields; at the end `done` or `error`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.analysis.pattern_table import grep
from cortex_jupyter.analysis.patterns import patterns
from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.analysis.worker import read_newest, run
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.parsing.fields import MESSAGE
from cortex_jupyter.query.pattern import LONGEST, finder
from cortex_jupyter.reader.process import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from cortex_jupyter.store import Readable

#: Maximum number of lines, the newest ones, whose fields are counted. Each is parsed by itself.
_FIELD_LINES: Final = 200_000
#: Maximum number of patterns that are sent. Patterns of errors and warnings come in addition, up to the same number.
_PATTERNS: Final = 200
_BAD: Final = frozenset({"warning", "error", "critical"})
#: Maximum length of a pattern's text (characters).
_TEXT: Final = 400
#: Maximum number of fields, of different values counted for each field, and of values sent for each field.
_FIELDS, _DISTINCT, _VALUES = 60, 10_000, 8
#: Longer values (characters) are not listed.
_VALUE: Final = 120
#: Depth of a field in nested objects. A condition names such a field `a.b.c`.
_DEPTH: Final = 3
_FIELD: Final = re.compile(r"[A-Za-z_@][\w.@/-]*\Z", re.ASCII)
#: Shapes on which a filter is tried at most.
_SHAPES: Final = 5_000
#: Text before and after a pattern in a line, the narrowest first.
_EDGES: Final = ((r"^\s*", r"\s*$"), (r"\s", r"\s*$"), ('"', '"'), ("", r"\s*$"), (r"^\s*", ""), ("", ""))


def summarize(store: Readable, recording: int, query_s: float, emit: Callable[[bytes], object]) -> None:
    """Find the patterns of a recording's newest lines, and pass them on as events.

    Parameters
    ----------
    store : Readable
    recording : int
    query_s : float
        Time limit of reading (seconds).
    emit : callable
        Gets whole events. `progress` holds the numbers of lines read (`looked`) and of all lines (`lines`). `patterns`
        holds `patterns`: the columns of `log.patterns()` that a viewer shows, and `grep`, the filter for the lines of each;
        `left_out`, how many more there are; `from` and `to` (ns), the time of the counts; and `fields`, see `count_fields`.

    Raises
    ------
    TooMany
        The time was over before the lines were read.
    """
    table, progress, total = read_newest(store, recording, query_s, emit, "patterns")
    listed, left_out = _listed(table, progress.tick)
    newest = table["fields"].slice(max(0, len(table) - _FIELD_LINES))
    times = table["time"].cast(import_optional("pyarrow").int64())
    span = {"from": times[0].as_py(), "to": times[-1].as_py()} if len(times) else {"from": 0, "to": 0}
    emit(
        event(
            "patterns",
            patterns=listed,
            left_out=left_out,
            fields=count_fields(newest.to_pylist(), progress.tick),
            **span,
        )
    )
    emit(event("done", looked=len(table), lines=total))


def _listed(table: pa.Table, tick: Callable[[], object]) -> tuple[list[dict[str, Any]], int]:
    """Return the patterns that are sent, and how many are not."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    all_patterns = patterns(table, tick)
    for name in ("first", "last"):
        all_patterns = all_patterns.set_column(
            all_patterns.schema.get_field_index(name), name, all_patterns[name].cast(pa.int64())
        )
    bad = pc.fill_null(pc.is_in(all_patterns["level"], pa.array(_BAD, pa.string())), fill_value=False)
    is_sent = pc.or_(pc.less(pa.array(range(len(all_patterns)), pa.int64()), _PATTERNS), bad)
    sent = all_patterns.filter(is_sent).slice(0, 2 * _PATTERNS)
    filters = _filters(
        table["text"], sent["example"].to_pylist(), sent["pattern"].to_pylist(), sent["count"].to_pylist(), tick
    )
    rows = sent.select(("pattern", "count", "level", "first", "last", "pods", "counts", "times")).to_pylist()
    listed = [
        {**row, "pattern": row["pattern"][:_TEXT], "grep": regex} for row, regex in zip(rows, filters, strict=True)
    ]
    return listed, len(all_patterns) - len(listed)


def line_regex(pattern: str) -> str:
    r"""Return a regular expression that the lines of a pattern contain. That of a very long pattern has its beginning.

    Examples
    --------
    >>> line_regex("epoch <*> (of <*>) done")
    'epoch\\s+\\S+\\s+\\(of\\s+\\S+\\)\\s+done'
    """
    regex = grep(pattern)
    longest = LONGEST - max(len(before) + len(after) for before, after in _EDGES)
    return regex if len(regex) <= longest else regex[:longest].rpartition(r"\s+")[0]


def _filters(
    text: Any, examples: list[str], pattern_texts: list[str], counts: list[int], tick: Callable[[], object]
) -> list[str | None]:
    """Return for each pattern the filter that shows its lines, and as few others as possible; None if there is none."""
    by_shape = shapes(text)
    lines = text.take(import_optional("pyarrow").array(by_shape.first[:_SHAPES])).to_pylist()
    shape_counts: list[int] = by_shape.count[:_SHAPES].tolist()
    is_whole = len(by_shape.texts) <= _SHAPES
    filters: list[str | None] = []
    for example, pattern, count in zip(examples, pattern_texts, counts, strict=True):
        tick()
        regex = line_regex(pattern)
        candidates = [i for i, line in enumerate(lines) if re.search(regex, line)] if regex else []
        # The pattern of a traceback is that of its exception's line.
        if not candidates and not (regex and re.search(regex, example)):
            filters.append(None)
            continue
        best, fewest = regex, sum(shape_counts[i] for i in candidates)
        for before, after in _EDGES if is_whole and fewest > count else ():
            edged = before + regex + after
            find = re.compile(edged).search
            if not find(example):
                continue
            matched = sum(shape_counts[i] for i in candidates if find(lines[i]))
            if count <= matched < fewest:
                best, fewest = edged, matched
        filters.append(best if _is_allowed(best) else None)
    return filters


def _is_allowed(grep: str) -> bool:
    try:
        finder("grep", grep)
    except BadQuery:
        return False
    return True


def count_fields(documents: Iterable[str | None], tick: Callable[[], object] = int) -> list[dict[str, Any]]:
    """Count the values of the fields of lines, the most frequent fields first.

    Parameters
    ----------
    documents : iterable of str or None
        For each line its fields as JSON; None for a line without fields.
    tick : callable, optional
        Called for each line, to report progress.

    Returns
    -------
    list of dict
        `name`, in nested objects `a.b`; `lines`, how many have it; `distinct`, the number of different values; `values`, the
        commonest ones, each with its number of lines; `least` and `most`, if all values are numbers. The message is left out.

    Examples
    --------
    >>> count_fields(['{"status": 200, "user": {"name": "ann"}}', None, '{"status": 500, "msg": "no", "user": {"name": "ann"}}'])
    [{'name': 'user.name', 'lines': 2, 'distinct': 1, 'values': [['ann', 2]], 'least': None, 'most': None}, {'name': 'status', 'lines': 2, 'distinct': 2, 'values': [['200', 1], ['500', 1]], 'least': 200.0, 'most': 500.0}]
    """
    fields: dict[str, _Field] = {}
    for document in documents:
        tick()
        if document is not None:
            _add(fields, orjson.loads(document), "", 1)
    listed = [field.summary(name) for name, field in fields.items()]
    # Of fields in equally many lines, the one with fewer values tells more.
    return sorted(listed, key=lambda field: (-field["lines"], field["distinct"], field["name"]))[:_FIELDS]


class _Field:
    """The values of one field."""

    def __init__(self) -> None:
        self.lines = 0
        self.counts: Counter[str] = Counter()
        self.least, self.most, self.is_number = float("inf"), float("-inf"), True

    def add(self, value: object) -> None:
        self.lines += 1
        text = _value_text(value)
        if text in self.counts or len(self.counts) < _DISTINCT:
            self.counts[text] += 1
        number = _number(value)
        if number is None:
            self.is_number = False
        else:
            self.least, self.most = min(self.least, number), max(self.most, number)

    def summary(self, name: str) -> dict[str, Any]:
        values = [[text, count] for text, count in self.counts.most_common(_VALUES) if len(text) <= _VALUE]
        least, greatest = (self.least, self.most) if self.is_number else (None, None)
        return {
            "name": name,
            "lines": self.lines,
            "distinct": len(self.counts),
            "values": values,
            "least": least,
            "most": greatest,
        }


def _add(fields: dict[str, _Field], document: dict[str, Any], path: str, depth: int) -> None:
    for key, value in document.items():
        if isinstance(value, dict):
            if depth < _DEPTH:
                _add(fields, value, f"{path}{key}.", depth + 1)
        elif not isinstance(value, list) and (path or key not in MESSAGE):
            name = path + key
            if (field := fields.get(name)) is None:
                # A log with ids as keys has as many names as lines.
                if len(fields) >= 100 * _FIELDS or not _FIELD.match(name):
                    continue
                field = fields[name] = _Field()
            field.add(value)


def _value_text(value: object) -> str:
    """Return a value as conditions compare it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    run(summarize)
