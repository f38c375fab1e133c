"""How fast one reader is sent to: so many bytes a second on the average, of which a second's worth may go at once."""

from __future__ import annotations

import time
from typing import Final

#: Seconds of what is allowed that may go at once.
_AHEAD_S: Final = 1.0


class Pace:
    """That of one stream, search or download.

    Parameters
    ----------
    rate : int
        Bytes a second; 0 for no limit.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._paid = time.monotonic()  # until when what was sent is paid for

    def pause(self, size: int) -> float:
        """Count what was sent, and give the seconds to wait before anything more is.

        Examples
        --------
        >>> free, slow = Pace(0), Pace(1000)
        >>> free.pause(10**9), slow.pause(1000), round(slow.pause(500), 2)
        (0.0, 0.0, 0.5)
        """
        if not self._rate:
            return 0.0
        now = time.monotonic()
        self._paid = max(self._paid, now) + size / self._rate
        return max(0.0, self._paid - now - _AHEAD_S)
