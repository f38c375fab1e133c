"""Skip, after a reconnect, exactly the lines that are recorded already: by content, never by time.

A follow resumes at a whole second some seconds back (`sinceTime` is cut to seconds), so it repeats lines. Two lines may
have the same timestamp, and two writers may put timestamps out of order into one file, so skipping by `ts <= last`
would lose lines (835 in 100 000 on a real cluster). The file's order is fixed, so what arrives begins with a suffix of
the lines that are recorded from that second on. The longest matching suffix is skipped;
`docs/explanation/architecture.md`, "Why nothing is lost", explains why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    #: A time in ns and a text.
    Line = tuple[int, str]


#: Maximum number of hidden lines per recorded line. If more arrive, the search for the last recorded line ends.
_HIDDEN: Final = 100
#: If more recorded lines than this have the same time, the place of the first arrived line among them is not searched.
_ALIKE: Final = 100


class Aligner:
    """Finds where the recorded lines end in the lines that arrive.

    Parameters
    ----------
    recorded : sequence of (int, str)
        The source's lines from the anchor on with a time not before its second, in the order of the file.
    trimmed : tuple of (int, int, int), optional
        The result of `trimmed.missing`, if lines before the recorded ones may arrive that were trimmed from the
        recording.

    Examples
    --------
    >>> aligner = Aligner([(1, "a"), (2, "b"), (2, "b")])
    >>> aligner.feed([(2, "b")])  # "a" was rotated away; this may be either "b", so more lines are needed
    >>> aligner.feed([(2, "b"), (3, "c")])
    2
    >>> aligner.overlaps
    True
    >>> Aligner([(7, "c")], trimmed=(1, 5, 2)).feed([(1, "a"), (5, "b"), (7, "c"), (3, "set back")])
    3
    """

    def __init__(self, recorded: Sequence[Line], trimmed: tuple[int, int, int] | None = None) -> None:
        self._recorded = recorded
        self._trimmed_first, self._trimmed_last, self._trimmed_count = trimmed or (0, -1, 0)
        self._trimmed_arrived = 0  # how many of the first arrived lines may have been trimmed
        self._arrived: list[Line] = []
        self._recorded_index = 0  # how many recorded lines have been compared
        self._match_length = 0  # how many recorded lines before that index equal the first arrived lines
        self._failure_table: list[int] = []
        # Used if unrecorded lines lie between the recorded ones: how many lines equal to the last recorded one are
        # still to arrive, and how many arrived lines have been searched for them.
        self._last_to_come = self._searched = 0
        self.overlaps = True

    def feed(self, lines: Sequence[Line]) -> int | None:
        """Take lines; return how many of all arrived lines to skip, or None while that is not decided.

        Notes
        -----
        Knuth, Morris and Pratt: the arrived lines are searched in the recorded ones, up to their end. No line is
        compared twice, so a log that repeats itself costs no more than another.
        """
        self._arrived.extend(lines)
        recorded, arrived = self._recorded, self._arrived
        if self._last_to_come:
            return self._search_last()
        index, length = self._recorded_index, self._match_length
        while index < len(recorded):
            if length == len(arrived):
                self._recorded_index, self._match_length = index, length
                return None
            if recorded[index] == arrived[length]:
                index, length = index + 1, length + 1
            elif length:
                length = self._repeated_prefix(length)
            else:
                index += 1
        if not length and len(arrived) > 1 and (start := self._place_before_hidden()) is not None:
            # While a clock was set back, `sinceTime` hid lines in between that arrive now. The others arrive in the
            # order of the file, so new lines follow the last recorded one.
            self._last_to_come = recorded[start:].count(recorded[-1])
            return self._search_last()
        if not length and arrived and self._is_trimmed(arrived[0]):
            # The clock was set back so far that the node sends trimmed lines again; the recorded ones follow.
            self._last_to_come = recorded.count(recorded[-1])
            return self._search_last()
        self.overlaps = bool(length) or not recorded
        return length

    def _place_before_hidden(self) -> int | None:
        """Return the index of the first arrived line among the recorded ones, if hidden lines may follow it.

        There must be only one such index. Either no other recorded line has its time, or the lines from there on agree
        up to a line that a clock was set back for. A single arrived line does not decide.
        """
        recorded, arrived = self._recorded, self._arrived
        indexes = [i for i, line in enumerate(recorded) if line[0] == arrived[0][0]]
        if len(indexes) == 1 and recorded[indexes[0]] == arrived[0]:
            return indexes[0]
        if len(indexes) > _ALIKE:
            return None
        matches = [i for i in indexes if self._agrees_until_set_back(i)]
        return matches[0] if len(matches) == 1 else None

    def _agrees_until_set_back(self, start: int) -> bool:
        previous = None
        for recorded, arrived in zip(self._recorded[start:], self._arrived, strict=False):
            if recorded != arrived:
                # The node sent the recorded line and hid the one before it, which has the older time.
                return previous is not None and arrived[0] < min(previous[0], recorded[0])
            previous = arrived
        return False

    def _search_last(self) -> int | None:
        recorded, arrived = self._recorded, self._arrived
        while self._searched < len(arrived):
            line = arrived[self._searched]
            self._last_to_come -= line == recorded[-1]
            self._trimmed_arrived += self._trimmed_arrived == self._searched and self._is_trimmed(line)
            self._searched += 1
            if not self._last_to_come:
                return self._searched
        if len(arrived) <= _HIDDEN * (1 + len(recorded)) + self._trimmed_count:
            return None
        return self._decide_no_overlap()

    def _is_trimmed(self, line: Line) -> bool:
        return self._trimmed_first <= line[0] <= self._trimmed_last

    def _decide_no_overlap(self) -> int:
        self.overlaps = False
        return self._trimmed_arrived

    def settle(self) -> int:
        """Return how many lines to skip, since no more lines will arrive.

        All arrived lines agree with the recorded ones, so all of them are recorded.
        """
        if self._last_to_come:
            return self._decide_no_overlap()
        return len(self._arrived) if self._recorded else 0

    def _repeated_prefix(self, n: int) -> int:
        """Return how many of the first n arrived lines are also their last ones, without being all of them."""
        arrived, table = self._arrived, self._failure_table
        while len(table) < n:
            k = len(table)
            length = table[k - 1] if k else 0
            while length and arrived[k] != arrived[length]:
                length = table[length - 1]
            table.append(length + 1 if k and arrived[k] == arrived[length] else 0)
        return table[n - 1]


def overlap_start(lines: Sequence[Line], first: Sequence[Line]) -> int:
    """Return the index in a file's lines where the given first lines begin; the number of lines if they do not.

    Parameters
    ----------
    lines : sequence of (int, str)
        The lines of a file, to its end.
    first : sequence of (int, str)
        The first lines that are known from elsewhere: they may begin within the file, or right after it.

    Examples
    --------
    >>> overlap_start([(1, "a"), (2, "b"), (3, "c")], [(3, "c"), (4, "d")]), overlap_start([(1, "a")], [(2, "b")])
    (2, 1)
    """
    if not first:
        return len(lines)
    for i, line in enumerate(lines):
        if line == first[0] and all(a == b for a, b in zip(lines[i : i + len(first)], first, strict=False)):
            return i
    return len(lines)
