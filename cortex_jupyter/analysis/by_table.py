"""Read the numbers in tables of several lines (`parsing.metric_tables`): only lines that may belong to one, in order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.by_shape import Values
from cortex_jupyter.archive.bytefind import regex_mask
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.metric_tables import MetricTables

if TYPE_CHECKING:
    from cortex_jupyter.archive.optional import Ints, Texts
    from cortex_jupyter.parsing.metric_tables import Row

#: The state of the tables of each stream of lines: by task, pod and the prefix of a launcher.
Tables = dict[tuple[str, str, str], MetricTables]

#: Maximum number of streams whose tables are remembered.
_STREAMS: Final = 10_000
_HEADER: Final = r"(?i:epochs?|(?:global_)?steps?|iter(?:ation)?s?|updates?|round|batch|class|(?:test |validat(?:e|ion) )?metrics?|e\s{2,}#)(?:\s{2,}|\t)"
_START: Final = r"^(?:\[\w+\]:\s?)*\s*"
#: Lines that may belong to a table, and those without which there is none, in RE2's syntax.
_LIKELY: Final = (
    rf"{_START}(?:[-|+=─-╿]|[0-9]+(?:/[0-9]+)?(?:\s{{2,}}|\t)|{_HEADER}|[A-Za-z_][\w/.-]*\s{{2,}}[-+]?[0-9.])"
)
_OPENING: Final = rf"{_START}(?:[|+]?[-+|:=─-╿]{{3}}|{_HEADER})"
_PREFIX: Final = re.compile(r"(?:\[\w*?(\d{0,6})\]:\s?)?(?:\[\w+\]:\s?)*")


def read_tables(text: Texts, rows: Ints, pods: Any, tasks: Any, tables: Tables) -> tuple[Values, bool]:
    """Read the rows of tables.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string
        The lines, each state of a progress bar as a line of its own.
    rows : array of int
        The record of each line.
    pods, tasks
        The columns of the records.
    tables : dict
        The state that earlier pieces left; it is updated.

    Returns
    -------
    Values
    bool
        Whether a line here names the step of rows that an earlier piece has returned.
    """
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    likely = np.flatnonzero(regex_mask(text, _LIKELY).to_numpy(zero_copy_only=False))
    lines = text.take(pa.array(likely)) if len(likely) else text.slice(0, 0)
    if not (len(lines) and (tables or pc.any(regex_mask(lines, _OPENING)).as_py())):
        return _values([]), False
    at = pa.array(rows[likely])
    sources = zip(*(column.take(at).cast(pa.string()).to_pylist() for column in (tasks, pods)), strict=True)
    rows_with_values: list[tuple[int, float, Row]] = []
    for line, (task, pod), line_text in zip(likely.tolist(), sources, lines.to_pylist(), strict=True):
        prefix = _PREFIX.match(line_text)
        end = prefix.end() if prefix else 0
        if len(tables) > _STREAMS:  # what looks like a launcher's prefix is an id
            tables.clear()
        key = (task, pod, line_text[:end])
        if (row := tables.setdefault(key, MetricTables()).read(line_text[end:])) is not None:
            rows_with_values.append((line, float(prefix[1]) if prefix and prefix[1] else float("nan"), row))
    late = [table.take() for table in tables.values()]
    return _values(rows_with_values), any(late)


def _values(rows_with_values: list[tuple[int, float, Row]]) -> Values:
    np = import_optional("numpy")
    codes: dict[str, int] = {}
    cells = [
        (line, codes.setdefault(name, len(codes)), value, row.step, row.epoch, rank)
        for line, rank, row in rows_with_values
        for name, value in row.values
    ]
    line, code, value, step, epoch, rank = zip(*cells, strict=True) if cells else ((),) * 6
    return Values(
        np.array(line, np.int64),
        np.array(code, np.int32),
        list(codes),
        *(np.array(column, np.float64) for column in (value, step, epoch, rank)),
    )


def merge(first: Values, second: Values) -> Values:
    """Return the values of both, in the order of the lines. If both read the same line, the values in `first` count."""
    np = import_optional("numpy")
    if not len(first.lines):
        return second
    keep = ~np.isin(second.lines, first.lines)
    names = {name: code for code, name in enumerate(dict.fromkeys([*first.names, *second.names]))}
    codes = [np.array([names[name] for name in part.names], np.int32) for part in (first, second)]
    lines = np.concatenate((first.lines, second.lines[keep]))
    order = np.argsort(lines, kind="stable")
    code = np.concatenate((codes[0][first.codes], codes[1][second.codes[keep]] if second.names else second.codes[keep]))
    rest = (np.concatenate((a, b[keep]))[order] for a, b in zip(first[3:], second[3:], strict=True))
    return Values(lines[order], code[order], list(names), *rest)
