"""Find the patterns of a log's lines, with counts over time.

A traceback, a table and all states of a progress bar are one pattern each; of other lines see `parsing.line_patterns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.errors import line_sources
from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.bytefind import any_matches
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.blocks import Blocks
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.grammars import begin
from cortex_jupyter.parsing.headers import header_sizes, without_tokens
from cortex_jupyter.parsing.line_patterns import find_line_patterns, ticked
from cortex_jupyter.parsing.metrics import MARK
from cortex_jupyter.parsing.progress import progress
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Coded, Flags, Ints, Texts

#: Number of time intervals that occurrences are counted by.
BINS: Final = 32
#: Number of lines of a source that are read at once for a traceback.
_PIECE: Final = 256
#: What encloses a row of a table, and a line above or below its rows. A table has at least `_ROWS` lines.
_BARS: Final = frozenset("|│┃║")
_RULE: Final = re.compile(r"\s*[-─━═=+|├┤└┘┌┐╭╮╰╯┏┓┗┛┡┩╞╡╘╛╒╕╔╗╚╝╟╢╠╣┬┴┼╋┿╇╪┳┻╤╧]{4,}\s*\Z")
_ROWS: Final = 3
_ROW, _LINE = 2, 1
#: A stack frame of Java or JavaScript: only with it is the line above known as the first of a traceback.
_CALL: Final = re.compile(r"\s+at \S")


@dataclass(slots=True)
class PatternsByLine:
    """The pattern of each line of a table.

    Parameters
    ----------
    code : numpy.ndarray
        For each line, the index of its pattern.
    texts : list of str
        The patterns. The pattern of a traceback is that of its exception's line, that of a table its first row.
    shape : numpy.ndarray
        For each line, the index of its shape. Lines of several shapes may have one pattern.
    times : numpy.ndarray
        For each pattern, how often it occurred. A traceback or a table counts once.
    is_traceback : numpy.ndarray
        For each pattern, whether most of its lines belong to tracebacks.
    """

    code: Ints
    texts: list[str]
    shape: Ints
    times: Ints
    is_traceback: Flags


def find_patterns(
    message: Texts, text: Texts, source: Callable[[], Ints], tick: Callable[[], object] = int
) -> PatternsByLine:
    """Find the pattern of each line.

    Parameters
    ----------
    message, text : pyarrow.ChunkedArray of large_string
    source : callable
        Returns for each line a number that identifies its run of a container and its stream. It is called only if a
        line may be that of a traceback or a table.
    tick : callable, optional
        Called often, to report progress: millions of distinct lines take minutes.
    """
    np, pa, pc = import_optional("numpy"), import_optional("pyarrow"), import_optional("pyarrow.compute")
    if any_matches(message, "\r"):  # keep the last state of a progress bar
        message = pc.replace_substring_regex(pc.utf8_rtrim(message, "\r"), r"(?s)^.*\r", "")
    line_shapes = shapes(message, stems=True)
    shape = line_shapes.shape
    if len(shape) == 0:
        return PatternsByLine(shape, [], shape, shape, shape > 0)
    examples = _rows(message, line_shapes.first)
    lines = [plain(line) for line in ticked(_rows(text, line_shapes.first), tick)]
    # Lines of tracebacks and tables count as their title, whatever they say.
    title_of_row, title_counts, tables = _titles(lines, shape, text, source, tick)
    titles = list(title_counts)
    item = shape
    if len(title_of_row):
        item = shape.copy()
        item[list(title_of_row)] = np.fromiter(title_of_row.values(), np.int64) + len(lines)
    count = np.bincount(item, minlength=len(lines) + len(titles))
    is_cut = [
        len(example) < len(line) and line.endswith(example) for example, line in zip(examples, lines, strict=True)
    ]
    used = np.flatnonzero(count[: len(lines)]).tolist()
    sizes = header_sizes([examples[i] for i in used], count[used].tolist(), [is_cut[i] for i in used], tick)
    texts = [without_tokens(line_shapes.texts[i], size) for i, size in ticked(zip(used, sizes, strict=True), tick)]
    bar_of_label: dict[str, int] = {}
    for position in ticked(
        np.argsort(-count[used], kind="stable").tolist(), tick
    ):  # the most frequent state stands for a bar
        if (bar := progress(examples[used[position]])) is not None:
            label = re.sub(r"\d+", MARK, bar.label)
            texts[position] = texts[bar_of_label.setdefault(label, position)]
    title_shapes = shapes(pa.array(titles, pa.large_string()), stems=True)
    texts += [title_shapes.texts[i] for i in title_shapes.shape.tolist()]
    used += range(len(lines), len(lines) + len(titles))
    codes, names = find_line_patterns(texts, count[used].tolist(), tick)
    pattern_of_item = np.zeros(len(count), np.int64)
    pattern_of_item[used] = codes
    line_count = np.bincount(pattern_of_item[item], minlength=len(names))
    times, traceback_lines = line_count.copy(), np.zeros(len(names), np.int64)
    for code, title, rows in zip(pattern_of_item[len(lines) :], titles, count[len(lines) :], strict=True):
        times[code] -= rows - title_counts[title]
        traceback_lines[code] += 0 if title in tables else rows
    return PatternsByLine(pattern_of_item[item], names, shape, times, 2 * traceback_lines > line_count)


def _titles(
    lines: list[str], shape: Ints, text: Texts, source: Callable[[], Ints], tick: Callable[[], object]
) -> tuple[dict[int, int], dict[str, int], set[str]]:
    """Find tracebacks and tables by their titles.

    Return for each row of one the index of its title; how many there are of each title; and the titles of tables.

    Parameters
    ----------
    lines : list of str
        The first line of each shape.
    shape : numpy.ndarray
        For each row, its shape.
    text, source, tick
        As for `find_patterns`.
    """
    np = import_optional("numpy")
    begins = np.array([begin(line) is not None for line in ticked(lines, tick)])
    calls = np.array([_CALL.match(line) is not None for line in lines])
    cells = np.array([_ROW if _is_row(line) else _LINE if _RULE.match(line) else 0 for line in lines], np.int8)
    title_of_row: dict[int, int] = {}
    numbers: dict[str, int] = {}
    counts: dict[str, int] = {}
    tables: set[str] = set()
    if not (begins.any() or calls.any() or (cells == _ROW).any()):
        return title_of_row, counts, tables
    sources = source()
    order = np.argsort(sources, kind="stable")
    shape = shape[order]
    changes = np.flatnonzero(np.diff(sources[order])) + 1
    ends = np.append(changes, len(sources))
    starts = np.flatnonzero(begins[shape])
    above = np.flatnonzero(calls[shape])
    above = above[~np.isin(above, changes) & (above > 0)] - 1
    end = 0
    for start in ticked(np.union1d(starts, above[~calls[shape[above]]]).tolist(), tick):
        if start < end:
            continue
        limit = int(ends[np.searchsorted(ends, start, "right")])
        parser, blocks, end = Blocks(), [], start
        while end < limit:
            for line in _rows(text, order[end : min(end + _PIECE, limit)]):
                end += 1
                if (block := parser.feed(0, line)) is not None:
                    blocks.append(block)
                if end > start + 1 and not parser.is_open:
                    break
            else:
                continue
            break
        for block in [*blocks, *parser.close()]:
            number = numbers.setdefault(block.title, len(numbers))
            counts[block.title] = counts.get(block.title, 0) + 1
            title_of_row.update((int(order[start + row]), number) for row in block.rows)
    for rows in _runs(cells[shape], set(changes.tolist())):
        if (
            len(rows) >= _ROWS
            and (header := next((row for row in rows if cells[shape[row]] == _ROW), None)) is not None
        ):
            title = " ".join(lines[shape[header]].split())
            number = numbers.setdefault(title, len(numbers))
            counts[title] = counts.get(title, 0) + 1
            tables.add(title)
            title_of_row.update((int(order[row]), number) for row in rows)
    return title_of_row, counts, tables


def _is_row(line: str) -> bool:
    text = line.strip()
    return len(text) > 1 and text[0] in _BARS and text[-1] in _BARS and any(map(str.isalnum, text))


def _rows(column: Texts, rows: Ints) -> list[str]:
    """Return the values of some rows, in ascending order. `ChunkedArray.take` would copy the whole column."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    result: list[str] = []
    offset = 0
    for chunk in column.chunks:
        start, stop = np.searchsorted(rows, (offset, offset + len(chunk)))
        if stop > start:
            result += chunk.take(pa.array(rows[start:stop] - offset)).to_pylist()
        offset += len(chunk)
    return result


