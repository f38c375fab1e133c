"""The tables of a SQLite store, and how a file of an older version is updated.

`PRAGMA user_version` is the version of the tables. A change that raises it writes into the setting `least` the oldest
version that may continue to use the file; additions to the tables harm no older program. All other versions are
refused, even if they had the file open before: the version is read before each use and within each writing transaction
(3 µs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreError, StoreTooNew
from cortex_jupyter.store.sqlite.error_mapping import DAMAGED_HINT

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from cortex_jupyter.store.sqlite.connections import Connections

_VERSION: Final = 5
#: The oldest version that may continue to use a file of this version.
_OLDEST_USER: Final = 4
_SCHEMA: Final = """
CREATE TABLE recording (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, namespace TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, uid TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
    message TEXT NOT NULL DEFAULT 'Log not available yet: the recorder is starting', reason TEXT NOT NULL DEFAULT '',
    exit_code INTEGER, started TEXT, finished TEXT, done INTEGER NOT NULL DEFAULT 0,
    caught_up INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0, wanted REAL NOT NULL DEFAULT 0,
    owner TEXT, epoch INTEGER NOT NULL DEFAULT 0, ended REAL, clock_ms INTEGER NOT NULL DEFAULT 0,
    masked TEXT, epochs TEXT, UNIQUE (cluster, namespace, kind, name, uid));
CREATE TABLE source (
    recording INTEGER NOT NULL, id INTEGER NOT NULL, source TEXT NOT NULL, second INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
    top INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (recording, id)) WITHOUT ROWID;
CREATE TABLE entry (
    recording INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, event TEXT NOT NULL,
    t_min INTEGER NOT NULL, t_max INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX entry_seq ON entry (recording, seq, n, event, t_min, t_max);
CREATE TABLE recorder (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, heartbeat REAL NOT NULL);
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaving (recording INTEGER PRIMARY KEY);
"""
_MASKED: Final = "ALTER TABLE recording ADD COLUMN masked TEXT;\n"
#: From version 2. The file keeps its size: deleted recordings leave free space inside it.
_LEAVING: Final = """
ALTER TABLE recording ADD COLUMN ended REAL;
ALTER TABLE recording ADD COLUMN clock_ms INTEGER NOT NULL DEFAULT 0;
UPDATE recording SET ended=(SELECT max(t_max) / 1e9 FROM entry WHERE recording=id AND event='end') WHERE done=1;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaving (recording INTEGER PRIMARY KEY);
"""
_EPOCHS: Final = "ALTER TABLE recording ADD COLUMN epochs TEXT;\n"
#: The statements that update a file, by its version.
_STEPS: Final = {0: _SCHEMA, 2: _LEAVING + _MASKED + _EPOCHS, 3: _MASKED + _EPOCHS, 4: _EPOCHS}


def prepare(file: Connections) -> None:
    """Create or update the tables; from then on, refuse the file when its version is not admitted.

    Raises
    ------
    StoreTooNew
        The file belongs to a newer version.
    StoreError
        The file is too old to be updated.
    """
    # Read the version first: an up-to-date file on a read-only disk can be read without writing.
    with file.reading() as db:
        version = check_version(db, file.path)
    if version < _VERSION:
        with file.writing() as db:
            if (version := check_version(db, file.path)) < _VERSION:
                if version not in _STEPS:
                    raise StoreError(f"{file.path} is too old to be updated (tables {version})", DAMAGED_HINT)
                for statement in _STEPS[version].split(";\n"):
                    db.execute(statement)
                db.execute("INSERT OR REPLACE INTO setting VALUES ('least', ?)", (str(_OLDEST_USER),))
                db.execute(f"PRAGMA user_version = {_VERSION}")
    file.guard = lambda db: check_version(db, file.path)


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the tables; refuse a version that this program must not touch.

    Raises
    ------
    StoreTooNew
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        row = db.execute("SELECT value FROM setting WHERE key='least'").fetchone()
        if row is None or int(row[0]) > _VERSION:
            raise StoreTooNew(
                f"{path} is kept by a newer version of cortex-jupyter (tables {version}, here {_VERSION})"
            )
    return version
