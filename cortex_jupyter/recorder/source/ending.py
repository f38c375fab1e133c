"""Decide whether the log of a finished run is complete: the rule, and its evidence.

The rule is in `docs/explanation/architecture.md`, "When a log is complete". `Evidence.judge` decides by its numbers:

1. **Complete**: a read that began after the container was known to have ended came to its end, and its last lines are
   recorded.
2. **Complete**: by the node's clock, a follow was still open a second after the container had ended; or the last lines
   were checked after that and were the recorded ones.
3. **Complete**: the kubelet ended a follow with the message that the container is removed. It says so after the last
   line.
4. **Complete**: the container could not be started, so it wrote nothing.
5. **Complete**: the node served another run, and this one, with its last lines recorded, as the previous run
   (`LastLines.has_been_replaced`).
6. **A mark, no gap**: a follow ended cleanly when the container ended, and the node said at once that the container is
   over (a second follow ended at once with the same last line) or that its log is removed.
7. **A gap**: everything else. Unread lines void rules 2 and 6, unless they were written after the end and may be of the next
   run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End

_SECOND: Final = 1_000_000_000
#: The clocks of a cluster's machines differ by less than this (ns).
_SKEW: Final = 5 * _SECOND


class EndCheck(Enum):
    """What a second follow showed, right after a follow had come to a clean end."""

    FAILED = "the node did not answer"
    RUNNING = "the container is still running, or has written more"
    OVER = "it ended at once, with the same last line: the container is not running"
    REMOVED = "the node has removed the log"
    GONE = "the API server has removed the pod"


class Verdict(Enum):
    """How complete the log of a finished run is."""

    COMPLETE = "all of its lines are recorded"
    UNCHECKED = "its last line is recorded as far as can be told"
    GAP = "lines may be missing"


class NodeClock:
    """Knows what a node's clock shows at least: a line is written before it arrives.

    Times of the node are in ns since the Unix epoch, 0 if not known. Ours are monotonic (seconds).

    Examples
    --------
    >>> clock = NodeClock()
    >>> clock.earliest(7.0), clock.by_last_line(7.0)
    (0, 0)
    >>> clock.note_line(100 * _SECOND, 1.0)
    >>> clock.note_line(102 * _SECOND, 5.0)  # it arrived late
    >>> clock.earliest(7.0) / _SECOND, clock.by_last_line(7.0) / _SECOND
    (106.0, 104.0)
    """

    def __init__(self) -> None:
        self._at_least = 0  # the node's clock is at least this far ahead of our monotonic clock (ns)
        self._by_line = 0  # the same by the last line alone

    def note_time(self, time: int, at: float) -> None:
        """Note that the clock showed a time, or a later one."""
        self._at_least = time - int(at * _SECOND)

    def note_line(self, time: int, at: float) -> None:
        """Note when the last line was written, and when it arrived."""
        self._by_line = time - int(at * _SECOND)
        self._at_least = max(self._at_least or self._by_line, self._by_line)

    def earliest(self, at: float) -> int:
        """Return the time that the clock showed at least."""
        return self._at_least + int(at * _SECOND) if self._at_least else 0

    def by_last_line(self, at: float) -> int:
        """Return the time that the clock showed at least by the last line alone."""
        return self._by_line + int(at * _SECOND) if self._by_line else 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Observations about the last streams of a run. All times are in ns since the Unix epoch.

    Each `after_...` returns what is known once something more was seen.

    Parameters
    ----------
    proven : bool
        A read that began after the container was known to have ended came to its end, or the kubelet said that the
        container is removed.
    open_until : int
        The last follow ended cleanly, and was still open when the node's clock showed this time or a later one. 0 if it
        did not end cleanly, or the time is not known.
    checked_at : int
        The node's clock showed this time or a later one when `check` began.
    ended_about : int
        The cluster's time at that end, as far as the cluster's clock and the node's agree.
    check : EndCheck or None
        What the check right after that end showed; None if the follow did not end cleanly.
    unread_from : int
        The node was seen to have lines that were not recorded; the first of them was written then. 0 if there were none.

    Examples
    --------
    >>> from cortex_jupyter.cluster.pods import End
    >>> end = End(143, "Error", finished=10 * _SECOND)  # before second 11: the API cuts times to seconds
    >>> Evidence(open_until=11 * _SECOND, check=EndCheck.FAILED).judge(end)
    <Verdict.COMPLETE: 'all of its lines are recorded'>
    >>> Evidence(open_until=10_700_000_000, check=EndCheck.REMOVED).judge(end).name
    'UNCHECKED'
    >>> Evidence(open_until=10_700_000_000, check=EndCheck.FAILED).judge(end).name
    'GAP'
    >>> Evidence(open_until=11 * _SECOND, unread_from=9 * _SECOND).judge(end, may_restart=True).name
    'GAP'
    >>> Evidence(open_until=11 * _SECOND, unread_from=12 * _SECOND).judge(end, may_restart=True).name
    'COMPLETE'
    """

    proven: bool = False
    open_until: int = 0
    checked_at: int = 0
    ended_about: int = 0
    check: EndCheck | None = None
    unread_from: int = 0

    def after_stream(self, *, has_new_lines: bool, is_proof: bool) -> Evidence:
        """Take in that a stream has ended. New lines void what was known before.

        Parameters
        ----------
        has_new_lines : bool
        is_proof : bool
            Whether the stream proves that all lines are recorded; see `proven`.

        Examples
        --------
        >>> known = Evidence().after_stream(has_new_lines=True, is_proof=True)
        >>> known.proven, known.after_stream(has_new_lines=True, is_proof=False).proven
        (True, False)
        >>> known.after_unread(8 * _SECOND, previous=False).judge(None).name
        'GAP'
        """
        evidence = Evidence() if has_new_lines else self
        return replace(evidence, proven=True, unread_from=0) if is_proof else evidence

    def after_check(
        self, check: EndCheck, *, unread_from: int, open_until: int, checked_at: int, ended_about: int
    ) -> Evidence:
        """Take in the check right after a follow has come to a clean end. Times that are not known are 0."""
        if check is EndCheck.RUNNING:
            return Evidence(open_until=open_until, unread_from=unread_from)
        return replace(
            self,
            check=check,
            unread_from=0,
            open_until=open_until or self.open_until,
            checked_at=checked_at or self.checked_at,
            ended_about=ended_about,
        )

    def after_unread(self, unread_from: int, *, previous: bool) -> Evidence:
        """Take in that the log of the ended container ends with lines that are not recorded.

        Parameters
        ----------
        unread_from : int
        previous : bool
            Whether the node served the log as that of the previous run.
        """
        return Evidence() if previous else replace(self, proven=False, unread_from=unread_from)

    def judge(self, end: End | None, *, may_restart: bool = False) -> Verdict:
        """Return how complete the log is.

        Parameters
        ----------
        end : End or None
            None if no watch or request saw the container end.
        may_restart : bool, optional
            Whether unread lines that were written after the end may be of the next run.
        """
        if self.proven or (end is not None and not end.has_run):
            return Verdict.COMPLETE
        finished = end.finished if end is not None else 0
        if self.unread_from and not (may_restart and 0 < finished <= self.unread_from):
            return Verdict.GAP
        open_until = max(self.open_until, self.checked_at if self.check is EndCheck.OVER else 0)
        if finished and open_until >= finished + _SECOND:
            return Verdict.COMPLETE
        if finished > max(self.open_until, self.checked_at, self.ended_about) + _SKEW:
            return Verdict.GAP  # it ran on
        # A pod may be removed while its container runs on. The API server's word is enough only if the end was seen.
        is_over = self.check in (EndCheck.OVER, EndCheck.REMOVED) or (self.check is EndCheck.GONE and finished)
        return Verdict.UNCHECKED if is_over else Verdict.GAP
