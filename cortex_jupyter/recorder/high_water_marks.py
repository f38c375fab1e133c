"""How far each recording had come when this recorder left it; detects a store that was rolled back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: A mark of a complete recording is kept for this long (seconds): a server that fails over loses some seconds, which
#: may hold the end.
_KEEP_S: Final = 60.0


class HighWaterMarks:
    """The last committed number of each recording, as this recorder wrote it.

    Parameters
    ----------
    clock : callable, optional
        Returns the time in seconds.

    Examples
    --------
    >>> now = 0.0
    >>> marks = HighWaterMarks(lambda: now)
    >>> marks.set(1, 230)
    >>> marks.expire([1])
    >>> marks.get(1)
    230
    >>> now = 61.0
    >>> marks.get(1)
    0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[int, int] = {}
        self._expires: dict[int, float] = {}  # of complete recordings

    def set(self, recording: int, last: int) -> None:
        """Set how far a recording has come."""
        self._prune()
        self._expires.pop(recording, None)
        self._last[recording] = last

    def get(self, recording: int) -> int:
        """Return how far a recording had come; 0 if not known."""
        self._prune()
        return self._last.get(recording, 0)

    def expire(self, recordings: Iterable[int]) -> None:
        """Let the marks of recordings expire that are complete, or no longer exist."""
        self._prune()
        for id_ in recordings:
            if id_ in self._last:
                self._expires.setdefault(id_, self._clock() + _KEEP_S)

    def __len__(self) -> int:
        self._prune()
        return len(self._last)

    def _prune(self) -> None:
        now = self._clock()
        while self._expires and self._expires[first := next(iter(self._expires))] <= now:
            del self._expires[first], self._last[first]
