"""Entries and sources of a recording in Valkey.

A recording is a stream whose ids are record numbers (`SEQ-0`), with one entry per batch. A sorted set beside it is
the index (number, count, event, times), so that a page by time reads only the batches that it needs. A stream can
change only at its ends, so merged batches are in a second stream, and the notice of trimmed lines is in a third one.

A commit is one script. Entries, anchors and the recording's row are one transaction, also for replicas and in the
append-only file, so they are kept or lost together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.model import Entry, IndexEntry, Source
from cortex_jupyter.store import Anchor, Commit, Completeness, Lease, as_epochs
from cortex_jupyter.store.deletion import DeletionLookup, not_held
from cortex_jupyter.store.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.model import Epochs
    from cortex_jupyter.store.valkey.link import Link

#: Rough compression ratio of a batch's JSON with zstd.
_PACKED: Final = 4
_DAMAGED: Final = (
    "set CORTEX_STORE to another database of the server; lines are read again from the cluster where they still are"
)


class Entries(DeletionLookup):
    """The part of `ValkeyStore` for entries and sources; `Store` documents each method."""

    _link: Link

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        # Anchors first: a source that is added between the two requests has none yet.
        anchors = self._link.ask("HGETALL", f"cortex:{recording}:anchors")
        sources = self._link.ask("HGETALL", f"cortex:{recording}:sources")
        at = {sid: Anchor.of(*orjson.loads(doc)) for sid, doc in anchors.items()}
        return {int(sid): (Source.from_dict(orjson.loads(doc)), at.get(sid, Anchor())) for sid, doc in sources.items()}

    def add_source(self, lease: Lease, source: Source) -> int:
        doc = orjson.dumps(source.as_dict())
        return int(self._link.secured("source", lease.recording, lease.owner, lease.epoch, doc))

    def commit(self, lease: Lease, commit: Commit) -> None:
        arguments: list[object] = [lease.recording, lease.owner, lease.epoch, len(commit.entries)]
        for e in commit.entries:
            arguments += (e.seq, e.n, head(e), pack(e.data))
        arguments.append(len(commit.anchors))
        for sid, a in commit.anchors.items():
            arguments += (sid, orjson.dumps(a.row))
        for column, value in commit.update.items():
            arguments += (column, orjson.dumps(value))
        # A commit without lines may use memory above the limit: its notice may say that lines were refused.
        is_notice = all(e.event != "log" for e in commit.entries)
        self._link.secured("commit_notice" if is_notice else "commit", *arguments)

    def merge(self, lease: Lease, old: Iterable[int], new: Entry) -> None:
        fence = (lease.recording, lease.owner, lease.epoch)
        data = pack(new.data)
        while self._link.call("merge", *fence, new.seq, new.last, new.n, head(new), data, *old):
            pass

    def entries(self, recording: int, after: int, max_bytes: int) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        text, *rows = self._link.call("entries", recording, after + 1, max_bytes // _PACKED)
        epochs = as_epochs(orjson.loads(text))
        for i in range(0, len(rows), 3):
            entry = _entry(rows[i], rows[i + 1], rows[i + 2], epochs)
            if entry.last > after:
                entries.append(entry)
                size += len(entry.data)
                if size >= max_bytes:
                    break
        if entries and entries[0].seq > after + 1:  # numbers have no holes
            raise not_held(self, recording)
        return entries

    def index(self, recording: int, after: int = 0) -> list[IndexEntry]:
        rows = self._link.ask("ZRANGE", f"cortex:{recording}:index", f"({after}", "+inf", "BYSCORE")
        return [_row(row) for row in rows]

    def entry(self, recording: int, seq: int) -> Entry | None:
        row = self._link.call("entry", recording, seq)
        entry = None if row is None else _entry(row[0], row[1], row[2], as_epochs(orjson.loads(row[3])))
        return entry if entry is not None and entry.last >= seq else None

    def complete(self, recording: int) -> Completeness:
        index = self.index(recording)
        logs = [row for row in index if row.event == "log"]
        gaps = [self.entry(recording, row.seq) for row in index if row.event == "gap"]
        sources = sum(not source.part for source, _ in self.sources(recording).values())
        masked = self._link.ask("HGET", f"cortex:{recording}", "masked")
        return Completeness(
            sum(row.n for row in logs),
            min((row.t_min for row in logs), default=None),
            max((row.t_max for row in logs), default=None),
            [orjson.loads(g.data) for g in gaps if g],
            sources,
            orjson.loads(masked or b"{}") or {},
        )


def head(entry: Entry) -> str:
    """Return what the index holds about an entry beside its number."""
    return f"{entry.n} {entry.event} {entry.t_min} {entry.t_max}"


def _row(row: bytes) -> IndexEntry:
    seq, n, event, t_min, t_max = row.split()
    return IndexEntry(int(seq), int(n), event.decode(), int(t_min), int(t_max))


def _entry(id_: bytes, head: bytes, data: bytes, epochs: Epochs) -> Entry:
    entry = unpack(_DAMAGED, *_row(id_.partition(b"-")[0] + b" " + head), data)
    entry.epochs = epochs
    return entry
