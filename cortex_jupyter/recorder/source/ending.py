"""When the log of a run that has ended is complete: the one rule, and the evidence that it is decided by.

A clean end of a stream proves nothing: a load balancer may have ended it, and the container has written more since. So:

1. **Complete**: a read that began after the container was known to have ended came to its end, and its last lines are
   recorded.
2. **Complete**: by the clock of its node, that was so as it turned out afterwards: a follow was still open a second after
   the container ended, or its last lines were looked at after that and are the recorded ones.
3. **Complete**: the kubelet ended a follow with the word that the container is removed. It says so after the last line.
4. **Complete**: the container could not be started; it has written nothing.
5. **A mark, and no gap**: a follow came to a clean end when the container ended, and the node said at once that the container
   is over (a second follow ended at once with the same last line), or has removed its log. A kubelet removes the log of a
   deleted pod within some milliseconds of its end, before the API server knows of either. Then only what was written
   in the very moment in which a load balancer ended the follow could be missing.
6. **A gap**: everything else. The stream broke, or ended before the container did and nobody could read the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End

_SECOND: Final = 1_000_000_000
#: The clocks of a cluster's machines agree about this well.
_SKEW: Final = 5 * _SECOND


class Look(Enum):
    """What a second follow showed, right after a follow had come to a clean end."""

    FAILED = "the node did not answer"
    RUNNING = "the container is still running, or has written more"
    OVER = "it ended at once, with the same last line: the container is not running"
    REMOVED = "the node has removed the log"
    GONE = "the API server has removed the pod"


class Verdict(Enum):
    """How complete the log of a run is that has ended."""

    COMPLETE = "all of its lines are recorded"
    UNCHECKED = "its last line is recorded as far as can be told"
    GAP = "lines may be missing"


@dataclass(slots=True)
class Evidence:
    """What is known of the last streams of a run.

    Parameters
    ----------
    proven : bool
        A read that began after the container was known to have ended came to its end, or the kubelet has said that
        the container is removed.
    open_until : int
        The last follow came to a clean end so long after its last line that the node's clock showed this time or a later
        one, ns since the epoch; 0 where it did not, or the time is not known.
    looked_at : int
        The node's clock showed this time or a later one when `look` began, ns since the epoch.
    about : int
        The cluster's time at that end, as far as its clock and the node's agree, ns since the epoch.
    look : Look or None
        What the look right after that end showed, None where the follow did not come to a clean end.

    Examples
    --------
    >>> from cortex_jupyter.cluster.pods import End
    >>> end = End(143, "Error", finished=10 * _SECOND)  # it ended before 11: the API cuts the time to a second
    >>> Evidence(open_until=11 * _SECOND, look=Look.FAILED).judge(end)
    <Verdict.COMPLETE: 'all of its lines are recorded'>
    >>> Evidence(open_until=10_700_000_000, look=Look.REMOVED).judge(end).name
    'UNCHECKED'
    >>> Evidence(open_until=10_700_000_000, look=Look.FAILED).judge(end).name
    'GAP'
    """

    proven: bool = False
    open_until: int = 0
    looked_at: int = 0
    about: int = 0
    look: Look | None = None

    def judge(self, end: End | None) -> Verdict:
        """Return how complete the log is; `end` is None where nobody saw the container end."""
        if self.proven or (end is not None and not end.has_run):
            return Verdict.COMPLETE
        finished = end.finished if end is not None else 0
        shown = max(self.open_until, self.looked_at if self.look is Look.OVER else 0)
        if finished and shown >= finished + _SECOND:
            return Verdict.COMPLETE
        if finished > max(self.open_until, self.looked_at, self.about) + _SKEW:
            return Verdict.GAP  # it ran on
        # A pod may be removed while its container runs on: the API server's word is enough only if its end was seen.
        over = self.look in (Look.OVER, Look.REMOVED) or (self.look is Look.GONE and finished)
        return Verdict.UNCHECKED if over else Verdict.GAP
