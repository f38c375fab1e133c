"""Limit how many logs are read at once; if there are more, they take turns.

A stream that is cut resumes from its anchor, so a limit delays lines and loses none. A node is the bottleneck: each log
that is followed there takes one of root's inotify instances, and Linux gives a user 128
(`fs.inotify.max_user_instances`; `ReadLogs` in kubernetes/pkg/kubelet/kuberuntime/logs/logs.go).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Maximum number of streams of one recorder.
MAX_STREAMS: Final = 2000
#: Maximum number of streams of one recorder to one node.
MAX_STREAMS_PER_NODE: Final = 100
#: A slot lasts this long (seconds) while others wait: far longer than a reopened stream needs to repeat its lines.
SLOT_S: Final = 10.0
#: Number of searches for expired slots in that time.
_CHECKS: Final = 20


@dataclass(eq=False, slots=True)
class StreamSlot:
    """The right to read one log.

    Attributes
    ----------
    is_over : bool
        Whether another stream waits and this one has had its time. Set only for a slot that `yields`.
    """

    node: str
    yields: bool
    since: float = 0.0
    is_over: bool = False
    _limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` after this many seconds, or when the slot is over."""
        try:
            async with asyncio.timeout(0 if self.is_over else seconds) as self._limit:
                yield
        finally:
            self._limit = None

    def end(self) -> None:
        """End the slot: wake its reader."""
        self.is_over = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)


class StreamLimiter:
    """The slots of one recorder. Tasks take turns, however many containers they have.

    Parameters
    ----------
    max_streams, max_per_node : int
    seconds : float
        How long a slot lasts while others wait.
    """

    def __init__(
        self, max_streams: int = MAX_STREAMS, max_per_node: int = MAX_STREAMS_PER_NODE, seconds: float = SLOT_S
    ) -> None:
        self._max_streams, self._max_per_node, self._seconds = max_streams, max_per_node, seconds
        self._granted: dict[StreamSlot, None] = {}  # longest held first
        self._nodes: Counter[str] = Counter()
        # by task; the tasks in the order of their turns
        self._waiting: dict[str, deque[tuple[StreamSlot, asyncio.Future[None]]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def waiting(self) -> int:
        """Return how many logs wait for a slot."""
        return sum(len(queue) for queue in list(self._waiting.values()))

    @asynccontextmanager
    async def slot(self, task: str, node: str, *, yields: bool) -> AsyncIterator[StreamSlot]:
        """Wait for a slot, and hold it while the block runs.

        Parameters
        ----------
        task, node : str
        yields : bool
            Whether the reader heeds `StreamSlot.is_over`; else the slot lasts as long as the block.
        """
        slot = StreamSlot(node, yields)
        admission = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task, deque()).append((slot, admission))
        self._admit()
        try:
            await admission
            yield slot
        finally:
            if slot in self._granted:
                del self._granted[slot]
                self._nodes[node] -= 1
            else:
                self._forget(task, slot, admission)
            self._admit()

    def _forget(self, task: str, slot: StreamSlot, admission: asyncio.Future[None]) -> None:
        if queue := self._waiting.get(task):
            queue.remove((slot, admission))
            if not queue:
                del self._waiting[task]

    def _admit(self) -> None:
        """Grant slots while there is room, then schedule the search for expired slots."""
        for task in list(self._waiting):
            if len(self._granted) >= self._max_streams:
                break
            for slot, admission in self._waiting[task]:
                if self._nodes[slot.node] < self._max_per_node and not admission.done():  # else it is being cancelled
                    queue = self._waiting.pop(task)
                    queue.remove((slot, admission))
                    if queue:
                        self._waiting[task] = queue  # behind the other tasks
                    slot.since = asyncio.get_running_loop().time()
                    self._granted[slot] = None
                    self._nodes[slot.node] += 1
                    admission.set_result(None)
                    break
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds / _CHECKS, self._expire)

    def _expire(self) -> None:
        """End as many expired slots as streams wait for, the longest held first; repeat while streams wait."""
        self._timer = None
        if not self._waiting:
            return
        waiting = Counter(slot.node for queue in self._waiting.values() for slot, _ in queue)
        # A stream to a full node needs one of that node's slots; every other stream needs any slot.
        needed_on = {node: n for node, n in waiting.items() if self._nodes[node] >= self._max_per_node}
        needed_anywhere = waiting.total() - sum(needed_on.values())

        def is_needed(slot: StreamSlot) -> bool:
            nonlocal needed_anywhere
            if needed_on.get(slot.node, 0) > 0:
                needed_on[slot.node] -= 1
                return True
            needed_anywhere -= 1
            return needed_anywhere >= 0

        for slot in self._granted:
            if slot.is_over:
                is_needed(slot)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds / _CHECKS, self._expire)
        for slot in self._granted:
            if loop.time() - slot.since < self._seconds:
                return  # nor have the slots after it expired
            if slot.yields and not slot.is_over and is_needed(slot):
                slot.end()
