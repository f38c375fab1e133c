"""Read what a recording holds now, batch by batch, filtered: for downloads and for the `tail` of a stream.

A `Feed` never ends by itself and pages sort; this reads forward once and ends. It blocks: `in_thread` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import Batch
from cortex_jupyter.reader.filtering import run_filter
from cortex_jupyter.reader.pages import tail_start
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from cortex_jupyter.model import Entry
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import Readable

T = TypeVar("T")

#: Bytes read from the store at once.
_PIECE = 1 << 20


def stored(
    store: Readable,
    recording: int,
    *,
    upto: int,
    after: int = 0,
    since: int | None = None,
    until: int | None = None,
    low: tuple[int, int] | None = None,
    keep: RowFilter | None = None,
) -> Iterator[tuple[Entry, Batch | None]]:
    """Yield the entries with numbers above `after` and up to `upto`, in order of number.

    Parameters
    ----------
    store : Readable
    recording : int
    upto, after : int
    since, until : int, optional
        ns since the epoch, both inclusive.
    low : tuple of int, optional
        (time, seq) of the first wanted record, by time.
    keep : callable, optional
        A filter, as in `Feed.frames`.

    Yields
    ------
    tuple of (Entry, Batch or None)
        The wanted records of a batch, or a notice and None. A batch without wanted records is left out.
    """
    floor = max(-1 if since is None else since, low[0] if low else -1)
    ceiling = 1 << 63 if until is None else until
    while after < upto and (entries := store.entries(recording, after, _PIECE)):
        for entry in entries:
            if entry.seq > upto:
                return
            if entry.event != "log":
                yield entry, None
            elif entry.t_max >= floor and entry.t_min <= ceiling:
                batch = Batch.decode(entry.data)
                wanted = [
                    i
                    for i, (seq, time) in enumerate(zip(batch.seqs, batch.times, strict=True))
                    if after < seq <= upto and floor <= time <= ceiling and (low is None or (time, seq) >= low)
                ]
                batch = batch if len(wanted) == len(batch) else batch.take(wanted)
                if keep is not None and wanted:
                    batch = batch.take(list(keep(batch)))
                if batch.seqs:
                    yield entry, batch
        after = entries[-1].last
    if after < upto and store.info(recording) is None:
        raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)


def start(store: Readable, recording: int, since: int | None) -> int:
    """Return the number after which a window begins; earlier entries need not even be unpacked."""
    if since is None:
        return 0
    index = store.index(recording)
    for seq, _, event, _, t_max in index:
        if event == "log" and t_max >= since:
            return seq - 1
    return index[-1][0] + index[-1][1] - 1 if index else 0


def newest_since(store: Readable, recording: int, since: int | None, most: int) -> int | None:
    """Return the time since which there are about `most` records, or `since` if that is later."""
    rows = sorted((t_max, t_min, n) for _, n, event, t_min, t_max in store.index(recording) if event == "log")
    for _, t_min, n in reversed(rows):
        most -= n
        if most <= 0:
            return t_min if since is None else max(since, t_min)
    return since


def tail_of(recording: Recording, query: LogQuery) -> tuple[tuple[int, int] | None, int, bool]:
    """Find where the `tail` of a query begins; see `pages.tail_start`."""
    assert query.tail is not None
    window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": query.keep()}
    return tail_start(recording.store, recording.id, query.tail, **window, bound=query.bound())


async def in_thread(iterator: Iterator[T], keep: RowFilter | None = None) -> AsyncGenerator[T]:
    """Run a blocking iterator in threads, one step at a time; with a filter, in the threads for filters."""
    nothing: Any = object()
    while (item := await run_filter(keep, next, iterator, nothing)) is not nothing:
        yield item
