"""Notice a commit by any process within about ten milliseconds, one after a pause within twenty-five."""

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

#: `PRAGMA data_version` every 10 ms costs 0.3-1 % of a core: that is for lines that follow each other.
_POLL_S = (0.025, 0.01)
#: Commits that are further apart are single lines, or a recorder's beat, which comes once a second.
_LIVELY_S = 0.3


class Changes:
    """Calls back after each change of a SQLite file.

    One thread per store, alive only while somebody is subscribed. SQLite has no notification across processes:
    `data_version` (https://sqlite.org/pragma.html#pragma_data_version) changes with another connection's commit. It does
    not say of what, so the rows of those recordings are compared that anybody asks about: a server that has 200 tasks
    open would otherwise have each of them look for news with every commit of any.

    Parameters
    ----------
    connect : callable
        Gives a connection of the thread's own.
    rows : callable
        Given a connection and ids of recordings, the rows there are.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], rows: Rows) -> None:
        self._connect, self._rows = connect, rows
        self._callbacks: dict[Callable[[], None], int | None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, callback: Callable[[], None], recording: int | None = None) -> Callable[[], None]:
        """Call `callback` from the watching thread after each change, of a recording or of anything; gives what ends it."""
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
        seen, changed, lively = None, 0.0, False
        known: dict[int, Any] = {}
        try:
            while not stop.wait(_POLL_S[lively]):
                # Closed or broken under us: whoever reads next gets the store's own error.
                with contextlib.suppress(sqlite3.Error, CortexError):
                    db = db or self._connect()
                    version = db.execute("PRAGMA data_version").fetchone()[0]
                    now = time.monotonic()
                    lively = now - changed < _LIVELY_S and (lively or version != seen)
                    if version != seen:
                        with self._lock:
                            callbacks = dict(self._callbacks)
                        ids = {id_ for id_ in callbacks.values() if id_ is not None}
                        rows = dict.fromkeys(ids) | self._rows(db, ids)
                        seen, changed = version, now
                        for callback, id_ in callbacks.items():
                            # One that is new among them is called in any case: what it has missed nobody knows.
                            if id_ is None or id_ not in known or rows[id_] != known[id_]:
                                with contextlib.suppress(RuntimeError):  # its loop has closed; the others' have not
                                    callback()
                        known = rows
        finally:
            if db is not None:
                db.close()
