"""From the batches of a recording to one Arrow table, column by column; no Python object outlives its batch."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.frames.derive import derived
from cortex_jupyter.frames.extras import library
from cortex_jupyter.frames.order import in_order
from cortex_jupyter.frames.schema import STATEMENT, schema
from cortex_jupyter.frames.statement import Completeness
from cortex_jupyter.recording.budget import NOT_HELD
from cortex_jupyter.records import STREAMS, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.store import Store

#: Bytes read from the store at once, and rows of an Arrow chunk: live batches of a few lines are gathered.
_PIECE: Final = 4 << 20
_CHUNK: Final = 16_384


def read(store: Store, recording: int, query: LogQuery, progress: Callable[[int], object] | None = None) -> Any:
    """Read a recording, as it is now, into a table.

    Parameters
    ----------
    store : Store
    recording : int
    query : LogQuery
        Its window and its filter hold; what concerns pages does not.
    progress : callable, optional
        Called with the number of records of each piece.

    Returns
    -------
    pyarrow.Table
        The columns of `schema`, ordered by time and within one source as in its file. The schema's metadata holds
        the completeness statement of the whole recording, the query and the number of rows.

    Raises
    ------
    MissingExtra
        There is no pyarrow.
    StoreError
    """
    pa = library("pyarrow")
    statement = Completeness.of(store, recording)
    columns = _Columns(pa)
    for batch in batches(store, recording, query):
        columns.add(batch)
        if progress is not None:
            progress(len(batch))
    raw = in_order(_window(columns.table(), query))
    if query.tail is not None:
        raw = raw.slice(max(0, len(raw) - query.tail))
    info = store.info(recording)
    if info is None:  # it left while it was read
        raise CursorNotHeld("this recording is no longer held", NOT_HELD)
    key = (info.ref.namespace, info.ref.key)
    sources = {sid: source.public for sid, (source, _) in store.sources(recording).items()}
    metadata = {STATEMENT: statement.as_json(query=dict(query.raw), rows=len(raw))}
    return _assemble(raw, *key, sources).replace_schema_metadata(metadata)


def batches(store: Store, recording: int, query: LogQuery, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
    """Give the batches that hold records of a query's window, filtered, in the order of recording.

    A batch on the window's edge may hold records outside of it; of numbers, only `start <= seq < stop`.
    """
    keep = query.keep()
    low, high = query.since, query.until
    index = [row for row in store.index(recording) if row[2] == "log" and _overlaps(row, low, high)]
    if not index:
        return
    at, end = max(start, index[0][0]) - 1, index[-1][0] + index[-1][1] - 1
    end = end if stop is None else min(end, stop - 1)
    if at >= end:
        return
    # The next piece is read and unpacked while this one is decoded: zstd and SQLite release the interpreter.
    with ThreadPoolExecutor(1, "cortex-frames") as pool:
        ahead = pool.submit(store.entries, recording, at, _PIECE)
        while entries := ahead.result():
            if entries[-1].last < end:
                ahead = pool.submit(store.entries, recording, entries[-1].last, _PIECE)
            for entry in entries:
                if (
                    entry.last > at
                    and entry.event == "log"
                    and _overlaps((0, 0, "", entry.t_min, entry.t_max), low, high)
                ):
                    batch = Batch.decode(entry.data)
                    if entry.seq <= at or entry.last > end:  # batches are merged at any time
                        batch = batch.take([i for i, seq in enumerate(batch.seqs) if at < seq <= end])
                    if keep is not None:
                        batch = batch.take(list(keep(batch)))
                    if len(batch):
                        yield batch
                at = max(at, entry.last)
            if at >= end:
                return


def _overlaps(row: tuple[int, int, str, int, int], low: int | None, high: int | None) -> bool:
    return (low is None or row[4] >= low) and (high is None or row[3] <= high)


class _Columns:
    """Gathers batches into chunks of arrays."""

    def __init__(self, pa: Any) -> None:
        self._pa = pa
        self._types = {
            "time": pa.int64(), "seq": pa.int64(), "sid": pa.int32(), "stream": pa.int8(), "text": pa.large_string(),
        }  # fmt: skip
        self._waiting: deque[Batch] = deque()
        self._rows = 0
        self._chunks: list[Any] = []

    def add(self, batch: Batch) -> None:
        self._waiting.append(batch)
        self._rows += len(batch)
        if self._rows >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        batch = self._waiting.popleft()
        for more in self._waiting:
            batch.times += more.times
            batch.seqs += more.seqs
            batch.sids += more.sids
            batch.streams += more.streams
            batch.texts += more.texts
        self._waiting.clear()
        self._rows = 0
        columns = (batch.times, batch.seqs, batch.sids, batch.streams, batch.texts)
        arrays = [self._pa.array(c, t) for c, t in zip(columns, self._types.values(), strict=True)]
        self._chunks.append(self._pa.record_batch(arrays, names=list(self._types)))

    def table(self) -> Any:
        self._flush()
        return self._pa.Table.from_batches(self._chunks, self._pa.schema(list(self._types.items())))


def _window(table: Any, query: LogQuery) -> Any:
    pc = library("pyarrow.compute")
    if query.since is not None:
        table = table.filter(pc.field("time") >= query.since)
    if query.until is not None:
        table = table.filter(pc.field("time") <= query.until)
    return table


def _assemble(raw: Any, namespace: str, task: str, sources: dict[int, dict[str, Any]]) -> Any:
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    target, n = schema(), len(raw)
    place = pc.index_in(raw["sid"], value_set=pa.array(sources, pa.int32()))

    def few(indices: Any, values: list[Any]) -> Any:
        distinct = list(dict.fromkeys(values))
        codes = pa.array([distinct.index(v) for v in values], pa.int32())
        dictionary = pa.array(distinct, pa.string())
        chunks = [pa.DictionaryArray.from_arrays(codes.take(c), dictionary) for c in indices.chunks]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))

    def of_source(name: str) -> Any:
        return few(place, [source.get(name) or "" for source in sources.values()])

    zero = pa.chunked_array([pa.array([0], pa.int32()).take(pa.nulls(n, pa.int32()).fill_null(0))])
    runs = pa.array([source.get("run", 0) for source in sources.values()], pa.int32())
    columns = {
        "time": raw["time"].cast(target.field("time").type),
        "seq": raw["seq"],
        "namespace": few(zero, [namespace]),
        "task": few(zero, [task]),
        "pod": of_source("pod"),
        "container": of_source("container"),
        "kind": of_source("kind"),
        "run": runs.take(place),
        "node": of_source("node"),
        "stream": few(raw["stream"], list(STREAMS)),
        "text": raw["text"],
        **derived(raw["text"]),
    }
    return pa.table([columns[name] for name in target.names], schema=target)
