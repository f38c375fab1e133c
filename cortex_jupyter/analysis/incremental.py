"""Compute the metrics of a growing log: read only new lines, and the whole log again only if they change old values."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.metrics import Carried, metrics
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.tables.convert import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from cortex_jupyter.query.language import LogQuery

#: The columns of records that metrics are computed from.
COLUMNS: Final = ("time", "seq", "task", "pod", "text", "rank")


class IncrementalMetrics:
    """Metrics that grow with their log.

    The result equals that of reading the whole log. So the whole log is read again if a new line is older than a line
    of its pod that was read before, if a pod's lines name their rank or the step of a table only now, and for queries
    with `tail` or `run`.

    Parameters
    ----------
    read : callable
        Returns the records from a number on (a table with `COLUMNS`, in order), and the newest number.
    query : callable
        Returns the query as of now: its window may move.
    names, pattern, path
        As for `metrics`.
    """

    def __init__(
        self,
        read: Callable[[int], tuple[pa.Table, int]],
        query: Callable[[], LogQuery],
        names: tuple[str, ...] = (),
        pattern: str | None = None,
        path: str | None = None,
    ) -> None:
        self._read, self._query = read, query
        self._how: dict[str, Any] = {"names": names, "pattern": pattern, "path": path}
        self._table: pa.Table | None = None
        self._carried = Carried()
        #: The latest time of the records of each task and pod.
        self._latest: dict[tuple[str, str], int] = {}
        self._last = 0

    def update(self) -> pa.Table:
        """Return the metrics as `analysis.metrics.metrics` does."""
        pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
        query = self._query()
        counts_back = query.run is not None or query.attempt is not None
        if self._table is None or query.tail is not None or counts_back:
            return self._read_all()
        records, last = self._read(self._last + 1)
        carried = deepcopy(self._carried)
        times = _times(records)
        if any(first < self._latest.get(key, first) for key, (first, _) in times.items()):
            return self._read_all()
        more = metrics(records, **self._how, carried=carried)
        if carried.has_late_steps or carried.ranks.keys() - self._carried.ranks.keys() & self._latest.keys():
            return self._read_all()
        table = pa.concat_tables([plain(self._table), plain(more)])
        if (order := _order(table, len(self._table))) is None:
            return self._read_all()
        table = table.take(order) if len(order) else table
        if query.since is not None:
            table = table.filter(pc.greater_equal(table["time"].cast(pa.int64()), query.since))
        return self._take(table, last, carried, times)

    def _read_all(self) -> pa.Table:
        records, last = self._read(0)
        carried = Carried()
        self._latest = {}
        return self._take(metrics(records, **self._how, carried=carried), last, carried, _times(records))

    def _take(
        self, table: pa.Table, last: int, carried: Carried, times: dict[tuple[str, str], tuple[int, int]]
    ) -> pa.Table:
        self._table, self._last, self._carried = table, last, carried
        for key, (_, latest) in times.items():
            self._latest[key] = max(latest, self._latest.get(key, latest))
        return table


def _times(records: pa.Table) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the earliest and the latest time of each task and pod."""
    pa = import_optional("pyarrow")
    plain = pa.table({name: records[name].cast(pa.string()) for name in ("task", "pod")})
    plain = plain.append_column("time", records["time"].cast(pa.int64()))
    rows = plain.group_by(["task", "pod"]).aggregate([("time", "min"), ("time", "max")]).to_pylist()
    return {(row["task"], row["pod"]): (row["time_min"], row["time_max"]) for row in rows}


def _order(table: pa.Table, old_count: int) -> pa.Int64Array | list[int] | None:
    """Return the order of rows by time; empty if they are in order. The first `old_count` rows are old.

    It is None if times go back within the old or the new rows.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    time = table["time"].cast(pa.int64()).to_numpy()
    old, new = time[:old_count], time[old_count:]
    if not len(new) or not len(old) or new.min() >= old.max():
        return []
    if any((part[1:] < part[:-1]).any() for part in (old, new)):
        return None
    # Rows with equal times stay in the order of recording.
    return pa.array(np.argsort(time, kind="stable"))
