"""A reader's place in a recording."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Self

from cortex_jupyter.errors import BadQuery, CursorNotHeld

#: No time (ns) and no number is greater: stores have 63 bits for each. As a bound it means that there is none.
UNBOUNDED: Final = (1 << 63) - 1
#: A time and a number: where a record stands when records are ordered by time.
Place = tuple[int, int]
#: The place after every record.
AFTER_ALL: Final[Place] = (UNBOUNDED, UNBOUNDED)
#: Above every number: the place of a page while older lines are still being recorded, so lines of any number may come.
EVERY_SEQ: Final = 1 << 53
_BAD_HINT: Final = "take the `id:` of an event, or `older`/`newer` of a page"

#: A store keeps the epochs of this many writers per recording. Numbers of older writers have the epoch 0.
MAX_EPOCHS: Final = 64
_LOST: Final = (
    "the store lost the lines at this cursor (a power cut, or a failover); they are recorded again under other numbers"
)
_UNKNOWN: Final = (
    "the store does not know whether the lines at this cursor are still the same: the cursor is older than the newest "
    f"{MAX_EPOCHS} recorders of the task, or lines were lost (a power cut, or a failover)"
)
#: (first number, epoch) of each writer of a recording that has written anything, in order.
Epochs = tuple[tuple[int, int], ...]


def epoch_at(epochs: Epochs, seq: int) -> int:
    """Return the epoch of a number; 0 if the store does not know it.

    Examples
    --------
    >>> [epoch_at(((5, 111), (9, 222)), seq) for seq in (4, 5, 8, 9)]
    [0, 111, 111, 222]
    """
    index = bisect_right(epochs, seq, key=itemgetter(0))
    return epochs[index - 1][1] if index else 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a recording; readers treat it as an opaque string.

    A number alone does not identify a line: if a store loses its last commits in a power cut, a recorder writes their
    numbers again, for other lines. Each writer has its own epoch, so a number and its epoch mean one line or none. (Raft
    compares its logs in the same way, by index and term.)

    Parameters
    ----------
    recording : int
        The recording's id in its store; 0 means the current one.
    seq : int
        The last number that the reader has processed.
    before : tuple of int, optional
        For paging back in time: only records up to `seq` with a smaller (time, seq) than this.
    epoch : int, optional
        The epoch of `seq`; 0 in cursors of versions without epochs.

    Examples
    --------
    >>> str(Cursor(7, 1204)), Cursor.parse("7-1204").seq, Cursor.parse("0").recording
    ('7-1204', 1204, 0)
    >>> str(Cursor.at(7, 1204, ((1000, 55),)))
    '7-1204-55'
    """

    recording: int
    seq: int
    before: Place | None = None
    epoch: int = 0

    @classmethod
    def at(cls, recording: int, seq: int, epochs: Epochs, before: Place | None = None) -> Self:
        """Return the cursor of a number, with the epoch that it was written in."""
        return cls(recording, seq, before, 0 if seq >= EVERY_SEQ else epoch_at(epochs, seq))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor.

        Raises
        ------
        BadQuery
            The text is not a cursor.
        """
        parts = text.strip().split("-")
        if not all(p.isdecimal() and len(p) < 20 for p in parts):
            raise BadQuery(f"{text[:60]!r} is no cursor", _BAD_HINT)
        match [int(p) for p in parts]:
            case [0]:
                return cls(0, 0)
            case [recording, seq, *epoch] if seq < UNBOUNDED and len(epoch) <= 1:
                return cls(recording, seq, None, *epoch)
            case [recording, seq, *epoch, time, before_seq] if seq < UNBOUNDED and len(epoch) <= 1:
                return cls(recording, seq, (time, before_seq), *epoch)
        raise BadQuery(f"{text[:60]!r} is no cursor", _BAD_HINT)

    def check(self, recording: int, epochs: Epochs = (), last_seq: int = EVERY_SEQ) -> Cursor:
        """Return this cursor with the id of the recording, if it is valid in that recording.

        Parameters
        ----------
        recording : int
        epochs : tuple
            The recording's epochs.
        last_seq : int, optional
            The recording's last number.

        Raises
        ------
        CursorNotHeld
            The cursor belongs to another recording (the task was started again, or its old recording was removed), or the
            store has lost the lines at the cursor, or no longer knows its epoch.
        """
        if self.recording not in (0, recording):
            raise CursorNotHeld(
                "this cursor belongs to an earlier run of the task, or to a recording that is no longer held"
            )
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
    """Check that a number was written in this epoch, so that it still means the same line.

    Raises
    ------
    CursorNotHeld
        Another epoch wrote it, or the store does not know which.
    """
    recorded = epoch_at(epochs, seq)
    if recorded != epoch:
        raise CursorNotHeld(_LOST if recorded else _UNKNOWN)
