"""Build the table of `log.metrics()`: one row per number.

A line without a step has as its step the training epoch that its pod's lines reported last. A line without a rank has
the first rank that any line of its pod names, else that of its source, else the pod's index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.analysis.by_shape import Values
    from cortex_jupyter.analysis.by_table import Tables
    from cortex_jupyter.archive.optional import Flags, Floats, Ints


@dataclass(slots=True)
class Carried:
    """What later lines of a pod inherit from earlier ones, if a log is read in pieces.

    Parameters
    ----------
    epochs : dict
        By task and pod: the time (ns) of the line that reported the training epoch, and the training epoch.
    ranks : dict
        The first rank that a line of a pod names, by task and pod. It is never replaced.
    tables : dict
        The header that is above, and what else is known of a table whose rows go on.
    has_late_steps : bool
        Whether the last piece names the step of rows that were returned before it, without a step.
    """

    epochs: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    ranks: dict[tuple[str, str], float] = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    has_late_steps: bool = False


def build_metrics_table(table: pa.Table, rows: Ints, parsed: Values, carried: Carried | None) -> pa.Table:
    """Build the table. `rows[i]` is the row in `table` of the i-th parsed line."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    _, codes, name_list, values, steps, epochs, ranks = parsed
    at = rows[parsed.lines]
    records = pa.array(at)
    pods = table["pod"].combine_chunks() if isinstance(table["pod"], pa.ChunkedArray) else table["pod"]
    keys = table["task"].combine_chunks() if isinstance(table["task"], pa.ChunkedArray) else table["task"]
    pod, task = pods.take(records), keys.take(records)
    source = pod.indices.to_numpy() * max(1, len(task.dictionary)) + task.indices.to_numpy()
    step = _fill_steps(steps, epochs, source)
    rank = _fill_ranks(ranks, source)
    if carried is not None:
        time = table["time"].take(records).cast(pa.int64()).to_numpy()
        _carry_over(carried, _keys(source, pod, task), time, step, epochs, rank, has_own_rank=~np.isnan(ranks))
    if "rank" in table.column_names and len(rank):
        codes_of_ranks, texts = coded(table["rank"])
        # A rank in two parts, such as `2-3`, is not the number of a process.
        numbers = np.array([float(text) if text and text.isdecimal() else np.nan for text in texts], np.float64)
        rank = np.where(np.isnan(rank), numbers[codes_of_ranks][at], rank)
    index = np.array(
        [_pod_index(p, t) for p in pod.dictionary.to_pylist() for t in task.dictionary.to_pylist()] or [np.nan],
        np.float64,
    )
    rank = np.where(np.isnan(rank), index[source] if len(source) else rank, rank)
    names = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(name_list, pa.string()))
    return pa.table(
        {
            "time": table["time"].take(records),
            "step": pa.array(step, pa.float64(), from_pandas=True),
            "name": pc.dictionary_encode(names.cast(pa.string())) if len(name_list) != len(set(name_list)) else names,
            "value": pa.array(values, pa.float64()),
            "task": task,
            "pod": pod,
            "rank": pa.array(rank, pa.float64(), from_pandas=True).cast(pa.int32()),
            "seq": table["seq"].take(records),
        }
    )


def _fill_steps(steps: Floats, epochs: Floats, source: Ints) -> Floats:
    """Return the steps. A line without a step gets the training epoch that its pod is in."""
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


def _keys(
    source: Ints, pod: pa.DictionaryArray[Any, Any], task: pa.DictionaryArray[Any, Any]
) -> dict[tuple[str, str], Ints]:
    """Return the rows of each pod, by task and pod."""
    np = import_optional("numpy")
    pods, tasks = pod.dictionary.to_pylist(), task.dictionary.to_pylist()
    each = {int(number): np.flatnonzero(source == number) for number in np.unique(source)}
    return {(tasks[n % len(tasks)], pods[n // len(tasks)]): rows for n, rows in each.items()}


def _carry_over(
    carried: Carried,
    sources: dict[tuple[str, str], Ints],
    time: Ints,
    step: Floats,
    epochs: Floats,
    rank: Floats,
    *,
    has_own_rank: Flags,
) -> None:
    """Set training epoch and rank of rows that inherit them from earlier pieces, and remember them for later ones.

    The last training epoch of this piece replaces that of earlier pieces. The first rank of a pod is kept.
    """
    np = import_optional("numpy")
    for key, rows in sources.items():
        since, epoch = carried.epochs.get(key, (0, np.nan))
        without = rows[np.isnan(step[rows]) & (time[rows] >= since)]
        step[without] = epoch
        with_epoch = rows[~np.isnan(epochs[rows])]
        if len(with_epoch) and time[with_epoch[-1]] >= since:
            carried.epochs[key] = (int(time[with_epoch[-1]]), float(epochs[with_epoch[-1]]))
        if key in carried.ranks:
            rank[rows[~has_own_rank[rows]]] = carried.ranks[key]
        elif not np.isnan(rank[rows[0]]):
            carried.ranks[key] = float(rank[rows[0]])


def _fill_ranks(ranks: Floats, source: Ints) -> Floats:
    """Return each line's rank: its own, else the first that a line of its pod names."""
    np = import_optional("numpy")
    stated = np.flatnonzero(~np.isnan(ranks))
    if not len(stated):
        return ranks
    table = np.full(int(source.max()) + 1, np.nan)
    table[source[stated[::-1]]] = ranks[stated[::-1]]
    return np.where(np.isnan(ranks), table[source], ranks)


def _pod_index(pod: str, task: str) -> float:
    """Return the index of a pod of an Indexed Job (`NAME-3-x7k2p`) or a StatefulSet (`NAME-3`); NaN for any other."""
    name = re.escape(task.rpartition("/")[2])
    match = re.match(rf"{name}-(\d{{1,5}})(?:-[a-z0-9]{{5}})?\Z", pod)
    return float(match[1]) if match else float("nan")
