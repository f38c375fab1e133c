"""How recorders that select the same tasks share them: each by itself, from what all of them can see in the store."""

from __future__ import annotations

import math
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What is above its share a recorder leaves to the others for this long, seconds; then it takes it all the same.
LEAVE_S: Final = 1.5
#: When nobody has taken what it handed over, it hands nothing over for this long, seconds; each time for twice as long,
#: and one task only: who has just begun may be slow, and who never takes any must not cost much.
_VAIN_S, _LONGEST_VAIN_S = 4.0, 3600.0


class Sharing:
    """One recorder's part.

    A share is the number of tasks divided by that of recorders. Up to it (rounded up) a recorder takes what is free at
    once; above it only what has been free for `LEAVE_S`, so that a recorder which takes nothing keeps no task waiting. The
    one that has the most, and two more than another at least, hands over a quarter of what is too much, and looks again.

    Parameters
    ----------
    me : str
        The recorder's id.
    clock : callable, optional
        Gives seconds.
    """

    def __init__(self, me: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._me, self._clock = me, clock
        self._free: dict[int, float] = {}  # since when
        self._given: set[int] = set()  # handed over, and not seen with another yet
        self._keeps, self._vain = 0.0, _VAIN_S  # hands nothing over before then

    def take(self, holders: Mapping[int, str], recorders: int) -> list[int]:
        """Give what to take now, in order.

        Parameters
        ----------
        holders : mapping
            Each task that is not done, to the recorder that has it, or "".
        recorders : int
            How many live, this one included.

        Examples
        --------
        >>> len(Sharing("a").take({1: "", 2: "", 3: "", 4: "b"}, 2))
        2
        """
        now = self._clock()
        self._free = {id_: self._free.get(id_, now) for id_, owner in holders.items() if not owner}
        if any(holders.get(id_, self._me) not in ("", self._me) for id_ in self._given):
            self._vain = _VAIN_S  # somebody has taken it
        self._given = {id_ for id_ in self._given if holders.get(id_) in ("", self._me)}
        mine = sum(owner == self._me for owner in holders.values())
        room = max(0, math.ceil(len(holders) / max(1, recorders)) - mine)
        # Each in an order of its own, so that they do not all reach for the same.
        order = sorted(self._free, key=lambda id_: zlib.crc32(f"{self._me} {id_}".encode()))
        first = [id_ for id_ in order if id_ not in self._given][:room]
        late = [id_ for id_ in order if id_ not in first and now - self._free[id_] >= LEAVE_S]
        if self._given.intersection(late):
            self._keeps, self._vain = now + self._vain, min(self._vain * 2, _LONGEST_VAIN_S)
            self._given.difference_update(late)
        return first + late

    def give(self, holders: Mapping[int, str], recorders: int) -> list[int]:
        """Give what to hand over now; the newest first, they have the least to be read again.

        Examples
        --------
        >>> Sharing("a").give({1: "a", 2: "a", 3: "a", 4: "a"}, 2)
        [4]
        >>> Sharing("a").give({1: "a", 2: "a", 3: "b"}, 2)
        []
        """
        having = Counter(holders.values())
        free, mine = having.pop("", 0), having[self._me]
        fewest = 0 if len(having) < recorders else min(having.values(), default=0)
        over = min(mine - len(holders) // max(1, recorders), mine - fewest - 1)
        most = max(having, key=lambda id_: (having[id_], id_), default="")
        if free or over < 1 or most != self._me or self._clock() < self._keeps:
            return []
        own = sorted((id_ for id_, owner in holders.items() if owner == self._me), reverse=True)
        given = own[: math.ceil(over / 4) if self._vain == _VAIN_S else 1]
        self._given.update(given)
        return given
