"""Find when a task stood still: no rank made a step for much longer than this task's own rhythm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.result_frame import ResultFrame
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from cortex_jupyter.analysis.steps import Progress
    from cortex_jupyter.archive.optional import Flags, Floats, Ints

#: With fewer steps than this, a task has no rhythm yet.
MIN_STEPS: Final = 20
#: It is also none if it lasted shorter than this (seconds): the lines of a start come fast, and then a model is loaded.
#: Lines that are no steps say less.
_SHORTEST_S: Final = {"step": 10.0, "line": 60.0}
#: Lines that are no steps have a rhythm only if 99 % of the pauses between them are shorter than this many usual ones.
_REGULAR: Final = 10.0
#: The newest pauses that count.
_NEWEST: Final = 20_000
#: A rank is far behind if it lacks more lines with steps than this.
_APART: Final = 3.0
#: At most this many pauses are examined, the longest ones.
_EXAMINED: Final = 500
#: A line that begins this share of the pauses belongs to a step; one that begins fewer announces something else.
_USUAL_SHARE: Final = 0.05
_BAD: Final = frozenset(LEVELS[LEVELS.index("warning") :])


def limit_s(
    p90_s: float, p99_s: float, steps: float, alike_s: Sequence[float], lasted_s: float, *, is_new: bool
) -> float:
    """Return how long a task may make no step before that is a hang (seconds).

    Parameters
    ----------
    p90_s, p99_s : float
        The times between two steps of a rank until now: 90 and 99 % of them are shorter.
    steps : float
        The number of steps of a rank until now.
    alike_s : sequence of float
        How long earlier pauses of the task were that began like this one, such as with the line "saving checkpoint".
    lasted_s : float
        For how long the task makes steps already.
    is_new : bool
        Whether the pause began with a line that does not belong to a step.

    Notes
    -----
    A pause that is longer than all before may be the first checkpoint or the first evaluation. The more steps are known,
    the less likely that is, so the allowed multiple of the usual time goes down with the root of their number, to ten.
    A pause that began like earlier ones may last three times as long as the longest of those; twice, if several were as
    long. If the task has said that it does something new, thirty times the usual limit is allowed. Except for a multiple
    of what was seen, no more is allowed than twice the time of all steps so far.

    Examples
    --------
    >>> [round(limit_s(2, 4, steps, [], 2 * steps, is_new=False)) for steps in (100, 1000, 10_000, 100_000)]
    [400, 190, 60, 20]
    >>> round(limit_s(2, 4, 1000, [], 2000, is_new=True)), limit_s(2, 4, 1000, [180], 2000, is_new=True)
    (4000, 540)
    """
    usual = p90_s * max(10.0, 3000.0 / math.sqrt(steps))
    if is_new and not alike_s:
        usual *= 30.0
    longest = max(alike_s, default=0.0)
    several = 3
    known = longest * (2 if sum(pause > longest / 2 for pause in alike_s) >= several else 3)
    return max(known, 2 * p99_s, 3 * p90_s, min(usual, 2 * lasted_s))


class Hangs(ResultFrame):
    """When a task stood still; returned by `log.hangs()`.

    Columns: `since` (the last step), `until` (null while it lasts), `seconds`, `noticed` (when it was longer than usual),
    `usual_s` and `p99_s` (the time between two steps until then: median and 99 %), `limit_s`, `what` (`step` or `line`),
    `last` (the last step), `behind` (the ranks that had not reached it), `message`, `seq` (of the last line with a step).
    """

    def __init__(self, table: pa.Table, rhythm: str, *, is_last: bool = False) -> None:
        super().__init__(table)
        self._rhythm, self._is_last = rhythm, is_last

    @property
    def nothing(self) -> str:  # type: ignore[override]
        """What an empty frame displays: the rhythm, as far as it is known."""
        return f"no hang: {self._rhythm}"

    @property
    def now(self) -> str:
        """The message of a hang that lasts; empty if there is none."""
        return self.last["message"] if self.last and self.last["until"] is None else ""

    @property
    def last(self) -> dict[str, Any] | None:
        """The row of a hang after which no step came; None if there is none."""
        rows = self._table.slice(len(self) - 1).to_pylist() if self._is_last else []
        return rows[0] if rows else None

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Return a row for each hang: its message, and how long it was."""
        rows = self._table.slice(0, 20).to_pylist()
        return ["hang", "lasted", "from the line"], [
            [
                row["message"],
                seconds_text(row["seconds"]) + ("" if row["until"] else " so far"),
                f"log.seq[{row['seq']}]",
            ]
            for row in rows
        ]


