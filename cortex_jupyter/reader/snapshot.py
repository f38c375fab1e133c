"""Read a recording as far as a cursor saw it, entry by entry: the base of pages by time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import Batch
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import Entry
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.store import Readable, RecordingInfo


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a page.

    Parameters
    ----------
    seq : int
    time : int
        ns since the epoch.
    sid : int
        Id of its source within the recording.
    source : dict
        As `Source.public` returns it.
    stream : int
        Index in `STREAMS`.
    text : str
    """

    seq: int
    time: int
    sid: int
    source: dict[str, Any]
    stream: int
    text: str


class Snapshot:
    """A recording as it was when it had a certain last number.

    Parameters
    ----------
    store : Readable
    recording, last : int
    keep : callable or None
        A filter, as in `Feed.frames`.

    Attributes
    ----------
    looked : bool
        Whether a batch has been read.
    """

    def __init__(self, store: Readable, recording: int, last: int, keep: RowFilter | None) -> None:
        self._store, self._recording, self._last, self._keep = store, recording, last, keep
        self.looked = False
        self._notices: dict[int, tuple[int, dict[str, Any]]] = {}  # time and data, by number

    def records(self, seq: int, n: int) -> list[Record]:
        """Return the records that the index places in an entry; a notice is kept for `notices`.

        Only the index row's own numbers count, because small entries are merged at any time, also since the index was
        read.
        Only numbers that the cursor saw count: it may point into an entry, and `newer` returns the rest.
        """
        entry = self._store.entry(self._recording, seq)
        if entry is None:
            return []
        if entry.event != "log":  # also if a batch of the index has been trimmed since
            if entry.event != "end":
                self._notices[entry.seq] = entry.t_min, orjson.loads(entry.data)
            return []
        self.looked = True
        end = min(seq + n, self._last + 1)
        return [record for record in records_of(entry, self._keep) if seq <= record.seq < end]

    def notices(self, wanted: Callable[[tuple[int, int]], bool]) -> list[dict[str, Any]]:
        """Return the notices met at a wanted (time, number), in that order."""
        positions = sorted((time, seq) for seq, (time, _) in self._notices.items())
        return [self._notices[seq][1] for time, seq in positions if wanted((time, seq))]


def require_info(store: Readable, recording: int) -> RecordingInfo:
    """Return a recording's state, or raise: it may have left while it was read.

    Raises
    ------
    CursorNotHeld
    """
    info = store.info(recording)
    if info is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)
    return info


def records_of(entry: Entry, keep: RowFilter | None) -> list[Record]:
    """Return the records of a batch that a filter wants."""
    batch = Batch.decode(entry.data)
    if keep is not None:
        batch = batch.take(list(keep(batch)))
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return [Record(q, t, s, batch.sources[s], o, m) for q, t, s, o, m in rows]
