"""From the numbers that lines report to a tidy frame: what lines leave out they take from their source."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from cortex_jupyter.analysis.measured import Values


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


def tidy(table: Any, rows: Any, found: Values, carried: Carried | None) -> Any:
    """Assemble the frame; `rows` are the rows of the table that lines are of."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    _, codes, said, values, steps, epochs, ranks = found
    at = rows[found.lines]
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
    np = import_optional("numpy")
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
    np = import_optional("numpy")
    pods, tasks = pod.dictionary.to_pylist(), task.dictionary.to_pylist()
    each = {int(number): np.flatnonzero(source == number) for number in np.unique(source)}
    return {(tasks[n % len(tasks)], pods[n // len(tasks)]): rows for n, rows in each.items()}


def _take_over(
    carried: Carried, sources: dict[tuple[str, str], Any], time: Any, step: Any, epochs: Any, rank: Any
) -> None:
    """Give rows the epoch and the rank that earlier pieces of their source had, and note those of this piece."""
    np = import_optional("numpy")
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
    np = import_optional("numpy")
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
