"""How many logs are read at once: where there are more than that, they take turns.

A stream that is cut goes on from its anchor, so a limit delays lines and loses none. A node is the narrow place: each log
that is followed there takes one of root's inotify instances, and Linux gives a user 128 (`fs.inotify.max_user_instances`;
`ReadLogs` in kubernetes/pkg/kubelet/kuberuntime/logs/logs.go).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Streams of one recorder, in all and to one node.
MOST: Final = 2000
PER_NODE: Final = 100
#: A turn lasts so long, seconds, where others wait: far more than what a stream reads again when it is opened anew.
TURN_S: Final = 10.0
#: How often in that time it is looked whose turn is over.
_LOOKS: Final = 20


@dataclass(eq=False, slots=True)
class Turn:
    """The right to read one log.

    Attributes
    ----------
    over : bool
        Another waits, and this one has had its time; only said to one that `yields`.
    """

    node: str
    yields: bool
    since: float = 0.0
    over: bool = False
    _limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` after so long, or when the turn is over."""
        try:
            async with asyncio.timeout(0 if self.over else seconds) as self._limit:
                yield
        finally:
            self._limit = None

    def end(self) -> None:
        """Have it end."""
        self.over = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)


class Turns:
    """The turns of one recorder; each task in its turn, however many containers it has.

    Parameters
    ----------
    most, per_node : int
    seconds : float
        How long a turn lasts where others wait.
    """

    def __init__(self, most: int = MOST, per_node: int = PER_NODE, seconds: float = TURN_S) -> None:
        self._most, self._per_node, self._seconds = most, per_node, seconds
        self._held: dict[Turn, None] = {}  # the longest held first
        self._nodes: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[Turn, asyncio.Future[None]]]] = {}  # by task, in the order of their turns
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, task: str, node: str, *, yields: bool) -> AsyncIterator[Turn]:
        """Wait for a turn, and have it while the block runs.

        Parameters
        ----------
        task, node : str
        yields : bool
            Whether it heeds `Turn.over`; else it lasts as long as it takes.
        """
        turn = Turn(node, yields)
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task, deque()).append((turn, granted))
        self._admit()
        try:
            await granted
            yield turn
        finally:
            if turn in self._held:
                del self._held[turn]
                self._nodes[node] -= 1
            else:
                self._forget(task, turn, granted)
            self._admit()

    def _forget(self, task: str, turn: Turn, granted: asyncio.Future[None]) -> None:
        if queue := self._waiting.get(task):
            queue.remove((turn, granted))
            if not queue:
                del self._waiting[task]

    def _admit(self) -> None:
        """Let in whoever there is room for, then see whose turn is over."""
        for task in list(self._waiting):
            if len(self._held) >= self._most:
                break
            for turn, granted in self._waiting[task]:
                if self._nodes[turn.node] < self._per_node and not granted.done():  # or it is being cancelled
                    queue = self._waiting.pop(task)
                    queue.remove((turn, granted))
                    if queue:
                        self._waiting[task] = queue  # behind the others
                    turn.since = asyncio.get_running_loop().time()
                    self._held[turn] = None
                    self._nodes[turn.node] += 1
                    granted.set_result(None)
                    break
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds / _LOOKS, self._press)

    def _press(self) -> None:
        """End as many turns as there are others waiting for, the longest first; and look again, as long as anybody waits."""
        self._timer = None
        if not self._waiting:
            return
        waiting = Counter(turn.node for queue in self._waiting.values() for turn, _ in queue)
        # Who waits for a node that is full needs one of its turns, everybody else any.
        wanted = {node: n for node, n in waiting.items() if self._nodes[node] >= self._per_node}
        anywhere = waiting.total() - sum(wanted.values())

        def needed(turn: Turn) -> bool:
            nonlocal anywhere
            if wanted.get(turn.node, 0) > 0:
                wanted[turn.node] -= 1
                return True
            anywhere -= 1
            return anywhere >= 0

        for turn in self._held:
            if turn.over:
                needed(turn)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds / _LOOKS, self._press)
        for turn in self._held:
            if loop.time() - turn.since < self._seconds:
                return  # nor have those that follow had their time
            if turn.yields and not turn.over and needed(turn):
                turn.end()
