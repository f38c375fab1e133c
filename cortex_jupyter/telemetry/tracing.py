"""OpenTelemetry traces of how work begins and fails. Continuous work is counted by metrics instead.

Traces are made if the extra `[otel]` is installed and the environment asks for them in the usual way: with
`OTEL_TRACES_EXPORTER` (`otlp`, `console`), with `OTEL_EXPORTER_OTLP_ENDPOINT` and an exporter that you install, or with a
provider that is set already (`opentelemetry-instrument jupyter server`). Otherwise nothing is imported, and a span costs one
comparison. https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

OpenTelemetry's own no-op tracer would cost four times as much per span, and 18 ms of each import.

Attributes of spans are names, counts and codes. Their keys come from https://opentelemetry.io/docs/specs/semconv/, or begin with
`cortex.` if it has none. They contain no line, no query and no address with a password, and of an error only its code.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Attributes = Mapping[str, str | int | float | bool | None]

_log = logging.getLogger(__name__)

#: Variables that pass our trace on to a process that we start:
#: https://opentelemetry.io/docs/specs/otel/context/env-carriers/
_CARRIER_VARIABLES: Final = ("TRACEPARENT", "TRACESTATE")
_ENABLING: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: Exporters that `otlp` stands for; the first installed one is used.
_OTLP: Final = ("otlp", "otlp_proto_http", "otlp_proto_grpc")

_api: Any = None  # the module opentelemetry.trace while traces are made
_tracer: Any = None


def begin(service: str) -> None:
    """Start making traces in this process, if the environment asks for them.

    Parameters
    ----------
    service : str
        Name of this process if `OTEL_SERVICE_NAME` is not set.
    """
    is_asked_for = any(os.environ.get(name, "none") not in ("", "none") for name in _ENABLING)
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if _tracer is not None or off or not (is_asked_for or "opentelemetry.sdk" in sys.modules):
        return
    try:
        from opentelemetry import trace  # an extra

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # no provider is set yet
            _set_provider(trace, service)
    except (ImportError, LookupError) as error:
        _log.warning('No traces: %s; pip install "cortex-jupyter[otel]", and the exporter that OTEL_* names', error)
        return
    use(trace)


def use(api: Any, provider: Any = None) -> None:
    """Make spans with OpenTelemetry's module `trace` (None: stop), and with this provider instead of its global one."""
    global _api, _tracer
    _api, _tracer = api, None if api is None else (provider or api).get_tracer("cortex_jupyter", __version__)


def _set_provider(trace: Any, service: str) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource(service))
    for exporter in exporters("traces"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def resource(service: str) -> Any:
    """Return what OpenTelemetry says of this process; `service` is its name if `OTEL_SERVICE_NAME` is not set."""
    from opentelemetry.sdk.resources import Resource

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    return Resource.create({"service.version": __version__} | named)


def exporters(signal: str) -> list[Any]:
    """Return new exporters of a signal (`traces`, `logs`), as `OTEL_TRACES_EXPORTER` or `OTEL_LOGS_EXPORTER` names them.

    Raises
    ------
    LookupError
        One of them is not installed.
    """
    from importlib.metadata import entry_points

    installed = {point.name: point for point in entry_points(group=f"opentelemetry_{signal}_exporter")}
    found = []
    for name in (os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp").split(","):
        candidates = _OTLP if name.strip() == "otlp" else (name.strip(),)
        exporter = next((installed[c] for c in candidates if c in installed), None)
        if exporter is None:
            raise LookupError(f"there is no exporter {name.strip()!r}")
        found.append(exporter.load()())
    return found


class Span:
    """A span of a trace. Its methods do nothing while no traces are made."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        """Set attributes of the span, except for the ones that are None."""
        if self._span is not None:
            self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def event(self, name: str) -> None:
        """Add an event to the span, with the current time."""
        if self._span is not None:
            self._span.add_event(name)

    def fail(self, code: str) -> None:
        """Mark the span as failed, with the error's code."""
        if self._span is not None:
            self._span.set_attribute("error.type", code)
            self._span.set_status(_api.StatusCode.ERROR)

    def end(self) -> None:
        """End a span that `open_span` opened."""
        if self._span is not None:
            self._span.end()

    def make_current(self) -> None:
        """Make this the parent of the spans that this asyncio task, and the tasks it starts, open from now on."""
        if self._span is not None:
            from opentelemetry import context

            context.attach(_api.set_span_in_context(self._span))


_NONE: Final = Span()


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, carrier: Mapping[str, str] | None = None, ago_s: float = 0.0
) -> Iterator[Span]:
    """Open a span for the duration of a block. An exception marks it as failed, with the code alone.

    Parameters
    ----------
    name : str
    attributes : mapping, optional
    carrier : mapping, optional
        Headers, or an environment, with the trace to continue. Otherwise the parent is the current span.
    ago_s : float, optional
        The span began this many seconds ago.
    """
    if _tracer is None:
        yield _NONE
        return
    parent = _extract(carrier)
    start = time.time_ns() - int(ago_s * 1e9)
    with _tracer.start_as_current_span(
        name, parent, start_time=start, record_exception=False, set_status_on_exception=False
    ) as inner:
        outer = Span(inner)
        outer.set(attributes or {})
        try:
            yield outer
        except Exception as error:
            outer.fail(code_of(error))
            raise


def open_span(name: str, attributes: Attributes | None = None, *, carrier: Mapping[str, str] | None = None) -> Span:
    """Open a span for a request to our server; the caller ends it with `Span.end`."""
    if _tracer is None:
        return _NONE
    opened = Span(_tracer.start_span(name, _extract(carrier), kind=_api.SpanKind.SERVER))
    opened.set(attributes or {})
    return opened


def current_context() -> Any:
    """Return the current context, for `record_span` in another thread; None if no traces are made."""
    return None if _tracer is None else _api.set_span_in_context(_api.get_current_span())


def record_span(name: str, seconds: float, attributes: Attributes, parent: Any) -> None:
    """Record a span of work that has just ended.

    Parameters
    ----------
    name : str
    seconds : float
        How long the work took.
    attributes : mapping
    parent : object
        The return value of `current_context`.
    """
    if _tracer is None or parent is None:
        return
    now = time.time_ns()
    recorded = _tracer.start_span(name, parent, start_time=now - int(seconds * 1e9))
    Span(recorded).set(attributes)
    recorded.end(now)


def propagation_env() -> dict[str, str]:
    """Return the environment variables that let a process which we start continue our trace."""
    if _tracer is None:
        return {}
    from opentelemetry.propagate import inject  # an extra

    headers: dict[str, str] = {}
    inject(headers)
    return {name.upper(): value for name, value in headers.items() if name.upper() in _CARRIER_VARIABLES}


def carrier() -> dict[str, str]:
    """Return the trace context that this process was started with, as headers."""
    return {name.lower(): os.environ[name] for name in _CARRIER_VARIABLES if name in os.environ}


def code_of(error: BaseException) -> str:
    """Return the code of a `CortexError`, else the name of the error's type."""
    return error.code if isinstance(error, CortexError) else type(error).__name__


def _extract(carrier: Mapping[str, str] | None) -> Any:
    if not carrier:
        return None
    from opentelemetry.propagate import extract

    return extract(carrier)
