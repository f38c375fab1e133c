"""What our own processes say of themselves: log messages, Prometheus metrics and OpenTelemetry traces."""
