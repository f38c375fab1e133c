"""Compare the ranks of a distributed task: how far each is, how fast, and since when it is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.diagnosis import Container, clocks, diagnose
from cortex_jupyter.analysis.hangs import hangs
from cortex_jupyter.analysis.steps import read_progress
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.parsing.rhythm import limit_s, seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pyarrow as pa

    from cortex_jupyter.analysis.diagnosis import Containers
    from cortex_jupyter.analysis.errors import Error
    from cortex_jupyter.analysis.steps import Progress, Rank
    from cortex_jupyter.archive.optional import Floats, Ints
    from cortex_jupyter.store import Readable

#: A rank with fewer steps has no pace yet.
_MIN_STEPS: Final = 5
#: Number of newest steps that are compared.
_NEWEST: Final = 50
#: A rank is slow if its steps take this many times as long as the median rank's steps.
_SLOW: Final = 1.25
#: Or if it is this many times as late as is usual among the ranks, and by this share of a step.
_FAR, _SHARE = 5.0, 0.25
#: Lines of several ranks do not arrive together (seconds), and a rank is not late by less than this (seconds).
_STUCK_S, _LATE_S = 2.0, 0.05
#: A rank is behind in the picture if it lacks more lines with steps than this, and this share of the steps.
_APART, _BEHIND = 3.0, 0.03
#: Intervals of time in the picture, and lines with steps of a rank in each of them, at least.
_BINS, _IN_BIN = 120, 3


@dataclass(slots=True)
class Strip:
    """The progress of one rank over time, for the picture.

    Parameters
    ----------
    name, note, label : str
        `label` is the text beside the strip.
    start, end : float
        From its first to its last line, or to the end of its container, as parts of the whole time (0 to 1).
    pace : list of float
        For each interval: how many steps it made, relative to the median of the ranks that made some; NaN where no rank made
        one, or before its start and after its end.
    lag : list of float
        For each interval: how far it is behind the median, 0 to 1.
    last_step, error : float or None
        When it made its newest step, and when it reported its first error.
    ended : str
        `failed`, `succeeded` or nothing.
    """

    name: str
    note: str
    label: str
    start: float
    end: float
    pace: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    last_step: float | None = None
    error: float | None = None
    ended: str = ""


@dataclass(slots=True)
class Comparison:
    """The result of `compare_ranks`.

    Parameters
    ----------
    table : pyarrow.Table
    strips : list of Strip
    start, end : int
        The time that the strips cover (ns).
    """

    table: pa.Table
    strips: list[Strip]
    start: int
    end: int


def compare_ranks_of(
    store: Readable,
    recording: int,
    table: pa.Table,
    end: int,
    *,
    succeeded: bool,
    is_over: bool,
    steps_only: bool,
    tick: Callable[[], object] = int,
) -> tuple[Comparison, dict[str, Any] | None]:
    """Compare the ranks of a recording by its lines.

    Parameters
    ----------
    store : Readable
    recording : int
    table : pyarrow.Table
        Records with `steps.COLUMNS`, `stream` and `message`.
    end : int
        Now, or when the task ended (ns).
    succeeded, is_over : bool
        Whether the task has succeeded, and whether it has ended.
    steps_only : bool
        As for `hangs`.
    tick : callable, optional
        Called after each part of the work, to report progress.

    Returns
    -------
    Comparison, dict or None
        The comparison, and the hang that no step ended.
    """
    progress = read_progress(table)
    tick()
    hang = hangs(table, progress, end, is_over=is_over, steps_only=steps_only).last
    tick()
    diagnosis = diagnose(store, recording, table, succeeded=succeeded)
    tick()
    comparison = compare_ranks(
        table,
        progress,
        {(c.pod, c.container, c.run): c for c in diagnosis.containers},
        diagnosis.errors,
        end,
        culprit=None if succeeded else diagnosis.culprit,
        late_ranks=hang["behind"] if hang else (),
        is_over=is_over,
    )
    return comparison, hang


def compare_ranks(
    table: pa.Table,
    progress: Progress,
    containers: Containers,
    errors: list[Error],
    end: int,
    *,
    culprit: Container | None = None,
    late_ranks: Collection[str] = (),
    is_over: bool = False,
) -> Comparison:
    """Compare the ranks of a task.

    Parameters
    ----------
    table : pyarrow.Table
        Records with `steps.COLUMNS`.
    progress : Progress
        What `read_progress` found in them.
    containers : dict
        As `read_containers` returns them.
    errors : list of Error
    end : int
        Now, or when the task ended (ns).
    culprit : Container, optional
        The one that failed first.
    late_ranks : collection of str, optional
        The names of the ranks that keep the others waiting, as far as a hang shows it.
    is_over : bool, optional
        Whether the task has ended.

    Returns
    -------
    Comparison
        Its table has a row for each rank, in their order: see `ranks_frame.Ranks`.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    clock_offsets = clocks(containers)
    offsets = np.array([clock_offsets.get(rank.node, 0) for rank in progress.ranks] + [0], np.int64)
    time = table["time"].cast(pa.int64()).to_numpy() - offsets[progress.of]
    seqs = table["seq"].to_numpy()
    pace = _Pace.of(progress, time)
    first, last = _ends_of_rows(progress)
    error_of = _first_errors(progress, errors)
    rows, ends = [], []
    for index, rank in enumerate(progress.ranks):
        container = containers.get(
            (rank.pod, rank.container, rank.run), Container(rank.pod, rank.container, "main", rank.run)
        )
        ended = parse_rfc3339(container.ended) - clock_offsets.get(rank.node, 0) if container.ended else None
        row, until = int(last[index]), end if ended is None else max(ended, int(time[last[index]]))
        ends.append(until)
        error = error_of.get(index)
        rows.append(
            {
                "role": rank.role,
                "rank": rank.rank,
                "pod": rank.pod,
                "container": rank.container,
                "node": rank.node,
                "run": rank.run,
                "attempt": rank.attempt,
                "state": _state(container, is_over=is_over),
                "step": pace.step[index],
                "step_s": pace.median[index],
                "step_p95_s": pace.p95[index],
                "lag": pace.lag[index],
                "late_s": pace.late[index],
                "last": _moment(int(time[row])),
                "silent_s": max(0.0, (until - int(time[row])) / 1e9),
                "error": error[1].title if error else None,
                "error_seq": int(seqs[error[0]]) if error else None,
                "exit_code": container.exit_code,
                "seq": int(seqs[row]),
            }
        )
    notes = _notes(rows, pace, progress, culprit, late_ranks)
    for row_of_rank, note in zip(rows, notes, strict=True):
        row_of_rank["note"] = note
    start = int(time[first].min()) if len(first) else end
    strips = _strips(rows, progress, pace, time, first, ends, error_of, start, end)
    return Comparison(pa.Table.from_pylist(rows, schema=_schema()), strips, start, end)


