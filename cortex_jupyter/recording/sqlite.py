"""Recordings in one SQLite file (WAL): one writer, readers in any process, a row per batch.

A batch is one zstd-compressed blob, not a row per line: half the CPU and a quarter of the disk (measured:
`research/performance.md` section 2). `synchronous=NORMAL`: a killed process loses nothing, a power cut at most the
last commits, which the recorder reads again from its anchor, written in the same transaction.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import zstandard

from cortex_jupyter.errors import CursorNotHeld, LeaseLost, StoreError
from cortex_jupyter.recording.budget import NOT_HELD, Budget, default_budget
from cortex_jupyter.recording.changes import Changes
from cortex_jupyter.recording.leaving import Leaving
from cortex_jupyter.recording.reserve import Reserve
from cortex_jupyter.recording.store import HEARTBEAT_S, Anchor, Commit, Complete, Info, Lease, Recorder, Store
from cortex_jupyter.recording.trouble import WHERE, disk_full, errors
from cortex_jupyter.records import Entry, Source, TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_VERSION = 3
_SCHEMA = """
CREATE TABLE recording (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, namespace TEXT NOT NULL, kind TEXT NOT NULL,
    name TEXT NOT NULL, uid TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
    message TEXT NOT NULL DEFAULT 'Log not available yet: the recorder is starting', reason TEXT NOT NULL DEFAULT '',
    exit_code INTEGER, started TEXT, finished TEXT, done INTEGER NOT NULL DEFAULT 0,
    caught_up INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0, wanted REAL NOT NULL DEFAULT 0,
    owner TEXT, epoch INTEGER NOT NULL DEFAULT 0, ended REAL, clock_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (cluster, namespace, kind, name, uid));
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
#: From version 2. Its file keeps its size: what leaves makes room within it.
_MIGRATION = """
ALTER TABLE recording ADD COLUMN ended REAL;
ALTER TABLE recording ADD COLUMN clock_ms INTEGER NOT NULL DEFAULT 0;
UPDATE recording SET ended=(SELECT max(t_max) / 1e9 FROM entry WHERE recording=id AND event='end') WHERE done=1;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaving (recording INTEGER PRIMARY KEY);
"""
_INFO = (
    "recording.id, namespace, kind, name, uid, recording.cluster, state, message, reason, exit_code, started, finished, done, "
    # What a recorder said holds while it lives.
    "caught_up AND EXISTS (SELECT 1 FROM recorder r WHERE r.id=owner AND r.heartbeat > (julianday('now') - 2440587.5) * 86400 - 3), last_seq, clock_ms"
)
_UPDATABLE = frozenset(
    {"state", "message", "reason", "exit_code", "started", "finished", "done", "caught_up", "clock_ms"},
)


