"""A recording as far as a cursor saw it, read entry by entry: what pages by time are made of."""

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
    from cortex_jupyter.query.filter import Keep
    from cortex_jupyter.store import Readable, RecordingInfo


@dataclass(frozen=True, slots=True)
class Record:
    """One line, as a page gives it.

    Parameters
    ----------
    seq : int
    time : int
        ns since the epoch.
    sid : int
        Id of its source within the recording.
    source : dict
        What `Source.public` gives.
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
    """What there was of a recording when its last number was this one.

    Parameters
    ----------
    store : Readable
    recording, last : int
    keep : callable or None
        A filter, as in `Feed.frames`.

    Attributes
    ----------
    looked : bool
        A batch has been read.
    """

    def __init__(self, store: Readable, recording: int, last: int, keep: Keep | None) -> None:
        self._store, self._recording, self._last, self._keep = store, recording, last, keep
        self.looked = False
        self._notices: dict[int, tuple[int, dict[str, Any]]] = {}  # time and data, by number

    def records(self, seq: int, n: int) -> list[Record]:
        """Give the records that the index says are in an entry; of one that is a notice, keep that.

        Within the row's own numbers: idle entries are merged at any time, also since the index was read. And within
        what the cursor saw: it may point into an entry, and what comes after it comes with `newer`.
        """
        entry = self._store.entry(self._recording, seq)
        if entry is None:
            return []
        if entry.event != "log":  # also of what was a batch when the index was read, and has left since
            if entry.event != "end":
                self._notices[entry.seq] = entry.t_min, orjson.loads(entry.data)
            return []
        self.looked = True
        end = min(seq + n, self._last + 1)
        return [record for record in records_of(entry, self._keep) if seq <= record.seq < end]

    def notices(self, wanted: Callable[[tuple[int, int]], bool]) -> list[dict[str, Any]]:
        """Give those that have been met at a (time, number) that is wanted, in that order."""
        places = sorted((time, seq) for seq, (time, _) in self._notices.items())
        return [self._notices[seq][1] for time, seq in places if wanted((time, seq))]


def held(store: Readable, recording: int) -> RecordingInfo:
    """Tell whether a recording is there; it may have left while it was read.

    Raises
    ------
    CursorNotHeld
    """
    info = store.info(recording)
    if info is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)
    return info


def records_of(entry: Entry, keep: Keep | None) -> list[Record]:
    """Give the records of a batch that a filter wants."""
    batch = Batch.decode(entry.data)
    if keep is not None:
        batch = batch.take(list(keep(batch)))
    rows = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return [Record(q, t, s, batch.sources[s], o, m) for q, t, s, o, m in rows]
