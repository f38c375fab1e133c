"""Copy a SQLite store while it is in use, and put a copy back.

A copy of the file alone is not enough: its newest commits are in the write-ahead log beside it, a third of a store that
was tried. SQLite's backup API reads both, in one transaction: https://www.sqlite.org/backup.html.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store.protocol import HEARTBEAT_S
from cortex_jupyter.store.sqlite.error_mapping import errors
from cortex_jupyter.store.sqlite.schema import check_version

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.store.sqlite.store import SqliteStore

_OTHER_FILE = "restore another backup, or copy it again from where it is kept"


def write_backup(store: SqliteStore, target: Path) -> int:
    """Write the present state of a store to a new file, which is complete by itself and can be read by its owner only.

    Writers go on meanwhile. Their commits are not in the backup.

    Returns
    -------
    int
        The number of recordings in the backup.

    Raises
    ------
    StoreError
        The file exists or cannot be written, or the store is damaged.
    """
    if target.exists():
        raise StoreError(f"cannot write the backup {target}: it exists", "choose another name, or remove it first")
    partial = target.with_name(f"{target.name}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    except OSError as error:
        raise StoreError(
            f"cannot write the backup {target}: {error.strerror}", "choose a folder that you may write to"
        ) from error
    try:
        with errors(partial), contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            copy.execute("PRAGMA locking_mode = EXCLUSIVE")  # no file of shared memory, which a network disk may refuse
            with store.reading() as db:
                db.backup(copy)  # in one step, so that a writer does not make it begin again
            _check_contents(copy, store.path, "move the file away, and restore an earlier backup")
            number = int(copy.execute("SELECT count(*) FROM recording").fetchone()[0])
            copy.execute("DELETE FROM recorder")  # where it is restored, none of them runs
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, also on a disk that cannot be written
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(target)
        return number
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def restore_backup(store: SqliteStore, source: Path, *, replace: bool = False) -> None:
    """Make a store what it was when a backup was written, in one transaction.

    Readers that have the store open see the restored recordings.

    Parameters
    ----------
    store : SqliteStore
    source : Path
    replace : bool, optional
        Whether the recordings that the store has now may be lost.

    Raises
    ------
    StoreTooNew
        A newer version wrote the backup.
    StoreError
        The file is no intact backup; a recorder uses the store; or the store holds recordings.
    """
    if not source.is_file():
        raise StoreError(f"cannot read the backup {source}: there is no such file", _OTHER_FILE)
    with errors(source), contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        if not copy.execute("SELECT 1 FROM sqlite_master WHERE name='recording'").fetchone():
            raise StoreError(f"{source} is no backup of a store", _OTHER_FILE)
        check_version(copy, source)
        _check_contents(copy, source, _OTHER_FILE)
        with store.reading() as db:
            _check_unused(db, store.path)
            if holds := store.holds():
                raise StoreError(
                    f"{len(holds)} recordings of {store.path} are under a legal hold, which a restore would end",
                    "restore into another store with --store, or release them: cortex-jupyter store release TASK",
                )
            if not replace and db.execute("SELECT 1 FROM recording").fetchone():
                raise StoreError(
                    f"{store.path} holds recordings, which a restore would remove",
                    "write a backup of them first; then add --replace",
                )
            copy.backup(db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the whole backup is in the log


def _check_contents(db: sqlite3.Connection, path: Path, hint: str) -> None:
    try:
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        raise StoreError(f"{path} is damaged: {problem.splitlines()[-1]}", hint)


def _check_unused(db: sqlite3.Connection, path: Path) -> None:
    row = db.execute("SELECT host, pid FROM recorder WHERE heartbeat > ?", (time.time() - HEARTBEAT_S,)).fetchone()
    if row:
        raise StoreError(
            f"a recorder writes to {path}: process {row[1]} on {row[0]}",
            "stop the programs that read tasks, and the recorder; then restore again",
        )
