"""The tables of a SQLite store, and how a file of an older version becomes one of this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreError
from cortex_jupyter.recording.trouble import WHERE

if TYPE_CHECKING:
    from cortex_jupyter.recording.connections import Connections

_VERSION: Final = 4
_SCHEMA: Final = """
CREATE TABLE recording (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, namespace TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, uid TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
    message TEXT NOT NULL DEFAULT 'Log not available yet: the recorder is starting', reason TEXT NOT NULL DEFAULT '',
    exit_code INTEGER, started TEXT, finished TEXT, done INTEGER NOT NULL DEFAULT 0,
    caught_up INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0, wanted REAL NOT NULL DEFAULT 0,
    owner TEXT, epoch INTEGER NOT NULL DEFAULT 0, ended REAL, clock_ms INTEGER NOT NULL DEFAULT 0,
    masked TEXT, UNIQUE (cluster, namespace, kind, name, uid));
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
#: From version 2. Its file keeps its size: what leaves makes room within it.
_LEAVING: Final = """
ALTER TABLE recording ADD COLUMN ended REAL;
ALTER TABLE recording ADD COLUMN clock_ms INTEGER NOT NULL DEFAULT 0;
UPDATE recording SET ended=(SELECT max(t_max) / 1e9 FROM entry WHERE recording=id AND event='end') WHERE done=1;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaving (recording INTEGER PRIMARY KEY);
"""
#: By version, what makes this one of it.
_STEPS: Final = {0: _SCHEMA, 2: _LEAVING + _MASKED, 3: _MASKED}


def prepare(file: Connections) -> None:
    """Make the tables where there are none, or bring them up to date.

    Raises
    ------
    StoreError
        The file was written by a version that this one does not know.
    """
    # Read first: what is complete can be read where nothing can be written.
    with file.reading() as db:
        if db.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            return
    with file.writing() as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version in _STEPS:
            for statement in _STEPS[version].split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise StoreError(f"{file.path} was written by another version of cortex-jupyter", WHERE)
