"""Metrics thinned out for a picture that looks the same: of each stretch of time the first, the last, the least, the most."""

from __future__ import annotations

from typing import Any

from cortex_jupyter.archive.optional import import_optional


def thinned(table: Any, source: Any, start: int, width: int) -> list[dict[str, Any]]:
    """Thin out a tidy frame of metrics.

    What is left are rows of the frame, so each can be looked up in the log. Also left is the first value of a stretch
    that is no finite number. (M4: Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.)

    Parameters
    ----------
    table : pyarrow.Table
        As `analysis.metrics.metrics` gives it.
    source : pyarrow.Array
        Of each row whose it is, dictionary-encoded.
    start, width : int
        The stretches of time, ns.

    Returns
    -------
    list of dict
        `name`, `source`, and as lists `time` (ns), `step` (None for none), `value` (`"nan"`, `"inf"`, `"-inf"` as text)
        and `seq`, for each name and source; in the order of time.

    Examples
    --------
    >>> import pyarrow as pa
    >>> times = pa.array(range(6), pa.timestamp("ns", "UTC"))
    >>> rows = {"time": times, "seq": [1, 2, 3, 4, 5, 6], "step": [None] * 6, "value": [5.0, 7, 6, 1, 2, 3]}
    >>> coded = pa.array(["loss"] * 6).dictionary_encode()
    >>> [one] = thinned(pa.table({**rows, "name": coded}), pa.array(["a"] * 6).dictionary_encode(), 0, 6)
    >>> one["name"], one["source"], one["value"], one["seq"]
    ('loss', 'a', [5.0, 7.0, 1.0, 3.0], [1, 2, 4, 6])
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    if table.num_rows == 0:
        return []
    names = table["name"].combine_chunks()
    value, seq = table["value"].to_numpy(), table["seq"].to_numpy()
    time = table["time"].cast(pa.int64()).to_numpy()
    step = table["step"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    series = names.indices.to_numpy().astype(np.int64) * len(source.dictionary) + source.indices.to_numpy()
    group = series * (1 << 32) + np.maximum(0, (time - start) // max(1, width))
    finite = np.isfinite(value)
    kept = [_ends(np.lexsort((keys, group)), group) for keys in (np.arange(len(group)),)]
    for some, keys in ((finite, value), (~finite, time)):
        rows = np.flatnonzero(some)
        kept.append(rows[_ends(np.lexsort((keys[rows], group[rows])), group[rows])])
    rows = np.unique(np.concatenate(kept))
    rows = rows[np.lexsort((time[rows], series[rows]))]
    found = []
    for own in np.split(rows, np.flatnonzero(np.diff(series[rows])) + 1):
        at = int(series[own[0]])
        found.append({
            "name": names.dictionary[at // len(source.dictionary)].as_py(),
            "source": source.dictionary[at % len(source.dictionary)].as_py(),
            "time": time[own].tolist(),
            "step": [None if s != s else s for s in step[own].tolist()],  # noqa: PLR0124 - NaN
            "value": [v if abs(v) < float("inf") else str(v) for v in value[own].tolist()],
            "seq": seq[own].tolist(),
        })  # fmt: skip
    return found


def _ends(order: Any, group: Any) -> Any:
    """Give the first and the last of each group in an order."""
    np = import_optional("numpy")
    ordered = group[order]
    edge = np.flatnonzero(np.diff(ordered)) + 1
    return order[np.unique(np.concatenate((edge, edge - 1, [0, len(order) - 1])))] if len(order) else order
