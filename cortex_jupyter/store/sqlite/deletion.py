"""Legal holds and deletions in a SQLite store: settings whose names begin with one of three prefixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.store.deletion import Deletion, DeletionStore, Hold, legal_hold_error, still_recorded_error
from cortex_jupyter.store.sqlite.retention import HOLD, mark_deleted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from cortex_jupyter.store.sqlite.connections import Connections

#: Prefix of the setting with the deletion of a recording.
_DELETION: Final = "deleted:"
#: Prefix of the settings with the last deleted recording, by the task's unique name if it is not to be recorded again, and
#: by its short name.
_TASK: Final = "deleted-task:"
_REMAINS: Final = {
    "busy": "the write-ahead log beside the store, until the programs that read or write now have ended",
    "old": "free pages of the store, which was made by an early version: stop all programs and run `sqlite3 FILE VACUUM`",
}


class Deletions(DeletionStore):
    """The part of `SqliteStore` for holds and deletions; `DeletionStore` documents each method."""

    _file: Connections
    holders: Callable[[Iterable[int]], dict[int, str]]
    sweep: Callable[[], bool]

    def holds(self) -> dict[int, Hold]:
        with self._file.reading() as db:
            rows = db.execute(f"SELECT substr(key, {len(HOLD) + 1}), value FROM setting WHERE key GLOB '{HOLD}*'")
            return {int(id_): Hold.decode(value) for id_, value in rows}

    def set_hold(self, recording: int, hold: Hold | None) -> bool:
        with self._file.writing() as db:
            if hold is None:
                db.execute("DELETE FROM setting WHERE key=?", (f"{HOLD}{recording}",))
            elif _setting(db, f"{_DELETION}{recording}"):
                return False
            else:
                db.execute("INSERT OR REPLACE INTO setting VALUES (?,?)", (f"{HOLD}{recording}", hold.encode()))
        return True

    def deletion(self, recording: int) -> Deletion | None:
        with self._file.reading() as db:
            value = _setting(db, f"{_DELETION}{recording}")
        return Deletion.decode(value) if value else None

    def last_deletion(self, namespace: str, name: str) -> Deletion | None:
        with self._file.reading() as db:
            return deletion_of_task(db, f"{namespace}/{name}")

    def deletions(self) -> list[Deletion]:
        with self._file.reading() as db:
            rows = db.execute(f"SELECT value FROM setting WHERE key GLOB '{_DELETION}*'")
            return [Deletion.decode(row[0]) for row in rows]

    def delete(self, deletion: Deletion, *, ignore_lease: bool = False) -> None:
        with self._file.writing() as db:
            if hold := _setting(db, f"{HOLD}{deletion.id}"):
                raise legal_hold_error(deletion.ref, Hold.decode(hold))
            if not ignore_lease and self.holders([deletion.id]).get(deletion.id):
                raise still_recorded_error()
            if db.execute("DELETE FROM recording WHERE id=?", (deletion.id,)).rowcount:
                mark_deleted(db, deletion.id)
            task = f"{_TASK}{deletion.task_name}"
            db.execute("DELETE FROM setting WHERE key=?", (task,))
            rows = [
                (f"{_DELETION}{deletion.id}", deletion.encode()),
                (f"{_TASK}{deletion.short_name}", str(deletion.id)),
            ]
            if deletion.blocks:
                rows.append((task, str(deletion.id)))
            db.executemany("INSERT OR REPLACE INTO setting VALUES (?,?)", rows)

    def close_deletions(self, deletions: Iterable[Deletion]) -> None:
        rows = [(deletion.closed().encode(), f"{_DELETION}{deletion.id}") for deletion in deletions]
        with self._file.writing() as db:
            db.executemany("UPDATE setting SET value=? WHERE key=?", rows)

    def allow_again(self, deletion: Deletion) -> None:
        names = (f"{_DELETION}{deletion.id}", f"{_TASK}{deletion.task_name}")
        with self._file.writing() as db:
            db.execute("DELETE FROM setting WHERE key IN (?,?)", names)

    def purge(self) -> str:
        while self.sweep():
            pass
        with self._file.reading() as db:
            is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            keeps_pages = db.execute("PRAGMA auto_vacuum").fetchone()[0] != 2  # see `Retention.sweep`
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
        return _REMAINS["busy"] if is_busy else _REMAINS["old"] if keeps_pages and free else ""


def deletion_of_task(db: sqlite3.Connection, name: str) -> Deletion | None:
    """Return the deletion of a task that is not to be recorded again, by its unique name; of any task, by its short name."""
    recording = _setting(db, f"{_TASK}{name}")
    value = _setting(db, f"{_DELETION}{recording}") if recording else ""
    return Deletion.decode(value) if value else None


def _setting(db: sqlite3.Connection, key: str) -> str:
    row = db.execute("SELECT value FROM setting WHERE key=?", (key,)).fetchone()
    return str(row[0]) if row else ""
