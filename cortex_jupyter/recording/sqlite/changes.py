"""Notice a commit by any process within about ten milliseconds, one after a pause within twenty-five."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Callable

#: `PRAGMA data_version` every 10 ms costs 0.3-1 % of a core: that is for lines that follow each other.
_POLL_S = (0.025, 0.01)
#: Commits that are further apart are single lines, or a recorder's beat, which comes once a second.
_LIVELY_S = 0.3


class Changes:
    """Calls back after each change of a SQLite file.

    One thread per store, alive only while somebody is subscribed. SQLite has no notification across processes:
    `data_version` (https://sqlite.org/pragma.html#pragma_data_version) changes with another connection's commit.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._callbacks: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` from the watching thread after each change; gives what ends it."""
        with self._lock:
            self._callbacks.add(callback)
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, args=(self._stop,), name="cortex-changes", daemon=True
                )
                self._thread.start()

        def end() -> None:
            with self._lock:
                self._callbacks.discard(callback)
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
        try:
            while not stop.wait(_POLL_S[lively]):
                # Closed or broken under us: whoever reads next gets the store's own error.
                with contextlib.suppress(sqlite3.Error, CortexError):
                    db = db or self._connect()
                    version = db.execute("PRAGMA data_version").fetchone()[0]
                    now = time.monotonic()
                    lively = now - changed < _LIVELY_S and (lively or version != seen)
                    if version != seen:
                        seen, changed = version, now
                        for callback in tuple(self._callbacks):
                            with contextlib.suppress(RuntimeError):  # its loop has closed; the others' have not
                                callback()
        finally:
            if db is not None:
                db.close()
