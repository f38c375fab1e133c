"""A recorder's Prometheus metrics. `docs/monitoring.py` makes the dashboard and the alert rules from this list.

Names and units follow https://prometheus.io/docs/practices/naming/. No label holds a task, a pod or a line: their number is
unbounded, and a user who may read metrics may not be allowed to read logs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.errors import CortexError
from cortex_jupyter.telemetry.metrics import BUCKETS, keep_old_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cortex_jupyter.model import Entry

LINES: Final = Counter("cortex_jupyter_lines_total", "Lines recorded")
BYTES: Final = Counter("cortex_jupyter_bytes_total", "Bytes of lines recorded, as the cluster sent them")
#: Why lines are lost: `recorder.losses` says it in words.
LOSS_REASONS: Final = (
    "rotated",
    "run_unseen",
    "pod_unseen",
    "end_unread",
    "line_limit",
    "task_limit",
    "namespace_limit",
    "store_memory",
    "store_rollback",
    "store_emptied",
)
GAPS: Final = Counter(
    "cortex_jupyter_gaps_total", "How often lines were found missing, or were trimmed, by reason", ["reason"]
)
LOST: Final = Counter(
    "cortex_jupyter_lines_lost_total",
    "Lines that were trimmed or lost, by reason, where their number is known",
    ["reason"],
)
COMMIT: Final = Histogram("cortex_jupyter_commit_seconds", "How long a commit of one batch took", buckets=BUCKETS)
LAG: Final = Histogram(
    "cortex_jupyter_recording_lag_seconds",
    "From a line's time, as its node stamped it, to its commit; only lines written since the recorder took the task",
    buckets=BUCKETS,
)
QUEUE: Final = Gauge("cortex_jupyter_queue_bytes", "Bytes read from the cluster and not yet committed")
UNCOMMITTED: Final = Gauge(
    "cortex_jupyter_uncommitted_seconds",
    "For how long the store has not accepted the current batch; it grows while nothing is recorded",
)
TASKS: Final = Gauge("cortex_jupyter_tasks", "Tasks that this recorder records now")
SOURCES: Final = Gauge("cortex_jupyter_sources", "Runs of containers that this recorder reads now")
WAITING: Final = Gauge(
    "cortex_jupyter_waiting_streams",
    "Logs that wait for their turn, because this recorder reads as many as it may (--streams, --streams-per-node)",
)
REFUSED_NAMESPACES: Final = Gauge(
    "cortex_jupyter_refused_namespaces", "Namespaces that this collector skips, because it lacks a right there"
)
DELAYED: Final = Counter(
    "cortex_jupyter_line_limit_wait_seconds_total",
    "How long lines waited because a task writes more of them a second than its namespace's quota allows; * is for namespaces that no quota names",
    ["namespace"],
)
RECONNECTS: Final = Counter(
    "cortex_jupyter_reconnects_total", "Log streams opened again for a run that was read before"
)
LEASES: Final = Counter(
    "cortex_jupyter_leases_total", "Tasks taken, finished, handed over, and lost to another recorder", ["change"]
)
STORE: Final = Gauge("cortex_jupyter_store_bytes", "Bytes that recordings take in the store")
BUDGET: Final = Gauge("cortex_jupyter_store_budget_bytes", "Bytes that recordings may take in the store")
NAMESPACE_BYTES: Final = Gauge(
    "cortex_jupyter_namespace_bytes",
    "Bytes that the recordings of a namespace with a quota take; * is the one that uses most, of those that no quota names",
    ["namespace"],
)
NAMESPACE_QUOTA: Final = Gauge(
    "cortex_jupyter_namespace_quota_bytes", "Bytes that the recordings of a namespace may take", ["namespace"]
)
#: Why completed recordings leave a store: see `store.retention.RetentionResult`.
REMOVAL_REASONS: Final = ("age", "size", "memory", "namespace_age", "namespace_size")
REMOVED: Final = Counter(
    "cortex_jupyter_recordings_removed_total",
    f"Completed recordings that left the store, by reason: {', '.join(REMOVAL_REASONS)}",
    ["reason"],
)
ARCHIVE_WAITING: Final = Gauge("cortex_jupyter_archive_waiting", "Completed recordings that wait to be archived")
ARCHIVE_OLDEST: Final = Gauge(
    "cortex_jupyter_archive_oldest_waiting_seconds", "How long ago the first recording ended that waits to be archived"
)
ARCHIVE_FAILURES: Final = Counter(
    "cortex_jupyter_archive_failures_total", "Attempts to archive a completed recording that failed"
)
BEAT: Final = Gauge("cortex_jupyter_heartbeat_timestamp_seconds", "When the store last took this recorder's heartbeat")
ERRORS: Final = Counter("cortex_jupyter_errors_total", "Errors, by their code", ["code"])
# A rate ignores a series that begins with 1, so the series that alerts watch exist from the start, with 0.
for _reason in LOSS_REASONS:
    GAPS.labels(_reason)
    LOST.labels(_reason)
for _reason in REMOVAL_REASONS:
    REMOVED.labels(_reason)
ERRORS.labels("InternalError")
LEASES.labels("lost")
keep_old_names(
    LINES, BYTES, GAPS, COMMIT, LAG, QUEUE, UNCOMMITTED, TASKS, SOURCES, RECONNECTS, LEASES, STORE, BUDGET, BEAT, ERRORS
)


def count_commit(entries: Iterable[Entry], size: int, seconds: float, since: int) -> None:
    """Count a commit.

    Parameters
    ----------
    entries : iterable of Entry
        The committed entries.
    size : int
        Size of their lines (bytes).
    seconds : float
        How long the commit took.
    since : int
        When the recorder took the task (ns since the Unix epoch).
    """
    COMMIT.observe(seconds)
    BYTES.inc(size)
    for entry in entries:
        if entry.event == "log":
            LINES.inc(entry.n)
            if entry.t_max > since:
                LAG.observe(max(0.0, time.time() - entry.t_max / 1e9))


def set_namespace_bytes(use: Mapping[str, tuple[int, int]]) -> None:
    """Set the bytes in use and allowed, by namespace; a namespace that has no quota any more is no label any more."""
    for metric, values in ((NAMESPACE_BYTES, 0), (NAMESPACE_QUOTA, 1)):
        for label in _quota_labels - use.keys():
            metric.remove(label)
        for label, pair in use.items():
            metric.labels(label).set(pair[values])
    _quota_labels.clear()
    _quota_labels.update(use)


_quota_labels: Final[set[str]] = set()


def count_error(error: BaseException) -> None:
    """Count an error by its code. An error that is not a `CortexError` is a bug: `InternalError`."""
    ERRORS.labels(error.code if isinstance(error, CortexError) else "InternalError").inc()
