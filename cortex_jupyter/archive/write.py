"""A recording to a Parquet file, row group by row group: neither memory nor a disk has to hold all of it."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.trigrams import TrigramIndexBuilder
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import rfc3339
from cortex_jupyter.store.budget import NOT_HELD_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from cortex_jupyter.model import Entry, Source
    from cortex_jupyter.store import Completeness, Readable, RecordingInfo

#: The bytes after a footer: its length and "PAR1" (https://parquet.apache.org/docs/file-format/).
TAIL: Final = 8


@dataclass(slots=True)
class FileMetadata:
    """What stands in a file beside its rows.

    Parameters
    ----------
    info : RecordingInfo
    sources : dict of int to Source
    complete : Completeness
    notices : list of Entry
    blocks : list of Block
    more : dict
        What else the statement in the file is to say.
    growing : bool
        Nothing but `info` is known before the last row has come.
    """

    info: RecordingInfo
    sources: dict[int, Source]
    complete: Completeness
    notices: list[Entry] = field(default_factory=list)
    blocks: list[layout.Block] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    growing: bool = False

    @classmethod
    def of(cls, store: Readable, recording: int) -> FileMetadata:
        """Read it from a store.

        Raises
        ------
        CursorNotHeld
            The recording has left it.
        """
        info = store.info(recording)
        if info is None:
            raise CursorNotHeld("this recording is no longer held", NOT_HELD_HINT)
        index = store.index(recording)
        notices = [e for seq, _, event, _, _ in index if event != "log" and (e := store.entry(recording, seq))]
        sources = {sid: source for sid, (source, _) in store.sources(recording).items()}
        return cls(info, sources, store.complete(recording), notices, layout.blocks(index))

    @property
    def statement(self) -> dict[str, Any]:
        """The completeness statement as it stands in the file."""
        complete = self.complete
        return {
            "records": complete.records, "from": _time(complete.first), "to": _time(complete.last),
            "gaps": complete.gaps, "sources": complete.sources, "done": self.info.done,
        } | ({"masked": complete.masked} if complete.masked else {}) | self.more  # fmt: skip

    def metadata(self, *, sorted_: bool) -> dict[bytes, bytes]:
        """Give what else stands in the metadata of a file that holds all lines."""
        complete = self.complete
        about = asdict(self.info) | {
            "version": layout.VERSION, "ordered": sorted_, "first": complete.first, "last": complete.last,
            "sources": [{"id": sid} | source.as_dict() for sid, source in self.sources.items()],
        }  # fmt: skip
        return {
            layout.ABOUT: orjson.dumps(about),
            layout.NOTICES: layout.pack_notices(self.notices),
            layout.BLOCKS: layout.pack_blocks(self.blocks),
        }


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written.

    Parameters
    ----------
    rows, size, footer : int
        `footer`: bytes from the footer's first to the file's last.
    levels : dict
        How many lines have each level; "" for none.
    """

    rows: int
    size: int
    footer: int
    levels: dict[str, int]


class ParquetEncoder:
    """A file while it is written: its bytes, as they come.

    Parameters
    ----------
    pieces : iterable of (pyarrow.Table, bool)
        Rows in the order of reading, as the columns of `layout.schema`, as `ordered` gives them.
    about : FileMetadata
    progress : callable, optional
        Called with the number of rows of each piece.

    Attributes
    ----------
    written : WrittenFile or None
        None before the last byte has come.
    """

    def __init__(
        self, pieces: Iterable[tuple[Any, bool]], about: FileMetadata, progress: Callable[[int], object] = int
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
        footer = int.from_bytes(part[-TAIL:-4], "little") + TAIL  # the last part has it whole
        self.written = WrittenFile(self._rows, size, footer, dict(self._levels))

    def _write(self, sink: _Sink) -> Iterator[None]:
        """Write to a sink; gives something whenever that holds more, the last time the footer."""
        pa, pq, about = import_optional("pyarrow"), import_optional("pyarrow.parquet"), self._about
        most, sure = layout.group_rows(about.complete.records), True
        waiting: list[Any] = []
        target = layout.schema()
        if not about.growing:
            target = target.with_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
        with pq.ParquetWriter(sink, target, **layout.options()) as writer:
            for table, certain in self._pieces:
                sure = sure and certain
                waiting.append(table)
                while sum(map(len, waiting)) >= most:
                    whole = pa.concat_tables(waiting)
                    self._group(writer, whole.slice(0, most), most)
                    waiting = [whole.slice(most)]
                    yield
            if sum(map(len, waiting)):
                self._group(writer, pa.concat_tables(waiting), most)
            if self._rows == about.complete.records:  # what a filter has left is no archive
                writer.add_key_value_metadata(about.metadata(sorted_=sure))
                if (packed := self._grams.pack()) is not None:
                    writer.add_key_value_metadata({layout.TRIGRAMS: packed})
                if about.growing:
                    writer.add_key_value_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
        yield

    def _group(self, writer: Any, table: Any, most: int) -> None:
        whole = table.combine_chunks()
        writer.write_table(whole, row_group_size=most)
        if self._about.blocks:
            _note(self._about.blocks, whole["seq"], self._groups)
        self._grams.add(whole["text"].chunk(0))
        counts = whole["level"].value_counts().to_pylist()
        self._levels.update({one["values"] or "": one["counts"] for one in counts})
        self._rows += len(table)
        self._groups += 1
        self._progress(len(table))


class _Sink(io.RawIOBase):
    """What was written since it was taken the last time."""

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
    path: Path, pieces: Iterable[tuple[Any, bool]], about: FileMetadata, progress: Callable[[int], object] = int
) -> None:
    """Write a new file on a disk; see `ParquetEncoder`."""
    with path.open("wb") as file:
        for part in ParquetEncoder(pieces, about, progress):
            file.write(part)


def _note(blocks: list[layout.Block], seqs: Any, group: int) -> None:
    """Note in the index that a row group holds these numbers."""
    np = import_optional("numpy")
    starts = np.array([b.seq for b in blocks])
    held = np.zeros(len(blocks) + 1, bool)
    held[np.searchsorted(starts, seqs.to_numpy(), "right")] = True
    for place in (np.flatnonzero(held) - 1).tolist():
        block = blocks[place]
        block.first, block.last = min(block.first, group), max(block.last, group)


def _time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)
