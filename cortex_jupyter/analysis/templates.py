"""What a log says over and over: its lines by template, with counts over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.templates import Templates
from cortex_jupyter.tables.schema import coded
from cortex_jupyter.tables.search import any_matches

#: Steps of time in which occurrences are counted.
BINS: Final = 32


@dataclass(slots=True)
class Templated:
    """The lines of a table, by template.

    Parameters
    ----------
    code : numpy.ndarray
        Of each line, the place of its template.
    texts : list of str
        The templates.
    """

    code: Any
    texts: list[str]


def templated(message: Any) -> Templated:
    """Find the template of each line.

    Parameters
    ----------
    message : pyarrow.ChunkedArray of large_string
    """
    np, pc = import_optional("numpy"), import_optional("pyarrow.compute")
    if any_matches(message, "\r"):  # of a bar what it showed last
        message = pc.replace_substring_regex(pc.utf8_rtrim(message, "\r"), r"(?s)^.*\r", "")
    found, templates = shapes(message), Templates()
    order = np.argsort(-found.count, kind="stable")  # what is frequent shapes the templates
    place = np.zeros(len(found.texts), np.int64)
    for shape in order.tolist():
        place[shape] = templates.add(found.texts[shape], int(found.count[shape]))
    texts = [template.text for template in templates.all]
    # Two templates may have come to read the same.
    names = list(dict.fromkeys(texts))
    same = (
        np.array([names.index(text) for text in texts] or [0])
        if len(names) < len(texts)
        else np.arange(max(1, len(texts)))
    )
    return Templated(same[place][found.shape] if len(found.shape) else found.shape, names)


def patterns(table: Any) -> Any:
    """Count the templates of a log.

    Parameters
    ----------
    table : pyarrow.Table
        Of records, as `to_arrow` gives it.

    Returns
    -------
    pyarrow.Table
        `pattern`, `count`, `share` (of all lines), `level` (that most of its lines have), `first`, `last` (times),
        `pods` (how many), `counts` (over time, `BINS` equal steps from the log's first line to its last), `seq` (of the
        first line), `example` (that line); the most frequent first.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    found, n = templated(table["message"]), table.num_rows
    many, code = len(found.texts), found.code
    time = table["time"].cast(pa.int64()).to_numpy()
    count = np.bincount(code, minlength=many)
    first, last = (np.zeros(many, np.int64) for _ in range(2))
    low, span = (int(time.min()), max(1, int(time.max() - time.min()))) if n else (0, 1)
    step = np.minimum((time - low) * BINS // span, BINS - 1)
    counts = np.bincount(code * BINS + step, minlength=many * BINS).reshape(many, BINS)
    early = np.full(many, n, np.int64)
    np.minimum.at(early, code, np.arange(n))
    if n:
        first, last = np.full(many, np.iinfo(np.int64).max), np.full(many, np.iinfo(np.int64).min)
        np.minimum.at(first, code, time)
        np.maximum.at(last, code, time)
    order = np.argsort(-count, kind="stable")
    moment = pa.timestamp("ns", "UTC")
    example = pa.array(early[order])
    return pa.table({
        "pattern": pa.array([found.texts[i] for i in order.tolist()], pa.string()),
        "count": pa.array(count[order], pa.int64()),
        "share": pa.array(count[order] / max(1, n), pa.float64()),
        "level": _most(table["level"], code, many, order),
        "first": pa.array(first[order], pa.int64()).cast(moment),
        "last": pa.array(last[order], pa.int64()).cast(moment),
        "pods": pa.array(_distinct(table["pod"], code, many)[order], pa.int32()),
        "counts": pa.array(list(counts[order].astype(np.int32)), pa.list_(pa.int32())),
        "seq": table["seq"].take(example),
        "example": table["text"].take(example),
    })  # fmt: skip


def _most(level: Any, code: Any, many: int, order: Any) -> Any:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    levels, names = coded(level)
    counts = np.bincount(code * len(names) + levels, minlength=many * len(names)).reshape(many, len(names))
    return pa.array([names[i] for i in counts.argmax(axis=1)[order].tolist()], pa.string())


def _distinct(pod: Any, code: Any, many: int) -> Any:
    np = import_optional("numpy")
    pods, names = coded(pod)
    seen = np.zeros((many, len(names)), np.bool_)
    seen[code, pods] = True
    return seen.sum(axis=1)
