"""How far each recording had come when this recorder left it: by that a store is known that has gone back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: What is complete is forgotten after so long, seconds: a server that fails over loses some seconds, the end among them.
_KEEP_S: Final = 60.0


class Reached:
    """The last numbers that were recorded here, by recording.

    Parameters
    ----------
    clock : callable, optional
        Gives seconds.

    Examples
    --------
    >>> now = 0.0
    >>> reached = Reached(lambda: now)
    >>> reached.note(1, 230)
    >>> reached.over([1])
    >>> reached.of(1)
    230
    >>> now = 61.0
    >>> reached.of(1)
    0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[int, int] = {}
        self._until: dict[int, float] = {}  # of what is over

    def note(self, recording: int, last: int) -> None:
        """Note how far one has come."""
        self._prune()
        self._until.pop(recording, None)
        self._last[recording] = last

    def of(self, recording: int) -> int:
        """Give how far one had come, 0 where that is not known."""
        self._prune()
        return self._last.get(recording, 0)

    def over(self, recordings: Iterable[int]) -> None:
        """Note which are complete, or are no more."""
        self._prune()
        for id_ in recordings:
            if id_ in self._last:
                self._until.setdefault(id_, self._clock() + _KEEP_S)

    def __len__(self) -> int:
        self._prune()
        return len(self._last)

    def _prune(self) -> None:
        now = self._clock()
        while self._until and self._until[first := next(iter(self._until))] <= now:
            del self._until[first], self._last[first]
