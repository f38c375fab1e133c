"""A server's Prometheus metrics, in Jupyter Server's own `/metrics`. For recorders, see `recorder_metrics`."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.telemetry.metrics import BUCKETS, keep_old_names

STREAMS: Final = Gauge("cortex_jupyter_streams", "Streams open to readers")
SENT: Final = Counter("cortex_jupyter_sent_bytes_total", "Bytes of events sent to readers")
LAG: Final = Histogram(
    "cortex_jupyter_delivery_lag_seconds",
    "From a line's time, as its node stamped it, until it is sent to a reader; only lines recorded since the reader came",
    buckets=BUCKETS,
)
REFUSED: Final = Counter(
    "cortex_jupyter_refused_total", "Requests and streams answered with an error, by its code", ["code"]
)
#: Codes of errors that are our fault, not the reader's: a bug, or a process of ours that ended early.
CRASHES: Final = ("InternalError", "MetricsFailed", "SearchFailed")
#: Codes of errors of the store: it refuses us, or is away or full.
STORE_ERRORS: Final = ("StoreBusy", "StoreError", "StoreFull", "StoreTooNew", "StoreUnreachable")
#: Code of the error that a reader gets if a limit of the server is reached (`server.limits`).
AT_LIMIT: Final = "LimitReached"
for _watched in (*CRASHES, *STORE_ERRORS, AT_LIMIT):
    REFUSED.labels(_watched)  # with 0 from the start, because a rate ignores a series that begins with 1
keep_old_names(STREAMS, SENT, LAG, REFUSED)


def count_refusal(code: str) -> None:
    """Count an error that a reader gets."""
    REFUSED.labels(code).inc()


def count_sent(size: int, oldest: int | None) -> None:
    """Count events that were sent together. Their first batch has waited longest, and only its lag is counted.

    Parameters
    ----------
    size : int
        Size of the events (bytes).
    oldest : int or None
        Time of the last line of the first batch that was recorded since the reader came (ns since the Unix epoch); None
        if no batch was.
    """
    SENT.inc(size)
    if oldest is not None:
        LAG.observe(max(0.0, time.time() - oldest / 1e9))
