"""Learn how long a task is usually silent, and tell when it is silent for longer."""

from __future__ import annotations

import math
import re
import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Pauses shorter than this count as this long (seconds): a task that makes a hundred steps a second does not hang when it
#: makes none for a second.
RESOLUTION_S: Final = 1.0
#: With fewer pauses than this, a task has no rhythm yet.
MIN_PAUSES: Final = 20
#: Lines that are no steps say less, so they must have come for this long (seconds), and 95 % of the pauses between them
#: must be shorter than this many usual ones.
LINES_S, REGULAR = 60.0, 10.0
#: The first evaluation or checkpoint may take this long (seconds), however short a time the task has made steps.
FIRST_S: Final = 300.0
#: A kind of line that begins this share of the pauses belongs to a step; one that begins fewer announces something else.
USUAL_SHARE: Final = 0.05
#: The newest pauses that count, and kinds of lines whose pauses are remembered.
_NEWEST, _KINDS = 2000, 200
_VARYING: Final = re.compile(r"[\w.]*\d[\w.]*")


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
    of an earlier pause, the limit is at most twice the time that all steps have taken together.

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
    longest_known = longest * (2 if sum(pause > longest / 2 for pause in alike_s) >= several else 3)
    return max(longest_known, 2 * p99_s, 3 * p90_s, min(usual, max(FIRST_S, 2 * lasted_s)))


class Rhythm:
    """The times between the lines of a task, as they come. Methods may be called on any thread.

    Examples
    --------
    >>> rhythm, second = Rhythm(), 10**9
    >>> for step in range(1000):
    ...     rhythm.note(1, 2 * step * second, 2 * step * second, f"step {step}")
    >>> rhythm.silence(150), rhythm.silence(600)
    ('', 'usually every 2 s (p99 2 s)')
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pauses: deque[tuple[float, str]] = deque()
        self._sorted: list[float] = []
        self._kinds: Counter[str] = Counter()
        #: Time (ns) and kind of the newest line of each source, and of all.
        self._last: dict[int, tuple[int, str]] = {}
        self._newest = (0, "")
        self._first = self._count = 0
        #: How long the task was silent after a kind of line, if that was long; "" stands for the usual ones.
        self._seen: dict[str, list[float]] = {}

    def note(self, source: int, first: int, last: int, text: str) -> None:
        """Note that lines of a source came, with the times of the first and the last one (ns), and the last one's text."""
        with self._lock:
            self._first = self._first or first
            newest, kind = self._newest
            if newest and (gap_s := (first - newest) / 1e9) > 2 * self._quantile(0.5):
                state = "" if self._is_usual(kind) else kind
                if len(self._seen) < _KINDS or state in self._seen:
                    self._seen.setdefault(state, []).append(gap_s)
            before = self._last.get(source)
            if before is not None and first // 10**9 > before[0] // 10**9:
                self._add(max(RESOLUTION_S, (first - before[0]) / 1e9), before[1])
            kind = _VARYING.sub("#", text[:200])
            self._last[source] = (last, kind)
            if last >= newest:
                self._newest = (last, kind)

    def silence(self, seconds: float) -> str:
        """Return the task's rhythm in words if a silence of this length (seconds) is unusual; else an empty text."""
        with self._lock:
            lasted_s = (self._newest[0] - self._first) / 1e9
            pauses = self._count / max(1, len(self._last))
            if pauses < MIN_PAUSES or lasted_s < LINES_S:
                return ""
            p50, p90, p95, p99 = (self._quantile(q) for q in (0.5, 0.9, 0.95, 0.99))
            if p95 > REGULAR * p50:
                return ""
            kind = self._newest[1]
            is_new = not self._is_usual(kind)
            limit = limit_s(p90, p99, pauses, self._seen.get(kind if is_new else "", ()), lasted_s, is_new=is_new)
            return f"usually every {seconds_text(p50)} (p99 {seconds_text(p99)})" if seconds > limit else ""

    def _add(self, pause: float, kind: str) -> None:
        self._count += 1
        self._pauses.append((pause, kind))
        insort(self._sorted, pause)
        self._kinds[kind] += 1
        if len(self._pauses) > _NEWEST:
            old, old_kind = self._pauses.popleft()
            del self._sorted[bisect_left(self._sorted, old)]
            self._kinds[old_kind] -= 1
            if not self._kinds[old_kind]:
                del self._kinds[old_kind]

    def _is_usual(self, kind: str) -> bool:
        return self._kinds[kind] >= USUAL_SHARE * len(self._pauses)

    def _quantile(self, q: float) -> float:
        return self._sorted[min(len(self._sorted) - 1, int(q * len(self._sorted)))] if self._sorted else RESOLUTION_S


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