def _runs(cells: Ints, changes: set[int]) -> Iterator[list[int]]:
    """Yield the runs of positions that are not 0, none across a change of the source."""
    rows: list[int] = []
    for row in import_optional("numpy").flatnonzero(cells).tolist():
        if rows and (row != rows[-1] + 1 or row in changes):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def patterns(table: pa.Table, tick: Callable[[], object] = int) -> pa.Table:
    """Count the patterns of a log.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.
    tick : callable, optional
        As for `find_patterns`.

    Returns
    -------
    pyarrow.Table
        `pattern`, `count` (of lines), `share` (of all lines), `level` (of most of its lines; that of a traceback is an
        error), `first`, `last` (times), `pods` (how many), `counts` (over time: `BINS` equal intervals from the log's first
        line to its last), `seq` (of the first line), `example` (that line), `times` (how often it occurred: a traceback or a
        table counts once); the most frequent first.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    line_patterns = find_patterns(table["message"], table["text"], lambda: line_sources(table), tick)
    n = table.num_rows
    pattern_count, code = len(line_patterns.texts), line_patterns.code
    time = table["time"].cast(pa.int64()).to_numpy()
    count = np.bincount(code, minlength=pattern_count)
    first, last = (np.zeros(pattern_count, np.int64) for _ in range(2))
    low, span = (int(time.min()), max(1, int(time.max() - time.min()))) if n else (0, 1)
    step = np.minimum(((time - low) / span * BINS).astype(np.int64), BINS - 1)  # as integers, years would overflow
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
            "level": _most_frequent_level(table["level"], line_patterns, order),
            "first": pa.array(first[order], pa.int64()).cast(moment),
            "last": pa.array(last[order], pa.int64()).cast(moment),
            "pods": pa.array(_distinct(table["pod"], code, pattern_count)[order], pa.int32()),
            "counts": pa.array(list(counts[order].astype(np.int32)), pa.list_(pa.int32())),
            "seq": table["seq"].take(example),
            "example": table["text"].take(example),
            "times": pa.array(line_patterns.times[order], pa.int64()),
        }
    )


def _most_frequent_level(level: Coded, line_patterns: PatternsByLine, order: Ints) -> pa.StringArray:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    (levels, names), pattern_count = coded(level), len(line_patterns.texts)
    counts = np.bincount(line_patterns.code * len(names) + levels, minlength=pattern_count * len(names)).reshape(
        pattern_count, len(names)
    )
    most_frequent = [names[i] for i in counts.argmax(axis=1).tolist()]
    # As in the viewer, a traceback is an error, although its lines name no level.
    bad = [
        "error" if is_bad and name != "critical" else name
        for name, is_bad in zip(most_frequent, line_patterns.is_traceback, strict=True)
    ]
    return pa.array([bad[i] for i in order.tolist()], pa.string())


def _distinct(pod: Coded, code: Ints, pattern_count: int) -> Ints:
    np = import_optional("numpy")
    pods, names = coded(pod)
    has_line = np.zeros((pattern_count, len(names)), np.bool_)
    has_line[code, pods] = True
    return has_line.sum(axis=1)
