"""What a server tells of itself in Jupyter Server's own `/metrics`; see `recording.process.telemetry` for the recorders' part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.recording.process.buckets import BUCKETS

if TYPE_CHECKING:
    from cortex_jupyter.recording.reading.frame import Burst

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


def sent(burst: Burst, since: int) -> None:
    """Count what went out together; of its batches the first has waited longest, and stands for all.

    Parameters
    ----------
    burst : Burst
    since : int
        The last number that was recorded when the reader came.
    """
    SENT.inc(len(burst.events))
    for frame in burst.frames:
        if frame.event == "log" and frame.seq > since:
            LAG.observe(max(0.0, time.time() - frame.t_max / 1e9))
            break
