"""Compare two logs: hyperparameters that differ, patterns of only one, where they diverge, what takes longer.

Patterns have numbers, ids and times masked.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.errors import line_sources
from cortex_jupyter.analysis.hyperparameters import differing_settings
from cortex_jupyter.analysis.patterns import find_patterns
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Floats, Ints

#: Lines shown before the first difference.
_CONTEXT: Final = 2
#: Maximum number of moments (see `_moments`) that are compared.
_MOMENTS: Final = 14
#: A difference of durations must be at least this many seconds to count as a change.
_LEAST_S: Final = 0.05
#: One duration must be at least this many times the other to count as a change.
_RATIO: Final = 1.2
#: A line must occur this often before its usual interval is computed.
_OFTEN: Final = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference between two logs.

    Parameters
    ----------
    a, b : dict or None
        The line of each log (`seq`, `time`, `pod`, `container`, `text`, `at` in seconds since its log's first line).
        None if the container run that is compared has no more lines in that log; others may have.
    before : list of str
        The lines before it in that container run of `a`, at most two. They are the same in both logs.
    """

    a: dict[str, Any] | None
    b: dict[str, Any] | None
    before: list[str]


@dataclass(slots=True)
class ComparisonData:
    """The result of `compare`."""

    hyperparameters: pa.Table
    patterns: pa.Table
    durations: pa.Table
    first: Difference | None
    moments: list[tuple[str, float, float]]
    density: tuple[list[int], list[int]]
    seconds: tuple[float, float]


