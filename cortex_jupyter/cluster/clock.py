"""How far the API server's clock is ahead of ours, from the `Date` of its answers."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


class Clock:
    """Bounds that each answer narrows: `Date` is cut to seconds, and was written while we waited.

    Examples
    --------
    >>> clock = Clock()
    >>> clock.heard("Thu, 01 Jan 1970 00:01:00 GMT", 50.0, 50.2)
    >>> round(clock.offset, 3)
    10.4
    """

    def __init__(self) -> None:
        self._low = self._high = 0.0
        self._known = False

    @property
    def offset(self) -> float:
        """Seconds; 0 while nothing is known."""
        return (self._low + self._high) / 2

    def heard(self, date: str | None, asked: float, answered: float) -> None:
        """Take in one answer.

        Parameters
        ----------
        date : str or None
            The header, where there is one.
        asked, answered : float
            Our times, epoch seconds.
        """
        try:
            said = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        low, high = said - answered, said + 1 - asked
        if self._known and max(low, self._low) <= min(high, self._high):
            low, high = max(low, self._low), min(high, self._high)
        # Else one of the clocks was set, or they drift: only the newest answer counts.
        self._low, self._high, self._known = low, high, True
