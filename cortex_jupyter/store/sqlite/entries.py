"""Entries and sources of a recording in SQLite: written in one transaction, read by number.

A batch is one zstd-compressed blob, not a row per line: architecture.md, "Storing".
"""

from __future__ import annotations

import time
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.model import Entry, IndexEntry, Source
from cortex_jupyter.store import Anchor, Commit, Completeness, Lease, as_epochs
from cortex_jupyter.store.deletion import DeletionLookup, not_held
from cortex_jupyter.store.packing import pack, unpack
from cortex_jupyter.store.sqlite.error_mapping import DAMAGED_HINT
from cortex_jupyter.store.sqlite.leases import fence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.model import Epochs
    from cortex_jupyter.store.sqlite.connections import Connections

_UPDATABLE: Final = frozenset(
    {"state", "message", "reason", "exit_code", "started", "finished", "done", "caught_up", "clock_ms", "masked"},
)
_ENTRY: Final = "SELECT seq, n, event, t_min, t_max, data FROM entry"
#: An entry with its recording's epochs. One statement reads both, so they belong together.
_ENTRY_EPOCHS: Final = (
    "SELECT seq, n, event, t_min, t_max, data, (SELECT epochs FROM recording WHERE id=entry.recording) FROM entry"
)
_HOLDER: Final = "(SELECT max(seq) FROM entry WHERE recording=? AND seq <= ?)"


@lru_cache(maxsize=256)
def _epochs(text: str | None) -> Epochs:
    return as_epochs(orjson.loads(text)) if text else ()


class Entries(DeletionLookup):
    """The part of `SqliteStore` for entries and sources; `Store` documents each method."""

    _file: Connections

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT id, source, second, seq, last, ended, top FROM source WHERE recording=?", (recording,)
            ).fetchall()
        return {r[0]: (Source.from_dict(orjson.loads(r[1])), Anchor.of(*r[2:])) for r in rows}

    def add_source(self, lease: Lease, source: Source) -> int:
        with self._file.writing() as db:
            fence(db, lease)
            top = db.execute("SELECT max(id) FROM source WHERE recording=?", (lease.recording,)).fetchone()[0] or 0
            doc = orjson.dumps(source.as_dict()).decode()
            db.execute("INSERT INTO source (recording, id, source) VALUES (?,?,?)", (lease.recording, top + 1, doc))
            return int(top) + 1

    def commit(self, lease: Lease, commit: Commit) -> None:
        # Compressed before the transaction begins, to keep it short.
        rows = [(lease.recording, e.seq, e.n, e.event, e.t_min, e.t_max, pack(e.data)) for e in commit.entries]
        with self._file.writing() as db:
            fence(db, lease)
            if rows:
                db.executemany("INSERT INTO entry VALUES (?,?,?,?,?,?,?)", rows)
                commit.update["last_seq"] = commit.entries[-1].last
            for id_, a in commit.anchors.items():
                db.execute(
                    "UPDATE source SET second=?, seq=?, last=?, ended=?, top=? WHERE recording=? AND id=?",
                    (*a.row, lease.recording, id_),
                )
            if commit.update.get("done"):
                commit.update.setdefault("ended", time.time())
            if commit.update:
                assert commit.update.keys() <= _UPDATABLE | {"last_seq", "ended"}
                assignments = ", ".join(f"{k}=?" for k in commit.update)
                values = [orjson.dumps(v).decode() if isinstance(v, dict) else v for v in commit.update.values()]
                db.execute(f"UPDATE recording SET {assignments} WHERE id=?", [*values, lease.recording])

    def merge(self, lease: Lease, old: Iterable[int], new: Entry) -> None:
        data = pack(new.data)
        with self._file.writing() as db:
            fence(db, lease)
            range_ = (lease.recording, new.seq, new.last)
            current = db.execute(
                "SELECT seq, n FROM entry WHERE recording=? AND seq BETWEEN ? AND ? ORDER BY seq", range_
            ).fetchall()
            if [seq for seq, _ in current] != list(old) or sum(n for _, n in current) != new.n:
                return  # another pass has merged them meanwhile
            db.execute("DELETE FROM entry WHERE recording=? AND seq BETWEEN ? AND ?", range_)
            row = (lease.recording, new.seq, new.n, new.event, new.t_min, new.t_max, data)
            db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?)", row)

    def entries(self, recording: int, after: int, max_bytes: int) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        query = f"{_ENTRY_EPOCHS} WHERE recording=? AND seq >= ifnull({_HOLDER}, 0) AND seq+n-1 > ? ORDER BY seq"
        with self._file.reading() as db:
            for *row, epochs in db.execute(query, (recording, recording, after + 1, after)):
                entries.append(unpack(DAMAGED_HINT, *row))
                entries[-1].epochs = _epochs(epochs)
                size += len(entries[-1].data)
                if size >= max_bytes:
                    break
        if entries and entries[0].seq > after + 1:  # numbers have no holes, so the recording is being deleted
            raise not_held(self, recording)
        return entries

    def index(self, recording: int, after: int = 0) -> list[IndexEntry]:
        query = "SELECT seq, n, event, t_min, t_max FROM entry WHERE recording=? AND seq > ? ORDER BY seq"
        with self._file.reading() as db:
            return list(starmap(IndexEntry, db.execute(query, (recording, after))))

    def entry(self, recording: int, seq: int) -> Entry | None:
        with self._file.reading() as db:
            query = f"{_ENTRY_EPOCHS} WHERE recording=? AND seq={_HOLDER}"
            row = db.execute(query, (recording, recording, seq)).fetchone()
        if row is None or row[0] + row[1] <= seq:
            return None
        entry = unpack(DAMAGED_HINT, *row[:-1])
        entry.epochs = _epochs(row[-1])
        return entry

    def complete(self, recording: int) -> Completeness:
        totals = "SELECT ifnull(sum(n), 0), min(t_min), max(t_max) FROM entry WHERE recording=? AND event='log'"
        with self._file.reading() as db:
            n, first, last = db.execute(totals, (recording,)).fetchone()
            gaps = db.execute(f"{_ENTRY} WHERE recording=? AND event='gap' ORDER BY seq", (recording,)).fetchall()
            runs = "SELECT count(*) FROM source WHERE recording=? AND ifnull(json_extract(source, '$.part'), 0)=0"
            sources = db.execute(runs, (recording,)).fetchone()[0]
            row = db.execute("SELECT masked FROM recording WHERE id=?", (recording,)).fetchone()
        masked = orjson.loads(row[0]) if row and row[0] else {}
        return Completeness(
            n, first, last, [orjson.loads(unpack(DAMAGED_HINT, *g).data) for g in gaps], sources, masked
        )
