"""Recordings in one SQLite file: one writer, readers in any process, a row per batch."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import StoreError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store import HealthWarning, RecordingInfo, Store, as_epochs, url_of
from cortex_jupyter.store.deletion import task_name
from cortex_jupyter.store.ids import new_id
from cortex_jupyter.store.sqlite.changes import Changes
from cortex_jupyter.store.sqlite.connections import Connections
from cortex_jupyter.store.sqlite.deletion import Deletions, deletion_of_task
from cortex_jupyter.store.sqlite.entries import Entries
from cortex_jupyter.store.sqlite.leases import Leases
from cortex_jupyter.store.sqlite.retention import Retention
from cortex_jupyter.store.sqlite.schema import prepare

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from pathlib import Path

_INFO: Final = (
    "recording.id, namespace, kind, name, uid, recording.cluster, state, message, reason, exit_code, started, finished, done, "
    # `caught_up` counts only while the recorder that set it lives.
    "caught_up AND EXISTS (SELECT 1 FROM recorder r WHERE r.id=owner AND r.heartbeat > (julianday('now') - 2440587.5) * 86400 - 3), last_seq, clock_ms, masked, epochs"
)
#: Size of the reserve in bytes. As many again must be free before recording continues, since space that was just given
#: up does not count. It suffices for a checkpoint of the whole write-ahead log (4 MB). Then notices fit into the
#: log.
_RESERVE_BYTES: Final = 8 << 20


class Reserve:
    """Disk space beside the store, given up when the disk is full so that the store can still record that.

    It is a file of zeros.

    Parameters
    ----------
    path : Path
    size : int, optional
    """

    def __init__(self, path: Path, size: int = _RESERVE_BYTES) -> None:
        self._path, self._size = path, size

    def keep(self) -> bool:
        """Create the reserve if it does not exist; return whether it exists."""
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                if self._path.stat().st_mode & 0o077:
                    self._path.chmod(0o600)  # an earlier version wrote it for everybody
                return True
            with open(self._path, "wb", opener=partial(os.open, mode=0o600)) as file:
                file.write(bytes(2 * self._size))
                file.flush()
                file.truncate(self._size)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Return the space to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class SqliteStore(Entries, Leases, Deletions, Retention, Store):
    """A store in one file; `Store` documents each method."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.url = url_of(self.path)
        self._file = Connections(self.path)
        self._changes = Changes(self._file.open, _rows)
        self._settled_bytes: dict[int, int] = {}
        self._reserve = Reserve(self.path.with_name(self.path.name + ".reserve"))
        try:
            prepare(self._file)
        except BaseException:
            self.close()
            raise

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Provide this thread's connection to the file; see `Connections.reading`."""
        return self._file.reading()

    def close(self) -> None:
        self._changes.close()
        self._file.close()

    def open(self, cluster: str, ref: TaskRef, uid: str) -> int:
        key = (cluster, ref.namespace, ref.kind, ref.name, uid)
        query = "SELECT id FROM recording WHERE cluster=? AND namespace=? AND kind=? AND name=? AND uid=?"
        has_source = "EXISTS (SELECT 1 FROM source WHERE source.recording=recording.id)"
        with self._file.reading() as db:
            row = db.execute(query.replace("id FROM", f"id, {has_source} FROM"), key).fetchone()
        if row and not row[1]:
            with contextlib.suppress(StoreError):  # a read-only store can still be read
                self.want(row[0], 0)  # keeps an empty recording from `forget_empty` until it is wanted
                # It may have been removed just now.
                row = (row[0], 1) if self.info(row[0]) is not None else None
        if row:
            return int(row[0])
        with self._file.writing() as db:
            if deletion := deletion_of_task(db, task_name(cluster, ref, uid)):
                raise deletion.error(f"the recording of {ref.key}")
            newest = db.execute("SELECT ifnull(max(id), 0) FROM recording").fetchone()[0]
            columns = "id, cluster, namespace, kind, name, uid, wanted"
            insert = f"INSERT OR IGNORE INTO recording ({columns}) VALUES (?,?,?,?,?,?,?)"
            db.execute(insert, (max(new_id(), newest + 1), *key, time.time()))
            return int(db.execute(query, key).fetchone()[0])

    def find(self, ref: TaskRef, cluster: str | None = None) -> RecordingInfo | None:
        where, values = "namespace=? AND name=?", [ref.namespace, ref.name]
        if ref.kind:
            # The group of a custom resource's kind may be left out.
            where, values = (
                f"{where} AND (kind=? OR kind LIKE ?)",
                [*values, ref.kind, f"{ref.kind}.%" if ref.is_custom else ""],
            )
        if cluster:
            where, values = f"{where} AND cluster=?", [*values, cluster]
        infos = self._infos(f"WHERE {where} ORDER BY kind != 'job', id DESC LIMIT 1", values)
        return infos[0] if infos else None

    def info(self, recording: int) -> RecordingInfo | None:
        infos = self._infos("WHERE id=?", [recording])
        return infos[0] if infos else None

    def recordings(self, namespace: str = "") -> list[RecordingInfo]:
        where, values = ("WHERE namespace=? ", [namespace]) if namespace else ("", [])
        return self._infos(f"{where}ORDER BY id DESC", values)

    def _infos(self, tail: str, values: Sequence[object]) -> list[RecordingInfo]:
        with self._file.reading() as db:
            rows = db.execute(f"SELECT {_INFO} FROM recording {tail}", values).fetchall()
        return [
            _info(*row, masked and orjson.loads(masked), as_epochs(epochs and orjson.loads(epochs)))
            for *row, masked, epochs in rows
        ]

    def want(self, recording: int, seconds: float) -> None:
        with self._file.writing() as db:
            db.execute("UPDATE recording SET wanted=max(wanted, ?) WHERE id=?", (time.time() + seconds, recording))

    def wanted(self, cluster: str) -> list[RecordingInfo]:
        return self._infos("WHERE cluster=? AND done=0 AND wanted > ?", [cluster, time.time()])

    def unfinished(self, cluster: str) -> list[RecordingInfo]:
        return self._infos("WHERE cluster=? AND done=0", [cluster])

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        return self._changes.subscribe(callback, recording)

    def size(self) -> int:
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(p.stat().st_size for p in names if p.exists())

    def describe(self) -> str:
        with self._file.reading() as db:
            return f"tables {db.execute('PRAGMA user_version').fetchone()[0]}"

    def health_warnings(self) -> list[HealthWarning]:
        return []

    def keep_reserve(self) -> bool:
        return self._reserve.keep()

    def release_reserve(self) -> None:
        self._reserve.release()


def _rows(db: sqlite3.Connection, recordings: AbstractSet[int]) -> dict[int, Any]:
    """Return rows that differ when a recording has changed."""
    query = f"SELECT {_INFO} FROM recording WHERE id IN (SELECT value FROM json_each(?))"
    return {row[0]: row for row in db.execute(query, (orjson.dumps([*recordings]).decode(),))} if recordings else {}


def _info(*row: Any) -> RecordingInfo:
    return RecordingInfo(row[0], TaskRef(*row[1:4]), *row[4:12], *map(bool, row[12:14]), *row[14:])
