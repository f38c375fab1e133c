"""How recorders share the tasks that they all select: each decides alone, from what all of them see in the store.

A share is the number of tasks divided by the number of recorders. A recorder takes free tasks at once up to its share
(rounded up). Above its share it takes only tasks that have been free for `LEAVE_S`, so that a recorder which takes
nothing keeps no task waiting. If no task is free, the recorder with the most tasks, at least two more than another,
hands over a quarter of its excess, and checks again.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recorder.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

#: A recorder leaves tasks above its share to the others for this long (seconds); then it takes them all the same.
LEAVE_S: Final = 1.5
#: If no recorder has taken what was handed over, nothing more is handed over for this long (seconds); each time for
#: twice as long, and then one task only. A recorder that has just started may be slow, and one that never takes tasks
#: must not cost much.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 4.0, 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recorder does with the tasks of all recorders.

    Parameters
    ----------
    take : tuple of int
        Tasks to start, in order.
    hand_over : tuple of int
        Running tasks to leave to the other recorders.
    """

    take: tuple[int, ...] = ()
    hand_over: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """What a recorder knows when it decides.

    Parameters
    ----------
    me : str
        The recorder's id.
    holders : mapping
        Each unfinished task of the recorders that share, with the recorder that has its lease, or "".
    recorders : int
        Number of living recorders that share, including this one.
    running : set of int
        The tasks that this recorder records now.
    offered : set of int
        Tasks that it handed over, and that no other recorder has taken yet.
    overdue : set of int
        Tasks that have been free for `LEAVE_S`.
    max_hand_over : float
        Maximum number of tasks to hand over now.
    """

    me: str
    holders: Mapping[int, str]
    recorders: int
    running: AbstractSet[int]
    offered: AbstractSet[int] = frozenset()
    overdue: AbstractSet[int] = frozenset()
    max_hand_over: float = math.inf


def make_plan(situation: Situation) -> Plan:
    """Return which tasks to take, and which to hand over: the newest, since they have the least to read again.

    Examples
    --------
    >>> holders = {1: "", 2: "", 3: "", 4: "b"}
    >>> len(make_plan(Situation("a", holders, recorders=2, running=set())).take)
    2
    >>> holders = {1: "a", 2: "a", 3: "a", 4: "a"}
    >>> make_plan(Situation("a", holders, recorders=2, running={1, 2, 3, 4}))
    Plan(take=(), hand_over=(4,))
    >>> make_plan(Situation("a", {1: "a", 2: "a", 3: "b"}, recorders=2, running={1, 2}))
    Plan(take=(), hand_over=())
    """
    mine = [id_ for id_, owner in situation.holders.items() if owner == situation.me]
    free = [id_ for id_, owner in situation.holders.items() if not owner]
    # A task that has just failed here is ours in the store, but free all the same.
    failed = tuple(id_ for id_ in mine if id_ not in situation.running)
    share = len(situation.holders) / max(1, situation.recorders)
    if free:
        # Each recorder has an order of its own, so that they do not all try to take the same task.
        order = sorted(free, key=lambda id_: zlib.crc32(f"{situation.me} {id_}".encode()))
        room = max(0, math.ceil(share) - len(mine))
        first = [id_ for id_ in order if id_ not in situation.offered][:room]
        late = [id_ for id_ in order if id_ in situation.overdue and id_ not in first]
        return Plan(take=(*failed, *first, *late))
    counts = Counter(situation.holders.values())
    fewest = 0 if len(counts) < situation.recorders else min(counts.values(), default=0)
    excess = min(len(mine) - math.floor(share), len(mine) - fewest - 1)
    busiest = max(counts, key=lambda id_: (counts[id_], id_), default="")
    if busiest != situation.me or excess < 1:
        return Plan(take=failed)
    newest = sorted(mine, reverse=True)[: int(min(math.ceil(excess / 4), situation.max_hand_over))]
    return Plan(take=failed, hand_over=tuple(id_ for id_ in newest if id_ in situation.running))


class TaskSharing:
    """Makes one recorder's plans, and remembers what happened to the tasks that it handed over.

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
        self._offered: set[int] = set()  # handed over, and not yet seen with another recorder
        self._paused_until = 0.0  # hands nothing over before then
        self._pause = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def plan(self, holders: Mapping[int, str], recorders: int, running: Iterable[int]) -> Plan:
        """Return the plan for now. The caller carries it out.

        Parameters
        ----------
        holders, recorders, running
            As for `Situation`.
        """
        now, ours = self._clock(), ("", self._me)
        self._free_since = {id_: self._free_since.get(id_, now) for id_, owner in holders.items() if not owner}
        if any(holders.get(id_, "") not in ours for id_ in self._offered):
            self._pause.reset()  # another recorder has taken one
        self._offered = {id_ for id_ in self._offered if holders.get(id_) in ours}
        plan = make_plan(
            Situation(
                self._me,
                holders,
                recorders,
                running=frozenset(running),
                offered=self._offered,
                overdue={id_ for id_, since in self._free_since.items() if now - since >= LEAVE_S},
                max_hand_over=0 if now < self._paused_until else math.inf if self._pause.is_first else 1,
            )
        )
        taken_back = self._offered.intersection(plan.take)
        if taken_back:
            self._paused_until = now + self._pause.next()
        self._offered = (self._offered - taken_back).union(plan.hand_over)
        return plan
