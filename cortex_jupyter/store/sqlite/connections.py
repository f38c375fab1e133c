"""Connections to one SQLite file: one for each thread, closed together.

The file uses a write-ahead log and `synchronous=NORMAL`. What a power cut can lose: docs/explanation/sqlite-store.md,
"After a power cut".
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store.local import check_local
from cortex_jupyter.store.sqlite.error_mapping import DAMAGED_HINT, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Connections:
    """The connections to a file; safe to use from any thread.

    Parameters
    ----------
    path : Path
        Its folder is created if it does not exist.

    Raises
    ------
    StoreError
        The folder cannot be created, or is on a network file system.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._lock = threading.Condition()
        self._using = 0  # threads that use their connection now; none is closed meanwhile
        self._closed = False
        #: Called before each use, and again at the start of each writing transaction. It may refuse by raising.
        self.guard: Callable[[sqlite3.Connection], object] = bool
        try:
            if not (path.exists() and _sealed(path)):
                check_local(path)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot create {path.parent}: {error}", DAMAGED_HINT) from error

    def open(self) -> sqlite3.Connection:
        """Open another connection, which the caller closes."""
        with errors(self.path):
            if _sealed(self.path):
                return sqlite3.connect(
                    f"{self.path.as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
                )
            # It is opened in one thread and closed by close() in another: sqlite is built thread-safe.
            db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                if self.path.stat().st_mode & 0o077:
                    self.path.chmod(0o600)
                if not self.path.stat().st_size:
                    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only possible before the file has a page
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA secure_delete = FAST")  # zeros what is deleted within a page, without more writing
            except BaseException:
                db.close()
                raise
        return db

    def _connect(self) -> sqlite3.Connection:
        db = self.open()
        with self._lock:
            # A program that calls asyncio.run repeatedly has new threads each time, and each connection has three open
            # files.
            previous, self._connections = self._connections, [(threading.current_thread(), db)]
            for thread, old in previous:
                if thread.is_alive():
                    self._connections.append((thread, old))
                else:
                    old.close()
        return db

    @property
    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Provide this thread's connection.

        Raises
        ------
        StoreError
            SQLite reports an error, or the store has been closed.
        """
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.path} has been closed")
            self._using += 1
        try:
            with errors(self.path):
                db = self._db
                self.guard(db)
                yield db
        finally:
            with self._lock:
                self._using -= 1
                self._lock.notify_all()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Provide this thread's connection in a transaction, which is committed as a whole or not at all."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                self.guard(db)
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close all connections; the object cannot be used afterwards.

        It waits until other threads have finished: SQLite crashes if a connection is closed in the middle of a query.
        """
        with self._lock:
            self._closed = True
            self._lock.wait_for(lambda: not self._using)
            for _, db in self._connections:
                db.close()
            self._connections.clear()
        self._local = threading.local()


def _sealed(path: Path) -> bool:
    """Return whether a store is complete on a read-only disk; SQLite then needs no files beside it."""
    read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    return bool(read_only) and path.exists() and not path.with_name(path.name + "-wal").exists()
