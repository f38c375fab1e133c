"""A recording to a Parquet file, row group by row group: what is in memory does not grow with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.extra import library
from cortex_jupyter.archive.grams import Grams
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.recording.store.budget import NOT_HELD
from cortex_jupyter.records import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cortex_jupyter.recording.store import Complete, Info, Readable
    from cortex_jupyter.records import Entry, Source

#: The bytes after a footer: its length and "PAR1" (https://parquet.apache.org/docs/file-format/).
TAIL: Final = 8


@dataclass(slots=True)
class About:
    """What stands in a file beside its rows.

    Parameters
    ----------
    info : Info
    sources : dict of int to Source
    complete : Complete
    notices : list of Entry
    blocks : list of Block
    more : dict
        What else the statement in the file is to say.
    growing : bool
        Nothing but `info` is known before the last row has come.
    """

    info: Info
    sources: dict[int, Source]
    complete: Complete
    notices: list[Entry] = field(default_factory=list)
    blocks: list[layout.Block] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    growing: bool = False

    @classmethod
    def of(cls, store: Readable, recording: int) -> About:
        """Read it from a store.

        Raises
        ------
        CursorNotHeld
            The recording has left it.
        """
        info = store.info(recording)
        if info is None:
            raise CursorNotHeld("this recording is no longer held", NOT_HELD)
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
class Written:
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


def write(
    path: Path, pieces: Iterable[tuple[Any, bool]], about: About, progress: Callable[[int], object] = int
) -> Written:
    """Write rows that come in the order of reading, as the columns of `layout.schema`.

    Parameters
    ----------
    path : path
        A new file.
    pieces : iterable of (pyarrow.Table, bool)
        As `ordered` gives them.
    about : About
    progress : callable, optional
        Called with the number of rows of each piece.

    Returns
    -------
    Written
    """
    pa, pq = library("pyarrow"), library("pyarrow.parquet")
    most = layout.group_rows(about.complete.records)
    levels: Counter[str] = Counter()
    grams = Grams()
    rows, group, sure = 0, 0, True
    waiting: list[Any] = []
    target = layout.schema()
    if not about.growing:
        target = target.with_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
    with pq.ParquetWriter(path, target, **layout.options()) as writer:

        def flush(table: Any) -> None:
            nonlocal rows, group
            whole = table.combine_chunks()
            writer.write_table(whole, row_group_size=most)
            if about.blocks:
                _note(about.blocks, whole["seq"], group)
            grams.add(whole["text"].chunk(0))
            counts = whole["level"].value_counts().to_pylist()
            levels.update({one["values"] or "": one["counts"] for one in counts})
            rows += len(table)
            group += 1
            progress(len(table))

        for table, certain in pieces:
            sure = sure and certain
            waiting.append(table)
            while sum(map(len, waiting)) >= most:
                whole = pa.concat_tables(waiting)
                flush(whole.slice(0, most))
                waiting = [whole.slice(most)]
        if sum(map(len, waiting)):
            flush(pa.concat_tables(waiting))
        if rows == about.complete.records:  # what a filter has left is no archive
            writer.add_key_value_metadata(about.metadata(sorted_=sure))
            if (packed := grams.pack()) is not None:
                writer.add_key_value_metadata({layout.GRAMS: packed})
            if about.growing:
                writer.add_key_value_metadata({layout.STATEMENT: orjson.dumps(about.statement)})
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - TAIL)
        footer = int.from_bytes(file.read(4), "little") + TAIL
    return Written(rows, size, footer, dict(levels))


def _note(blocks: list[layout.Block], seqs: Any, group: int) -> None:
    """Note in the index that a row group holds these numbers."""
    np = library("numpy")
    starts = np.array([b.seq for b in blocks])
    held = np.zeros(len(blocks) + 1, bool)
    held[np.searchsorted(starts, seqs.to_numpy(), "right")] = True
    for place in (np.flatnonzero(held) - 1).tolist():
        block = blocks[place]
        block.first, block.last = min(block.first, group), max(block.last, group)


def _time(ns: int | None) -> str | None:
    return None if ns is None else rfc3339(ns)
