"""Find when a task stood still: no rank made a step for much longer than this task's own rhythm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.analysis.result_frame import ResultFrame
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.parsing.rhythm import LINES_S, MIN_PAUSES, REGULAR, RESOLUTION_S, USUAL_SHARE, limit_s, seconds_text
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.analysis.steps import Progress
    from cortex_jupyter.archive.optional import Flags, Floats, Ints

#: The newest pauses that count.
_NEWEST: Final = 20_000
#: A rank is far behind if it lacks more lines with steps than this.
_APART: Final = 3.0
#: At most this many pauses are examined, the longest ones.
_EXAMINED: Final = 500
_BAD: Final = frozenset(LEVELS[LEVELS.index("warning") :])


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
        """The row of a hang that no step ended; None if there is none."""
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
    signs, noun = (
        _Signs.of(table, progress, time, counts.rows[steps], counts.rank[steps], counts.is_last[steps]),
        "step",
    )
    if signs.pauses < MIN_PAUSES and not steps_only:
        lines = _recurring(progress)
        signs, noun = (
            _Signs.of(table, progress, time, lines, progress.of[lines], np.zeros(len(lines), np.bool_)),
            "line",
        )
    rows: list[dict[str, Any]] = []
    is_last = False
    rhythm = "this log has too few steps for a rhythm"
    if signs.pauses >= MIN_PAUSES:
        rows = _examine(table, progress, signs, end, is_over=is_over, noun=noun)
        is_last = bool(rows) and rows[-1]["seq"] == table["seq"][int(signs.rows[-1])].as_py()
        rhythm = f"a {noun} every {_rhythm(signs.length)}, and no pause that stands out"
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
    rows: Ints = lines[times[progress.shape[lines]] >= MIN_PAUSES * max(1, len(progress.ranks))]
    return rows


@dataclass(slots=True)
class _Signs:
    """The signs of progress of all ranks: lines with a step, or lines that recur.

    Parameters
    ----------
    rows, time, rank, kind, is_last : numpy.ndarray
        In the order of time. `kind` is the shape of the line that began the time until the rank's next sign. `is_last` is
        whether the counter reached its end.
    end, length : numpy.ndarray
        The times between two signs of one rank, by their ends: when each ended (ns), and how long it was (seconds).
    pause_end, pause, began : numpy.ndarray
        The same between two seconds with a sign of any rank, and the kind of the line that began each. A task that makes
        a hundred steps a second does not hang when it makes none for a second.
    pauses : float
        The number of pauses of a rank, on average.
    """

    rows: Ints
    time: Ints
    rank: Ints
    kind: Ints
    is_last: Flags
    end: Ints
    length: Floats
    pause_end: Ints
    pause: Floats
    began: Ints
    pauses: float

    @classmethod
    def of(cls, table: pa.Table, progress: Progress, time: Ints, rows: Ints, rank: Ints, is_last: Flags) -> _Signs:
        np = import_optional("numpy")
        order = np.argsort(time[rows], kind="stable")
        rows, rank, is_last = rows[order], rank[order], is_last[order]
        at = time[rows]
        by_rank = np.argsort(rank, kind="stable")
        begin, end = _neighbours(rank, by_rank)
        length = (at[end] - at[begin]) / 1e9
        usual_s = max(RESOLUTION_S, float(np.median(length))) if len(length) else RESOLUTION_S
        kind = _kinds(table, progress, time, rows, usual_s)
        by_end = np.argsort(at[end], kind="stable")
        end, length = end[by_end], length[by_end]
        # The last sign of each second.
        second = at[by_rank] // int(RESOLUTION_S * 1e9)
        is_new = np.ones(len(by_rank), np.bool_)
        is_new[:-1] = (second[1:] != second[:-1]) | (rank[by_rank][1:] != rank[by_rank][:-1])
        first, last = _neighbours(rank, by_rank[is_new])
        by_last = np.argsort(at[last], kind="stable")
        first, last = first[by_last], last[by_last]
        pause = np.maximum((at[last] - at[first]) / 1e9, RESOLUTION_S)
        pauses = len(last) / max(1, len(np.unique(rank)))
        return cls(rows, at, rank, kind, is_last, at[end], length, at[last], pause, kind[first], pauses)


def _neighbours(rank: Ints, by_rank: Ints) -> tuple[Ints, Ints]:
    """Return each two that follow each other in the same rank."""
    same = rank[by_rank][1:] == rank[by_rank][:-1]
    return by_rank[:-1][same], by_rank[1:][same]


def _kinds(table: pa.Table, progress: Progress, time: Ints, rows: Ints, usual_s: float) -> Ints:
    """Return the shape of the line that begins the time after each sign: the rank's next line, else the sign itself.

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
    table: pa.Table, progress: Progress, signs: _Signs, end: int, *, is_over: bool, noun: str
) -> list[dict[str, Any]]:
    """Judge the longest times without a step of any rank, the earliest first."""
    np = import_optional("numpy")
    lengths = np.diff(signs.time, append=max(end, int(signs.time[-1]))) / 1e9
    longest = np.argsort(-lengths, kind="stable")[:_EXAMINED]
    rows, pauses_by_kind, usual = [], dict[int, list[float]](), -1
    for index in np.sort(longest[lengths[longest] > 2 * float(np.median(signs.pause))]).tolist():
        start, length = int(signs.time[index]), float(lengths[index])
        n_known = int(np.searchsorted(signs.pause_end, start, "right"))
        steps = n_known / max(1, len(signs.pause_end)) * signs.pauses
        if steps < MIN_PAUSES:
            continue
        part = slice(max(0, n_known - _NEWEST), n_known)
        p50, p90, p95, p99 = np.quantile(signs.pause[part], [0.5, 0.9, 0.95, 0.99]).tolist()
        began, times = np.unique(signs.began[part], return_counts=True)
        kinds = _latest_kinds(signs, index, start - int(2e9 * p99))
        new = np.setdiff1d(kinds, began[times >= USUAL_SHARE * (part.stop - part.start)]).tolist()
        alike = [pause for kind in new or [usual] for pause in pauses_by_kind.get(kind, ())]
        lasted = (start - int(signs.time[0])) / 1e9
        is_irregular = noun == "line" and p95 > REGULAR * p50
        if (noun == "line" and lasted < LINES_S) or is_irregular or _is_at_end(signs, index, start - int(2e9 * p99)):
            continue
        limit = limit_s(p90, p99, steps, alike, lasted, is_new=bool(new))
        for kind in new or [usual]:
            pauses_by_kind.setdefault(kind, []).append(length)
        if length > limit:
            lasts = index == len(signs.rows) - 1 and not is_over
            row = int(signs.rows[index])
            fine = int(np.searchsorted(signs.end, start, "right"))
            before = signs.length[max(0, fine - _NEWEST) : fine]
            rows.append(_row(table, progress, row, start, length, before, limit, noun, lasts=lasts))
    return rows


