"""What a recording holds now, batch by batch, filtered: for downloads and for the `tail` of a stream.

A `Feed` goes on for ever and pages sort; this reads once, forward, and ends. It blocks: `in_thread` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import Batch
from cortex_jupyter.reader.filtering import in_turn
from cortex_jupyter.reader.pages import tail_start
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from cortex_jupyter.model import Entry
    from cortex_jupyter.query.filter import Keep
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
    keep: Keep | None = None,
) -> Iterator[tuple[Entry, Batch | None]]:
    """Give the entries with numbers above `after` and not above `upto`, in order of number.

    Parameters
    ----------
    store : Readable
    recording : int
    upto, after : int
    since, until : int, optional
        ns since the epoch, both inclusive.
    low : tuple of int, optional
        (time, seq) of the first record that is wanted, by time.
    keep : callable, optional
        A filter, as in `Feed.frames`.

    Yields
    ------
    tuple of (Entry, Batch or None)
        What is wanted of a batch, or a notice and None. Batches of which nothing is wanted are left out.
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
    """Give the number after which a window begins: what lies before it need not even be unpacked."""
    if since is None:
        return 0
    index = store.index(recording)
    for seq, _, event, _, t_max in index:
        if event == "log" and t_max >= since:
            return seq - 1
    return index[-1][0] + index[-1][1] - 1 if index else 0


def newest_since(store: Readable, recording: int, since: int | None, most: int) -> int | None:
    """Give the time from which there are about `most` records, or `since` where that is later."""
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


async def in_thread(iterator: Iterator[T], keep: Keep | None = None) -> AsyncGenerator[T]:
    """Run an iterator that blocks in threads, one step at a time; where it filters, in those for that."""
    nothing: Any = object()
    while (item := await in_turn(keep, next, iterator, nothing)) is not nothing:
        yield item
