"""Turn the table of metrics into the curves of a chart: one panel per name, one curve per pod, few points."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.colours import hex_colour, source_colour
from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Floats, Ints

    #: Role and rank by task (its key) and pod.
    Members = Mapping[tuple[str, str], tuple[str, str]]

#: Maximum number of panels in a chart, because a screen has no room for more.
PANELS: Final = 9
#: Maximum number of points of a curve.
_POINTS: Final = 150
#: From this number of curves on, a band and its median say more than the curves.
MANY: Final = 9
#: A curve is an outlier if it is this many times as far from the median as is usual.
_FAR: Final = 5.0
#: Maximum number of outliers drawn beside the band.
_MAX_OUTLIERS: Final = 3
#: Words in metric names that users want to see first.
_FIRST: Final = ("loss", "acc", "rmse", "mae", "auc", "f1", "error", "ppl", "score", "reward")
_LOG_FROM: Final = 300.0
#: A curve has ended if it lacks this many of its usual distances between points (as in the viewer's multiples.ts).
_LIVE_GAPS: Final = 5


@dataclass(slots=True)
class Curve:
    """One curve: at each point the mean, the least and the greatest of the values that fall on it.

    Parameters
    ----------
    label : str
    colour : str
        As `#rrggbb`; empty for the median of many curves.
    x, y, low, high : numpy.ndarray
    lost : list of float
        The x of each value that was NaN or infinite.
    recovers : bool
        A finite value follows the first of `lost`.
    """

    label: str
    colour: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    lost: list[float] = field(default_factory=list)
    recovers: bool = False


@dataclass(slots=True)
class Panel:
    """The curves of one metric.

    Parameters
    ----------
    name : str
    curves : list of Curve
    by_time : bool
        x is seconds since the Unix epoch, not the step.
    log : bool
        y needs a logarithmic scale.
    last : float or None
        The last value of the only curve. With several curves, the median of the last values of the live ones. NaN if none
        is finite.
    live : int
        Number of curves that go on: each has a point in the last few of its usual distances in time.
    band : Curve or None
        With many curves: the median, and the least and the greatest value at each x.
    apart : list of Curve
        With many curves: the few that keep far from the others.
    """

    name: str
    curves: list[Curve]
    by_time: bool
    log: bool
    last: float | None
    live: int = 0
    band: Curve | None = None
    apart: list[Curve] = field(default_factory=list)


def panels(
    table: pa.Table, names: tuple[str, ...] = (), x: str | None = None, members: Members | None = None
) -> list[Panel]:
    """Choose what to draw, and reduce the number of points.

    Parameters
    ----------
    table : pyarrow.Table
        As `analysis.metrics.metrics` returns it.
    names : tuple of str, optional
        The metrics to draw. Default: all that vary, with losses and other common metrics first.
    x : str, optional
        `step` or `time`; default: the step if it grows.
    members : mapping, optional
        Role and rank by task and pod. Together with the pod's name they determine a curve's colour.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows = {"time": pa.array([0, 1], pa.timestamp("ns", "UTC")), "step": [1.0, 2.0], "value": [3.0, 1.0]}
    >>> both = {k: pa.array([v] * 2).dictionary_encode() for k, v in [("name", "loss"), ("task", "d:job/a"), ("pod", "a-x")]}
    >>> [panel] = panels(pa.table({**rows, **both, "rank": pa.array([None, None], pa.int32()), "seq": [1, 2]}))
    >>> panel.name, panel.by_time, panel.curves[0].y.tolist(), panel.last
    ('loss', False, [3.0, 1.0], 1.0)
    """
    np = import_optional("numpy")
    if table.num_rows == 0:
        return []
    columns = _columns(table)
    codes, metric_names = columns["name"]
    chosen = _chosen(columns, names)
    source, labels, colours = _sources(columns, members or {})
    result = []
    for name in chosen:
        rows = np.flatnonzero(codes == metric_names.index(name))
        result.append(_panel(name, rows, columns, source, labels, colours, x))
    return result


def _columns(table: pa.Table) -> dict[str, Any]:
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    columns: dict[str, Any] = {
        "time": table["time"].cast(pa.int64()).to_numpy() / 1e9,
        "step": table["step"].to_numpy(),
        "value": table["value"].to_numpy(),
        "rank": table["rank"].cast(pa.float64()).to_numpy(),
    }
    for name in ("name", "task", "pod"):
        coded = (
            table[name].combine_chunks()
            if pa.types.is_dictionary(table[name].type)
            else table[name].dictionary_encode().combine_chunks()
        )
        coded = coded if isinstance(coded, pa.DictionaryArray) else coded.chunk(0)
        columns[name] = (coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist())
    return columns


def _chosen(columns: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    np = import_optional("numpy")
    codes, metric_names = columns["name"]
    if names:
        return [name for name in names if name in metric_names]
    ranked = []
    for code, name in enumerate(metric_names):
        values = columns["value"][codes == code]
        if len(values) > 1 and name != "epoch" and not (values == values[0]).all():
            first = next((i for i, word in enumerate(_FIRST) if word in name.lower()), len(_FIRST))
            ranked.append((first, -np.log10(len(values)).round(), name))
    return [name for *_, name in sorted(ranked)][:PANELS]


def _sources(columns: dict[str, Any], members: Members) -> tuple[Ints, dict[int, str], dict[int, str]]:
    """Return each row's pod index, a label for each pod, as short as possible but distinct, and the pod's colour."""
    np = import_optional("numpy")
    (pods, pod_names), (tasks, task_names), ranks = columns["pod"], columns["task"], columns["rank"]
    source = pods * len(task_names) + tasks
    distinct, first = np.unique(source, return_index=True)
    several, per_task = len(set(tasks[first].tolist())) > 1, len(distinct) > len(set(tasks[first].tolist()))
    pod_ranks = ranks[first]
    ranked = not np.isnan(pod_ranks).any() and len(
        set(zip(pod_ranks.tolist(), tasks[first].tolist(), strict=True))
    ) == len(pod_ranks)
    labels, colours = {}, {}
    positions = {code: i for i, code in enumerate(dict.fromkeys(tasks.tolist()))}
    for number, row in zip(distinct.tolist(), first.tolist(), strict=True):
        task = task_names[tasks[row]].rpartition("/")[2]
        pod = pod_names[pods[row]]
        part = f"rank {int(ranks[row])}" if ranked else re.sub(rf"\A{re.escape(task)}-(?=.)", "", pod)
        labels[number] = f"{task} {part}" if several and per_task else task if several else part
        key = task_names[tasks[row]]
        role, rank = members.get((key, pod), ("", ""))
        colours[number] = hex_colour(source_colour(pod, key, role, rank, positions[int(tasks[row])]))
    ordered = sorted(labels, key=lambda n: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", labels[n])])
    position = {number: i for i, number in enumerate(ordered)}
    lookup = np.zeros(int(distinct.max()) + 1, np.int64)
    lookup[distinct] = [position[n] for n in distinct.tolist()]
    return (
        lookup[source],
        {position[n]: label for n, label in labels.items()},
        {position[n]: colour for n, colour in colours.items()},
    )


def _panel(
    name: str,
    rows: Ints,
    columns: dict[str, Any],
    source: Ints,
    labels: dict[int, str],
    colours: dict[int, str],
    x: str | None,
) -> Panel:
    np = import_optional("numpy")
    steps, of = columns["step"][rows], source[rows]
    by_time = x == "time" or (x is None and not _grows(steps, of))
    at, values = (columns["time"] if by_time else columns["step"])[rows], columns["value"][rows]
    usable = ~np.isnan(at)
    edges = None
    if usable.any():
        edges = np.linspace(at[usable].min(), at[usable].max(), _POINTS + 1)
    times = columns["time"][rows]
    curves = []
    for number in np.unique(of).tolist():
        in_source = (of == number) & usable
        finite = in_source & np.isfinite(values)
        lost = np.flatnonzero(in_source & ~finite)
        curve = _curve(
            labels[number], colours[number], at[finite], values[finite], edges, sorted(set(at[lost].tolist()))
        )
        curve.recovers = len(lost) > 0 and bool(finite[lost[at[lost].argmin()] :].any())
        curves.append(curve)
    finite = values[np.isfinite(values)]
    log = bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() > _LOG_FROM)
    band = _band(curves) if len(curves) >= MANY else None
    apart = _outliers(curves, band) if band else []
    lasts = _live_values(times, values, of)
    return Panel(name, curves, by_time, log, _median(lasts), len(lasts), band, apart)


def _live_values(times: Floats, values: Floats, of: Ints) -> list[float]:
    """Return the last values of the curves that go on."""
    np = import_optional("numpy")
    result, newest = [], times.max()
    for number in np.unique(of).tolist():
        positions = np.flatnonzero(of == number)
        positions = positions[np.argsort(times[positions], kind="stable")]
        first, last = times[positions[0]], times[positions[-1]]
        if newest - last <= _LIVE_GAPS * (last - first) / max(1, len(positions) - 1):
            result.append(float(values[positions[-1]]))
    return result


def _median(values: list[float]) -> float | None:
    """Return the median of the finite values; without one, NaN or an infinity.

    Examples
    --------
    >>> _median([1.0, float("nan"), 3.0]), _median([float("nan")]), _median([])
    (2.0, nan, None)
    """
    finite = [value for value in values if math.isfinite(value)]
    return median(finite) if finite else values[0] if values else None


def _grows(steps: Floats, of: Ints) -> bool:
    """Return whether each pod's steps increase, so that they can be used as x. Steps that restart in each training epoch cannot."""
    np = import_optional("numpy")
    if np.isnan(steps).any():
        return False
    order = np.argsort(of, kind="stable")
    down = (np.diff(steps[order]) < 0) & (np.diff(of[order]) == 0)
    return bool(down.sum() <= 0.001 * len(steps)) and bool((steps != steps[0]).any())


