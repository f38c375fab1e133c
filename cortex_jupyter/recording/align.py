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
        self._at = 0  # how many recorded lines have been looked at
        self._same = 0  # how many before that place are the first that arrived
        self._repeats: list[int] = []
        self.overlap = True

    def feed(self, lines: Sequence[Line]) -> int | None:
        """Take lines; give how many of all that arrived to skip, None while that is not decided.

        Notes
        -----
        Knuth, Morris and Pratt: what arrives is looked for in what is recorded, up to its end. No line is compared
        again, so a log that says the same thing for ever costs no more than another.
        """
        self._arrived.extend(lines)
        recorded, arrived = self._recorded, self._arrived
        at, same = self._at, self._same
        while at < len(recorded):
            if same == len(arrived):
                self._at, self._same = at, same
                return None
            if recorded[at] == arrived[same]:
                at, same = at + 1, same + 1
            elif same:
                same = self._repeated(same)
            else:
                at += 1
        self.overlap = bool(same) or not recorded
        return same

    def settle(self) -> int:
        """Decide with what there is: nothing more comes.

        All that arrived agrees with the recorded lines so far, so all of it is recorded.
        """
        return len(self._arrived) if self._recorded else 0

    def _repeated(self, n: int) -> int:
        """Give how many of the first n lines that arrived are also their last ones, without being all of them."""
        arrived, repeats = self._arrived, self._repeats
        while len(repeats) < n:
            k = len(repeats)
            same = repeats[k - 1] if k else 0
            while same and arrived[k] != arrived[same]:
                same = repeats[same - 1]
            repeats.append(same + 1 if k and arrived[k] == arrived[same] else 0)
        return repeats[n - 1]


def seam(lines: Sequence[Line], first: Sequence[Line]) -> int:
    """Give where in a file's lines those begin that came otherwise; its length where none does.

    Parameters
    ----------
    lines : sequence of (int, str)
        Of a file, to its end.
    first : sequence of (int, str)
        The first lines that are had already: they may begin within the file, or right after it.

    Examples
    --------
    >>> seam([(1, "a"), (2, "b"), (3, "c")], [(3, "c"), (4, "d")]), seam([(1, "a")], [(2, "b")])
    (2, 1)
    """
    if not first:
        return len(lines)
    for i, line in enumerate(lines):
        if line == first[0] and all(a == b for a, b in zip(lines[i : i + len(first)], first, strict=False)):
            return i
    return len(lines)
