"""Commit; if the store is full or busy, wait and try again, so that nothing is lost and nothing is doubled.

While the writer waits, the sources wait for it (`Channel.put_lines`), and the cluster keeps the lines that are not
read. The store's reserve is released meanwhile, so that every recording can say why it stands still.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import StoreBusy, StoreError, StoreFull
from cortex_jupyter.model import notice
from cortex_jupyter.store import Commit

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from cortex_jupyter.recorder.process.health import Health
    from cortex_jupyter.recorder.writing.batch import Batcher
    from cortex_jupyter.store import Lease, RecordingInfo, Store

_log = logging.getLogger(__name__)

STOPPED: Final = "Recording stopped: the store is full; it goes on when there is room"
#: Wait between attempts (seconds).
RETRY_S: Final = 2.0


class StallNotice:
    """Writes into one recording that it has stopped, and later that it goes on.

    Parameters
    ----------
    store : Store
    lease : Lease
    batcher : Batcher
        The notices take its next numbers.
    """

    def __init__(self, store: Store, lease: Lease, batcher: Batcher) -> None:
        self._store, self._lease, self._batcher = store, lease, batcher
        self._info_before: RecordingInfo | None = None

    def report(self, pending: Commit | None = None, hint: str = "") -> None:
        """Write once that the recording has stopped and what to do, before the commit that waits."""
        if self._info_before is not None:
            return
        try:
            before = self._store.info(self._lease.recording)
            if before is not None and self._write(before.state, STOPPED, StoreFull.__name__, pending, hint):
                self._info_before = before
        except StoreError as error:
            _log.warning("%s: %s", self._batcher.task, error)

    def resolve(self, written: Commit | None = None) -> None:
        """Restore the state from before, after the commit that waited."""
        before, self._info_before = self._info_before, None
        if before is None:
            return
        update = written.update if written else {}
        state, message = update.get("state", before.state), update.get("message", before.message)
        if update.get("done"):
            return
        try:
            self._write(state, message, update.get("reason", before.reason), None)
        except StoreError as error:
            self._info_before = before
            _log.warning("%s: %s", self._batcher.task, error)

    def _write(self, state: str, message: str, reason: str, pending: Commit | None, hint: str = "") -> bool:
        has_entries = bool(pending and pending.entries)
        number = pending.entries[0].seq if pending and has_entries else self._batcher.next_seq
        fields = {"state": state, "reason": reason, "notice": "state"} | ({"hint": hint} if hint else {})
        entry = notice(self._batcher.task, number, time.time_ns(), "status", message, **fields)
        self._store.commit(self._lease, Commit([entry], update={"message": message, "reason": reason}))
        if pending and has_entries:
            self._batcher.shift(pending, 1)
        else:
            self._batcher.next_seq += 1
        return True


class CommitRetrier:
    """Commits for the writer's thread, and repeats a commit that the store could not take.

    Parameters
    ----------
    store : Store
    stopping : threading.Event
        Set when the writer ends. It gives up waiting commits then.
    stall_notices : callable
        Returns the stall notices of all recordings that have something to write.
    health : Health
        Notified of errors of the store.
    """

    def __init__(
        self,
        store: Store,
        stopping: threading.Event,
        stall_notices: Callable[[], Iterable[StallNotice]],
        health: Health,
    ) -> None:
        self._store, self._stopping, self._stall_notices, self._health = store, stopping, stall_notices, health
        self.is_full = False

    def commit(self, lease: Lease, commit: Commit, stall_notice: StallNotice) -> None:
        """Commit, and repeat until the store takes it.

        Raises
        ------
        StoreError
            An error that does not pass by waiting, such as LeaseLost; or the writer ends.
        """
        reported: set[StallNotice] = set()
        while True:
            try:
                self._store.commit(lease, commit)
            except (StoreFull, StoreBusy) as error:
                self._wait(error, commit, stall_notice, reported)
                continue
            break
        self._health.store_log.worked("commit")
        self.is_full = False
        stall_notice.resolve(commit)
        for stalled in reported - {stall_notice}:
            stalled.resolve()

    def _wait(self, error: StoreError, commit: Commit, stall_notice: StallNotice, reported: set[StallNotice]) -> None:
        """Wait until another attempt may succeed."""
        is_full = isinstance(error, StoreFull)
        self._health.store_refused(error, "commit", STOPPED if is_full else "")
        if is_full:
            self.is_full = True
            self._store.release_reserve()
            stall_notice.report(commit, error.hint)
        while True:
            if self._stopping.wait(RETRY_S):
                raise error
            if not isinstance(error, StoreFull):
                return
            for stalled in self._stall_notices():
                if stalled is not stall_notice:
                    stalled.report(hint=error.hint)
                    reported.add(stalled)
            if self._store.keep_reserve():
                return
