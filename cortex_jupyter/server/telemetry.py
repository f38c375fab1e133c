"""What a server tells of itself in Jupyter Server's own `/metrics`; see `recording.process.telemetry` for the recorders' part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

from cortex_jupyter.recording.process.buckets import BUCKETS

if TYPE_CHECKING:
    from cortex_jupyter.recording.reading.feed import Frame

STREAMS: Final = Gauge("cortex_streams", "Streams open to readers")
SENT: Final = Counter("cortex_sent_bytes_total", "Bytes of events sent to readers")
LAG: Final = Histogram(
    "cortex_delivery_lag_seconds",
    "From a line's time, as its node stamped it, to its being sent to a reader; of lines recorded since the reader came",
    buckets=BUCKETS,
)
REFUSED: Final = Counter("cortex_refused_total", "Requests and streams answered with an error, by its code", ["code"])


def sent(frame: Frame, since: int) -> None:
    """Count a frame.

    Parameters
    ----------
    frame : Frame
    since : int
        The last number that was recorded when the reader came.
    """
    SENT.inc(len(frame.body))
    if frame.event == "log" and frame.entry.seq > since:
        LAG.observe(max(0.0, time.time() - frame.entry.t_max / 1e9))
