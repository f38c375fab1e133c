"""The batches of a recording as columns of Arrow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cortex_jupyter.model import Entry
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once, and rows of a piece.
PIECE: Final = 4 << 20
ROWS_PER_PIECE: Final = 65_536
NAMES: Final = ("time", "seq", "source", "stream", "text")


def raw_schema() -> Any:
    """Give the schema of what this gives: `time` in ns, `source` and `stream` as numbers."""
    pa = import_optional("pyarrow")
    return pa.schema(list(zip(NAMES, (pa.int64(), pa.int64(), pa.int32(), pa.int8(), pa.large_string()), strict=True)))


def columns(batches: Sequence[bytes]) -> Any:
    """Give the rows of some batches, one chunk.

    Parameters
    ----------
    batches : sequence of bytes
        The JSON of `log` events.

    Returns
    -------
    pyarrow.Table

    Examples
    --------
    >>> from cortex_jupyter.model import encode_batch
    >>> columns([encode_batch("d:job/a", 7, [5, 6], [1, 2], None, ["x", "y"], {})]).to_pydict()
    {'time': [5, 6], 'seq': [7, 8], 'source': [1, 2], 'stream': [0, 0], 'text': ['x', 'y']}
    """
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    parts: tuple[list[Any], ...] = ([], [], [], [], [])
    target = raw_schema()
    for data in filter(None, batches):
        doc = orjson.loads(data)
        first, n = doc["seq"], len(doc["m"])
        row = (
            np.fromiter(doc["dt"], np.int64, n) + int(doc["t0"]),
            np.fromiter(doc["q"], np.int64, n) + first if "q" in doc else np.arange(first, first + n),
            _small(doc["s"]).astype(np.int32),
            _small(doc["o"]).astype(np.int8),
            doc["m"],
        )
        # Batch by batch: its strings are still in the processor's cache.
        for part, values, kind in zip(parts, row, target, strict=True):
            part.append(pa.array(values, kind.type))
    return pa.table(
        [pa.chunked_array(part, kind.type) for part, kind in zip(parts, target, strict=True)], schema=target
    ).combine_chunks()


def _small(numbers: list[int]) -> Any:
    """Give an array of numbers most of which are below 256; as bytes it is made four times as fast."""
    np = import_optional("numpy")
    try:
        return np.frombuffer(bytes(numbers), np.uint8)
    except ValueError:
        return np.fromiter(numbers, np.int32, len(numbers))


def pieces(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[list[Entry]]:
    """Give the `log` entries that may hold lines of a window of time, some at a time; of numbers, from `start` to below `stop`.

    The next are read and unpacked while these are worked at: zstd and SQLite release the interpreter.
    """
    index = [row for row in store.index(recording) if row[2] == "log" and _overlaps(row[3], row[4], since, until)]
    index = [row for row in index if row[0] + row[1] > start and (stop is None or row[0] < stop)]
    if not index:
        return
    at, end = max(index[0][0], start) - 1, index[-1][0] + index[-1][1] - 1
    end = end if stop is None else min(end, stop - 1)
    with ThreadPoolExecutor(1, "cortex-entries") as pool:
        ahead = pool.submit(store.entries, recording, at, PIECE)
        while entries := ahead.result():
            at = entries[-1].last
            if at < end:
                ahead = pool.submit(store.entries, recording, at, PIECE)
            yield [
                e for e in entries if e.event == "log" and e.seq <= end and _overlaps(e.t_min, e.t_max, since, until)
            ]
            if at >= end:
                return


def _overlaps(t_min: int, t_max: int, since: int | None, until: int | None) -> bool:
    return (since is None or t_max >= since) and (until is None or t_min <= until)


def floors(index: list[tuple[int, int, str, int, int]]) -> dict[int, int]:
    """Give for each batch the earliest time in all that follow it.

    Examples
    --------
    >>> floors([(1, 2, "log", 5, 6), (3, 1, "log", 4, 7)])[2]
    4
    """
    floor, found = 1 << 62, {}
    for seq, n, event, t_min, _ in reversed(index):
        if event == "log":
            found[seq + n - 1] = floor
            floor = min(floor, t_min)
    return found


def read_tables(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[Any, int]]:
    """Give the rows of all entries that `pieces` gives, about `ROWS_PER_PIECE` at a time, in order of number.

    Yields
    ------
    tuple of (pyarrow.Table, int)
        And the earliest time in what follows.
    """
    low = floors(store.index(recording))
    waiting: list[bytes] = []
    rows, done = 0, start - 1
    for entries in pieces(store, recording, since, until, start, stop):
        for entry in entries:
            waiting.append(_part(entry, done, stop))
            rows, done = rows + entry.n, max(done, entry.last)
            if rows >= ROWS_PER_PIECE:
                # Of one that was merged since the index was read it is not known what follows.
                yield columns(waiting), low.get(entry.last, -1)
                waiting, rows = [], 0
    if waiting:
        yield columns(waiting), 1 << 62


def _part(entry: Entry, done: int, stop: int | None) -> bytes:
    """Give the data of an entry without what has been read: entries are merged at any time."""
    if entry.seq > done and (stop is None or entry.last < stop):
        return entry.data
    batch = Batch.decode(entry.data)
    keep = [i for i, seq in enumerate(batch.seqs) if seq > done and (stop is None or seq < stop)]
    return batch.take(keep).encode() if keep else b""
