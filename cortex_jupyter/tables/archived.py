"""Read the records of an archive one by one; only the records that a query wants become Python objects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.order import is_ascending
from cortex_jupyter.model import STREAMS
from cortex_jupyter.store.scan import Record
from cortex_jupyter.tables.read import read_wanted, row_groups

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.query.language import LogQuery


def in_time(archived: ArchivedRecording) -> bool:
    """Return whether the lines are in the order of time, so that any selection of them is in the order of reading."""
    return is_ascending(archived.file.read(columns=["time"])["time"])


def records(archived: ArchivedRecording, query: LogQuery) -> Iterator[Record]:
    """Yield the records of an archive (one that is `in_time`) that a query wants; `tail` is ignored."""
    pa = import_optional("pyarrow")
    columns = ["time", "seq", "source", "stream", "text"]
    sources = {sid: source.public for sid, source in archived.sources.items()}
    groups = iter(row_groups(archived, query))
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-archived") as pool:

        def submit(count: int) -> list[Future[Any]]:
            return [
                pool.submit(read_wanted, archived, query, columns, groups=[group]) for group in islice(groups, count)
            ]

        futures = submit(pa.cpu_count())
        while futures:
            rows = futures.pop(0).result()
            futures += submit(1)
            times = rows["time"].cast(pa.int64()).to_pylist()
            other_columns = (rows[name].to_pylist() for name in columns[1:])
            for time, seq, sid, stream, text in zip(times, *other_columns, strict=True):
                yield Record(seq, time, sid, sources[sid], STREAMS.index(stream), text)
