"""The numbers that a log reports, as one tidy frame: a row per value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from cortex_jupyter.archive.extra import library
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.frames.search import any_matches, matching
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
    np = library("numpy")
    text, rows = _lines(table)
    if pattern is not None:
        found = _matched(text, pattern)
    else:
        likely = matching(text, _LIKELY)
        text, rows = text.filter(likely), rows[likely.to_numpy(zero_copy_only=False)]
        found = _read(shapes(text), path)
    lines, codes, said, values, steps, epochs, ranks = found
    tidy = _tidy(table, rows, lines, codes, said, values, steps, epochs, ranks, carried)
    if not names:
        return tidy
    wanted = np.array([any(fnmatchcase(name, glob) for glob in names) for name in said], np.bool_)
    return tidy.filter(library("pyarrow").array(wanted[codes]))


def _lines(table: Any) -> tuple[Any, Any]:
    """Give the texts without colours, a progress bar's states one by one, and the row of each."""
    pc, np = library("pyarrow.compute"), library("numpy")
    text = table["text"]
    if any_matches(text, "\x1b"):
        text = pc.replace_substring_regex(text, ESCAPES, "")
    rows = np.arange(len(text))
    if any_matches(text, "\r"):
        states = pc.split_pattern(text.combine_chunks(), "\r")
        rows = pc.list_parent_indices(states).to_numpy(zero_copy_only=False)
        text = library("pyarrow").chunked_array([states.flatten()])
    return text, rows


def _read(found: Shapes, path: str | None) -> tuple[Any, ...]:
    """Read each shape once, and the tokens of all lines that have it at once; values in the order of the lines."""
    np = library("numpy")
    prefix = re.sub(r"^\$\.?", "", path) if path is not None else None
    readings = [
        reading if (reading := rules.read(shape)) is not None and (prefix is None or "{" in shape) else rules.Reading()
        for shape in found.texts
    ]
    for reading in readings if prefix is not None else ():
        reading.values = {
            name: at for name, at in reading.values.items() if name == prefix or name.startswith(f"{prefix}.")
        }
    many = np.array([len(reading.values) for reading in readings], np.int64)[found.shape]
    end = np.cumsum(many)
    begin, total = end - many, int(end[-1]) if len(end) else 0
    codes, values, places = np.zeros(total, np.int32), np.full(total, np.nan), np.full(total, -1)
    # What is the same for all values of a line.
    step, epoch, rank, tag = (np.full(len(many), -1) for _ in range(4))
    said: dict[str, int] = {}
    order = np.argsort(found.shape, kind="stable")
    ends = np.cumsum(found.count)
    for reading, lines in zip(readings, np.split(order, ends[:-1]), strict=True) if readings else ():
        if not reading.values:
            continue
        first = found.at[lines]
        turn = next((at for at in (reading.step, reading.epoch, reading.bar) if at is not None), None)
        for column, at in ((step, turn), (epoch, reading.epoch), (rank, reading.rank), (tag, reading.tag)):
            if at is not None:
                column[lines] = first + at
        for i, (name, where) in enumerate(reading.values.items()):
            row = begin[lines] + i
            codes[row] = said.setdefault(name, len(said))
            if isinstance(where, float):
                values[row] = where
            else:
                places[row] = first + where
    stated = places < 0
    numbers, valid = _numbers(found, places)
    values = np.where(stated, values, numbers)
    keep = np.flatnonzero(valid | stated)
    lines = np.repeat(np.arange(len(many)), many)[keep]
    steps, epochs = (_numbers(found, column)[0][lines] for column in (step, epoch))
    return lines, codes[keep], list(said), values[keep], steps, epochs, _ranks(found, rank, tag)[lines]


def _numbers(found: Shapes, places: Any) -> tuple[Any, Any]:
    """Give the numbers that tokens are, NaN for none, and which are; -1 is no token."""
    np, pa, pc = library("numpy"), library("pyarrow"), library("pyarrow.compute")
    values = np.full(len(places), np.nan)
    have, own, index = _own(found, places)
    if not len(own):
        return values, have
    tokens = found.tokens(own)
    plain = matching(tokens, _PLAIN)
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
    """Give which places are of a token, those tokens in order, and each one's place among them."""
    np = library("numpy")
    have = places >= 0
    own = places[have]
    if (own[1:] > own[:-1]).all():
        return have, own, slice(None)
    wanted = np.zeros(len(found.start), np.bool_)
    wanted[own] = True
    return have, np.flatnonzero(wanted), (np.cumsum(wanted, dtype=np.int32) - 1)[own]


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
    none = np.full(len(rows), np.nan)
    said = [name for name in groups if name not in ("step", "rank")]
    many = len(said)
    values = np.stack([columns[name] for name in said], axis=1).reshape(-1)
    stated = np.stack([_stated(hits, name) for name in said], axis=1).reshape(-1)
    keep = np.flatnonzero(~np.isnan(values) | stated)
    codes = np.tile(np.arange(many), len(rows))
    each = (np.array(rows, np.int64), columns.get("step", none), none, columns.get("rank", none))
    lines, steps, epochs, ranks = (np.repeat(column, many)[keep] for column in each)
    return lines, codes[keep], said, values[keep], steps, epochs, ranks


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
    table: Any, rows: Any, lines: Any, codes: Any, said: list[str], values: Any, steps: Any, epochs: Any, ranks: Any,
    carried: Carried | None,
) -> Any:  # fmt: skip
    """Assemble the frame."""
    pa, np, pc = library("pyarrow"), library("numpy"), library("pyarrow.compute")
    at = rows[lines]
    records = pa.array(at)
    pods = table["pod"].combine_chunks() if isinstance(table["pod"], pa.ChunkedArray) else table["pod"]
    keys = table["task"].combine_chunks() if isinstance(table["task"], pa.ChunkedArray) else table["task"]
    pod, task = pods.take(records), keys.take(records)
    source = pod.indices.to_numpy() * max(1, len(task.dictionary)) + task.indices.to_numpy()
    step = _carried(steps, epochs, source)
    rank = _by_source(ranks, source)
    if carried is not None:
        time = table["time"].take(records).cast(pa.int64()).to_numpy()
        _take_over(carried, _keys(source, pod, task), time, step, epochs, rank)
    index = np.array([
        _index(p, t) for p in pod.dictionary.to_pylist() for t in task.dictionary.to_pylist()
    ] or [np.nan], np.float64)  # fmt: skip
    rank = np.where(np.isnan(rank), index[source] if len(source) else rank, rank)
    names = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(said, pa.string()))
    return pa.table({
        "time": table["time"].take(records),
        "step": pa.array(step, pa.float64(), from_pandas=True),
        "name": pc.dictionary_encode(names.cast(pa.string())) if len(said) != len(set(said)) else names,
        "value": pa.array(values, pa.float64()),
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
