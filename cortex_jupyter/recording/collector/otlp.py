"""Where a collector's traces go: what the environment says when its objects are printed (`OTEL_*`, see `cortex_jupyter.telemetry.tracing`)."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

#: The endpoint of traces counts before that of everything: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_OTHERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def endpoint_port() -> int | None:
    """Give the port of the endpoint, None where none is named."""
    url = next((value for name in _ENDPOINTS if (value := os.environ.get(name))), None)
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def variables() -> dict[str, str]:
    """Give what the collector has to be told to send there; headers, and what else may hold a password, are left out."""
    found = {name: value for name in (*_ENDPOINTS, *_OTHERS) if (value := os.environ.get(name))}
    return {name: value for name, value in found.items() if "@" not in value}
