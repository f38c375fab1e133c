"""One archived recording, read like one in a store: by number, by time, by entry."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive import layout
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.trigrams import may_contain
from cortex_jupyter.errors import ArchiveDamaged, ArchiveTooNew
from cortex_jupyter.model import STREAMS, UNBOUNDED, Entry, IndexEntry, Source, TaskRef, encode_batch
from cortex_jupyter.parsing.level import levels_of
from cortex_jupyter.store import Completeness, RecordingInfo, as_epochs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from cortex_jupyter.archive.file import ParquetFile
    from cortex_jupyter.archive.optional import Ints

#: Number of decoded row groups in memory, since readers usually read neighbours next.
_CACHED_GROUPS: Final = 4
_COLUMNS: Final = ("time", "seq", "stream", "text", "source")


def too_new(path: str, version: int) -> ArchiveTooNew:
    """Return the error for an archive of a newer layout."""
    return ArchiveTooNew(
        f"{path} was written by a newer version of cortex-jupyter (layout {version}, here {layout.VERSION})"
    )


class ArchivedRecording:
    """An archived recording.

    Parameters
    ----------
    file : ParquetFile
    about : dict, optional
        Content of the manifest. Without it the file's own metadata is read when needed.
    """

    def __init__(self, file: ParquetFile, about: dict[str, Any] | None = None) -> None:
        self.file = file
        self._about = about
        self._lock = Lock()
        self._groups: OrderedDict[int, tuple[pa.Table, Ints]] = OrderedDict()

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The key-value metadata of the file."""
        return self.file.metadata.metadata or {}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the store knew about the recording.

        Raises
        ------
        ArchiveDamaged
            The file is not one of ours.
        ArchiveTooNew
        """
        if self._about is not None:
            return self._about
        try:
            doc: dict[str, Any] = orjson.loads(self.metadata[layout.RECORDING_INFO])
        except (KeyError, orjson.JSONDecodeError) as error:
            raise ArchiveDamaged(
                f"{self.file.path} is not an archived task", "`cortex_jupyter.open` reads any file of logs"
            ) from error
        if doc["version"] > layout.VERSION:
            raise too_new(self.file.path, doc["version"])
        statement = orjson.loads(self.metadata[layout.STATEMENT])
        return doc | {"complete": statement}

    @property
    def objects(self) -> tuple[str, str]:
        """The names of its objects in the archive: the manifest and the file."""
        return f"{self.file.name.removesuffix('.parquet')}.json", self.file.name

    def may_hold(self, since: int | None, until: int | None, level: str | None) -> bool:
        """Return whether the manifest allows lines within a window of time (ns) and of some levels."""
        first, last = self.about["first"], self.about["last"]
        if first is None:
            return False
        if (since is not None and last < since) or (until is not None and first > until):
            return False
        counts = self.about.get("levels")
        if level is None or counts is None:
            return True
        return any(counts.get(name) for name in levels_of(level))

    @cached_property
    def info(self) -> RecordingInfo:
        """The description of the recording as a whole."""
        doc = self.about
        ref = TaskRef.from_dict(doc["ref"])
        names = ("uid", "cluster", "state", "message", "reason", "exit_code", "started", "finished")
        fields: dict[str, Any] = {name: doc[name] for name in (*names, "last_seq", "clock_ms")}
        return RecordingInfo(
            id=doc["id"],
            ref=ref,
            done=True,
            caught_up=True,
            masked=doc.get("masked"),
            epochs=as_epochs(doc.get("epochs")),
            **fields,
        )

    @cached_property
    def complete(self) -> Completeness:
        """The completeness statement."""
        doc = self.about
        statement = doc["complete"]
        return Completeness(
            statement["records"],
            doc["first"],
            doc["last"],
            statement["gaps"],
            statement["sources"],
            statement.get("masked", {}),
        )

    @cached_property
    def sources(self) -> dict[int, Source]:
        """The sources by id."""
        doc = orjson.loads(self.metadata[layout.RECORDING_INFO])
        return {source["id"]: Source.from_dict(source) for source in doc["sources"]}

    @cached_property
    def is_ordered(self) -> bool:
        """Whether the rows are in reading order."""
        return bool(orjson.loads(self.metadata[layout.RECORDING_INFO])["ordered"])

    @cached_property
    def _blocks(self) -> list[layout.Block]:
        return layout.unpack_blocks(self.metadata[layout.BLOCKS])

    @cached_property
    def _notices(self) -> list[Entry]:
        return layout.unpack_notices(self.metadata[layout.NOTICES])

    @cached_property
    def _items(self) -> list[tuple[int, layout.Block | Entry]]:
        both: list[tuple[int, layout.Block | Entry]] = [(b.seq, b) for b in self._blocks]
        both += [(e.seq, replace(e, epochs=self.info.epochs)) for e in self._notices]
        both.sort(key=lambda item: item[0])
        # `seq` has no holes, so a notice that replaces trimmed or lost lines takes all numbers up to the next item.
        for (seq, item), (following, _) in pairwise(both):
            if isinstance(item, Entry):
                item.n = following - seq
                if item.n > 1 and item.event == "gap":
                    item.t_max = int(orjson.loads(item.data)["to"])
        return both

    @cached_property
    def index(self) -> list[IndexEntry]:
        """As `Store.index`."""
        return [
            IndexEntry(item.seq, item.n, item.event if isinstance(item, Entry) else "log", item.t_min, item.t_max)
            for _, item in self._items
        ]

    def entry(self, seq: int) -> Entry | None:
        """As `Store.entry`."""
        position = bisect_right(self._items, seq, key=lambda item: item[0]) - 1
        if position < 0:
            return None
        item = self._items[position][1]
        if item.seq + item.n <= seq:
            return None
        return item if isinstance(item, Entry) else self._entry(item)

    def entries(self, after: int, max_bytes: int) -> Iterator[Entry]:
        """As `Store.entries`."""
        position = max(bisect_right(self._items, after + 1, key=lambda item: item[0]) - 1, 0)
        size = 0
        for _, item in self._items[position:]:
            if item.seq + item.n - 1 <= after:
                continue
            entry = item if isinstance(item, Entry) else self._entry(item)
            yield entry
            size += len(entry.data)
            if size >= max_bytes:
                return

    def groups(self, since: int | None, until: int | None, words: Sequence[Sequence[str]] = ()) -> list[int]:
        """Return the row groups that may hold lines of a window, and a word of each set.

        The words need not be in one line, nor in a line of the window. Case is ignored.
        """
        low = -UNBOUNDED if since is None else since
        high = UNBOUNDED if until is None else until
        groups = [
            i
            for i, value_range in enumerate(self.file.statistics("time"))
            if value_range is None or (value_range[1] >= low and value_range[0] <= high)
        ]
        packed = self.metadata.get(layout.TRIGRAMS)  # earlier versions wrote none
        if words and packed is not None:
            for alternatives in words:
                may = may_contain(packed, self.file.metadata.num_row_groups, alternatives)
                groups = [i for i in groups if may[i]]
        return groups

    def batches_without(self, words: Sequence[Sequence[str]]) -> set[int]:
        """Return the first `seq` of each batch in `index` without a line that can contain a word of each set."""
        may = set(self.groups(None, None, words))
        return {b.seq for b in self._blocks if may.isdisjoint(range(b.first, b.last + 1))}

    def _entry(self, block: layout.Block) -> Entry:
        """Encode the lines of a block as a batch, ordered by `seq`."""
        pa, np = import_optional("pyarrow"), import_optional("numpy")
        parts = []
        for group in range(block.first, block.last + 1):
            table, seqs = self._group(group)
            low, high = np.searchsorted(seqs, (block.seq, block.seq + block.n))
            if high > low:
                parts.append(table.slice(low, high - low))
        rows = pa.concat_tables(parts).sort_by("seq") if len(parts) > 1 else parts[0]
        if len(rows) != block.n:
            raise ArchiveDamaged(
                f"{self.file.path} does not hold all lines from {block.seq} to {block.seq + block.n - 1}"
            )
        times, sids = rows["time"].cast(pa.int64()).to_pylist(), rows["source"].to_pylist()
        streams = [STREAMS.index(s) for s in rows["stream"].to_pylist()]
        public = {sid: self.sources[sid].public for sid in set(sids)}
        data = encode_batch(self.info.ref.key, block.seq, times, sids, streams, rows["text"].to_pylist(), public)
        return Entry(block.seq, block.n, "log", block.t_min, block.t_max, data, self.info.epochs)

    def _group(self, group: int) -> tuple[pa.Table, Ints]:
        """Return a row group sorted by number, and its numbers."""
        with self._lock:
            cached = self._groups.get(group)
            if cached is None:
                table = self.file.read([group], _COLUMNS)
                seqs = table["seq"].combine_chunks().to_numpy()
                if (seqs[1:] < seqs[:-1]).any():
                    table = table.sort_by("seq")
                    seqs = table["seq"].combine_chunks().to_numpy()
                cached = self._groups[group] = (table, seqs)
                if len(self._groups) > _CACHED_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return cached