class SqliteStore(Store):
    """A store in one file; see `recording.store.Store` for what each method does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._local = threading.local()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._lock = threading.Condition()
        self._using = 0  # threads that are at their connections; None are closed under them
        self._closed = False
        self._changes = Changes(self._open)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error}", WHERE) from error
        self._leaving = Leaving(self._reading, self._writing)
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        # Read first: what is complete can be read where nothing can be written.
        with self._reading() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                return
        with self._writing() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version in (0, 2):
                for statement in (_SCHEMA if version == 0 else _MIGRATION).split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StoreError(f"{self.path} was written by another version of cortex-jupyter", WHERE)

    # ------------------------------------------------------------ connections

    def _open(self) -> sqlite3.Connection:
        with errors(self.path):
            if _sealed(self.path):
                return sqlite3.connect(
                    f"{self.path.as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
                )
            # Made in one thread and closed by close() in another: sqlite is built thread-safe.
            db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                if self.path.stat().st_mode & 0o077:
                    self.path.chmod(0o600)
                if not self.path.stat().st_size:
                    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the file has a page
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                db.close()
                raise
        return db

    def _connect(self) -> sqlite3.Connection:
        db = self._open()
        with self._lock:
            # Whoever calls asyncio.run again and again has new threads each time; each connection is three files.
            for thread, old in self._connections:
                if not thread.is_alive():
                    old.close()
            self._connections = [pair for pair in self._connections if pair[0].is_alive()]
            self._connections.append((threading.current_thread(), db))
        return db

    @property
    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.path} has been closed")
            self._using += 1
        try:
            with errors(self.path):
                yield self._db
        finally:
            with self._lock:
                self._using -= 1
                self._lock.notify_all()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close every connection; the store cannot be used afterwards.

        Waits for what other threads are at: SQLite crashes when a connection is closed in the middle of a query.
        """
        self._changes.close()
        with self._lock:
            self._closed = True
            self._lock.wait_for(lambda: not self._using)
            for _, db in self._connections:
                db.close()
            self._connections.clear()
        self._local = threading.local()

    # ------------------------------------------------------------- recordings

    def open(self, cluster: str, ref: TaskRef, uid: str) -> int:
        key = (cluster, ref.namespace, ref.kind, ref.name, uid)
        query = "SELECT id FROM recording WHERE cluster=? AND namespace=? AND kind=? AND name=? AND uid=?"
        with self._reading() as db:
            if row := db.execute(query, key).fetchone():
                return int(row[0])
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO recording (cluster, namespace, kind, name, uid) VALUES (?,?,?,?,?)", key)
            return int(db.execute(query, key).fetchone()[0])

    def find(self, ref: TaskRef, cluster: str | None = None) -> Info | None:
        where, values = "namespace=? AND name=?", [ref.namespace, ref.name]
        for column, value in (("kind", ref.kind), ("cluster", cluster)):
            if value:
                where, values = f"{where} AND {column}=?", [*values, value]
        found = self._infos(f"WHERE {where} ORDER BY kind != 'job', id DESC LIMIT 1", values)
        return found[0] if found else None

    def info(self, recording: int) -> Info | None:
        found = self._infos("WHERE id=?", [recording])
        return found[0] if found else None

    def recordings(self) -> list[Info]:
        return self._infos("ORDER BY id DESC", [])

    def _infos(self, tail: str, values: list[Any]) -> list[Info]:
        with self._reading() as db:
            rows = db.execute(f"SELECT {_INFO} FROM recording {tail}", values).fetchall()  # noqa: S608
        return [_info(*row) for row in rows]

    def want(self, recording: int, seconds: float) -> None:
        with self._writing() as db:
            db.execute("UPDATE recording SET wanted=max(wanted, ?) WHERE id=?", (time.time() + seconds, recording))

    def wanted(self, cluster: str) -> list[Info]:
        return self._infos("WHERE cluster=? AND done=0 AND wanted > ?", [cluster, time.time()])

    # ------------------------------------------------------ recorders, leases

    def beat(self, recorder: Recorder) -> None:
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO recorder VALUES (?,?,?,?,?)",
                (recorder.id, recorder.cluster, recorder.host, recorder.pid, time.time()),
            )
            db.execute("DELETE FROM recorder WHERE heartbeat < ?", (time.time() - 3600,))

    def leave(self, owner: str) -> None:
        with self._writing() as db:
            db.execute("DELETE FROM recorder WHERE id=?", (owner,))
            db.execute("UPDATE recording SET owner=NULL WHERE owner=?", (owner,))

    def recorder(self, cluster: str) -> Recorder | None:
        with self._reading() as db:
            rows = db.execute("SELECT * FROM recorder WHERE cluster=? ORDER BY heartbeat DESC", (cluster,)).fetchall()
        return next((r for r in (Recorder(*row) for row in rows) if self._alive(r)), None)

    def lease(self, recording: int, owner: str) -> Lease | None:
        with self._writing() as db:
            row = db.execute("SELECT owner, epoch FROM recording WHERE id=?", (recording,)).fetchone()
            if row is None:
                return None
            if row[0] not in (None, owner):
                holder = db.execute("SELECT * FROM recorder WHERE id=?", (row[0],)).fetchone()
                if holder and self._alive(Recorder(*holder)):
                    return None
            db.execute("UPDATE recording SET owner=?, epoch=epoch+1, caught_up=0 WHERE id=?", (owner, recording))
            return Lease(recording, owner, row[1] + 1)

    def _alive(self, recorder: Recorder) -> bool:
        return _alive(recorder, silent=disk_full(self.path))

    def _fence(self, db: sqlite3.Connection, lease: Lease) -> None:
        row = db.execute("SELECT owner, epoch FROM recording WHERE id=?", (lease.recording,)).fetchone()
        if row != (lease.owner, lease.epoch):
            raise LeaseLost("another recorder has taken over this task")

    # ---------------------------------------------------------------- writing

    def sources(self, recording: int) -> dict[int, tuple[Source, Anchor]]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, source, second, seq, last, ended, top FROM source WHERE recording=?", (recording,)
            ).fetchall()
        return {r[0]: (Source(**orjson.loads(r[1])), Anchor(r[2], r[3], r[4], bool(r[5]), r[6])) for r in rows}

    def add_source(self, lease: Lease, source: Source) -> int:
        with self._writing() as db:
            self._fence(db, lease)
            top = db.execute("SELECT max(id) FROM source WHERE recording=?", (lease.recording,)).fetchone()[0] or 0
            doc = orjson.dumps(source.as_dict()).decode()
            db.execute("INSERT INTO source (recording, id, source) VALUES (?,?,?)", (lease.recording, top + 1, doc))
            return int(top) + 1

    def commit(self, lease: Lease, commit: Commit) -> None:
        # Compressed before the transaction begins, so that it is short.
        rows = [(lease.recording, e.seq, e.n, e.event, e.t_min, e.t_max, self._pack(e.data)) for e in commit.entries]
        with self._writing() as db:
            self._fence(db, lease)
            if rows:
                db.executemany("INSERT INTO entry VALUES (?,?,?,?,?,?,?)", rows)
                commit.update["last_seq"] = commit.entries[-1].last
            for id_, a in commit.anchors.items():
                db.execute(
                    "UPDATE source SET second=?, seq=?, last=?, ended=?, top=? WHERE recording=? AND id=?",
                    (a.second, a.seq, a.last, a.ended, a.top, lease.recording, id_),
                )
            if commit.update.get("done"):
                commit.update.setdefault("ended", time.time())
            if commit.update:
                assert commit.update.keys() <= _UPDATABLE | {"last_seq", "ended"}
                assignments = ", ".join(f"{k}=?" for k in commit.update)
                db.execute(f"UPDATE recording SET {assignments} WHERE id=?", [*commit.update.values(), lease.recording])  # noqa: S608

    def merge(self, lease: Lease, old: Iterable[int], new: Entry) -> None:
        data = self._pack(new.data)
        with self._writing() as db:
            self._fence(db, lease)
            range_ = (lease.recording, new.seq, new.last)
            there = db.execute(
                "SELECT seq, n FROM entry WHERE recording=? AND seq BETWEEN ? AND ? ORDER BY seq", range_
            ).fetchall()
            if [seq for seq, _ in there] != list(old) or sum(n for _, n in there) != new.n:
                return  # merged by another pass since it was looked at
            db.execute("DELETE FROM entry WHERE recording=? AND seq BETWEEN ? AND ?", range_)
            row = (lease.recording, new.seq, new.n, new.event, new.t_min, new.t_max, data)
            db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?)", row)

    def _pack(self, data: bytes) -> bytes:
        packer: zstandard.ZstdCompressor | None = getattr(self._local, "packer", None)
        if packer is None:
            packer = self._local.packer = zstandard.ZstdCompressor(level=1)
        return packer.compress(data)

    # ---------------------------------------------------------------- reading

    def entries(self, recording: int, after: int, most: int) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        query = f"{_ENTRY} WHERE recording=? AND seq >= ifnull({_HOLDER}, 0) AND seq+n-1 > ? ORDER BY seq"
        with self._reading() as db:
            for row in db.execute(query, (recording, recording, after + 1, after)):
                found.append(_entry(row))
                size += len(found[-1].data)
                if size >= most:
                    break
        if found and found[0].seq > after + 1:  # numbers have no holes, so it is being deleted
            raise CursorNotHeld("this recording is no longer held", NOT_HELD)
        return found

    def index(self, recording: int) -> list[tuple[int, int, str, int, int]]:
        with self._reading() as db:
            return db.execute(
                "SELECT seq, n, event, t_min, t_max FROM entry WHERE recording=? ORDER BY seq", (recording,)
            ).fetchall()

    def entry(self, recording: int, seq: int) -> Entry | None:
        with self._reading() as db:
            row = db.execute(f"{_ENTRY} WHERE recording=? AND seq={_HOLDER}", (recording, recording, seq)).fetchone()
        return _entry(row) if row and row[0] + row[1] > seq else None

    def complete(self, recording: int) -> Complete:
        totals = "SELECT ifnull(sum(n), 0), min(t_min), max(t_max) FROM entry WHERE recording=? AND event='log'"
        with self._reading() as db:
            n, first, last = db.execute(totals, (recording,)).fetchone()
            gaps = db.execute(f"{_ENTRY} WHERE recording=? AND event='gap' ORDER BY seq", (recording,)).fetchall()
            runs = "SELECT count(*) FROM source WHERE recording=? AND ifnull(json_extract(source, '$.part'), 0)=0"
            sources = db.execute(runs, (recording,)).fetchone()[0]
        return Complete(n, first, last, [orjson.loads(_entry(g).data) for g in gaps], sources)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self._changes.subscribe(callback)

    def size(self) -> int:
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(p.stat().st_size for p in names if p.exists())

    # -------------------------------------------------------------- retention

    def budget(self) -> Budget:
        return self._leaving.budget().over(default_budget(self.path))

    def set_budget(self, budget: Budget, *, weak: bool = False) -> None:
        self._leaving.set_budget(self._leaving.budget().over(budget) if weak else budget)

    def used(self) -> int:
        return self._leaving.used()

    def bytes_of(self, recording: int) -> int:
        return self._leaving.bytes_of(recording)

    def oldest(self) -> tuple[int, float] | None:
        return self._leaving.oldest()

    def forget(self, recording: int) -> bool:
        return self._leaving.forget(recording)

    def sweep(self) -> bool:
        return self._leaving.sweep()

    def keep_reserve(self) -> bool:
        return self._reserve.keep()

    def release_reserve(self) -> None:
        self._reserve.release()


