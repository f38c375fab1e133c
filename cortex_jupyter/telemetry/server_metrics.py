"""What a server tells of itself in Jupyter Server's own `/metrics`; see `telemetry.recorder_metrics` for the recorders' part."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.telemetry.buckets import BUCKETS

STREAMS: Final = Gauge("cortex_streams", "Streams open to readers")
SENT: Final = Counter("cortex_sent_bytes_total", "Bytes of events sent to readers")
LAG: Final = Histogram(
    "cortex_delivery_lag_seconds",
    "From a line's time, as its node stamped it, to its being sent to a reader; of lines recorded since the reader came",
    buckets=BUCKETS,
)
REFUSED: Final = Counter("cortex_refused_total", "Requests and streams answered with an error, by its code", ["code"])
#: Codes of what is our fault, and nobody's who asks: a bug, and a process of ours that ended early.
CRASHES: Final = ("InternalError", "MetricsFailed", "SearchFailed")
for _crash in CRASHES:
    REFUSED.labels(_crash)  # from the first on: a rate counts nothing when a series begins with 1


def refused(code: str) -> None:
    """Count an error that is told."""
    REFUSED.labels(code).inc()


def sent(size: int, oldest: int | None) -> None:
    """Count what went out together; of its batches the first has waited longest, and stands for all.

    Parameters
    ----------
    size : int
        Bytes of the events.
    oldest : int or None
        Time of the last line of the first batch that was recorded since the reader came, ns since the epoch; None
        where there is none.
    """
    SENT.inc(size)
    if oldest is not None:
        LAG.observe(max(0.0, time.time() - oldest / 1e9))
