"""Write a recording to a Parquet file, row group by row group: neither memory nor a disk has to hold all of it."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.trigrams import TrigramIndexBuilder
from cortex_jupyter.model import rfc3339
from cortex_jupyter.store.scan import read_notices, require_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from cortex_jupyter.archive.optional import IntColumn
    from cortex_jupyter.model import Entry, Source
    from cortex_jupyter.store import Completeness, Readable, RecordingInfo

#: Bytes after a footer: its length and "PAR1" (https://parquet.apache.org/docs/file-format/).
TAIL: Final = 8


@dataclass(slots=True)
class FileMetadata:
    """What a file holds beside its rows.

    Parameters
    ----------
    info : RecordingInfo
    sources : dict of int to Source
    complete : Completeness
    notices : list of Entry
    blocks : list of Block
    more : dict
        Further fields of the statement in the file.
    growing : bool
        Everything but `info` is unknown until the last row has come.
    """

    info: RecordingInfo
    sources: dict[int, Source]
    complete: Completeness
    notices: list[Entry] = field(default_factory=list)
    blocks: list[layout.Block] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    growing: bool = False

    @classmethod
    def from_store(cls, store: Readable, recording: int) -> FileMetadata:
        """Read the metadata of a recording from a store.

        Raises
        ------
        CursorNotHeld
            The recording has left the store.
        """
        info, index = require_info(store, recording), store.index(recording)
        notices = read_notices(store, recording, index)
        sources = {sid: source for sid, (source, _) in store.sources(recording).items()}
        return cls(info, sources, store.complete(recording), notices, layout.blocks(index))

    @property
    def statement(self) -> dict[str, Any]:
        """The completeness statement in the form that the file holds."""
        complete = self.complete
        return (
            {
                "records": complete.records,
                "from": _time(complete.first),
                "to": _time(complete.last),
                "gaps": complete.gaps,
                "sources": complete.sources,
                "done": self.info.done,
            }
            | ({"masked": complete.masked} if complete.masked else {})
            | self.more
        )

    def metadata(self, *, sorted_: bool) -> dict[bytes, bytes]:
        """Return the metadata besides the statement. Only a file that holds all lines has it."""
        complete = self.complete
        about = asdict(self.info) | {
            "version": layout.VERSION,
            "ordered": sorted_,
            "first": complete.first,
            "last": complete.last,
            "sources": [{"id": sid} | source.as_dict() for sid, source in self.sources.items()],
        }
        return {
            layout.RECORDING_INFO: orjson.dumps(about),
            layout.NOTICES: layout.pack_notices(self.notices),
            layout.BLOCKS: layout.pack_blocks(self.blocks),
        }


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """The sizes and counts of a file that was just written.

    Parameters
    ----------
    rows, size, footer : int
        `size` is the number of bytes of the whole file, and `footer` the number from the footer's start to the end.
    levels : dict
        Number of lines by level; "" for none.
    """

    rows: int
    size: int
    footer: int
    levels: dict[str, int]


class ParquetEncoder:
    """Encodes a recording as a Parquet file, and yields its bytes in parts.

    Parameters
    ----------
    pieces : iterable of (pyarrow.Table, bool)
        Rows in reading order with the columns of `layout.schema`, as `sort_pieces` yields them.
    about : FileMetadata
    progress : callable, optional
        Called with the number of rows of each row group.

    Attributes
    ----------
    written : WrittenFile or None
        None until the last part was yielded.
    """

    def __init__(
        self, pieces: Iterable[tuple[pa.Table, bool]], about: FileMetadata, progress: Callable[[int], object] = int
    ) -> None:
        self._pieces, self._about, self._progress = pieces, about, progress
        self._levels: Counter[str] = Counter()
        self._grams = TrigramIndexBuilder()
        self._rows = self._groups = 0
        self.written: WrittenFile | None = None

    def __iter__(self) -> Iterator[bytes]:
        sink, size, part = _Sink(), 0, b""
        for _ in self._write(sink):
            part = sink.take()
            size += len(part)
            yield part
        footer = int.from_bytes(part[-TAIL:-4], "little") + TAIL  # the last part holds all of the footer
        self.written = WrittenFile(self._rows, size, footer, dict(self._levels))

    def _write(self, sink: _Sink) -> Iterator[None]:
        """Write to a sink, and yield whenever it holds more. The last part holds the footer."""
        pa, pq, about = import_optional("pyarrow"), import_optional("pyarrow.parquet"), self._about
        group_rows, is_ordered = layout.group_rows(about.complete.records), True
        waiting: list[Any] = []
        target = layout.schema()
        if not about.growing:
            target = target.with_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
        with pq.ParquetWriter(sink, target, **layout.writer_options()) as writer:
            for table, certain in self._pieces:
                is_ordered = is_ordered and certain
                waiting.append(table)
                while sum(map(len, waiting)) >= group_rows:
                    whole = pa.concat_tables(waiting)
                    self._group(writer, whole.slice(0, group_rows), group_rows)
                    waiting = [whole.slice(group_rows)]
                    yield
            if sum(map(len, waiting)):
                self._group(writer, pa.concat_tables(waiting), group_rows)
            if self._rows == about.complete.records:  # a filtered file is no archive
                writer.add_key_value_metadata(about.metadata(sorted_=is_ordered))
                if (packed := self._grams.pack()) is not None:
                    writer.add_key_value_metadata({layout.TRIGRAMS: packed})
                if about.growing:
                    writer.add_key_value_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
        yield

    def _group(self, writer: pq.ParquetWriter, table: pa.Table, group_rows: int) -> None:
        whole = table.combine_chunks()
        writer.write_table(whole, row_group_size=group_rows)
        if self._about.blocks:
            _add_group(self._about.blocks, whole["seq"], self._groups)
        self._grams.add(whole["text"].chunk(0))
        counts = whole["level"].value_counts().to_pylist()
        self._levels.update({row["values"] or "": row["counts"] for row in counts})
        self._rows += len(table)
        self._groups += 1
        self._progress(len(table))


class _Sink(io.RawIOBase):
    """Collects written bytes until they are taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def write_file(
    path: Path, pieces: Iterable[tuple[pa.Table, bool]], about: FileMetadata, progress: Callable[[int], object] = int
) -> None:
    """Write a new file on a disk; see `ParquetEncoder`."""
    with path.open("wb") as file:
        for part in ParquetEncoder(pieces, about, progress):
            file.write(part)


def _add_group(blocks: list[layout.Block], seqs: IntColumn, group: int) -> None:
    """Record in the index that a row group holds these numbers."""
    np = import_optional("numpy")
    starts = np.array([b.seq for b in blocks])
    is_held = np.zeros(len(blocks) + 1, bool)
    is_held[np.searchsorted(starts, seqs.to_numpy(), "right")] = True
    for position in (np.flatnonzero(is_held) - 1).tolist():
        block = blocks[position]
        block.first, block.last = min(block.first, group), max(block.last, group)


def _time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)
