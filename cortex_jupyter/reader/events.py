"""Events on their way to readers. Each is encoded once, and joined once with the events that are sent together with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cortex_jupyter.model import UNBOUNDED, Batch, Cursor, Entry
from cortex_jupyter.reader.filtering import run_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cortex_jupyter.model import Epochs
    from cortex_jupyter.query.filter import RowFilter

#: Bytes sent at once; a block of a backlog has this size.
BURST: Final = 1 << 16
_ID, _EVENT, _DATA, _END = b"id: ", b"\nevent: ", b"\ndata: ", b"\n\n"


@dataclass(frozen=True, slots=True, eq=False)
class StreamEvent:
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
        A reader sends it back to continue after this event.
    written : bytes
        The SSE event as a reader of this task alone gets it.
    epochs : tuple
        The epochs of the recording.

    Examples
    --------
    >>> event = StreamEvent.of(7, Entry(1, 2, "log", 0, 0, b"{}"))
    >>> event.written, event.body
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
        """Create the event that carries an entry."""
        cursor = str(Cursor.at(recording, entry.last, entry.epochs))
        written = b"".join((_ID, cursor.encode(), _EVENT, entry.event.encode(), _DATA, entry.data, _END))
        return cls(
            recording, entry.seq, entry.last, entry.event, entry.t_min, entry.t_max, cursor, written, entry.epochs
        )

    def within(self, at: int, since: int | None, until: int | None) -> bool:
        """Return whether the whole event is after `at` and within the window; for a notice always True."""
        return self.event != "log" or (
            self.seq > at and (since is None or self.t_min >= since) and (until is None or self.t_max <= until)
        )

    @property
    def body(self) -> bytes:
        """The event without its `id:`."""
        return self.written[len(_ID) + len(self.cursor) + 1 :]

    @property
    def entry(self) -> Entry:
        """The entry that the event was made of, rebuilt from `written` so that its data is not kept twice."""
        begin = len(_ID) + len(self.cursor) + len(_EVENT) + len(self.event) + len(_DATA)
        data = self.written[begin : -len(_END)]
        return Entry(self.seq, self.last - self.seq + 1, self.event, self.t_min, self.t_max, data, self.epochs)


class Burst:
    """Events that are sent together.

    Parameters
    ----------
    events : list of StreamEvent
        In order, at least one.

    Attributes
    ----------
    written : bytes
        The encoded events, joined.
    """

    __slots__ = ("events", "written")

    def __init__(self, events: list[StreamEvent]) -> None:
        self.events = events
        self.written = b"".join([event.written for event in events])

    def oldest(self, since: int) -> int | None:
        """Return the time (ns) of the first batch with a number above `since`, or None."""
        return next((event.t_max for event in self.events if event.event == "log" and event.seq > since), None)


def gathered(events: Iterable[StreamEvent], max_bytes: int = BURST) -> Iterator[list[StreamEvent]]:
    """Group events for sending: each group has at most `max_bytes` bytes, but at least one event."""
    group: list[StreamEvent] = []
    size = 0
    for event in events:
        size += len(event.written)
        if group and size > max_bytes:
            yield group
            group, size = [], len(event.written)
        group.append(event)
    if group:
        yield group


async def cut(
    event: StreamEvent, at: int, since: int | None, until: int | None, keep: RowFilter | None
) -> StreamEvent | None:
    """Remove from a batch the records that the reader has or does not want; None if no record is left."""
    if event.event != "log" or (keep is None and event.within(at, since, until)):
        return event
    if (since is not None and event.t_max < since) or (until is not None and event.t_min > until):
        return None
    return await run_filter(keep, _filtered, event, at, since, until, keep)


def _filtered(
    event: StreamEvent, at: int, since: int | None, until: int | None, keep: RowFilter | None
) -> StreamEvent | None:
    entry = event.entry
    batch = Batch.decode(entry.data)
    low, high = since or 0, UNBOUNDED if until is None else until
    rows = [i for i, (s, t) in enumerate(zip(batch.seqs, batch.times, strict=True)) if s > at and low <= t <= high]
    if len(rows) < len(batch):
        batch = batch.take(rows)
    if keep is not None and rows:
        batch = batch.take(list(keep(batch)))
    if not batch.seqs:
        return None
    return StreamEvent.of(
        event.recording,
        Entry(entry.seq, entry.n, "log", min(batch.times), max(batch.times), batch.encode(), event.epochs),
    )
