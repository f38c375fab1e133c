"""How a completed recording leaves a SQLite store: in small transactions, so that nobody waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recording.budget import Budget

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    #: Opens a connection within a transaction, or only for reading.
    Access = Callable[[], AbstractContextManager[sqlite3.Connection]]

#: Entries that are deleted, and pages that are given back, in one transaction.
_ENTRIES: Final = 50
_PAGES: Final = 256
#: What may leave: complete, and read by nobody.
_FREE: Final = "done=1 AND wanted < ?"


class Leaving:
    """The part of `SqliteStore` that deletes.

    Parameters
    ----------
    reading, writing : callable
        The store's.
    """

    def __init__(self, reading: Access, writing: Access) -> None:
        self._reading, self._writing = reading, writing

    def budget(self) -> Budget:
        """Give what is set; see `Store.budget`."""
        with self._reading() as db:
            rows = dict(db.execute("SELECT key, value FROM setting").fetchall())
        size, age = rows.get("max_bytes"), rows.get("max_age_s")
        return Budget(None if size is None else int(size), None if age is None else float(age))

    def set_budget(self, budget: Budget) -> None:
        """See `Store.set_budget`."""
        if budget.over(held := self.budget()) == held:
            return
        rows = {"max_bytes": budget.max_bytes, "max_age_s": budget.max_age_s}
        with self._writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO setting VALUES (?,?)", [(k, str(v)) for k, v in rows.items() if v is not None]
            )

    def used(self) -> int:
        """See `Store.used`."""
        with self._reading() as db:
            pages, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def bytes_of(self, recording: int) -> int:
        """See `Store.bytes_of`."""
        with self._reading() as db:
            query = "SELECT ifnull(sum(length(data)), 0) FROM entry WHERE recording=?"
            return int(db.execute(query, (recording,)).fetchone()[0])

    def oldest(self) -> tuple[int, float] | None:
        """See `Store.oldest`."""
        query = f"SELECT id, ifnull(ended, 0) FROM recording WHERE {_FREE} ORDER BY ended, id LIMIT 1"  # noqa: S608
        with self._reading() as db:
            row = db.execute(query, (time.time(),)).fetchone()
        return (int(row[0]), float(row[1])) if row else None

    def forget(self, recording: int) -> bool:
        """See `Store.forget`."""
        with self._writing() as db:
            # Looked at again: a reader may have come meanwhile.
            query = f"DELETE FROM recording WHERE id=? AND {_FREE}"  # noqa: S608
            if not db.execute(query, (recording, time.time())).rowcount:
                return False
            db.execute("INSERT INTO leaving VALUES (?)", (recording,))
            db.execute("DELETE FROM source WHERE recording=?", (recording,))
        return True

    def sweep(self) -> bool:
        """See `Store.sweep`."""
        with self._reading() as db:
            row = db.execute("SELECT recording FROM leaving LIMIT 1").fetchone()
            free = db.execute("PRAGMA freelist_count").fetchone()[0]
            kind = db.execute("PRAGMA auto_vacuum").fetchone()[0]
        if row is not None:
            return self._delete(row[0])
        if free and kind == 2:  # noqa: PLR2004 - https://sqlite.org/pragma.html#pragma_auto_vacuum: incremental
            with self._writing() as db:
                db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
            return True
        with self._reading() as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def _delete(self, recording: int) -> bool:
        some = "SELECT rowid FROM entry WHERE recording=? ORDER BY seq LIMIT ?"
        with self._writing() as db:
            gone = db.execute(f"DELETE FROM entry WHERE rowid IN ({some})", (recording, _ENTRIES)).rowcount  # noqa: S608
            if not gone:
                db.execute("DELETE FROM leaving WHERE recording=?", (recording,))
        return True
