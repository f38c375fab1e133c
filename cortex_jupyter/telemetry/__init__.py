"""Log messages, Prometheus metrics and OpenTelemetry traces of our own processes."""
