"""The numbers that a log reports, as one tidy frame: a row per value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from cortex_jupyter.archive.extra import library
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.frames.shapes import Shapes, shapes
from cortex_jupyter.parsing import metrics as rules
from cortex_jupyter.parsing.fields import ESCAPES
from cortex_jupyter.parsing.pattern import finder

#: May report a number, or begins an epoch; in RE2's syntax.
_LIKELY: Final = r"[^0-9 \t][ \t]*[=:][\[( \t]*[-+.]?(?:[0-9]|[nN]a[nN]|[iI]nf)|(?i:epoch)|\|[ \t]*[A-Za-z].* [0-9]|\t[A-Za-z].*[0-9]"
_PLAIN: Final = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"
_RANK: Final = re.compile(r"(?:rank)?(\d{1,6})\Z")


@dataclass(slots=True)
class Carried:
    """What the lines of a source take over from those before them, where a log is read in pieces.

    Parameters
    ----------
    epochs : dict
        By task and pod: the time (ns) of the line that began the epoch, and the epoch.
    ranks : dict
        By task and pod.
    """

    epochs: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    ranks: dict[tuple[str, str], float] = field(default_factory=dict)


def metrics(
    table: Any,
    names: tuple[str, ...] = (),
    *,
    pattern: str | None = None,
    path: str | None = None,
    carried: Carried | None = None,
) -> Any:
    r"""Find the numbers that lines report.

    Parameters
    ----------
    table : pyarrow.Table
        Of records, as `to_arrow` gives it.
    names : tuple of str, optional
        Only these; globs.
    pattern : str, optional
        A regular expression with named groups, in place of the known forms: a group is a value of its name; `step`
        is the step.
    path : str, optional
        Only fields of JSON lines below this one, `train.loss` or `$.train`.
    carried : Carried, optional
        Of the pieces before; what the next one takes over is noted in it.

    Returns
    -------
    pyarrow.Table
        `time` (ns, UTC), `step` (float, null where the line names none and no epoch has begun), `name`, `value` (float),
        `task`, `pod`, `rank` (of distributed training: as lines say it, else the pod's index), `seq`; in the order of
        the log.

    Raises
    ------
    BadQuery
        `pattern` cannot be understood or has no named group.
    MissingExtra
        There is no pyarrow or no numpy.
    """
    pc, np = library("pyarrow.compute"), library("numpy")
    text, rows = _lines(table)
    if pattern is not None:
        found = _matched(text, pattern)
    else:
        likely = pc.match_substring_regex(text, _LIKELY)
        text, rows = text.filter(likely), rows[likely.to_numpy(zero_copy_only=False)]
        found = _read(shapes(text), path)
    lines, codes, said, values, steps, epochs, ranks = found
    order = np.argsort(lines, kind="stable")
    tidy = _tidy(table, rows, lines, order, codes, said, values, steps, epochs, ranks, carried)
    if not names:
        return tidy
    wanted = np.array([any(fnmatchcase(name, glob) for glob in names) for name in said], np.bool_)
    return tidy.filter(library("pyarrow").array(wanted[codes[order]]))


def _lines(table: Any) -> tuple[Any, Any]:
    """Give the texts without colours, a progress bar's states one by one, and the row of each."""
    pc, np = library("pyarrow.compute"), library("numpy")
    text = table["text"]
    if pc.any(pc.match_substring(text, "\x1b"), min_count=0).as_py():
        text = pc.replace_substring_regex(text, ESCAPES, "")
    rows = np.arange(len(text))
    if pc.any(pc.match_substring(text, "\r"), min_count=0).as_py():
        states = pc.split_pattern(text.combine_chunks(), "\r")
        rows = pc.list_parent_indices(states).to_numpy(zero_copy_only=False)
        text = library("pyarrow").chunked_array([states.flatten()])
    return text, rows


def _read(found: Shapes, path: str | None) -> tuple[Any, ...]:
    """Read each shape once, and the tokens of all lines that have it at once."""
    np = library("numpy")
    prefix = re.sub(r"^\$\.?", "", path) if path is not None else None
    order = np.argsort(found.shape, kind="stable")
    begins = np.concatenate(([0], np.cumsum(found.count)))
    said: dict[str, int] = {}
    parts: list[tuple[Any, int, Any, Any, Any, Any, Any, Any]] = []
    for place, shape in enumerate(found.texts):
        reading = rules.read(shape)
        if reading is None or (prefix is not None and "{" not in shape):
            continue
        lines = order[begins[place] : begins[place + 1]]
        first = found.at[lines]
        none = np.full(len(lines), -1)

        def token(at: int | None, first: Any = first, none: Any = none) -> Any:
            return none if at is None else first + at

        step = reading.step if reading.step is not None else reading.epoch if reading.epoch is not None else reading.bar
        for name, at in reading.values.items():
            if prefix is not None and name != prefix and not name.startswith(f"{prefix}."):
                continue
            constant = at if isinstance(at, float) else np.nan
            code = said.setdefault(name, len(said))
            value = token(None if isinstance(at, float) else at)
            parts.append(
                (
                    lines,
                    code,
                    constant,
                    value,
                    token(step),
                    token(reading.epoch),
                    token(reading.rank),
                    token(reading.tag),
                )
            )
    if not parts:
        none = np.zeros(0, np.int64)
        return none, none, [], np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
    lengths = [len(part[0]) for part in parts]
    lines = np.concatenate([part[0] for part in parts])
    codes = np.repeat(np.array([part[1] for part in parts]), lengths)
    constants = np.repeat(np.array([part[2] for part in parts], np.float64), lengths)
    value, step, epoch, rank, tag = (np.concatenate([part[i] for part in parts]) for i in range(3, 8))
    values, valid = _numbers(found, value)
    values = np.where(value < 0, constants, values)
    keep = valid | (value < 0)
    ranks = _ranks(found, rank, tag)
    columns = (lines, codes, values, _numbers(found, step)[0], _numbers(found, epoch)[0], ranks)
    lines, codes, values, steps, epochs, ranks = (column[keep] for column in columns)
    return lines, codes, list(said), values, steps, epochs, ranks


def _numbers(found: Shapes, places: Any) -> tuple[Any, Any]:
    """Give the numbers that tokens are, NaN for none, and which are; -1 is no token."""
    np, pa, pc = library("numpy"), library("pyarrow"), library("pyarrow.compute")
    values = np.full(len(places), np.nan)
    have, own, index = _own(found, places)
    if not len(own):
        return values, have
    tokens = found.tokens(own)
    plain = pc.match_substring_regex(tokens, _PLAIN)
    if pc.all(plain).as_py():
        numbers = tokens.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        numbers = pc.if_else(plain, tokens, None).cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
        odd = pc.invert(plain)
        coded = tokens.filter(odd).dictionary_encode()
        read = np.array([rules.number(t) for t in coded.dictionary.to_pylist()], np.float64)
        numbers[odd.to_numpy(zero_copy_only=False)] = read[coded.indices.to_numpy()]
    values[have] = numbers[index]
    return values, ~np.isnan(values)


def _own(found: Shapes, places: Any) -> tuple[Any, Any, Any]:
    """Give which places are of a token, those tokens once and in order, and each one's place among them."""
    np = library("numpy")
    have = places >= 0
    wanted = np.zeros(len(found.start), np.bool_)
    wanted[places[have]] = True
    return have, np.flatnonzero(wanted), (np.cumsum(wanted, dtype=np.int32) - 1)[places[have]]


def _ranks(found: Shapes, rank: Any, tag: Any) -> Any:
    """Give the ranks that lines name: `rank=3`, and `[rank3]` but not `[12]`."""
    np = library("numpy")
    ranks = np.full(len(rank), np.nan)
    for places, bare in ((tag, False), (rank, True)):
        have, own, index = _own(found, places)
        if not len(own):
            continue
        coded = found.tokens(own).dictionary_encode()
        read = [_rank(text, bare=bare) for text in coded.dictionary.to_pylist()]
        numbers = np.array(read, np.float64)[coded.indices.to_numpy()]
        new = numbers[index]
        ranks[have] = np.where(np.isnan(new), ranks[have], new)
    return ranks


def _rank(text: str, *, bare: bool) -> float:
    match = _RANK.match(text)
    return float(match[1]) if match and (bare or text.startswith("rank")) else float("nan")


def _matched(text: Any, pattern: str) -> tuple[Any, ...]:
    """Read lines by a user's own pattern."""
    np = library("numpy")
    finder("pattern", pattern)
    compiled = re.compile(pattern)
    groups = list(compiled.groupindex)
    if not set(groups) - {"step", "rank"}:
        raise BadQuery(
            f"pattern={pattern[:60]!r} names no value", r"name its groups: loss[=:]\s*(?P<loss>\S+).*step (?P<step>\d+)"
        )
    hits, rows = [], []
    for line, one in enumerate(text.to_pylist()):
        if match := compiled.search(one):
            hits.append(match.groupdict())
            rows.append(line)
    columns = {name: _floats([hit[name] for hit in hits]) for name in groups}
    lines, none = np.array(rows, np.int64), np.full(len(rows), np.nan)
    said = [name for name in groups if name not in ("step", "rank")]
    many = len(said)
    values = np.concatenate([columns[name] for name in said])
    keep = ~np.isnan(values) | np.concatenate([_stated(hits, name) for name in said])
    codes = np.repeat(np.arange(many), len(rows))
    found = (
        np.tile(lines, many),
        codes,
        values,
        np.tile(columns.get("step", none), many),
        np.tile(none, many),
        np.tile(columns.get("rank", none), many),
    )
    lines, codes, values, steps, epochs, ranks = (column[keep] for column in found)
    return lines, codes, said, values, steps, epochs, ranks


def _floats(texts: list[str | None]) -> Any:
    np = library("numpy")
    return np.array([_float(text) for text in texts], np.float64)


def _float(text: str | None) -> float | None:
    if text is None:
        return None
    found = rules.number(text.rstrip(",;"))
    if found is not None:
        return found
    try:
        return float(text)
    except ValueError:
        return None


def _stated(hits: list[dict[str, str | None]], name: str) -> Any:
    """Tell which hits say NaN in so many words."""
    return library("numpy").array([(hit[name] or "").strip().lower().lstrip("+-") == "nan" for hit in hits], bool)


def _tidy(
    table: Any, rows: Any, lines: Any, order: Any, codes: Any, said: list[str], values: Any, steps: Any, epochs: Any,
    ranks: Any, carried: Carried | None,
) -> Any:  # fmt: skip
    """Assemble the frame."""
    pa, np, pc = library("pyarrow"), library("numpy"), library("pyarrow.compute")
    at = rows[lines[order]]
    records = pa.array(at)
    pods = table["pod"].combine_chunks() if isinstance(table["pod"], pa.ChunkedArray) else table["pod"]
    keys = table["task"].combine_chunks() if isinstance(table["task"], pa.ChunkedArray) else table["task"]
    pod, task = pods.take(records), keys.take(records)
    source = pod.indices.to_numpy() * max(1, len(task.dictionary)) + task.indices.to_numpy()
    step = _carried(steps[order], epochs[order], source)
    rank = _by_source(ranks[order], source)
    if carried is not None:
        time = table["time"].take(records).cast(pa.int64()).to_numpy()
        _take_over(carried, _keys(source, pod, task), time, step, epochs[order], rank)
    index = np.array([
        _index(p, t) for p in pod.dictionary.to_pylist() for t in task.dictionary.to_pylist()
    ] or [np.nan], np.float64)  # fmt: skip
    rank = np.where(np.isnan(rank), index[source] if len(source) else rank, rank)
    names = pa.DictionaryArray.from_arrays(pa.array(codes[order], pa.int32()), pa.array(said, pa.string()))
    return pa.table({
        "time": table["time"].take(records),
        "step": pa.array(step, pa.float64(), from_pandas=True),
        "name": pc.dictionary_encode(names.cast(pa.string())) if len(said) != len(set(said)) else names,
        "value": pa.array(values[order], pa.float64()),
        "task": task,
        "pod": pod,
        "rank": pa.array(rank, pa.float64(), from_pandas=True).cast(pa.int32()),
        "seq": table["seq"].take(records),
    })  # fmt: skip


def _carried(steps: Any, epochs: Any, source: Any) -> Any:
    """Give lines without a step the epoch that their source is in."""
    np = library("numpy")
    if not len(steps) or not np.isnan(steps).any() or np.isnan(epochs).all():
        return steps
    order = np.lexsort((np.arange(len(source)), source))
    sorted_epochs, sorted_source = epochs[order], source[order]
    last = np.where(np.isnan(sorted_epochs), -1, np.arange(len(order)))
    begins = np.concatenate(([True], sorted_source[1:] != sorted_source[:-1]))
    base = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    last = np.maximum.accumulate(last)
    carried = np.where(last >= base, sorted_epochs[np.maximum(last, 0)], np.nan)
    filled = np.empty_like(steps)
    filled[order] = carried
    return np.where(np.isnan(steps), filled, steps)


def _keys(source: Any, pod: Any, task: Any) -> dict[tuple[str, str], Any]:
    """Give the rows of each source by its task and pod."""
    np = library("numpy")
    pods, tasks = pod.dictionary.to_pylist(), task.dictionary.to_pylist()
    each = {int(number): np.flatnonzero(source == number) for number in np.unique(source)}
    return {(tasks[n % len(tasks)], pods[n // len(tasks)]): rows for n, rows in each.items()}


def _take_over(
    carried: Carried, sources: dict[tuple[str, str], Any], time: Any, step: Any, epochs: Any, rank: Any
) -> None:
    """Give rows the epoch and the rank that earlier pieces of their source had, and note those of this piece."""
    np = library("numpy")
    for key, rows in sources.items():
        since, epoch = carried.epochs.get(key, (0, np.nan))
        without = rows[np.isnan(step[rows]) & (time[rows] >= since)]
        step[without] = epoch
        said = rows[~np.isnan(epochs[rows])]
        if len(said) and time[said[-1]] >= since:
            carried.epochs[key] = (int(time[said[-1]]), float(epochs[said[-1]]))
        if key in carried.ranks:
            rank[rows] = carried.ranks[key]
        elif not np.isnan(rank[rows[0]]):
            carried.ranks[key] = float(rank[rows[0]])


def _by_source(ranks: Any, source: Any) -> Any:
    """Give each line the rank that its source names first."""
    np = library("numpy")
    stated = np.flatnonzero(~np.isnan(ranks))
    if not len(stated):
        return ranks
    table = np.full(int(source.max()) + 1, np.nan)
    table[source[stated[::-1]]] = ranks[stated[::-1]]
    return np.where(np.isnan(ranks), table[source], ranks)


def _index(pod: str, task: str) -> float:
    """Give the index of a pod of an Indexed Job (`NAME-3-x7k2p`) or a StatefulSet (`NAME-3`), NaN for others."""
    name = re.escape(task.rpartition("/")[2])
    match = re.match(rf"{name}-(\d{{1,5}})(?:-[a-z0-9]{{5}})?\Z", pod)
    return float(match[1]) if match else float("nan")
