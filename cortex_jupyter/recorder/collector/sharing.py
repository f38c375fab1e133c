"""How recorders share the tasks that they all select: each decides alone, from what all of them see in the store."""

from __future__ import annotations

import math
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recorder.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: A recorder leaves tasks above its share to the others for this long (seconds); then it takes them all the same.
LEAVE_S: Final = 1.5
#: If no recorder has taken what was handed over, nothing more is handed over for this long (seconds); each time for
#: twice as long, and then one task only. A recorder that has just started may be slow, and one that never takes tasks
#: must not cost much.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 4.0, 3600.0


class TaskSharing:
    """One recorder's part.

    A share is the number of tasks divided by the number of recorders. A recorder takes free tasks at once up to its
    share (rounded up). Above its share it takes only tasks that have been free for `LEAVE_S`, so that a recorder which
    takes nothing keeps no task waiting. The recorder with the most tasks, at least two more than another, hands over a
    quarter of its excess, and checks again.

    Parameters
    ----------
    me : str
        The recorder's id.
    clock : callable, optional
        Returns the time in seconds.
    """

    def __init__(self, me: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._me, self._clock = me, clock
        self._free_since: dict[int, float] = {}  # by task
        self._handed_over: set[int] = set()  # handed over, and not yet seen with another recorder
        self._paused_until = 0.0  # hands nothing over before then
        self._pause = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def to_take(self, holders: Mapping[int, str], recorders: int) -> list[int]:
        """Return the tasks to take now, in order.

        Parameters
        ----------
        holders : mapping
            Each unfinished task, with the recorder that has it, or "".
        recorders : int
            How many recorders live, including this one.

        Examples
        --------
        >>> len(TaskSharing("a").to_take({1: "", 2: "", 3: "", 4: "b"}, 2))
        2
        """
        now = self._clock()
        self._free_since = {id_: self._free_since.get(id_, now) for id_, owner in holders.items() if not owner}
        if any(holders.get(id_, self._me) not in ("", self._me) for id_ in self._handed_over):
            self._pause.reset()  # another recorder has taken one
        self._handed_over = {id_ for id_ in self._handed_over if holders.get(id_) in ("", self._me)}
        mine = sum(owner == self._me for owner in holders.values())
        room = max(0, math.ceil(len(holders) / max(1, recorders)) - mine)
        # Each recorder has an order of its own, so that they do not all try to take the same task.
        order = sorted(self._free_since, key=lambda id_: zlib.crc32(f"{self._me} {id_}".encode()))
        first = [id_ for id_ in order if id_ not in self._handed_over][:room]
        late = [id_ for id_ in order if id_ not in first and now - self._free_since[id_] >= LEAVE_S]
        if self._handed_over.intersection(late):
            self._paused_until = now + self._pause.next()
            self._handed_over.difference_update(late)
        return first + late

    def to_hand_over(self, holders: Mapping[int, str], recorders: int) -> list[int]:
        """Return the tasks to hand over now; the newest first, since they have the least to read again.

        Examples
        --------
        >>> TaskSharing("a").to_hand_over({1: "a", 2: "a", 3: "a", 4: "a"}, 2)
        [4]
        >>> TaskSharing("a").to_hand_over({1: "a", 2: "a", 3: "b"}, 2)
        []
        """
        counts = Counter(holders.values())
        free, mine = counts.pop("", 0), counts[self._me]
        fewest = 0 if len(counts) < recorders else min(counts.values(), default=0)
        excess = min(mine - len(holders) // max(1, recorders), mine - fewest - 1)
        busiest = max(counts, key=lambda id_: (counts[id_], id_), default="")
        if free or excess < 1 or busiest != self._me or self._clock() < self._paused_until:
            return []
        own_tasks = sorted((id_ for id_, owner in holders.items() if owner == self._me), reverse=True)
        handed_over = own_tasks[: math.ceil(excess / 4) if self._pause.is_first else 1]
        self._handed_over.update(handed_over)
        return handed_over
