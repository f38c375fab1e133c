"""Skip, after a reconnect, exactly the lines that are recorded already: by content, never by time.

A follow is taken up again at a whole second some seconds back (`sinceTime` is cut to seconds), so it repeats lines.
Two lines may have one timestamp, and two writers put timestamps out of order into one file, so `ts <= last` would
lose lines (835 times in 100 000 on a real cluster). The file's order is fixed, so what arrives starts with a suffix of
what is recorded from that second on: the longest one that matches is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    #: A time in ns and a text.
    Line = tuple[int, str]


class Aligner:
    """Finds where the recorded lines end in what arrives.

    Parameters
    ----------
    recorded : sequence of (int, str)
        The source's lines from the anchor on with a time not before its second, in the order of the file.

    Examples
    --------
    >>> aligner = Aligner([(1, "a"), (2, "b"), (2, "b")])
    >>> aligner.feed([(2, "b")])  # "a" was rotated away; this may be either "b", so more has to come
    >>> aligner.feed([(2, "b"), (3, "c")])
    2
    >>> aligner.overlap
    True
    """

    def __init__(self, recorded: Sequence[Line]) -> None:
        self._recorded = recorded
        self._arrived: list[Line] = []
        self._starts: list[int] | None = None
        self.overlap = True

    def feed(self, lines: Sequence[Line]) -> int | None:
        """Take lines; give how many of all that arrived to skip, None while that is not decided."""
        old = len(self._arrived)
        self._arrived.extend(lines)
        if not self._recorded:
            return 0
        if self._starts is None:
            if not self._arrived:
                return None
            first = self._arrived[0]
            self._starts = [i for i, line in enumerate(self._recorded) if line == first]
            old = 0
        self._starts = [s for s in self._starts if self._agrees(s, old)]
        if not self._starts:
            self.overlap = False
            return 0
        # Ascending, so the first is the longest suffix. It holds once all of it has arrived.
        need = len(self._recorded) - self._starts[0]
        return need if len(self._arrived) >= need else None

    def settle(self) -> int:
        """Decide with what there is: the stream has ended, or nothing more comes.

        All that arrived agrees with the recorded lines so far, so all of it is recorded.
        """
        if not self._arrived or not self._recorded:
            self.overlap = not self._recorded
            return 0
        return len(self._arrived)

    def _agrees(self, start: int, old: int) -> bool:
        recorded, arrived = self._recorded, self._arrived
        end = min(len(arrived), len(recorded) - start)
        return all(recorded[start + i] == arrived[i] for i in range(old, end))
