"""Find the hyperparameters of two runs that differ: named values in their lines, without what a run measures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints

#: Limits on what is examined: characters of a line, shapes of lines, and lines of each shape.
_MAX_CHARACTERS: Final = 4000
_MAX_SHAPES: Final = 10_000
_MAX_LINES: Final = 60
#: Number of rows that become Python objects at once.
_PIECE: Final = 4096
_NAME: Final = r"[A-Za-z][\w./-]{0,60}"
#: `--name value` of a command line, `"name": value`, `name=value`; `name: value` only at the end of a line or before a
#: comma, because prose has colons too.
_PAIR: Final = re.compile(
    rf"""(?<![\w./-])(?:--(?P<flag>{_NAME})(?:=|[ ]+(?!-))|(?P<quote>["'])(?P<key>{_NAME})(?P=quote)[ ]?[:=][ ]?
    |(?P<name>{_NAME})[ ]?=[ ]?|(?P<title>[A-Za-z][\w./-]*(?:[ ][\w./-]+){{0,2}}):[ ]+(?=[^\s,;()\[\]{{}}]+\s*(?:,|\Z)))
    (?P<value>"[^"]{{1,80}}"|'[^']{{1,80}}'|[^\s,;()\[\]{{}}"'=]{{1,80}}(?![^\s,;()\[\]{{}}"']))""",
    re.VERBOSE,
)
#: The progress of a run, such as `step=3` or `Epoch 3/10`.
_COUNTER: Final = re.compile(
    r"(?i)(?<![\w/])(?:global_)?(?:step|epoch|iter|iteration|batch|round)[\s:=#\"\[]{1,4}(\d{1,12})"
)
_DIGITS: Final = re.compile(r"\d+")
#: A duration, a time, a date, an address, an id.
_NO_SETTING: Final = re.compile(
    r"[+-]?[\d.]+(?:ns|us|µs|ms|s|secs?|min|h)|.*\d:\d\d.*|.*\d{4}-\d\d-\d\d.*|0x[0-9a-fA-F]+|\d+\.\d+\.\d+\.\d+.*"
    r"|(?=.*\d)(?=.*[a-f])[0-9a-f]{7,}|[0-9a-f]{8}-[0-9a-f]{4}-.*"
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
#: The last word of a name that is a measurement, a time, or an id: `val_loss` is none of the settings, `loss_weight` is one.
_MEASURED: Final = re.compile(
    r"(?i)acc|accuracy|auc|bleu|errors?|loss(?:es)?|mae|metric|mse|norm|perplexity|ppl|precision|recall|reward|rmse|rouge|score"
    r"|allocated|available|free|mem|memory|reserved|speed|throughput|used|util|utilization"
    r"|date|duration|elapsed|eta|finished|latency|ms|secs?|seconds|started|times?|timestamp|took"
    r"|addr|address|epoch|host|hostname|ids?|ip|iter|iteration|node|pid|pod|port|rank|step|uid|uuid"
)


@dataclass(slots=True)
class _Setting:
    """A named value of one log.

    Parameters
    ----------
    values : dict
        Its values: as they are compared, and as they are written.
    first : tuple of int
        Row of the first line that has it, and its place in that line.
    is_given : bool
        It is written before the first step, or again and again in one container.
    """

    first: tuple[int, int]
    values: dict[object, str] = field(default_factory=dict)
    is_given: bool = False
    sources: set[int] = field(default_factory=set)


def differing_settings(
    tables: tuple[pa.Table, pa.Table], sources: tuple[Ints, Ints], shapes: tuple[Ints, Ints]
) -> pa.Table:
    """Return the hyperparameters that differ between two logs.

    A hyperparameter is a named value that a run is given: `lr=3e-4`, `"lr": 0.0003`, `lr: 3e-4`, `--lr 3e-4`. These rules
    tell it from what a run counts or measures:

    - It has one value in each log. A loss differs from line to line, a rank from pod to pod. If other lines have the name
      with other values (`optimizer lr=0.1`, `scheduler lr=5`), only equal lines are compared.
    - It is written before the first step: before a counter such as `step=1` or `epoch 1/10` has a second value. Or it is
      written in several lines of a container, always the same. A value that a log shows once, after the first step, is a
      result.
    - The last word of its name is not that of a measurement, a time or an id (`val_loss`, `load_time`, `run_id`), and its
      value is no duration, time, address or id.

    Parameters
    ----------
    tables : tuple of pyarrow.Table
        The records of both logs.
    sources, shapes : tuple of numpy.ndarray
        For each line its source, and the shape of its message (`shapes.Shapes.shape`).

    Returns
    -------
    pyarrow.Table
        `name`, `a`, `b` (the values as written), `line_a`, `line_b` (the first lines that have them), `seq_a`, `seq_b`;
        in the order of the first log.
    """
    pa = import_optional("pyarrow")
    a, b = (_settings(*log) for log in zip(tables, sources, shapes, strict=True))
    settings: dict[tuple[str, str, str], tuple[_Setting, _Setting]] = {}
    for key in sorted(a.keys() & b.keys(), key=lambda key: (a[key].first, key)):
        pair = (a[key], b[key])
        values = [setting.values for setting in pair]
        if all(s.is_given and len(s.values) == 1 for s in pair) and values[0].keys() != values[1].keys():
            [value_a], [value_b] = (v.values() for v in values)
            settings.setdefault((key[0], value_a, value_b), pair)
    ordered = sorted(settings.items(), key=lambda item: item[1][0].first)
    columns: dict[str, Any] = {
        "name": [name for (name, _, _), _ in ordered],
        "a": [value for (_, value, _), _ in ordered],
        "b": [value for (_, _, value), _ in ordered],
    }
    for run, (letter, table) in enumerate(zip("ab", tables, strict=True)):
        rows = [pair[run].first[0] for _, pair in ordered]
        columns[f"line_{letter}"] = [table["text"][row].as_py() for row in rows]
        columns[f"seq_{letter}"] = [table["seq"][row].as_py() for row in rows]
    kinds = {name: pa.int64() if name.startswith("seq") else pa.string() for name in columns}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def _settings(table: pa.Table, source: Ints, shape: Ints) -> dict[tuple[str, str], _Setting]:
    """Return the named values of a log, by name alone (with ""), and by name and line without its values."""
    np = import_optional("numpy")
    groups = _rows_by_shape(shape)
    texts = table["text"]
    start = _first_step(texts, shape, groups)
    examined = [rows[np.unique(np.linspace(0, len(rows) - 1, _MAX_LINES, dtype=np.int64))] for rows in groups]
    settings: dict[tuple[str, str], _Setting] = {}
    for row, text in _lines(texts, np.sort(np.concatenate(examined)) if examined else shape[:0]):
        pairs = list(_pairs(text))
        line = (
            _DIGITS.sub("#", _PAIR.sub(lambda match: match[0][: match.start("value") - match.start()], text))
            if pairs
            else ""
        )
        for position, (name, value) in enumerate(pairs):
            for key in ((name, ""), (name, line)):
                setting = settings.setdefault(key, _Setting((row, position)))
                setting.values.setdefault(_comparable(value), value)
                setting.is_given |= row < start or int(source[row]) in setting.sources
                setting.sources.add(int(source[row]))
    return settings


def _rows_by_shape(shape: Ints) -> list[Ints]:
    """Return the rows of each shape. Of very many shapes, only the first ones count."""
    np = import_optional("numpy")
    order = np.argsort(shape, kind="stable")
    bounds = np.flatnonzero(np.diff(shape[order])) + 1
    groups = np.split(order, bounds) if len(order) else []
    return sorted(groups, key=lambda rows: int(rows[0]))[:_MAX_SHAPES]


def _first_step(texts: Any, shape: Ints, groups: list[Ints]) -> int:
    """Return the first row where a counter in lines of one shape changes; the number of rows if none changes."""
    np = import_optional("numpy")
    # `epoch 1/1 step 5` has two counters, and only one of them counts.
    firsts = _lines(texts, np.array([rows[0] for rows in groups], np.int64))
    counts = {int(shape[row]): values for row, text in firsts if (values := _COUNTER.findall(text))}
    for row, text in _lines(texts, np.flatnonzero(np.isin(shape, list(counts)))):
        if (count := counts.get(int(shape[row]))) is None:
            continue
        values = _COUNTER.findall(text)
        if not values:
            del counts[int(shape[row])]
        elif values != count:
            return row
    return len(shape)


def _lines(texts: Any, rows: Ints) -> Iterator[tuple[int, str]]:
    """Yield rows, which ascend, with the beginnings of their texts."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    for begin in range(0, len(texts), _PIECE):
        first, end = np.searchsorted(rows, (begin, begin + _PIECE))
        if first < end:
            piece = rows[first:end]
            lines = texts.slice(begin, _PIECE).take(pa.array(piece - begin)).to_pylist()
            yield from zip(piece.tolist(), (line[:_MAX_CHARACTERS] for line in lines), strict=True)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the named values of a line that may be settings.

    Examples
    --------
    >>> list(_pairs("starting: Namespace(lr=3e-4, opt='adam') in 3.2 s took=3.2s val_loss=7 note: see --seed 7"))
    [('lr', '3e-4'), ('opt', 'adam'), ('seed', '7')]
    >>> list(_pairs('{"lr":0.1,"id":"x"}')), list(_pairs("  learning rate: 0.1"))
    ([('lr', '0.1')], [('learning rate', '0.1')])
    """
    for match in _PAIR.finditer(text):
        name = match["flag"] or match["key"] or match["name"] or match["title"]
        value = match["value"].strip("\"'").rstrip(".")
        words = _WORD.findall(name)
        if value and not _MEASURED.fullmatch(words[-1]) and not _NO_SETTING.fullmatch(value):
            yield name, value


def _comparable(value: str) -> object:
    """Return a value as it is compared: `3e-4` and `0.0003` are equal."""
    try:
        return float(value.replace("_", ""))
    except ValueError:
        return value