def compare(a: pa.Table, b: pa.Table) -> ComparisonData:
    """Compare two logs.

    Parameters
    ----------
    a, b : pyarrow.Table
        Records, as `to_arrow` returns them.

    Returns
    -------
    ComparisonData
        `hyperparameters`: see `hyperparameters.differing_settings`. `patterns`: `pattern`, `count_a`, `count_b`, `in` (`a`, `b`, `both`), `level`, `first_a`, `first_b` (seconds
        since the log's first line), `example_a`, `example_b`; patterns of only one log come first. `durations`: `kind`
        (`run` for the whole log; `phase` between two moments that both logs pass; `every` for the usual interval of a
        recurring line), `what`, `a`, `b` (seconds), `ratio`; the largest difference first. `first`: where the logs
        diverge, or None.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    message, text = (
        pa.chunked_array([*a[name].chunks, *b[name].chunks], pa.large_string()) for name in ("message", "text")
    )

    def sources() -> Ints:
        of_a, of_b = line_sources(a), line_sources(b)
        return np.concatenate([of_a, of_b + of_a.max(initial=-1) + 1])

    line_patterns = find_patterns(message, text, sources)
    codes = (line_patterns.code[: a.num_rows], line_patterns.code[a.num_rows :])
    times = tuple(_since(table) for table in (a, b))
    pattern_count = len(line_patterns.texts)
    counts = [np.bincount(code, minlength=pattern_count) for code in codes]
    firsts = [_first(code, pattern_count) for code in codes]
    at = [
        np.array([t[i] if i < len(t) else np.nan for i in first.tolist()])
        for t, first in zip(times, firsts, strict=True)
    ]
    seconds_a, seconds_b = (float(t.max()) if len(t) else 0.0 for t in times)
    seconds = (seconds_a, seconds_b)
    moments = _moments(line_patterns.texts, counts, at)
    top = max(*seconds, 1e-9)
    above, below = (np.histogram(t, bins=120, range=(0, top))[0].tolist() for t in times)
    shapes = (line_patterns.shape[: a.num_rows], line_patterns.shape[a.num_rows :])
    return ComparisonData(
        differing_settings((a, b), (_sources(a)[0], _sources(b)[0]), shapes),
        _patterns((a, b), line_patterns.texts, counts, firsts, at),
        _durations(line_patterns.texts, codes, times, (a, b), counts, moments, seconds),
        _first_difference((a, b), codes, times),
        moments,
        (above, below),
        seconds,
    )


def _since(table: pa.Table) -> Floats:
    """Return for each line the seconds since the earliest line of its log."""
    pa = import_optional("pyarrow")
    time = table["time"].cast(pa.int64()).to_numpy()
    return (time - time.min()) / 1e9 if len(time) else time.astype(float)


def _first(code: Ints, pattern_count: int) -> Ints:
    np = import_optional("numpy")
    first = np.full(pattern_count, len(code), np.int64)
    np.minimum.at(first, code, np.arange(len(code)))
    return first


def _patterns(
    tables: tuple[pa.Table, pa.Table], texts: list[str], counts: list[Ints], firsts: list[Ints], at: list[Floats]
) -> pa.Table:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    where = np.where(counts[1] == 0, "a", np.where(counts[0] == 0, "b", "both"))
    order = np.lexsort((-(counts[0] + counts[1]), where == "both"))

    def of(table: Any, column: str, first: Any) -> Any:
        rows = pa.array(first[order], mask=first[order] >= table.num_rows)
        return table[column].take(rows).combine_chunks().cast(pa.large_string())

    levels = [of(table, "level", first) for table, first in zip(tables, firsts, strict=True)]
    return pa.table(
        {
            "pattern": pa.array([texts[i] for i in order.tolist()], pa.string()),
            "count_a": pa.array(counts[0][order], pa.int64()),
            "count_b": pa.array(counts[1][order], pa.int64()),
            "in": pa.array(where[order].tolist(), pa.string()),
            "level": import_optional("pyarrow.compute").coalesce(*levels).cast(pa.string()),
            "first_a": pa.array(at[0][order], pa.float64(), from_pandas=True),
            "first_b": pa.array(at[1][order], pa.float64(), from_pandas=True),
            "example_a": of(tables[0], "text", firsts[0]),
            "example_b": of(tables[1], "text", firsts[1]),
        }
    )


def _moments(texts: list[str], counts: list[Ints], at: list[Floats]) -> list[tuple[str, float, float]]:
    """Return moments that both logs pass in the same order: the first lines of patterns that are rare in both."""
    np = import_optional("numpy")
    if not texts:
        return []
    rare = (
        (counts[0] > 0)
        & (counts[1] > 0)
        & (np.maximum(counts[0], counts[1]) <= max(10, int(np.median(counts[0] + counts[1]))))
    )
    moments, reached = [], -1.0
    for code in sorted(np.flatnonzero(rare).tolist(), key=lambda c: (at[0][c], at[1][c])):
        if at[1][code] >= reached:
            moments.append((texts[code], float(at[0][code]), float(at[1][code])))
            reached = at[1][code]
    if len(moments) > _MOMENTS:  # keep those after the longest gaps, where most time was spent
        gaps = [max(y[1] - x[1], y[2] - x[2]) for x, y in itertools.pairwise(moments)]
        slowest = sorted(range(1, len(moments)), key=lambda i: -gaps[i - 1])[: _MOMENTS - 1]
        moments = [moments[0], *(moments[i] for i in sorted(slowest))]
    return moments


def _durations(
    texts: list[str],
    codes: tuple[Ints, Ints],
    times: tuple[Floats, ...],
    tables: tuple[pa.Table, pa.Table],
    counts: list[Ints],
    moments: list[tuple[str, float, float]],
    seconds: tuple[float, float],
) -> pa.Table:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    rows: list[tuple[float, str, str, float, float]] = []
    if max(seconds) > 0:
        rows.append((abs(seconds[1] - seconds[0]) + 1e9, "run", "the whole log", *seconds))
    for (x, xa, xb), (y, ya, yb) in itertools.pairwise(moments):
        if _changed(ya - xa, yb - xb):
            rows.append((abs((yb - xb) - (ya - xa)), "phase", f"{x} → {y}", ya - xa, yb - xb))
    usual = [_usual_interval(code, t, table, len(texts)) for code, t, table in zip(codes, times, tables, strict=True)]
    for code in np.flatnonzero((counts[0] >= _OFTEN) & (counts[1] >= _OFTEN)).tolist():
        a, b = float(usual[0][code]), float(usual[1][code])
        if a == a and b == b and max(a, b) / max(min(a, b), 1e-9) >= _RATIO and abs(a - b) >= 0.001:  # noqa: PLR0124 - NaN
            rows.append((abs(b - a) * min(counts[0][code], counts[1][code]), "every", texts[code], a, b))
    rows.sort(key=lambda row: -row[0])
    names = ("kind", "what", "a", "b")
    columns = list(zip(*(row[1:] for row in rows), strict=True)) or [(), (), (), ()]
    kinds = (pa.string(), pa.string(), pa.float64(), pa.float64())
    arrays = {n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}
    ratio = [b / a if a > 0 else None for a, b in zip(columns[2], columns[3], strict=True)]
    return pa.table({**arrays, "ratio": pa.array(ratio, pa.float64())})


def _changed(a: float, b: float) -> bool:
    return abs(a - b) >= _LEAST_S and max(a, b) >= _RATIO * max(min(a, b), 1e-9)


def _usual_interval(code: Ints, time: Floats, table: pa.Table, pattern_count: int) -> Floats:
    """Return for each pattern the median interval between two of its lines in one source."""
    np = import_optional("numpy")
    source = _sources(table)[0]
    order = np.lexsort((time, source, code))
    same = (np.diff(code[order]) == 0) & (np.diff(source[order]) == 0)
    pauses, of = np.diff(time[order])[same], code[order][1:][same]
    medians = np.full(pattern_count, np.nan)
    bounds = np.searchsorted(of, np.arange(pattern_count + 1))
    for pattern in range(pattern_count):
        if bounds[pattern + 1] - bounds[pattern] >= _OFTEN - 1:
            medians[pattern] = np.median(pauses[bounds[pattern] : bounds[pattern + 1]])
    return medians


def _sources(table: pa.Table) -> tuple[Ints, list[tuple[str, str, int]]]:
    """Return each line's source index, and each source as (container, pod, run)."""
    np = import_optional("numpy")
    pods, pod_names = coded(table["pod"])
    containers, container_names = coded(table["container"])
    runs = table["run"].to_numpy()
    key = (pods * len(container_names) + containers) * (int(runs.max()) + 1 if len(runs) else 1) + runs
    _, first, source = np.unique(key, return_index=True, return_inverse=True)
    names = [(container_names[containers[i]] or "", pod_names[pods[i]] or "", int(runs[i])) for i in first.tolist()]
    return source, names


