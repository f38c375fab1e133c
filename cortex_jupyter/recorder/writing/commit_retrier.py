"""Commit, and where the store is full or busy wait and try again: nothing is lost, nothing is doubled.

While the writer waits, readers of the cluster wait for it (`Channel.lines`), and the cluster keeps what they do not
read. The room that is set aside for this is given up, so that every recording can say why it stands still.
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

    from cortex_jupyter.recorder.process.health import Pulse
    from cortex_jupyter.recorder.writing.batch import Batcher
    from cortex_jupyter.store import Lease, RecordingInfo, Store

_log = logging.getLogger(__name__)

STOPPED: Final = "Recording stopped: the store is full; it goes on when there is room"
#: Between attempts, seconds.
RETRY_S: Final = 2.0


class Voice:
    """Says in one recording that it stands still, and that it goes on.

    Parameters
    ----------
    store : Store
    lease : Lease
    batcher : Batcher
        Whose numbers the notices take.
    """

    def __init__(self, store: Store, lease: Lease, batcher: Batcher) -> None:
        self._store, self._lease, self._batcher = store, lease, batcher
        self._before: RecordingInfo | None = None

    def stop(self, pending: Commit | None = None) -> None:
        """Say it once; a commit that waits comes after it."""
        if self._before is not None:
            return
        try:
            before = self._store.info(self._lease.recording)
            if before is not None and self._say(before.state, STOPPED, StoreFull.__name__, pending):
                self._before = before
        except StoreError as error:
            _log.warning("%s: %s", self._batcher.task, error)

    def go_on(self, written: Commit | None = None) -> None:
        """Take it back, after the commit that waited."""
        before, self._before = self._before, None
        if before is None:
            return
        update = written.update if written else {}
        state, message = update.get("state", before.state), update.get("message", before.message)
        if update.get("done"):
            return
        try:
            self._say(state, message, update.get("reason", before.reason), None)
        except StoreError as error:
            self._before = before
            _log.warning("%s: %s", self._batcher.task, error)

    def _say(self, state: str, message: str, reason: str, pending: Commit | None) -> bool:
        waits = bool(pending and pending.entries)
        number = pending.entries[0].seq if pending and waits else self._batcher.next_seq
        said = notice(
            self._batcher.task, number, time.time_ns(), "status", message, state=state, reason=reason, notice="state"
        )
        self._store.commit(self._lease, Commit([said], update={"message": message, "reason": reason}))
        if pending and waits:
            self._batcher.later(pending, 1)
        else:
            self._batcher.next_seq += 1
        return True


class Patience:
    """What the writer's thread commits with.

    Parameters
    ----------
    store : Store
    stopping : threading.Event
        Set when the writer ends: what is not committed then is given up.
    others : callable
        Gives the voices of all recordings that have something to write.
    pulse : Pulse
        To be told of what the store refuses.
    """

    def __init__(
        self, store: Store, stopping: threading.Event, others: Callable[[], Iterable[Voice]], pulse: Pulse
    ) -> None:
        self._store, self._stopping, self._others, self._pulse = store, stopping, others, pulse
        self.full = False

    def commit(self, lease: Lease, commit: Commit, voice: Voice) -> None:
        """Commit.

        Raises
        ------
        StoreError
            What does not pass by waiting, LeaseLost among it; or the writer ends.
        """
        said: set[Voice] = set()
        while True:
            try:
                self._store.commit(lease, commit)
            except (StoreFull, StoreBusy) as error:
                self._wait(error, commit, voice, said)
                continue
            break
        if self.full:
            self.full = False
            _log.info("there is room again: recording goes on")
        voice.go_on(commit)
        for other in said - {voice}:
            other.go_on()

    def _wait(self, error: StoreError, commit: Commit, voice: Voice, said: set[Voice]) -> None:
        """Wait until another attempt may help."""
        self._pulse.refused(error)
        if isinstance(error, StoreFull):
            if not self.full:
                _log.warning("%s: %s", STOPPED, error)
            self.full = True
            self._store.release_reserve()
            voice.stop(commit)
        else:
            _log.warning("%s", error)
        while True:
            if self._stopping.wait(RETRY_S):
                raise error
            if not isinstance(error, StoreFull):
                return
            for other in self._others():
                if other is not voice:
                    other.stop()
                    said.add(other)
            if self._store.keep_reserve():
                return