def _is_at_end(signs: _Signs, index: int, since: int) -> bool:
    """Return whether all active counters have reached their ends at a sign. The phase that follows has no rhythm yet."""
    np = import_optional("numpy")
    recent = slice(max(0, index + 1 - _NEWEST), index + 1)
    ranks, times, is_last = (column[recent][::-1] for column in (signs.rank, signs.time, signs.is_last))
    _, latest = np.unique(ranks, return_index=True)
    return bool(is_last[latest[times[latest] >= since]].all())


def _latest_kinds(signs: _Signs, index: int, since: int) -> Ints:
    """Return the kinds of the lines that began the pauses which last at a sign, of all ranks that were active since `since`."""
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
    noun: str,
    *,
    lasts: bool,
) -> dict[str, Any]:
    np = import_optional("numpy")
    last, late_ranks = _late_ranks(progress, row)
    moment, end = (datetime.fromtimestamp(at, UTC).astimezone() for at in (start / 1e9, start / 1e9 + seconds))
    since = f"{moment:%H:%M:%S}" if moment.date() == end.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
    who = f"; {_names(late_ranks)} had not reached step {last:g}" if late_ranks and last is not None else ""
    return {
        "since": moment,
        "until": None if lasts else end,
        "seconds": seconds,
        "noticed": datetime.fromtimestamp(start / 1e9 + limit, UTC),
        "usual_s": float(np.median(before)),
        "p99_s": float(np.quantile(before, 0.99)),
        "limit_s": limit,
        "what": noun,
        "last": last,
        "behind": late_ranks,
        "message": f"no {noun} since {since}, usually every {_rhythm(before)}{who}",
        "seq": table["seq"][row].as_py(),
    }


def _late_ranks(progress: Progress, row: int) -> tuple[float | None, list[str]]:
    """Return the step that most ranks had reached at a row, and the ranks that had not."""
    np, counts = import_optional("numpy"), progress.counts
    rows = np.flatnonzero((counts.counter == counts.main) & (counts.rows <= row))
    if not len(rows):
        return None, []
    reached = np.full(len(progress.ranks), np.nan)
    step = np.full(len(progress.ranks), np.nan)
    reached[counts.rank[rows]], step[counts.rank[rows]] = counts.total[rows], counts.value[rows]
    with_steps = np.flatnonzero(~np.isnan(reached))
    middle = float(np.median(reached[with_steps]))
    leaders = with_steps[reached[with_steps] >= middle]
    first = int(leaders[np.argmin(reached[leaders])])
    # Of ranks that do not wait for each other many are a little behind, which says nothing.
    unit = float(np.median(np.diff(np.unique(counts.total[rows])))) if len(np.unique(counts.total[rows])) > 1 else 1.0
    for far in (0.0, _APART * unit):
        late = with_steps[reached[with_steps] < reached[first] - far]
        if len(late) <= max(1, len(with_steps) // 4):
            return float(step[first]), [progress.ranks[i].name for i in late.tolist()]
    return float(step[first]), []


def _names(names: list[str]) -> str:
    max_names = 3
    return ", ".join(names[:max_names]) + (f" and {len(names) - max_names} others" if len(names) > max_names else "")


def _rhythm(pauses: Floats) -> str:
    np = import_optional("numpy")
    return f"{seconds_text(float(np.median(pauses)))} (p99 {seconds_text(float(np.quantile(pauses, 0.99)))})"