def _schema() -> pa.Schema:
    pa = import_optional("pyarrow")
    text, number, moment = pa.string(), pa.float64(), pa.timestamp("us", "UTC")
    return pa.schema(
        [
            *((name, text) for name in ("role", "rank", "pod", "container", "node")),
            ("run", pa.int32()),
            *((name, text) for name in ("attempt", "state", "note")),
            *((name, number) for name in ("step", "step_s", "step_p95_s", "lag", "late_s")),
            ("last", moment),
            ("silent_s", number),
            ("error", text),
            ("error_seq", pa.int64()),
            ("exit_code", pa.int32()),
            ("seq", pa.int64()),
        ]
    )


@dataclass(slots=True)
class _Pace:
    """How far and how fast each rank is; NaN or None where it counts no steps.

    Parameters
    ----------
    step : list of float or None
        The newest step, as the line has it.
    median, p95 : list of float or None
        The time of a step (seconds).
    lag : list of float or None
        How many steps it is behind the median rank.
    late : list of float or None
        How much later than the median rank it made the newest common steps (seconds, median).
    pauses : list of numpy.ndarray
        The times between its lines with steps (seconds).
    last : list of int or None
        When it made its newest step (ns).
    """

    step: list[float | None]
    median: list[float | None]
    p95: list[float | None]
    lag: list[float | None]
    late: list[float | None]
    pauses: list[Floats]
    last: list[int | None]

    @classmethod
    def of(cls, progress: Progress, time: Ints) -> _Pace:
        np, counts = import_optional("numpy"), progress.counts
        size = len(progress.ranks)
        main = (counts.counter == counts.main) & counts.advances
        rank, total, at = counts.rank[main], counts.total[main], time[counts.rows[main]]
        reached = np.full(size, np.nan)
        empty: list[list[float | None]] = [[None] * size for _ in range(5)]
        last: list[int | None] = [None] * size
        pace = cls(empty[0], empty[1], empty[2], empty[3], empty[4], [np.zeros(0)] * size, last)
        for index in np.unique(rank).tolist():
            mine = np.flatnonzero(rank == index)
            mine = mine[np.argsort(at[mine], kind="stable")]
            counted = np.flatnonzero((counts.counter == counts.main) & (counts.rank == index))
            pace.step[index] = float(counts.value[counted[-1]])
            reached[index], pace.last[index] = total[mine[-1]], int(at[mine[-1]])
            pauses, steps = np.diff(at[mine]) / 1e9, np.diff(total[mine])
            pace.pauses[index] = pauses
            is_ahead = steps > 0  # a clock that was set back puts lines out of order
            if is_ahead.any():
                each = pauses[is_ahead] / steps[is_ahead]
                pace.median[index], pace.p95[index] = (float(q) for q in np.quantile(each, [0.5, 0.95]))
        if not np.isnan(reached).all():
            steps_behind = np.nanmedian(reached) - reached
            pace.lag = [None if np.isnan(x) else float(x) for x in steps_behind]
            pace.late = _late(rank, total, at, size)
        return pace


