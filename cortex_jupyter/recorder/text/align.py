"""Skip, after a reconnect, exactly the lines that are recorded already: by content, never by time.

A follow is taken up again at a whole second some seconds back (`sinceTime` is cut to seconds), so it repeats lines.
Two lines may have one timestamp, and two writers put timestamps out of order into one file, so `ts <= last` would
lose lines (835 times in 100 000 on a real cluster). The file's order is fixed, so what arrives starts with a suffix of
what is recorded from that second on: the longest one that matches is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    #: A time in ns and a text.
    Line = tuple[int, str]


#: So many lines may be hidden for each that is recorded, before the last recorded one is given up.
_HIDDEN: Final = 100
#: Among more recorded lines of one time, the place of the first that arrived is not looked for.
_ALIKE: Final = 100


class Aligner:
    """Finds where the recorded lines end in what arrives.

    Parameters
    ----------
    recorded : sequence of (int, str)
        The source's lines from the anchor on with a time not before its second, in the order of the file.
    left : tuple of (int, int, int), optional
        What `trimmed.missing` gives, where lines before the recorded ones may arrive that have left the recording.

    Examples
    --------
    >>> aligner = Aligner([(1, "a"), (2, "b"), (2, "b")])
    >>> aligner.feed([(2, "b")])  # "a" was rotated away; this may be either "b", so more has to come
    >>> aligner.feed([(2, "b"), (3, "c")])
    2
    >>> aligner.overlap
    True
    >>> Aligner([(7, "c")], left=(1, 5, 2)).feed([(1, "a"), (5, "b"), (7, "c"), (3, "set back")])
    3
    """

    def __init__(self, recorded: Sequence[Line], left: tuple[int, int, int] | None = None) -> None:
        self._recorded = recorded
        self._first, self._until, self._many = left or (0, -1, 0)
        self._gone = 0  # how many of the first that arrived may have left
        self._arrived: list[Line] = []
        self._at = 0  # how many recorded lines have been looked at
        self._same = 0  # how many before that place are the first that arrived
        self._repeats: list[int] = []
        # Where lines between the recorded ones are not recorded: how often the last one is still to come, and up to
        # where that has been looked for.
        self._last = self._looked = 0
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
        if self._last:
            return self._after_last()
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
        if not same and len(arrived) > 1 and (place := self._before_hidden()) is not None:
            # `sinceTime` hid lines between then, while a clock was set back, that come now. The others come in the order
            # of the file, so new ones follow the last of them.
            self._last = recorded[place:].count(recorded[-1])
            return self._after_last()
        if not same and arrived and self._has_left(arrived[0]):
            # The clock was set back so far that the node gives them again; the recorded ones follow.
            self._last = recorded.count(recorded[-1])
            return self._after_last()
        self.overlap = bool(same) or not recorded
        return same

    def _before_hidden(self) -> int | None:
        """Return the place of the first arrived line among the recorded ones, where hidden lines may follow it.

        That place must be the only one: the line is the only one of its time, or the lines from there on agree up to one
        that the clock was set back for. A single line that arrived does not decide.
        """
        recorded, arrived = self._recorded, self._arrived
        places = [i for i, line in enumerate(recorded) if line[0] == arrived[0][0]]
        if len(places) == 1 and recorded[places[0]] == arrived[0]:
            return places[0]
        if len(places) > _ALIKE:
            return None
        found = [i for i in places if self._agrees_until_set_back(i)]
        return found[0] if len(found) == 1 else None

    def _agrees_until_set_back(self, place: int) -> bool:
        before = None
        for recorded, arrived in zip(self._recorded[place:], self._arrived, strict=False):
            if recorded != arrived:
                # The node gave the recorded line, and hid the one before it: that bears the older time.
                return before is not None and arrived[0] < min(before[0], recorded[0])
            before = arrived
        return False

    def _after_last(self) -> int | None:
        recorded, arrived = self._recorded, self._arrived
        while self._looked < len(arrived):
            line = arrived[self._looked]
            self._last -= line == recorded[-1]
            self._gone += self._gone == self._looked and self._has_left(line)
            self._looked += 1
            if not self._last:
                return self._looked
        if len(arrived) <= _HIDDEN * (1 + len(recorded)) + self._many:
            return None
        return self._apart()

    def _has_left(self, line: Line) -> bool:
        return self._first <= line[0] <= self._until

    def _apart(self) -> int:
        self.overlap = False
        return self._gone

    def settle(self) -> int:
        """Decide with what there is: nothing more comes.

        All that arrived agrees with the recorded lines so far, so all of it is recorded.
        """
        if self._last:
            return self._apart()
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
