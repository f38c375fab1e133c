"""Read the batches of a recording as Arrow tables, and as the rows of an archive's file."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.model import UNBOUNDED
from cortex_jupyter.store.scan import LaterTimes, Scan, require_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import pyarrow as pa

    from cortex_jupyter.model import PublicSource
    from cortex_jupyter.store import Readable

#: Rows of a table.
ROWS_PER_PIECE: Final = 65_536
#: Pieces of a recording that are converted while the next one is read.
_AHEAD: Final = 1
_NAMES: Final = ("time", "seq", "source", "stream", "text")


def raw_schema() -> pa.Schema:
    """Return the schema of these tables: `time` in ns, `source` and `stream` as numbers."""
    pa = import_optional("pyarrow")
    return pa.schema(list(zip(_NAMES, (pa.int64(), pa.int64(), pa.int32(), pa.int8(), pa.large_string()), strict=True)))


def decode_batches(batches: Sequence[bytes]) -> pa.Table:
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
    for data in batches:
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


def read_tables(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[tuple[pa.Table, int]]:
    """Yield the lines of the batches that may hold lines of a window, about `ROWS_PER_PIECE` rows each, by number.

    Only lines with `start <= seq < stop`. A batch at the window's edge may have lines outside of the window.

    Yields
    ------
    tuple of (pyarrow.Table, int)
        The rows, and the earliest time in all that follow.
    """
    index = store.index(recording)
    later = LaterTimes(index)
    scan = Scan(store, recording, after=start - 1, upto=UNBOUNDED if stop is None else stop - 1)
    scan = scan.within(since, until).narrowed(index)
    waiting: list[bytes] = []
    rows = 0
    for part in scan.parts():
        if part.entry.event != "log" or not scan.overlaps(part.entry):
            continue
        if part.is_whole:
            waiting.append(part.entry.data)
        elif (batch := scan.batch(part)) is not None:
            waiting.append(batch.encode())
        rows += part.last - part.first + 1
        if rows >= ROWS_PER_PIECE:
            yield decode_batches(waiting), later.after(part.last)
            waiting, rows = [], 0
    if waiting:
        yield decode_batches(waiting), UNBOUNDED


def read_rows(
    store: Readable,
    recording: int,
    since: int | None = None,
    until: int | None = None,
    start: int = 0,
    stop: int | None = None,
    *,
    progress: Callable[[int], object] = int,
    select: Callable[[pa.Table], pa.Table] | None = None,
) -> Iterator[tuple[pa.Table, int]]:
    """Yield the rows of a recording with the columns of an archive's file, by number.

    Parameters
    ----------
    store : Readable
    recording : int
    since, until, start, stop : int, optional
        As for `read_tables`.
    progress : callable, optional
        Called with the number of rows of each piece, before `select`.
    select : callable, optional
        Returns the wanted rows of a piece.

    Yields
    ------
    tuple of (pyarrow.Table, int)
        The rows, and the earliest time in all that follow.

    Raises
    ------
    CursorNotHeld
        The recording has left the store.
    """
    info = require_info(store, recording)
    task = (info.ref.namespace, info.ref.key)

    def to_rows(raw: Any, sources: dict[int, PublicSource]) -> Any:
        rows = layout.build_columns(raw, task, sources, find_spans(raw["text"]))
        return rows if select is None else select(rows)

    waiting: deque[tuple[Future[pa.Table], int]] = deque()
    with ThreadPoolExecutor(_AHEAD, "cortex-pieces") as pool:  # decode the next piece while Arrow converts this one
        for raw, floor in read_tables(store, recording, since, until, start, stop):
            progress(len(raw))
            # Read the sources again: a new one may have started.
            sources = {sid: source.public for sid, (source, _) in store.sources(recording).items()}
            waiting.append((pool.submit(to_rows, raw, sources), floor))
            if len(waiting) > _AHEAD:
                job, low = waiting.popleft()
                yield job.result(), low
        for job, low in waiting:
            yield job.result(), low
