"""How recordings leave a SQLite store: in small transactions, so that no other writer waits long."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.store import RecordingUsage, RetentionStore, SettingsStore
from cortex_jupyter.store.archive_attempts import attempts_setting
from cortex_jupyter.store.budget import Budget, default_budget
from cortex_jupyter.store.ids import first_at
from cortex_jupyter.store.packing import pack
from cortex_jupyter.store.sqlite.leases import fence

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Mapping

    from cortex_jupyter.model import Entry
    from cortex_jupyter.store import Lease
    from cortex_jupyter.store.sqlite.connections import Connections

#: Prefix of the setting with the legal hold of a recording.
HOLD: Final = "hold:"
#: Number of entries that are deleted in one transaction.
_ENTRIES: Final = 50
#: Number of pages that are returned to the disk in one transaction.
_PAGES: Final = 256
#: A recording's size changes no more when its task has ended for this long (seconds): its last batches have been merged.
_SETTLED_S: Final = 300.0
#: A recording may leave if it is complete, unread, under no legal hold and, if an archive is set, in that archive.
_ARCHIVE: Final = "(SELECT value FROM setting WHERE key='archive')"
_ARCHIVED: Final = "EXISTS (SELECT 1 FROM setting WHERE key='archived:' || recording.id AND value="
_NOT_HELD: Final = f"NOT EXISTS (SELECT 1 FROM setting WHERE key='{HOLD}' || recording.id)"
_REMOVABLE: Final = f"done=1 AND wanted < ? AND {_NOT_HELD} AND (ifnull({_ARCHIVE}, '') = '' OR {_ARCHIVED}{_ARCHIVE}))"
#: An empty recording that was not opened or wanted since a time; `id < ?` means that it was created before it.
_EMPTY: Final = (
    f"{_NOT_HELD} AND done=0 AND wanted < ? AND id < ? AND (last_seq=0 OR kind NOT IN ('job', 'pod'))"
    " AND NOT EXISTS (SELECT 1 FROM source WHERE source.recording=recording.id)"
)


class Retention(RetentionStore, SettingsStore):
    """The part of `SqliteStore` for settings, sizes and deletion; the protocols document each method."""

    _file: Connections
    _settled_bytes: dict[int, int]
    holders: Callable[[Iterable[int]], dict[int, str]]

    def budget(self) -> Budget:
        return self._explicit_budget().with_defaults(default_budget(self._file.path))

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        current = self._explicit_budget()
        requested = current.with_defaults(budget) if weak else budget.with_defaults(current)
        if rows := requested.changed_settings(current):
            with self._file.writing() as db:
                db.executemany("INSERT OR REPLACE INTO setting VALUES (?,?)", rows.items())

    def _explicit_budget(self) -> Budget:
        return Budget.from_settings(self.settings(field.name for field in fields(Budget)))

    def setting(self, name: str) -> str:
        with self._file.reading() as db:
            row = db.execute("SELECT value FROM setting WHERE key=?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        query = "SELECT key, value FROM setting WHERE key IN (SELECT value FROM json_each(?))"
        with self._file.reading() as db:
            return dict(db.execute(query, (orjson.dumps([*names]).decode(),)).fetchall())

    def set_setting(self, name: str, value: str) -> None:
        self.set_settings({name: value})

    def set_settings(self, values: Mapping[str, str]) -> None:
        with self._file.writing() as db:
            db.executemany("INSERT OR REPLACE INTO setting VALUES (?,?)", values.items())

    def unarchived(self, url: str) -> list[int]:
        query = f"SELECT id FROM recording WHERE done=1 AND NOT {_ARCHIVED}?) ORDER BY ended, id"
        with self._file.reading() as db:
            return [int(row[0]) for row in db.execute(query, (url,)).fetchall()]

    def archive_backlog(self, url: str) -> tuple[int, float | None]:
        query = f"SELECT count(*), min(ended) FROM recording WHERE done=1 AND NOT {_ARCHIVED}?)"
        with self._file.reading() as db:
            count, oldest = db.execute(query, (url,)).fetchone()
        return int(count), oldest

    def mark_archived(self, recording: int, url: str) -> bool:
        name = f"archived:{recording}"
        with self._file.writing() as db:
            is_new = db.execute("SELECT 1 FROM setting WHERE key=? AND value=?", (name, url)).fetchone() is None
            db.execute("INSERT OR REPLACE INTO setting VALUES (?,?)", (name, url))
            db.execute("DELETE FROM setting WHERE key=?", (attempts_setting(recording),))
        return is_new

    def used_bytes(self) -> int:
        with self._file.reading() as db:
            pages, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def recording_bytes(self, recording: int) -> int:
        with self._file.reading() as db:
            query = "SELECT ifnull(sum(length(data)), 0) FROM entry WHERE recording=?"
            return int(db.execute(query, (recording,)).fetchone()[0])

    def bytes_to_free(self) -> int:
        return 0  # recorders wait while the disk is full: usually something else fills it

    def trim(self, lease: Lease, gap: Entry, resume_lines: bytes) -> bool:
        ends = f"SELECT 1 FROM entry, recording WHERE id=entry.recording AND entry.recording=? AND seq+n-1=? AND done=0 AND {_NOT_HELD}"
        rows = [
            (0, 0, "remains", 0, 0, resume_lines),
            (gap.seq, gap.n, gap.event, gap.t_min, gap.t_max, pack(gap.data)),
        ]
        with self._file.writing() as db:
            fence(db, lease)
            if db.execute(ends, (lease.recording, gap.last)).fetchone() is None:
                return False
            db.execute("DELETE FROM entry WHERE recording=? AND seq <= ?", (lease.recording, gap.last))
            db.executemany("INSERT INTO entry VALUES (?,?,?,?,?,?,?)", [(lease.recording, *row) for row in rows])
        return True

    def resume_lines(self, recording: int) -> bytes:
        with self._file.reading() as db:
            row = db.execute("SELECT data FROM entry WHERE recording=? AND seq=0", (recording,)).fetchone()
        return bytes(row[0]) if row else b""

    def usage(self) -> list[RecordingUsage]:
        query = "SELECT id, namespace, CASE WHEN done THEN ifnull(ended, 0) END FROM recording"
        sizes = "SELECT recording, sum(length(data)) FROM entry, json_each(?) WHERE recording=value GROUP BY recording"
        with self._file.reading() as db:
            rows = db.execute(query).fetchall()
            settled = {row[0]: self._settled_bytes[row[0]] for row in rows if row[0] in self._settled_bytes}
            others = orjson.dumps([row[0] for row in rows if row[0] not in settled]).decode()
            bytes_of = settled | dict(db.execute(sizes, (others,)).fetchall())
        usage = [RecordingUsage(id_, namespace, bytes_of.get(id_, 0), ended) for id_, namespace, ended in rows]
        settled_before = time.time() - _SETTLED_S
        self._settled_bytes = {
            row.id: row.bytes for row in usage if row.ended is not None and row.ended < settled_before
        }
        return usage

    def oldest_removable(self, namespaces: Collection[str] | None = None) -> tuple[int, float] | None:
        where = _REMOVABLE if namespaces is None else f"{_REMOVABLE} AND namespace IN (SELECT value FROM json_each(?))"
        values = () if namespaces is None else (orjson.dumps([*namespaces]).decode(),)
        query = f"SELECT id, ifnull(ended, 0) FROM recording WHERE {where} ORDER BY ended, id LIMIT 1"
        with self._file.reading() as db:
            row = db.execute(query, (time.time(), *values)).fetchone()
        return (int(row[0]), float(row[1])) if row else None

    def forget(self, recording: int) -> bool:
        with self._file.writing() as db:
            # Checked again, since a reader may have come meanwhile.
            query = f"DELETE FROM recording WHERE id=? AND {_REMOVABLE}"
            if not db.execute(query, (recording, time.time())).rowcount:
                return False
            mark_deleted(db, recording)
        return True

    def forget_empty(self, seconds: float) -> int:
        since = (time.time() - seconds, first_at(time.time() - seconds))
        with self._file.reading() as db:
            rows = db.execute(f"SELECT id, owner FROM recording WHERE {_EMPTY}", since).fetchall()
        holders = self.holders(id_ for id_, _ in rows) if rows else {}
        removed = 0
        for id_, owner in rows:
            if holders.get(id_):
                continue
            with self._file.writing() as db:
                # Checked again, since it may have been opened or leased meanwhile.
                query = f"DELETE FROM recording WHERE id=? AND owner IS ? AND {_EMPTY}"
                if db.execute(query, (id_, owner, *since)).rowcount:
                    mark_deleted(db, id_)
                    removed += 1
        return removed

    def sweep(self) -> bool:
        with self._file.reading() as db:
            row = db.execute("SELECT recording FROM leaving LIMIT 1").fetchone()
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
            kind = db.execute("PRAGMA auto_vacuum").fetchone()[0]
        if row is not None:
            return self._delete(row[0])
        if free and kind == 2:  # https://sqlite.org/pragma.html#pragma_auto_vacuum: incremental
            with self._file.writing() as db:
                db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
            return True
        with self._file.reading() as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def _delete(self, recording: int) -> bool:
        rows = "SELECT rowid FROM entry WHERE recording=? ORDER BY seq LIMIT ?"
        with self._file.writing() as db:
            deleted = db.execute(f"DELETE FROM entry WHERE rowid IN ({rows})", (recording, _ENTRIES)).rowcount
            if not deleted:
                db.execute("DELETE FROM leaving WHERE recording=?", (recording,))
        return True


def mark_deleted(db: sqlite3.Connection, recording: int) -> None:
    """Mark the lines of a removed recording for deletion by `sweep`."""
    db.execute("INSERT INTO leaving VALUES (?)", (recording,))
    db.execute("DELETE FROM source WHERE recording=?", (recording,))
    db.execute("DELETE FROM setting WHERE key IN (?,?)", (f"archived:{recording}", attempts_setting(recording)))
