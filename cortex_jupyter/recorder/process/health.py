"""The health of a recorder process, for the kubelet's probes."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.telemetry import recorder_metrics
from cortex_jupyter.telemetry.logs import OutageLog, duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.errors import CortexError

_log = logging.getLogger(__name__)

#: Where the health endpoint listens, unless `--host` says otherwise: metrics and probes have no authentication.
LOOPBACK: Final = "127.0.0.1"
#: A heartbeat is tried, or waited for, each second. If neither happens for this long (seconds), the process hangs, and
#: a restart mends that. The same holds if it looks for no tasks while all else goes on.
HUNG_S: Final = 60.0
#: If the store has taken no heartbeat for this long (seconds), other recorders have taken over the tasks.
STALE_S: Final = 10.0
#: A batch may wait this long for its commit (seconds): a replica that is slow to confirm takes 3 s.
WAITS_S: Final = 10.0
#: The recorder must look for tasks at least this often (seconds); usually it does ten times a second.
LOOKED_S: Final = 30.0
#: A watch of new tasks may be lost for this long (seconds).
UNSEEN_S: Final = 60.0


class Health:
    """The health of this process. Its times are by the monotonic clock; its methods may be called from any thread.

    Parameters
    ----------
    port : int, optional
        The port of the health endpoint.

    Attributes
    ----------
    waited_for_store : bool
        Whether the store was away when this process began.
    refused_namespaces : dict
        Namespaces that a collector should record and may not, "" for all; with the missing right.
    store_log : OutageLog
        Logs when the store fails and when it answers again, whichever part of the process notices.

    Examples
    --------
    >>> health = Health()
    >>> health.liveness(), health.readiness()
    ('', ['the store has not taken a heartbeat yet'])
    >>> health.heartbeat_taken()
    >>> health.readiness()
    []
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.waited_for_store = False
        self.refused_namespaces: dict[str, str] = {}
        self.store_log = OutageLog(_log, "the store answers again: recording goes on")
        self._heartbeat_tried_at = time.monotonic()
        self._heartbeat_taken_at: float | None = None
        self._lost_watches: dict[str, float] = {}
        self._writes: dict[object, float] = {}  # when each write in progress began
        self._refusal = ""  # the store's last error message
        self._loop_at: float | None = None  # when the loop that looks for tasks last ran, and when it did look
        self._looked_at = 0.0
        self._archive_waiting, self._archive_oldest, self._archive_is_failing = 0, 0.0, False
        self._store_blocked_until = 0.0  # until when the store kept the loop from looking

    def heartbeat_tried(self) -> None:
        """Note that the loop of heartbeats runs, or waits for the store."""
        self._heartbeat_tried_at = time.monotonic()

    def heartbeat_taken(self) -> None:
        """Note that the store has taken a heartbeat."""
        now = time.monotonic()
        if self._heartbeat_taken_at is None:
            self._loop_at = self._looked_at = now  # from now on the loop looks for tasks
        elif now - self._heartbeat_taken_at > STALE_S:
            self._store_blocked_until = now
        self._heartbeat_taken_at = self._heartbeat_tried_at = now

    def watch_changed(self, path: str, *, lost: bool) -> None:
        """Note whether a watch of selected tasks is lost."""
        if lost:
            self._lost_watches.setdefault(path, time.monotonic())
        else:
            self._lost_watches.pop(path, None)

    @contextlib.contextmanager
    def write_in_progress(self) -> Iterator[None]:
        """Note that the block writes what must be in the store before anything else, however long that takes."""
        started_at, key = time.monotonic(), object()
        self._writes[key] = started_at
        try:
            yield
        finally:
            del self._writes[key]
            if (now := time.monotonic()) - started_at > WAITS_S:
                self._store_blocked_until = now

    def store_refused(self, error: CortexError, part: str, about: str = "") -> None:
        """Note, count and log an error of the store; the write is repeated. `part` and `about` are as for `OutageLog`."""
        self._refusal = error.message
        self.store_log.failed(part, error, about)
        recorder_metrics.count_error(error)

    def looked_for_tasks(self, *, succeeded: bool = True) -> None:
        """Note that the loop that takes and hands over tasks runs, and whether the store let it look."""
        self._loop_at = time.monotonic()
        if succeeded:
            self._looked_at = self._loop_at

    def archive_checked(self, waiting: int, oldest: float | None, *, is_failing: bool) -> None:
        """Note how many completed recordings wait to be archived, when the first of them ended, and whether attempts fail."""
        self._archive_waiting, self._archive_oldest, self._archive_is_failing = waiting, oldest or 0.0, is_failing

    def archive_waiting(self) -> int:
        """Return how many completed recordings wait to be archived."""
        return self._archive_waiting

    def archive_waits_s(self) -> float:
        """Return how long ago the first recording ended that waits to be archived (seconds)."""
        return max(0.0, time.time() - self._archive_oldest) if self._archive_waiting and self._archive_oldest else 0.0

    def longest_write_s(self) -> float:
        """Return how long the oldest write in progress has waited (seconds)."""
        now = time.monotonic()
        return now - min(list(self._writes.values()), default=now)

    def liveness(self) -> str:
        """Return why a restart would help; empty if it would not, whether the store is there or not."""
        now = time.monotonic()
        if (silent := now - self._heartbeat_tried_at) > HUNG_S:
            return f"no heartbeat has been tried for {silent:.0f} s"
        if (
            self._heartbeat_taken_at is None
            or self._loop_at is None
            or now - self._heartbeat_taken_at > STALE_S
            or self.longest_write_s() > WAITS_S
        ):
            return ""
        silent = now - max(self._loop_at, self._store_blocked_until)
        return (
            f"the store answers, but the recorder has not looked for tasks for {silent:.0f} s"
            if silent > HUNG_S
            else ""
        )

    def warnings(self) -> list[str]:
        """Return problems that do not stop recording, but need an administrator."""
        if not self._archive_is_failing or not self._archive_waiting:
            return []
        recordings = "1 recording waits" if self._archive_waiting == 1 else f"{self._archive_waiting} recordings wait"
        age = duration_text(self.archive_waits_s())
        return [f"{recordings} to be archived, the oldest for {age}: attempts fail, the log says why"]

    def readiness(self) -> list[str]:
        """Return what keeps the process from recording."""
        now = time.monotonic()
        problems = []
        if self._heartbeat_taken_at is None:
            problems.append("the store has not taken a heartbeat yet")
        elif now - self._heartbeat_taken_at > STALE_S:
            problems.append(f"the store has not taken a heartbeat for {now - self._heartbeat_taken_at:.0f} s")
        if (waits_s := self.longest_write_s()) > WAITS_S:
            problems.append(f"nothing has been recorded for {waits_s:.0f} s{self._refusal and f': {self._refusal}'}")
        if self._loop_at is not None and now - self._looked_at > LOOKED_S:
            problems.append(f"the recorder has not looked for tasks for {now - self._looked_at:.0f} s")
        problems += [
            f"{f'namespace {namespace} is' if namespace else 'all namespaces are'} skipped: {message}"
            for namespace, message in self.refused_namespaces.items()
        ]
        return problems + [
            f"{path} are not watched for {now - since:.0f} s"
            for path, since in self._lost_watches.items()
            if now - since > UNSEEN_S
        ]
