"""Waits that double with each attempt."""

from __future__ import annotations


class Backoff:
    """Return waits that double, from a first one up to a longest one.

    Parameters
    ----------
    first_s, longest_s : float
        The first and the longest wait, in seconds.

    Attributes
    ----------
    wait_s : float
        The wait that `next` returns when it is called.

    Examples
    --------
    >>> backoff = Backoff(5.0, 15.0)
    >>> backoff.next(), backoff.next(), backoff.next()
    (5.0, 10.0, 15.0)
    >>> backoff.reset()
    >>> backoff.next()
    5.0
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.wait_s = first_s

    @property
    def is_first(self) -> bool:
        """Whether no wait has been doubled since the last reset."""
        return self.wait_s == self._first_s

    def next(self) -> float:
        """Return the present wait in seconds, and double it for the next time."""
        wait_s, self.wait_s = self.wait_s, min(self.wait_s * 2, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Begin again with the first wait."""
        self.wait_s = self._first_s

    def shorten(self, limit_s: float) -> None:
        """Lower the present wait to a limit."""
        self.wait_s = min(self.wait_s, limit_s)