def _late(rank: Ints, total: Floats, at: Ints, size: int) -> list[float | None]:
    np = import_optional("numpy")
    steps, inverse, counts = np.unique(total, return_inverse=True, return_counts=True)
    common = np.flatnonzero(counts * 2 > len(np.unique(rank)))[-_NEWEST:]
    late: list[list[float]] = [[] for _ in range(size)]
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(steps) + 1))
    for step in common.tolist():
        rows = order[bounds[step] : bounds[step + 1]]
        middle = np.median(at[rows])
        for index, when in zip(rank[rows].tolist(), at[rows].tolist(), strict=True):
            late[index].append((when - middle) / 1e9)
    return [float(np.median(values)) if values else None for values in late]


def _ends_of_rows(progress: Progress) -> tuple[Ints, Ints]:
    """Return the first and the last row of each rank."""
    np = import_optional("numpy")
    rows = np.flatnonzero(progress.of >= 0)
    first, last = np.zeros(len(progress.ranks), np.int64), np.zeros(len(progress.ranks), np.int64)
    first[progress.of[rows[::-1]]] = rows[::-1]
    last[progress.of[rows]] = rows
    return first, last


def _first_errors(progress: Progress, errors: list[Error]) -> dict[int, tuple[int, Error]]:
    """Return the first row and the error of each rank that reported one."""
    result: dict[int, tuple[int, Error]] = {}
    for error in errors:
        for row in error.rows:
            index = int(progress.of[row])
            if index >= 0 and (index not in result or row < result[index][0]):
                result[index] = (row, error)
    return result


def _state(container: Container, *, is_over: bool) -> str:
    if container.exit_code is not None:
        return "failed" if container.exit_code else "succeeded"
    return "ended" if container.ended or is_over else "running"


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000 / 1e6, UTC)


def _notes(
    rows: list[dict[str, Any]], pace: _Pace, progress: Progress, culprit: Container | None, late_ranks: Collection[str]
) -> list[str]:
    """Return what is special about each rank: `failed first`, `failed`, `behind`, `silent`, `stuck`, `slow`."""
    np = import_optional("numpy")
    notes = []
    for index, row in enumerate(rows):
        rank: Rank = progress.ranks[index]
        note = ""
        if culprit is not None and (rank.pod, rank.container, rank.run) == (
            culprit.pod,
            culprit.container,
            culprit.run,
        ):
            note = "failed first"
        elif rank.name in late_ranks:
            note = "behind"
        elif row["state"] != "succeeded" and _is_stuck(index, pace):
            note = "silent" if _is_older(row["last"], rows, pace.pauses[index]) else "stuck"
        elif _is_slow(index, pace):
            note = "slow"
        elif row["state"] == "failed":
            note = "failed"
        notes.append(note)
    # If most are slow, none is.
    slow = [i for i, note in enumerate(notes) if note == "slow"]
    if len(slow) * 4 > max(4, np.count_nonzero([row["step"] is not None for row in rows])):
        notes = ["" if note == "slow" else note for note in notes]
    return notes


def _is_stuck(index: int, pace: _Pace) -> bool:
    """Return whether a rank makes no steps for longer than its rhythm allows, while another one goes on."""
    np = import_optional("numpy")
    pauses, last, newest = pace.pauses[index], pace.last[index], max((t for t in pace.last if t), default=0)
    if len(pauses) < _MIN_STEPS or last is None:
        return False
    p90, p99 = np.quantile(pauses, [0.9, 0.99]).tolist()
    limit = limit_s(p90, p99, len(pauses), [], float(pauses.sum()), is_new=False)
    # That the others go on shows that this is no phase of the task, so less patience is needed.
    return bool((newest - last) / 1e9 > max(limit / 10, 3 * p99, _STUCK_S))


