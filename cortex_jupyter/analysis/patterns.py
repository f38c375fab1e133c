"""Find the patterns of a log's lines, with counts over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.bytefind import any_matches
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.line_patterns import LinePatterns
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Coded, Ints, Texts

#: Number of time intervals that occurrences are counted by.
BINS: Final = 32


@dataclass(slots=True)
class PatternsByLine:
    """The pattern of each line of a table.

    Parameters
    ----------
    code : numpy.ndarray
        For each line, the index of its pattern.
    texts : list of str
        The patterns.
    shape : numpy.ndarray
        For each line, the index of its shape. Lines of several shapes may have one pattern.
    """

    code: Ints
    texts: list[str]
    shape: Ints


def find_patterns(message: Texts) -> PatternsByLine:
    """Find the pattern of each line.

    Parameters
    ----------
    message : pyarrow.ChunkedArray of large_string
    """
    np, pc = import_optional("numpy"), import_optional("pyarrow.compute")
    if any_matches(message, "\r"):  # keep the last state of a progress bar
        message = pc.replace_substring_regex(pc.utf8_rtrim(message, "\r"), r"(?s)^.*\r", "")
    line_shapes, line_patterns = shapes(message), LinePatterns()
    order = np.argsort(-line_shapes.count, kind="stable")  # frequent shapes come first and determine the patterns
    pattern_of_shape = np.zeros(len(line_shapes.texts), np.int64)
    for shape in order.tolist():
        pattern_of_shape[shape] = line_patterns.add(line_shapes.texts[shape], int(line_shapes.count[shape]))
    texts = [pattern.text for pattern in line_patterns.all]
    # Two patterns may have become equal.
    names = list(dict.fromkeys(texts))
    same = (
        np.array([names.index(text) for text in texts] or [0])
        if len(names) < len(texts)
        else np.arange(max(1, len(texts)))
    )
    return PatternsByLine(
        same[pattern_of_shape][line_shapes.shape] if len(line_shapes.shape) else line_shapes.shape,
        names,
        line_shapes.shape,
    )


def patterns(table: pa.Table) -> pa.Table:
    """Count the patterns of a log.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.

    Returns
    -------
    pyarrow.Table
        `pattern`, `count`, `share` (of all lines), `level` (of most of its lines), `first`, `last` (times), `pods` (how
        many), `counts` (over time: `BINS` equal intervals from the log's first line to its last), `seq` (of the first
        line), `example` (that line); the most frequent first.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    line_patterns, n = find_patterns(table["message"]), table.num_rows
    pattern_count, code = len(line_patterns.texts), line_patterns.code
    time = table["time"].cast(pa.int64()).to_numpy()
    count = np.bincount(code, minlength=pattern_count)
    first, last = (np.zeros(pattern_count, np.int64) for _ in range(2))
    low, span = (int(time.min()), max(1, int(time.max() - time.min()))) if n else (0, 1)
    step = np.minimum((time - low) * BINS // span, BINS - 1)
    counts = np.bincount(code * BINS + step, minlength=pattern_count * BINS).reshape(pattern_count, BINS)
    early = np.full(pattern_count, n, np.int64)
    np.minimum.at(early, code, np.arange(n))
    if n:
        first, last = np.full(pattern_count, np.iinfo(np.int64).max), np.full(pattern_count, np.iinfo(np.int64).min)
        np.minimum.at(first, code, time)
        np.maximum.at(last, code, time)
    order = np.argsort(-count, kind="stable")
    moment = pa.timestamp("ns", "UTC")
    example = pa.array(early[order])
    return pa.table(
        {
            "pattern": pa.array([line_patterns.texts[i] for i in order.tolist()], pa.string()),
            "count": pa.array(count[order], pa.int64()),
            "share": pa.array(count[order] / max(1, n), pa.float64()),
            "level": _most_frequent_level(table["level"], code, pattern_count, order),
            "first": pa.array(first[order], pa.int64()).cast(moment),
            "last": pa.array(last[order], pa.int64()).cast(moment),
            "pods": pa.array(_distinct(table["pod"], code, pattern_count)[order], pa.int32()),
            "counts": pa.array(list(counts[order].astype(np.int32)), pa.list_(pa.int32())),
            "seq": table["seq"].take(example),
            "example": table["text"].take(example),
        }
    )


def _most_frequent_level(level: Coded, code: Ints, pattern_count: int, order: Ints) -> pa.StringArray:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    levels, names = coded(level)
    counts = np.bincount(code * len(names) + levels, minlength=pattern_count * len(names)).reshape(
        pattern_count, len(names)
    )
    return pa.array([names[i] for i in counts.argmax(axis=1)[order].tolist()], pa.string())


def _distinct(pod: Coded, code: Ints, pattern_count: int) -> Ints:
    np = import_optional("numpy")
    pods, names = coded(pod)
    has_line = np.zeros((pattern_count, len(names)), np.bool_)
    has_line[code, pods] = True
    return has_line.sum(axis=1)
