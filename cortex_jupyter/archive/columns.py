"""Read the batches of a recording as Arrow tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.model import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cortex_jupyter.model import Entry, IndexEntry
    from cortex_jupyter.store import Readable

#: Bytes read from the store at once, and rows of a table.
BYTES_PER_READ: Final = 4 << 20
ROWS_PER_PIECE: Final = 65_536
_NAMES: Final = ("time", "seq", "source", "stream", "text")


def raw_schema() -> Any:
    """Return the schema of these tables: `time` in ns, `source` and `stream` as numbers."""
    pa = import_optional("pyarrow")
    return pa.schema(list(zip(_NAMES, (pa.int64(), pa.int64(), pa.int32(), pa.int8(), pa.large_string()), strict=True)))


def decode_batches(batches: Sequence[bytes]) -> Any:
    """Return the rows of batches as a table with one chunk.

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
    >>> decode_batches([encode_batch("d:job/a", 7, [5, 6], [1, 2], None, ["x", "y"], {})]).to_pydict()
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
        # Batch by batch, while its strings are in the processor's cache.
        for part, values, kind in zip(parts, row, target, strict=True):
            part.append(pa.array(values, kind.type))
    return pa.table(
        [pa.chunked_array(part, kind.type) for part, kind in zip(parts, target, strict=True)], schema=target
    ).combine_chunks()


def _small(numbers: list[int]) -> Any:
    """Return an array of numbers that usually are below 256: made from bytes, it takes a quarter of the time."""
    np = import_optional("numpy")
    try:
        return np.frombuffer(bytes(numbers), np.uint8)
    except ValueError:
        return np.fromiter(numbers, np.int32, len(numbers))


def read_log_entries(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[list[Entry]]:
    """Yield lists of `log` entries that may hold lines of a window, and have numbers from `start` to below `stop`.

    The next list is read and unpacked while the caller works on one: zstd and SQLite release the interpreter lock.
    """
    index = [row for row in store.index(recording) if row[2] == "log" and _overlaps(row[3], row[4], since, until)]
    index = [row for row in index if row[0] + row[1] > start and (stop is None or row[0] < stop)]
    if not index:
        return
    last_read, end = max(index[0][0], start) - 1, index[-1][0] + index[-1][1] - 1
    end = end if stop is None else min(end, stop - 1)
    with ThreadPoolExecutor(1, "cortex-entries") as pool:
        next_read = pool.submit(store.entries, recording, last_read, BYTES_PER_READ)
        while entries := next_read.result():
            last_read = entries[-1].last
            if last_read < end:
                next_read = pool.submit(store.entries, recording, last_read, BYTES_PER_READ)
            yield [
                e for e in entries if e.event == "log" and e.seq <= end and _overlaps(e.t_min, e.t_max, since, until)
            ]
            if last_read >= end:
                return


def _overlaps(t_min: int, t_max: int, since: int | None, until: int | None) -> bool:
    return (since is None or t_max >= since) and (until is None or t_min <= until)


def min_times_after(index: list[IndexEntry]) -> dict[int, int]:
    """Return for each batch, by its last number, the earliest time in all batches that follow.

    Examples
    --------
    >>> min_times_after([(1, 2, "log", 5, 6), (3, 1, "log", 4, 7)])[2]
    4
    """
    floor, floors = 1 << 62, {}
    for seq, n, event, t_min, _ in reversed(index):
        if event == "log":
            floors[seq + n - 1] = floor
            floor = min(floor, t_min)
    return floors


def read_tables(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[Any, int]]:
    """Yield tables of the entries that `read_log_entries` yields, about `ROWS_PER_PIECE` rows each, by number.

    Yields
    ------
    tuple of (pyarrow.Table, int)
        The rows, and the earliest time in all that follow.
    """
    floors = min_times_after(store.index(recording))
    waiting: list[bytes] = []
    rows, done = 0, start - 1
    for entries in read_log_entries(store, recording, since, until, start, stop):
        for entry in entries:
            waiting.append(_unread_data(entry, done, stop))
            rows, done = rows + entry.n, max(done, entry.last)
            if rows >= ROWS_PER_PIECE:
                # If the entry was merged after the index was read, what follows is unknown.
                yield decode_batches(waiting), floors.get(entry.last, -1)
                waiting, rows = [], 0
    if waiting:
        yield decode_batches(waiting), 1 << 62


def _unread_data(entry: Entry, done: int, stop: int | None) -> bytes:
    """Return an entry's data without the numbers that were read already: entries may be merged at any time."""
    if entry.seq > done and (stop is None or entry.last < stop):
        return entry.data
    batch = Batch.decode(entry.data)
    keep = [i for i, seq in enumerate(batch.seqs) if seq > done and (stop is None or seq < stop)]
    return batch.take(keep).encode() if keep else b""