def _curve(label: str, colour: str, x: Floats, y: Floats, edges: Floats | None, lost: list[float]) -> Curve:
    np = import_optional("numpy")
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(x) <= _POINTS:
        return Curve(label, colour, x, y, y, y, lost)
    interval = np.minimum(np.searchsorted(edges, x, "right") - 1, _POINTS - 1)
    begins = np.flatnonzero(np.concatenate(([True], interval[1:] != interval[:-1])))
    counts = np.diff(np.append(begins, len(x)))
    return Curve(
        label,
        colour,
        np.add.reduceat(x, begins) / counts,
        np.add.reduceat(y, begins) / counts,
        np.minimum.reduceat(y, begins),
        np.maximum.reduceat(y, begins),
        lost,
    )


def _band(curves: list[Curve]) -> Curve:
    np = import_optional("numpy")
    curves_with_points = [c for c in curves if len(c.x)]
    if not curves_with_points:
        return Curve("median", "", *(np.zeros(0) for _ in range(4)))
    x = np.unique(np.concatenate([c.x for c in curves_with_points]))
    x = x if len(x) <= _POINTS else np.linspace(x[0], x[-1], _POINTS)
    ys = np.array([np.interp(x, c.x, c.y, left=np.nan, right=np.nan) for c in curves_with_points])
    some = ~np.isnan(ys).all(axis=0)
    x, ys = x[some], ys[:, some]
    return Curve("median", "", x, np.nanmedian(ys, axis=0), np.nanmin(ys, axis=0), np.nanmax(ys, axis=0))


def _outliers(curves: list[Curve], band: Curve) -> list[Curve]:
    """Return the curves that keep far from the median, the farthest first."""
    np = import_optional("numpy")
    curves_with_points = [c for c in curves if len(c.x)]
    if not curves_with_points or not len(band.x):
        return []
    far = np.array([np.abs(c.y - np.interp(c.x, band.x, band.y)).mean() for c in curves_with_points])
    limit = max(_FAR * float(np.median(far)), 0.02 * float(band.high.max() - band.low.min()))
    order = np.argsort(-far)[:_MAX_OUTLIERS]
    return [curves_with_points[i] for i in order if far[i] > limit]