def hangs(table: pa.Table, progress: Progress, end: int, *, is_over: bool, steps_only: bool = False) -> Hangs:
    """Find when a task stood still.

    Each pause is judged by what was known when it began, so the result for a finished task is what users saw while it ran.

    Parameters
    ----------
    table : pyarrow.Table
        Records with `steps.COLUMNS`.
    progress : Progress
        What `read_progress` found in them.
    end : int
        Now, or when the task ended (ns).
    is_over : bool
        Whether the task has ended.
    steps_only : bool, optional
        A log without steps has no rhythm: the lines of a service come with its users.
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    time = table["time"].cast(pa.int64()).to_numpy()
    counts = progress.counts
    steps = counts.advances
    signs, what = (
        _Signs.of(table, progress, time, counts.rows[steps], counts.rank[steps], counts.is_last[steps]),
        "step",
    )
    if signs.steps < MIN_STEPS and not steps_only:
        lines = _recurring(progress)
        signs, what = (
            _Signs.of(table, progress, time, lines, progress.of[lines], np.zeros(len(lines), np.bool_)),
            "line",
        )
    rows: list[dict[str, Any]] = []
    is_last = False
    rhythm = "this log has too few steps for a rhythm"
    if signs.steps >= MIN_STEPS:
        rows = _examine(table, progress, signs, end, is_over=is_over, what=what)
        is_last = bool(rows) and rows[-1]["seq"] == table["seq"][int(signs.rows[-1])].as_py()
        rhythm = f"a {what} every {_rhythm(signs.length)}, and no pause that stands out"
    moment, number = pa.timestamp("us", "UTC"), pa.float64()
    kinds = [
        *((name, moment) for name in ("since", "until")),
        ("seconds", number),
        ("noticed", moment),
        *((name, number) for name in ("usual_s", "p99_s", "limit_s")),
        ("what", pa.string()),
        ("last", number),
        ("behind", pa.list_(pa.string())),
        ("message", pa.string()),
        ("seq", pa.int64()),
    ]
    return Hangs(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), rhythm, is_last=is_last)


def _recurring(progress: Progress) -> Ints:
    """Return the lines of the kinds that each rank writes again and again."""
    np = import_optional("numpy")
    lines = np.flatnonzero(progress.of >= 0)
    times = np.bincount(progress.shape[lines]) if len(lines) else np.zeros(1, np.int64)
    rows: Ints = lines[times[progress.shape[lines]] >= MIN_STEPS * max(1, len(progress.ranks))]
    return rows


@dataclass(slots=True)
class _Signs:
    """The signs of progress of all ranks: lines with a step, or lines that recur.

    Parameters
    ----------
    rows, time, rank, kind, is_last : numpy.ndarray
        In the order of time. `kind` is the shape of the line with which the time until the rank's next sign began; `is_last`
        is whether the counter reached its end.
    end, length, began : numpy.ndarray
        The pauses between two signs of one rank, by their ends: when each ended (ns), how long it was (seconds), and the kind
        with which it began.
    steps : int
        The number of pauses of a rank, on average.
    """

    rows: Ints
    time: Ints
    rank: Ints
    kind: Ints
    is_last: Flags
    end: Ints
    length: Floats
    began: Ints
    steps: float

    @classmethod
    def of(cls, table: pa.Table, progress: Progress, time: Ints, rows: Ints, rank: Ints, is_last: Flags) -> _Signs:
        np = import_optional("numpy")
        order = np.argsort(time[rows], kind="stable")
        rows, rank, is_last = rows[order], rank[order], is_last[order]
        by_rank = np.argsort(rank, kind="stable")
        same = rank[by_rank][1:] == rank[by_rank][:-1]
        begin, end = by_rank[:-1][same], by_rank[1:][same]
        length = (time[rows[end]] - time[rows[begin]]) / 1e9
        kind = _kinds(table, progress, time, rows, float(np.median(length)) if len(length) else 0.0)
        by_end = np.argsort(time[rows[end]], kind="stable")
        ranks = max(1, len(np.unique(rank)))
        begin, end = begin[by_end], end[by_end]
        return cls(
            rows, time[rows], rank, kind, is_last, time[rows[end]], length[by_end], kind[begin], len(end) / ranks
        )


def _kinds(table: pa.Table, progress: Progress, time: Ints, rows: Ints, usual_s: float) -> Ints:
    """Return the shape with which the time after each sign begins: that of the rank's next line, else that of the sign.

    A pause after "saving checkpoint" differs from one after a step. Only a line that comes soon counts, since that of a pause
    which lasts is not known yet. A warning or an error announces nothing.
    """
    np = import_optional("numpy")
    levels, names = coded(table["level"])
    is_other = ~np.isin(levels, [i for i, name in enumerate(names) if name in _BAD])
    is_other[rows] = False
    lines = np.flatnonzero((progress.of >= 0) & is_other)
    if not len(lines) or not len(rows):
        return progress.shape[rows]
    # Rows are in the order of time, so the next line of a rank is the next one in this order of rank and row.
    width = table.num_rows + 1
    keys = progress.of[lines] * width + lines
    order = np.argsort(keys)
    at = np.searchsorted(keys[order], progress.of[rows] * width + rows)
    following = lines[order][np.minimum(at, len(lines) - 1)]
    is_next = (at < len(lines)) & (progress.of[following] == progress.of[rows])
    is_next &= (time[following] - time[rows]) / 1e9 <= usual_s
    kind: Ints = progress.shape[np.where(is_next, following, rows)]
    return kind


def _examine(
    table: pa.Table, progress: Progress, signs: _Signs, end: int, *, is_over: bool, what: str
) -> list[dict[str, Any]]:
    """Judge the longest times in which no rank made a step, the earliest first."""
    np = import_optional("numpy")
    lengths = np.diff(signs.time, append=max(end, int(signs.time[-1]))) / 1e9
    longest = np.argsort(-lengths, kind="stable")[:_EXAMINED]
    rows, seen, usual = [], dict[int, list[float]](), -1
    for index in np.sort(longest[lengths[longest] > 2 * float(np.median(signs.length))]).tolist():
        start, length = int(signs.time[index]), float(lengths[index])
        known = int(np.searchsorted(signs.end, start, "right"))
        steps = known / max(1, len(signs.end)) * signs.steps
        if steps < MIN_STEPS:
            continue
        before = signs.length[max(0, known - _NEWEST) : known]
        p90, p99 = np.quantile(before, [0.9, 0.99]).tolist()
        began, times = np.unique(signs.began[max(0, known - _NEWEST) : known], return_counts=True)
        kinds = _latest_kinds(signs, index, start - int(2e9 * p99))
        new = np.setdiff1d(kinds, began[times >= _USUAL_SHARE * len(before)]).tolist()
        alike = [pause for kind in new or [usual] for pause in seen.get(kind, ())]
        lasted = (start - int(signs.time[0])) / 1e9
        is_irregular = what == "line" and p99 > _REGULAR * float(np.median(before))
        if lasted < _SHORTEST_S[what] or is_irregular or _is_at_end(signs, index, start - int(2e9 * p99)):
            continue
        limit = limit_s(p90, p99, steps, alike, lasted, is_new=bool(new))
        for kind in new or [usual]:
            seen.setdefault(kind, []).append(length)
        if length > limit:
            lasts = index == len(signs.rows) - 1 and not is_over
            row = int(signs.rows[index])
            rows.append(_row(table, progress, row, start, length, before, limit, what, lasts=lasts))
    return rows


def _is_at_end(signs: _Signs, index: int, since: int) -> bool:
    """Return whether all counters that were at work have reached their ends at a sign: what comes then has no rhythm yet."""
    np = import_optional("numpy")
    recent = slice(max(0, index + 1 - _NEWEST), index + 1)
    ranks, times, is_last = (column[recent][::-1] for column in (signs.rank, signs.time, signs.is_last))
    _, latest = np.unique(ranks, return_index=True)
    return bool(is_last[latest[times[latest] >= since]].all())


def _latest_kinds(signs: _Signs, index: int, since: int) -> Ints:
    """Return with which kinds of lines the pauses of all ranks began that last at a sign; those that are at work since then."""
    np = import_optional("numpy")
    recent = slice(max(0, index + 1 - _NEWEST), index + 1)
    ranks, kinds, times = (column[recent][::-1] for column in (signs.rank, signs.kind, signs.time))
    _, latest = np.unique(ranks, return_index=True)
    result: Ints = np.unique(kinds[latest[times[latest] >= since]])
    return result


def _row(
    table: pa.Table,
    progress: Progress,
    row: int,
    start: int,
    seconds: float,
    before: Floats,
    limit: float,
    what: str,
    *,
    lasts: bool,
) -> dict[str, Any]:
    np = import_optional("numpy")
    last, behind = _behind(progress, row)
    moment, end = (datetime.fromtimestamp(at, UTC).astimezone() for at in (start / 1e9, start / 1e9 + seconds))
    since = f"{moment:%H:%M:%S}" if moment.date() == end.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
    who = f"; {_names(behind)} had not reached step {last:g}" if behind and last is not None else ""
    return {
        "since": moment,
        "until": None if lasts else end,
        "seconds": seconds,
        "noticed": datetime.fromtimestamp(start / 1e9 + limit, UTC),
        "usual_s": float(np.median(before)),
        "p99_s": float(np.quantile(before, 0.99)),
        "limit_s": limit,
        "what": what,
        "last": last,
        "behind": behind,
        "message": f"no {what} since {since}, usually every {_rhythm(before)}{who}",
        "seq": table["seq"][row].as_py(),
    }


def _behind(progress: Progress, row: int) -> tuple[float | None, list[str]]:
    """Return the step that most ranks had reached at a row, and the ranks that had not."""
    np, counts = import_optional("numpy"), progress.counts
    rows = np.flatnonzero((counts.counter == counts.main) & (counts.rows <= row))
    if not len(rows):
        return None, []
    reached = np.full(len(progress.ranks), np.nan)
    shown = np.full(len(progress.ranks), np.nan)
    reached[counts.rank[rows]], shown[counts.rank[rows]] = counts.total[rows], counts.value[rows]
    with_steps = np.flatnonzero(~np.isnan(reached))
    middle = float(np.median(reached[with_steps]))
    ahead = with_steps[reached[with_steps] >= middle]
    first = int(ahead[np.argmin(reached[ahead])])
    # Of ranks that do not wait for each other many are a little behind, which says nothing.
    unit = float(np.median(np.diff(np.unique(counts.total[rows])))) if len(np.unique(counts.total[rows])) > 1 else 1.0
    for far in (0.0, _APART * unit):
        behind = with_steps[reached[with_steps] < reached[first] - far]
        if len(behind) <= max(1, len(with_steps) // 4):
            return float(shown[first]), [progress.ranks[i].name for i in behind.tolist()]
    return float(shown[first]), []


def _names(names: list[str]) -> str:
    few = 3
    return ", ".join(names[:few]) + (f" and {len(names) - few} others" if len(names) > few else "")


def _rhythm(pauses: Floats) -> str:
    np = import_optional("numpy")
    return f"{seconds_text(float(np.median(pauses)))} (p99 {seconds_text(float(np.quantile(pauses, 0.99)))})"


def seconds_text(seconds: float) -> str:
    """Format a number of seconds.

    Examples
    --------
    >>> seconds_text(0.0213), seconds_text(-2.14), seconds_text(4), seconds_text(75), seconds_text(7500)
    ('21 ms', '-2.1 s', '4 s', '75 s', '125 min')
    """
    size = abs(seconds)
    if size < 1:
        return f"{round(seconds * 1000)} ms"
    if size < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if size < 600 else f"{seconds / 60:.0f} min"