_ENTRY = "SELECT seq, n, event, t_min, t_max, data FROM entry"
_HOLDER = "(SELECT max(seq) FROM entry WHERE recording=? AND seq <= ?)"
_HOST = socket.gethostname()


def _entry(row: tuple[int, int, str, int, int, bytes]) -> Entry:
    seq, n, event, t_min, t_max, data = row
    try:
        return Entry(seq, n, event, t_min, t_max, zstandard.decompress(data))
    except zstandard.ZstdError as error:
        raise StoreError(f"entry {seq} of a recording is damaged: {error}", WHERE) from error


def _info(*row: Any) -> Info:
    return Info(row[0], TaskRef(*row[1:4]), *row[4:12], *map(bool, row[12:14]), *row[14:])


def _sealed(path: Path) -> bool:
    """Tell whether a store lies on a read-only disk, whole: SQLite then needs no files beside it."""
    read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    return bool(read_only) and path.exists() and not path.with_name(path.name + "-wal").exists()


def _alive(recorder: Recorder, *, silent: bool) -> bool:
    """Tell whether a recorder lives: its heartbeat is fresh and, where we can see it, so is its process.

    Parameters
    ----------
    recorder : Recorder
    silent : bool
        Nobody can write a heartbeat now, so none is expected of a process that we see.
    """
    cold = time.time() - recorder.heartbeat > HEARTBEAT_S
    if recorder.host != _HOST or (cold and not silent):
        return not cold
    try:
        os.kill(recorder.pid, 0)
        # A zombie takes signals too: killed, and its parent has not looked yet.
        return Path(f"/proc/{recorder.pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # not ours to signal, or no /proc: the heartbeat has to do
