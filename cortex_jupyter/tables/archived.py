"""The records of an archive one after the other: only those that a query wants become objects of Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.order import is_ascending
from cortex_jupyter.model import STREAMS
from cortex_jupyter.reader.snapshot import Record
from cortex_jupyter.tables.read import row_groups, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.query.language import LogQuery


def in_time(held: ArchivedRecording) -> bool:
    """Tell whether the lines stand in the order of time, so that any choice of them is in the order of reading."""
    return is_ascending(held.file.read(columns=["time"])["time"])


def records(held: ArchivedRecording, query: LogQuery) -> Iterator[Record]:
    """Give the records of an archive `in_time` that a query wants; of `tail` it knows nothing."""
    pa = import_optional("pyarrow")
    columns = ["time", "seq", "source", "stream", "text"]
    sources = {sid: source.public for sid, source in held.sources.items()}
    groups = iter(row_groups(held, query))
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-archived") as pool:

        def begin(most: int) -> list[Future[Any]]:
            return [pool.submit(wanted, held, query, columns, groups=[group]) for group in islice(groups, most)]

        ahead = begin(pa.cpu_count())
        while ahead:
            rows = ahead.pop(0).result()
            ahead += begin(1)
            times = rows["time"].cast(pa.int64()).to_pylist()
            rest = (rows[name].to_pylist() for name in columns[1:])
            for time, seq, sid, stream, text in zip(times, *rest, strict=True):
                yield Record(seq, time, sid, sources[sid], STREAMS.index(stream), text)
