"""Living recorders, and the lease of each recording, so that two never write the same one."""

from __future__ import annotations

import time
from collections import ChainMap
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.errors import LeaseLost
from cortex_jupyter.model import MAX_EPOCHS
from cortex_jupyter.store import HEARTBEAT_S, NEWER_FIELDS, Lease, LeaseStore, RecorderInfo, liveness
from cortex_jupyter.store.sqlite.error_mapping import disk_full

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from cortex_jupyter.store.sqlite.connections import Connections


#: Prefixes of the settings with a recorder's newer fields. Older programs read all fields of the first one.
_ABOUT: Final = {"recorder:": NEWER_FIELDS[:3], "recorder-takes:": NEWER_FIELDS[3:]}
#: Prefix of the setting that names a recorder's machine, see `liveness`.
_MACHINE: Final = "machine:"
#: A recorder with its machine. Older programs name none, so only their heartbeats count.
_RECORDER: Final = f"SELECT recorder.*, (SELECT value FROM setting WHERE key='{_MACHINE}' || recorder.id) FROM recorder"


def fence(db: sqlite3.Connection, lease: Lease) -> None:
    """Check that a lease is still held, within the transaction that relies on it.

    Raises
    ------
    LeaseLost
    """
    row = db.execute("SELECT owner, epoch FROM recording WHERE id=?", (lease.recording,)).fetchone()
    if row != (lease.owner, lease.epoch):
        raise LeaseLost("another recorder has taken over this task")


class Leases(LeaseStore):
    """The part of `SqliteStore` for recorders and leases; `LeaseStore` documents each method."""

    _file: Connections

    def beat(self, recorder: RecorderInfo) -> None:
        with self._file.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO recorder VALUES (?,?,?,?,?)",
                (recorder.id, recorder.cluster, recorder.host, recorder.pid, time.time()),
            )
            db.execute("DELETE FROM recorder WHERE heartbeat < ?", (time.time() - 3600,))
            # Not in the table, since older programs expect exactly its columns.
            documents = {
                key: orjson.dumps({name: getattr(recorder, name) for name in names}).decode()
                for key, names in _ABOUT.items()
            }
            for key, value in (documents | {_MACHINE: liveness.MACHINE}).items():
                db.execute(
                    "INSERT INTO setting VALUES (?,?)"
                    " ON CONFLICT DO UPDATE SET value=excluded.value WHERE value!=excluded.value",
                    (key + recorder.id, value),
                )
                stale = "substr(key, ?) NOT IN (SELECT id FROM recorder)"
                query = f"DELETE FROM setting WHERE key GLOB '{key}*' AND {stale}"  # the key is a constant
                db.execute(query, (len(key) + 1,))

    def leave(self, owner: str) -> None:
        with self._file.writing() as db:
            db.execute("DELETE FROM recorder WHERE id=?", (owner,))
            db.executemany("DELETE FROM setting WHERE key=?", [(key + owner,) for key in (*_ABOUT, _MACHINE)])
            db.execute("UPDATE recording SET owner=NULL WHERE owner=?", (owner,))

    def recorders(self, cluster: str) -> list[RecorderInfo]:
        with self._file.reading() as db:
            rows = db.execute(f"{_RECORDER} WHERE cluster=?", (cluster,)).fetchall()
            documents = dict(db.execute("SELECT key, value FROM setting WHERE key GLOB 'recorder*:*'").fetchall())
        more = [ChainMap(*(orjson.loads(documents.get(key + row[0], "{}")) for key in _ABOUT)) for row in rows]
        recorders = [(RecorderInfo.of(row[:-1], doc), row[-1]) for row, doc in zip(rows, more, strict=True)]
        return [recorder for recorder, machine in recorders if self._alive(recorder, machine)]

    def holders(self, recordings: Iterable[int]) -> dict[int, str]:
        query = "SELECT id, owner FROM recording WHERE done=0 AND id IN (SELECT value FROM json_each(?))"
        with self._file.reading() as db:
            owners = dict(db.execute(query, (orjson.dumps([*recordings]).decode(),)).fetchall())
            rows = db.execute(_RECORDER).fetchall()
        living = {row[0] for row in rows if self._alive(RecorderInfo(*row[:-1]), row[-1])}
        return {id_: owner if owner in living else "" for id_, owner in owners.items()}

    def release(self, lease: Lease) -> None:
        query = "UPDATE recording SET owner=NULL WHERE id=? AND owner=? AND epoch=?"
        with self._file.writing() as db:
            db.execute(query, (lease.recording, lease.owner, lease.epoch))

    def lease(self, recording: int, owner: str, *, assume_alive: bool = False, last_written: int = 0) -> Lease | None:
        with self._file.writing() as db:
            query = "SELECT owner, epoch, last_seq, epochs FROM recording WHERE id=?"
            row = db.execute(query, (recording,)).fetchone()
            if row is None:
                return None
            if row[0] not in (None, owner):
                held_by = db.execute(f"{_RECORDER} WHERE id=?", (row[0],)).fetchone()
                if held_by is not None:
                    holder, machine = RecorderInfo(*held_by[:-1]), held_by[-1]
                    if self._alive(holder, machine) or (assume_alive and liveness.process_lives(holder, machine)):
                        return None
            # The epoch is a time, not a counter: if a power cut loses the last commits, no epoch is used twice.
            epoch, first = max(time.time_ns() // 1000, row[1] + 1), max(row[2], last_written) + 1
            epochs = [pair for pair in orjson.loads(row[3] or "[]") if pair[0] < first][1 - MAX_EPOCHS :]
            values = (owner, epoch, orjson.dumps([*epochs, (first, epoch)]).decode(), recording)
            db.execute("UPDATE recording SET owner=?, epoch=?, epochs=?, caught_up=0 WHERE id=?", values)
            return Lease(recording, owner, epoch, row[0] if row[0] not in (None, owner) else "")

    def _alive(self, recorder: RecorderInfo, machine: str) -> bool:
        """Return whether a recorder lives: it has a recent heartbeat, and a process that runs if it can be seen."""
        if time.time() - recorder.heartbeat <= HEARTBEAT_S:
            return liveness.process_lives(recorder, machine)
        # On a full disk no heartbeat can be written, so none is expected of a process that can be seen.
        visible = machine == liveness.MACHINE != ""
        return visible and disk_full(self._file.path) and liveness.process_lives(recorder, machine)
