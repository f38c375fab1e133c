"""A reader's place in a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cortex_jupyter.errors import BadQuery, CursorNotHeld

#: Stores count in 63 bits.
_MOST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a recording; to everyone outside an opaque string.

    Parameters
    ----------
    recording : int
        The recording's id in its store; 0 means whichever is current.
    seq : int
        Everything up to here has been delivered.
    before : tuple of int, optional
        For going back in time within what was recorded up to `seq`: only records whose (time, seq) is less.

    Examples
    --------
    >>> str(Cursor(7, 1204)), Cursor.parse("7-1204"), Cursor.parse("0")
    ('7-1204', Cursor(recording=7, seq=1204, before=None), Cursor(recording=0, seq=0, before=None))
    """

    recording: int
    seq: int
    before: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor.

        Raises
        ------
        BadQuery
            It is none of ours.
        """
        parts = text.strip().split("-")
        if not all(p.isdecimal() and len(p) < 20 for p in parts):  # noqa: PLR2004
            raise BadQuery(f"{text[:60]!r} is no cursor", "take the `id:` of an event, or `older`/`newer` of a page")
        match [int(p) for p in parts]:
            case [0]:
                return cls(0, 0)
            case [recording, seq] if seq < _MOST:
                return cls(recording, seq)
            case [recording, seq, time, at] if seq < _MOST:
                return cls(recording, seq, (time, at))
        raise BadQuery(f"{text[:60]!r} is no cursor", "take the `id:` of an event, or `older`/`newer` of a page")

    def check(self, recording: int) -> Cursor:
        """Give the cursor for this recording.

        Raises
        ------
        CursorNotHeld
            It belongs to another one: the task was started anew, or its old recording has gone.
        """
        if self.recording not in (0, recording):
            raise CursorNotHeld("this cursor belongs to an earlier run of the task, or to a recording no longer held")
        return Cursor(recording, self.seq, self.before)

    def __str__(self) -> str:
        tail = f"-{self.before[0]}-{self.before[1]}" if self.before else ""
        return f"{self.recording}-{self.seq}{tail}"
