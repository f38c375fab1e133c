"""A reader's place in a recording."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Self

from cortex_jupyter.errors import BadQuery, CursorNotHeld

#: Stores count in 63 bits.
_MOST: Final = (1 << 63) - 1
#: Above every number: the place of a page whose recording is still being filled, with lines of any number.
EVERY_SEQ: Final = 1 << 53
_BAD_HINT: Final = "take the `id:` of an event, or `older`/`newer` of a page"

#: Writers whose epochs a store keeps; what only older ones wrote counts as of epoch 0.
MOST_EPOCHS: Final = 64
_LOST: Final = (
    "the store lost the lines at this cursor (a power cut, or a failover); they are recorded again at other places"
)
_UNKNOWN: Final = (
    "the store does not know whether the lines at this cursor are still the same: the cursor is older than the newest "
    f"{MOST_EPOCHS} recorders of the task, or lines were lost (a power cut, or a failover)"
)
#: (first number, epoch) of each writer of a recording that has written anything, in order.
Epochs = tuple[tuple[int, int], ...]


def epoch_at(epochs: Epochs, seq: int) -> int:
    """Return the epoch in which a number was written, 0 for one of before epochs were kept.

    Examples
    --------
    >>> [epoch_at(((5, 111), (9, 222)), seq) for seq in (4, 5, 8, 9)]
    [0, 111, 111, 222]
    """
    place = bisect_right(epochs, seq, key=itemgetter(0))
    return epochs[place - 1][1] if place else 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a recording; to everyone outside an opaque string.

    A number alone is no place: a store that loses its last commits in a power cut has their numbers written again, for
    other lines. Each writer has an epoch that no other has, so a number and its epoch mean one line or none. (Raft
    compares its logs in the same way: index and term.)

    Parameters
    ----------
    recording : int
        The recording's id in its store; 0 means whichever is current.
    seq : int
        Everything up to here has been delivered.
    before : tuple of int, optional
        For going back in time within what was recorded up to `seq`: only records whose (time, seq) is less.
    epoch : int, optional
        The epoch in which `seq` was written; 0 in cursors of versions that knew none.

    Examples
    --------
    >>> str(Cursor(7, 1204)), Cursor.parse("7-1204").seq, Cursor.parse("0").recording
    ('7-1204', 1204, 0)
    >>> str(Cursor.at(7, 1204, ((1000, 55),)))
    '7-1204-55'
    """

    recording: int
    seq: int
    before: tuple[int, int] | None = None
    epoch: int = 0

    @classmethod
    def at(cls, recording: int, seq: int, epochs: Epochs, before: tuple[int, int] | None = None) -> Self:
        """Return the cursor of a number, with the epoch in which it was written."""
        return cls(recording, seq, before, 0 if seq >= EVERY_SEQ else epoch_at(epochs, seq))

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
            raise BadQuery(f"{text[:60]!r} is no cursor", _BAD_HINT)
        match [int(p) for p in parts]:
            case [0]:
                return cls(0, 0)
            case [recording, seq, *epoch] if seq < _MOST and len(epoch) <= 1:
                return cls(recording, seq, None, *epoch)
            case [recording, seq, *epoch, time, at] if seq < _MOST and len(epoch) <= 1:
                return cls(recording, seq, (time, at), *epoch)
        raise BadQuery(f"{text[:60]!r} is no cursor", _BAD_HINT)

    def check(self, recording: int, epochs: Epochs = (), last_seq: int = EVERY_SEQ) -> Cursor:
        """Return the cursor for this recording.

        Parameters
        ----------
        recording : int
        epochs : tuple
            The recording's.
        last_seq : int, optional
            The recording's last number.

        Raises
        ------
        CursorNotHeld
            It belongs to another recording (the task was started anew, or its old recording has gone), or the store has
            lost what was recorded there, or no longer knows its epoch.
        """
        if self.recording not in (0, recording):
            raise CursorNotHeld("this cursor belongs to an earlier run of the task, or to a recording no longer held")
        if self.seq < EVERY_SEQ:
            if self.seq > last_seq:
                raise CursorNotHeld(_LOST)
            check_epoch(epochs, self.seq, self.epoch)
        return Cursor(recording, self.seq, self.before, self.epoch)

    def __str__(self) -> str:
        epoch = f"-{self.epoch}" if self.epoch else ""
        tail = f"-{self.before[0]}-{self.before[1]}" if self.before else ""
        return f"{self.recording}-{self.seq}{epoch}{tail}"


def check_epoch(epochs: Epochs, seq: int, epoch: int) -> None:
    """Check that a number was written in an epoch, so that it still means the same line.

    Raises
    ------
    CursorNotHeld
        Another epoch wrote it, or the store does not know which.
    """
    known = epoch_at(epochs, seq)
    if known != epoch:
        raise CursorNotHeld(_LOST if known else _UNKNOWN)
