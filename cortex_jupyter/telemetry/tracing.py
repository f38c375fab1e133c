"""Traces for OpenTelemetry, of beginnings and of what fails; what goes on all the time is for metrics to tell.

They are made where the extra `[otel]` is installed and the environment asks for them, as everywhere with OpenTelemetry:
`OTEL_TRACES_EXPORTER` (`otlp`, `console`), `OTEL_EXPORTER_OTLP_ENDPOINT` with an exporter that you install, or a provider
that somebody has set (`opentelemetry-instrument jupyter server`). Else nothing is imported, and a span is one comparison.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

A span's attributes are names (those of https://opentelemetry.io/docs/specs/semconv/ where it has them, else `cortex.`), counts
and codes: no line, no query, no address with a password, and of an error its code alone.
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

#: By which a process that we start goes on with our trace: https://opentelemetry.io/docs/specs/otel/context/env-carriers/
_CARRIED: Final = ("TRACEPARENT", "TRACESTATE")
_ASKED: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: What `otlp` may mean, by which exporter is installed.
_OTLP: Final = ("otlp", "otlp_proto_http", "otlp_proto_grpc")

_api: Any = None  # opentelemetry.trace, where traces are made
_tracer: Any = None


def begin(service: str) -> None:
    """Make traces in this process from now on, where the environment asks for them.

    Parameters
    ----------
    service : str
        What this process is called where `OTEL_SERVICE_NAME` does not say.
    """
    asked = [value for name in _ASKED if (value := os.environ.get(name)) and value != "none"]
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if _tracer is not None or off or not (asked or "opentelemetry.sdk" in sys.modules):
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set one
            _provide(trace, service)
    except (ImportError, LookupError) as error:
        _log.warning('No traces: %s; pip install "cortex-jupyter[otel]", and the exporter that OTEL_* names', error)
        return
    use(trace)


def use(api: Any, provider: Any = None) -> None:
    """Make spans by an OpenTelemetry API (its module `trace`), of its provider or another; or none any more (None)."""
    global _api, _tracer
    _api, _tracer = api, None if api is None else (provider or api).get_tracer("cortex_jupyter", __version__)


def _provide(trace: Any, service: str) -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415

    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    known = {"service.version": __version__} | (
        {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    )
    provider = TracerProvider(resource=Resource.create(known))
    there = {point.name: point for point in entry_points(group="opentelemetry_traces_exporter")}
    for name in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        names = _OTLP if name.strip() == "otlp" else (name.strip(),)
        found = next((there[one] for one in names if one in there), None)
        if found is None:
            raise LookupError(f"there is no exporter {name.strip()!r}")
        provider.add_span_processor(BatchSpanProcessor(found.load()()))
    trace.set_tracer_provider(provider)


class Span:
    """What may be said of a span; nothing is done with it where no traces are made."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        """Give it attributes; None says nothing."""
        if self._span is not None:
            self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def event(self, name: str) -> None:
        """Note that something happens now."""
        if self._span is not None:
            self._span.add_event(name)

    def fail(self, code: str) -> None:
        """Note that it failed, and how."""
        if self._span is not None:
            self._span.set_attribute("error.type", code)
            self._span.set_status(_api.StatusCode.ERROR)

    def end(self) -> None:
        """End a span of `opened`."""
        if self._span is not None:
            self._span.end()

    def inside(self) -> None:
        """Have spans that this asyncio task and what it starts open from now on belong to it."""
        if self._span is not None:
            from opentelemetry import context  # noqa: PLC0415

            context.attach(_api.set_span_in_context(self._span))


_NONE: Final = Span()


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, carrier: Mapping[str, str] | None = None, ago: float = 0.0
) -> Iterator[Span]:
    """Have a span while a block runs; what it raises is noted, by its code alone.

    Parameters
    ----------
    name : str
    attributes : mapping, optional
    carrier : mapping, optional
        Headers or an environment that name the trace to go on with; else it belongs to the span around it.
    ago : float, optional
        So many seconds before it began.
    """
    if _tracer is None:
        yield _NONE
        return
    parent = _extracted(carrier)
    start = time.time_ns() - int(ago * 1e9)
    with _tracer.start_as_current_span(
        name, parent, start_time=start, record_exception=False, set_status_on_exception=False
    ) as inner:
        one = Span(inner)
        one.set(attributes or {})
        try:
            yield one
        except Exception as error:
            one.fail(code_of(error))
            raise


def opened(name: str, attributes: Attributes | None = None, *, carrier: Mapping[str, str] | None = None) -> Span:
    """Open a span of a request to us that `Span.end` ends."""
    if _tracer is None:
        return _NONE
    one = Span(_tracer.start_span(name, _extracted(carrier), kind=_api.SpanKind.SERVER))
    one.set(attributes or {})
    return one


def here() -> Any:
    """Give where we are in a trace, for `past` in another thread; None where no traces are made."""
    return None if _tracer is None else _api.set_span_in_context(_api.get_current_span())


def past(name: str, seconds: float, attributes: Attributes, at: Any) -> None:
    """Make a span of what has just been done, in so many seconds.

    Parameters
    ----------
    name : str
    seconds : float
    attributes : mapping
    at : object
        What `here` gave.
    """
    if _tracer is None or at is None:
        return
    now = time.time_ns()
    one = _tracer.start_span(name, at, start_time=now - int(seconds * 1e9))
    Span(one).set(attributes)
    one.end(now)


def carried() -> dict[str, str]:
    """Give what the environment of a process that we start has to say for it to go on with our trace."""
    if _tracer is None:
        return {}
    from opentelemetry.propagate import inject  # noqa: PLC0415

    found: dict[str, str] = {}
    inject(found)
    return {name.upper(): value for name, value in found.items() if name.upper() in _CARRIED}


def carrier() -> dict[str, str]:
    """Give what the environment says of a trace to go on with."""
    return {name.lower(): os.environ[name] for name in _CARRIED if name in os.environ}


def code_of(error: BaseException) -> str:
    """Give an error's code: ours have one, of others it is the type's name."""
    return error.code if isinstance(error, CortexError) else type(error).__name__


def _extracted(carrier: Mapping[str, str] | None) -> Any:
    if not carrier:
        return None
    from opentelemetry.propagate import extract  # noqa: PLC0415

    return extract(carrier)
