"""Notice commits of any process: within about 10 ms while they follow each other, else within 25 ms."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    Rows = Callable[[sqlite3.Connection, AbstractSet[int]], dict[int, Any]]

#: Poll intervals of a quiet and a busy file. `PRAGMA data_version` every 10 ms costs 0.3 to 1 % of a core.
_POLL_S = (0.025, 0.01)
#: Commits further apart than this are single lines, or a recorder's heartbeat, which comes once a second.
_BUSY_S = 0.3


class Changes:
    """Calls back after each change of a SQLite file.

    One thread per store, alive only while there are subscribers. SQLite cannot notify other processes, but
    `data_version` (https://sqlite.org/pragma.html#pragma_data_version) changes with each commit of another connection.
    It does not tell what changed, so the thread compares the rows of the subscribed recordings. Otherwise each of 200
    open tasks would look for news after every commit of any task.

    Parameters
    ----------
    connect : callable
        Opens a connection for the thread.
    rows : callable
        Returns the rows of recordings, given a connection and their ids.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], rows: Rows) -> None:
        self._connect, self._rows = connect, rows
        self._callbacks: dict[Callable[[], None], int | None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        """Call `callback` from the watching thread after each change of a recording, or of anything.

        Returns a function that ends it.
        """
        with self._lock:
            self._callbacks[callback] = recording
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, args=(self._stop,), name="cortex-changes", daemon=True
                )
                self._thread.start()

        def end() -> None:
            with self._lock:
                self._callbacks.pop(callback, None)
                if not self._callbacks:
                    self._stop.set()
                    self._thread = None

        return end

    def close(self) -> None:
        """End the thread and wait for it."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._callbacks.clear()
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        db: sqlite3.Connection | None = None
        last_version, changed_at, is_busy = None, 0.0, False
        seen: dict[Callable[[], None], Any] = {}  # the row that each callback was last called for
        try:
            while not stop.wait(_POLL_S[is_busy]):
                # The store was closed or is broken: the next read of it raises the store's own error.
                with contextlib.suppress(sqlite3.Error, CortexError):
                    db = db or self._connect()
                    version = db.execute("PRAGMA data_version").fetchone()[0]
                    now = time.monotonic()
                    is_busy = now - changed_at < _BUSY_S and (is_busy or version != last_version)
                    if version != last_version:
                        with self._lock:
                            callbacks = dict(self._callbacks)
                        ids = {id_ for id_ in callbacks.values() if id_ is not None}
                        rows = dict.fromkeys(ids) | self._rows(db, ids)
                        last_version, changed_at = version, now
                        for callback, id_ in callbacks.items():
                            # A new subscription is always called, since it may have missed a change.
                            if id_ is None or callback not in seen or rows[id_] != seen[callback]:
                                # The loop of this subscriber may have closed; others' have not.
                                with contextlib.suppress(RuntimeError):
                                    callback()
                        seen = {callback: rows[id_] for callback, id_ in callbacks.items() if id_ is not None}
        finally:
            if db is not None:
                db.close()
