"""Events on their way to readers: each made once, and those that go out together joined once, however many readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cortex_jupyter.model import Batch, Cursor, Entry
from cortex_jupyter.reader.filtering import in_turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cortex_jupyter.model import Epochs
    from cortex_jupyter.query.filter import RowFilter

#: Bytes that go out at once; a block of a backlog is as large.
BURST: Final = 1 << 16
_ID, _EVENT, _DATA, _END = b"id: ", b"\nevent: ", b"\ndata: ", b"\n\n"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    r"""One event on its way to a reader.

    Parameters
    ----------
    recording : int
    seq, last : int
        Numbers of its first and its last record.
    event : str
    t_min, t_max : int
        As an `Entry` has them.
    cursor : str
        What to give back to go on after this event.
    written : bytes
        The SSE event, as who follows this task alone gets it.
    epochs : tuple
        Those of its recording.

    Examples
    --------
    >>> frame = Frame.of(7, Entry(1, 2, "log", 0, 0, b"{}"))
    >>> frame.written, frame.body
    (b'id: 7-2\nevent: log\ndata: {}\n\n', b'event: log\ndata: {}\n\n')
    """

    recording: int
    seq: int
    last: int
    event: str
    t_min: int
    t_max: int
    cursor: str
    written: bytes
    epochs: Epochs

    @classmethod
    def of(cls, recording: int, entry: Entry) -> Self:
        """Make the frame of an entry."""
        cursor = str(Cursor.at(recording, entry.last, entry.epochs))
        written = b"".join((_ID, cursor.encode(), _EVENT, entry.event.encode(), _DATA, entry.data, _END))
        return cls(
            recording, entry.seq, entry.last, entry.event, entry.t_min, entry.t_max, cursor, written, entry.epochs
        )

    def within(self, at: int, since: int | None, until: int | None) -> bool:
        """Tell whether all of it comes after `at` and has its time in the window; notices always do."""
        return self.event != "log" or (
            self.seq > at and (since is None or self.t_min >= since) and (until is None or self.t_max <= until)
        )

    @property
    def body(self) -> bytes:
        """All of the event but its `id:`."""
        return self.written[len(_ID) + len(self.cursor) + 1 :]

    @property
    def entry(self) -> Entry:
        """What it was made of; its data is not kept a second time."""
        begin = len(_ID) + len(self.cursor) + len(_EVENT) + len(self.event) + len(_DATA)
        data = self.written[begin : -len(_END)]
        return Entry(self.seq, self.last - self.seq + 1, self.event, self.t_min, self.t_max, data, self.epochs)


class Burst:
    """Events that go out together.

    Parameters
    ----------
    frames : list of Frame
        In order, at least one.

    Attributes
    ----------
    events : bytes
        All of them as they are written.
    """

    __slots__ = ("events", "frames")

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.events = b"".join([frame.written for frame in frames])

    def oldest(self, since: int) -> int | None:
        """Return the time of the first batch with a number above `since`, ns; None where there is none."""
        return next((frame.t_max for frame in self.frames if frame.event == "log" and frame.seq > since), None)


def gathered(frames: Iterable[Frame], most: int = BURST) -> Iterator[list[Frame]]:
    """Divide frames into what goes out together: as many as have so many bytes, and at least one."""
    found: list[Frame] = []
    size = 0
    for frame in frames:
        size += len(frame.written)
        if found and size > most:
            yield found
            found, size = [], len(frame.written)
        found.append(frame)
    if found:
        yield found


async def cut(frame: Frame, at: int, since: int | None, until: int | None, keep: RowFilter | None) -> Frame | None:
    """Leave out of a batch what the reader has or does not want; None where nothing is left."""
    if frame.event != "log" or (keep is None and frame.within(at, since, until)):
        return frame
    if (since is not None and frame.t_max < since) or (until is not None and frame.t_min > until):
        return None
    return await in_turn(keep, _filtered, frame, at, since, until, keep)


def _filtered(frame: Frame, at: int, since: int | None, until: int | None, keep: RowFilter | None) -> Frame | None:
    entry = frame.entry
    batch = Batch.decode(entry.data)
    low, high = since or 0, 1 << 63 if until is None else until
    wanted = [i for i, (s, t) in enumerate(zip(batch.seqs, batch.times, strict=True)) if s > at and low <= t <= high]
    if len(wanted) < len(batch):
        batch = batch.take(wanted)
    if keep is not None and wanted:
        batch = batch.take(list(keep(batch)))
    if not batch.seqs:
        return None
    return Frame.of(
        frame.recording,
        Entry(entry.seq, entry.n, "log", min(batch.times), max(batch.times), batch.encode(), frame.epochs),
    )