def _is_older(last: datetime, rows: list[dict[str, Any]], pauses: Floats) -> bool:
    """Return whether a line is older than the newest one of all ranks by more than a few usual pauses."""
    np = import_optional("numpy")
    newest: datetime = max(row["last"] for row in rows)
    return bool((newest - last).total_seconds() > max(3 * float(np.quantile(pauses, 0.99)), _STUCK_S))


def _is_slow(index: int, pace: _Pace) -> bool:
    np = import_optional("numpy")
    times = [x for x in pace.median if x is not None]
    mine = pace.median[index]
    if mine is None or len(times) < 3 or len(pace.pauses[index]) < _MIN_STEPS:
        return False
    usual = float(np.median(times))
    spread = float(np.median(np.abs(np.array(times) - usual)))
    if mine > _SLOW * usual and mine - usual > _FAR * spread:
        return True
    late = [x for x in pace.late if x is not None]
    lateness = pace.late[index]
    if lateness is None or not late:
        return False
    return lateness > max(_SHARE * usual, _LATE_S) and lateness > _FAR * float(np.median(np.abs(late)))


def _strips(
    rows: list[dict[str, Any]],
    progress: Progress,
    pace: _Pace,
    time: Ints,
    first: Ints,
    ends: list[int],
    error_of: dict[int, tuple[int, Error]],
    start: int,
    end: int,
) -> list[Strip]:
    np, counts = import_optional("numpy"), progress.counts
    span = max(1, end - start)
    main = counts.counter == counts.main
    lines = int(main.sum()) // max(1, len(np.unique(counts.rank[main])))
    bins = max(8, min(_BINS, lines // _IN_BIN))
    edges = start + (np.arange(1, bins + 1) / bins * span).astype(np.int64)  # as integers, years would overflow
    reached = np.full((len(rows), bins), np.nan)
    signs = np.zeros((len(rows), bins))
    for index in range(len(rows)):
        mine = np.flatnonzero(main & (counts.rank == index))
        at = time[counts.rows[mine]]
        order = np.argsort(at, kind="stable")
        position = np.searchsorted(at[order], edges, "right")
        total = np.maximum.accumulate(counts.total[mine[order]]) if len(mine) else counts.total[mine]
        reached[index] = np.where(position > 0, np.append(0.0, total)[position], 0.0)
        if not len(mine):  # without steps, its lines show when it was at work
            lines = np.sort(time[progress.of == index])
            reached[index] = np.searchsorted(lines, edges, "right")
        signs[index] = np.diff(reached[index], prepend=0.0)
    centre = np.median(reached, axis=0) if len(rows) else np.zeros(bins)
    moving = np.where(signs > 0, signs, np.nan)
    usual = np.array([np.median(column[column > 0]) if (column > 0).any() else np.nan for column in signs.T])
    strips = []
    steps = [np.diff(counts.total[main & (counts.rank == index)]) for index in range(len(rows))]
    unit = float(np.median(np.concatenate(steps))) if any(map(len, steps)) else 1.0  # what a line adds
    for index, row in enumerate(rows):
        begin, until = (int(time[first[index]]) - start) / span, (ends[index] - start) / span
        inside = (edges > start + begin * span) & (edges - span / bins < ends[index])
        rate = np.where(np.isnan(usual) | ~inside, np.nan, np.nan_to_num(moving[index]) / usual)
        steps_behind = centre - reached[index]
        lag = np.where(
            steps_behind > np.maximum(_APART * unit, _BEHIND * centre), steps_behind / np.maximum(centre, 1), 0.0
        )
        lag = np.clip(4 * lag, 0, 1)
        error = error_of.get(index)
        strips.append(
            Strip(
                progress.ranks[index].name,
                row["note"],
                _label(row),
                max(0.0, begin),
                min(1.0, until),
                rate.tolist(),
                lag.tolist(),
                (last_step - start) / span if (last_step := pace.last[index]) else None,
                (int(time[error[0]]) - start) / span if error else None,
                row["state"] if row["state"] in ("failed", "succeeded") else "",
            )
        )
    return strips


def _label(row: dict[str, Any]) -> str:
    """Describe a rank in a few words, beginning with what is unusual, because a narrow list shows no more."""
    silent = f"silent {seconds_text(row['silent_s'])}"
    parts = [silent if row["note"] == "silent" else row["note"]]
    parts.append(f"step {row['step']:,.0f}".replace(",", " ") if row["step"] is not None else "")
    parts.append(f"{seconds_text(row['step_s'])} each" if row["step_s"] is not None else "")
    return ", ".join(filter(None, parts))
