"""What a recorder tells of itself to Prometheus; the dashboard and the alert rules are made from this list.

Names and units follow https://prometheus.io/docs/practices/naming/. No label holds a task, a pod or a line: their number has
no bound, and who reads metrics need not be allowed to read logs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.errors import CortexError
from cortex_jupyter.telemetry.buckets import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cortex_jupyter.model import Entry

LINES: Final = Counter("cortex_lines_total", "Lines recorded")
BYTES: Final = Counter("cortex_bytes_total", "Bytes of lines recorded, as the cluster sent them")
GAPS: Final = Counter("cortex_gaps_total", "Gap notices: lines are missing, and the log says so")
COMMIT: Final = Histogram("cortex_commit_seconds", "How long a commit of one batch took", buckets=BUCKETS)
LAG: Final = Histogram(
    "cortex_recording_lag_seconds",
    "From a line's time, as its node stamped it, to its commit; of lines written since the recorder took the task",
    buckets=BUCKETS,
)
QUEUE: Final = Gauge("cortex_queue_bytes", "Bytes read from the cluster and not yet committed")
UNCOMMITTED: Final = Gauge(
    "cortex_uncommitted_seconds",
    "For how long the store has not taken the batch at hand; it grows while nothing is recorded",
)
TASKS: Final = Gauge("cortex_tasks", "Tasks that this recorder records now")
SOURCES: Final = Gauge("cortex_sources", "Runs of containers that it reads now")
RECONNECTS: Final = Counter("cortex_reconnects_total", "Log streams opened again for a run that had been read before")
LEASES: Final = Counter(
    "cortex_leases_total", "Tasks taken, finished, handed over, and lost to another recorder", ["change"]
)
STORE: Final = Gauge("cortex_store_bytes", "What recordings take in the store")
BUDGET: Final = Gauge("cortex_store_budget_bytes", "What they may take")
BEAT: Final = Gauge("cortex_heartbeat_timestamp_seconds", "When the store last took this recorder's heartbeat")
ERRORS: Final = Counter("cortex_errors_total", "Errors, by their code", ["code"])
# A rate counts nothing when a series begins with 1: of what an alert waits for there is one from the first on.
ERRORS.labels("InternalError")
LEASES.labels("lost")


def committed(entries: Iterable[Entry], size: int, seconds: float, since: int) -> None:
    """Count a commit.

    Parameters
    ----------
    entries : iterable of Entry
        What was written.
    size : int
        Bytes of its lines.
    seconds : float
        How long it took.
    since : int
        When the recorder took the task, ns since the epoch.
    """
    COMMIT.observe(seconds)
    BYTES.inc(size)
    for entry in entries:
        if entry.event == "log":
            LINES.inc(entry.n)
            if entry.t_max > since:
                LAG.observe(max(0.0, time.time() - entry.t_max / 1e9))
        elif entry.event == "gap":
            GAPS.inc()


def failed(error: BaseException) -> None:
    """Count an error by its code; what is none of ours is a bug."""
    ERRORS.labels(error.code if isinstance(error, CortexError) else "InternalError").inc()