def _first_difference(
    tables: tuple[pa.Table, pa.Table], codes: tuple[Ints, Ints], times: tuple[Floats, ...]
) -> Difference | None:
    """Return the earliest difference between corresponding sources, by the time since each source began.

    Pods start when there is room for them. If times were measured from the beginning of the log, a pod that started late
    would seem to diverge late.
    """
    np = import_optional("numpy")
    sources = [_sources(table) for table in tables]
    paired = _pair_sources(sources[0][1], sources[1][1])
    best: tuple[float, Difference] | None = None
    for source_a, source_b in paired:
        rows = [
            np.flatnonzero(source == number) if number >= 0 else np.zeros(0, np.int64)
            for (source, _), number in zip(sources, (source_a, source_b), strict=True)
        ]
        n = min(map(len, rows))
        unlike = np.flatnonzero(codes[0][rows[0][:n]] != codes[1][rows[1][:n]])
        at = int(unlike[0]) if len(unlike) else n
        if at >= len(rows[0]) and at >= len(rows[1]):
            continue
        lines = [
            _line(t, r, int(row[at])) if at < len(row) else None for t, r, row in zip(tables, times, rows, strict=True)
        ]
        when = min(
            float(line["at"] - t[row[0]]) for line, t, row in zip(lines, times, rows, strict=True) if line is not None
        )
        before = [str(tables[0]["text"][int(i)].as_py()) for i in rows[0][max(0, at - _CONTEXT) : at]]
        if best is None or when < best[0]:
            best = (when, Difference(lines[0], lines[1], before))
    return best[1] if best else None


def _pair_sources(a: list[tuple[str, str, int]], b: list[tuple[str, str, int]]) -> list[tuple[int, int]]:
    """Pair sources: same container and run; pods in the order of their names, whose ids at the end do not count."""

    def ranked(names: list[tuple[str, str, int]]) -> dict[tuple[str, int, int], int]:
        order = sorted(
            range(len(names)), key=lambda i: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", names[i][1])]
        )
        last_rank: dict[tuple[str, int], int] = {}
        ranked_sources = {}
        for i in order:
            container, _, run = names[i]
            rank = last_rank[container, run] = last_rank.get((container, run), -1) + 1
            ranked_sources[container, run, rank] = i
        return ranked_sources

    ranked_a, ranked_b = ranked(a), ranked(b)
    return [(ranked_a.get(key, -1), ranked_b.get(key, -1)) for key in {**ranked_a, **ranked_b}]


def _line(table: pa.Table, times: Floats, row: int) -> dict[str, Any]:
    record = table.slice(row, 1)
    line = {name: record[name][0].as_py() for name in ("seq", "time", "pod", "container", "text")}
    return line | {"at": float(times[row])}
