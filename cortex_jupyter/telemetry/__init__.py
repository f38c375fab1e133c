"""Log messages, Prometheus metrics and OpenTelemetry traces of our own processes."""

from typing import Final

#: Histogram buckets in seconds, from a commit to an outage. Recorder and server share them without each other's metrics.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
