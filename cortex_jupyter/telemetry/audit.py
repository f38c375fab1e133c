"""Where the audit log goes: standard error, a file, or OpenTelemetry logs. `server.auditing` says what is in it.

A record is a JSON object in one line. It has no text of a line, no query and no token.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import AuditError
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = "cortex_jupyter.audit"
_OTEL_HINT: Final = (
    'pip install "cortex-jupyter[otel]" "opentelemetry-sdk>=1.38", and the exporter that OTEL_LOGS_EXPORTER names'
)


class AuditLog(Protocol):
    """Takes records; safe to use from the event loop."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record.

        Raises
        ------
        AuditError
        """


def open_audit_log(target: str, service: str) -> AuditLog:
    """Open the audit log.

    Parameters
    ----------
    target : str
        `stderr`, `otel`, or the path of a file.
    service : str
        Name of this process in OpenTelemetry if `OTEL_SERVICE_NAME` is not set.

    Raises
    ------
    AuditError
        It cannot be written there.
    """
    if target == "stderr":
        return _Stderr()
    return _OpenTelemetry(service) if target == "otel" else _File(Path(target).expanduser().absolute())


class _Stderr:
    def write(self, record: Mapping[str, Any]) -> None:
        _write(sys.stderr.fileno(), record, "standard error")


class _File:
    """A file that only this user may read. Another program may rotate it: after it was moved away, the path is opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = self._open()

    def write(self, record: Mapping[str, Any]) -> None:
        try:
            is_current = os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            is_current = False
        if not is_current:
            fd = self._open()
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = fd
        _write(self._fd, record, str(self._path))

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditError(f"the audit log {self._path} cannot be opened: {error.strerror}") from error


def _write(fd: int, record: Mapping[str, Any], place: str) -> None:
    data = memoryview(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        raise AuditError(f"the audit log cannot be written to {place}: {error.strerror}") from error


class _OpenTelemetry:
    """Hands records to OpenTelemetry, which sends them later; see `tracing` for how exporters are found."""

    def __init__(self, service: str) -> None:
        try:
            from opentelemetry import _logs as api  # an extra
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

            provider: Any = api.get_logger_provider()
            if not isinstance(provider, LoggerProvider):  # no provider is set yet
                provider = LoggerProvider(tracing.resource(service))
                for exporter in tracing.exporters("logs"):
                    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
            self._logger: Any = provider.get_logger(_NAME, __version__)
            self._severity: Any = api.SeverityNumber.INFO
        except (ImportError, LookupError) as error:
            raise AuditError(f"the audit log cannot be sent to OpenTelemetry: {error}", _OTEL_HINT) from error
        if "body" not in inspect.signature(self._logger.emit).parameters:
            raise AuditError("the audit log cannot be sent to OpenTelemetry: its SDK is too old", _OTEL_HINT)

    def write(self, record: Mapping[str, Any]) -> None:
        self._logger.emit(
            severity_number=self._severity,
            event_name=f"cortex.audit.{record['event']}",
            body=orjson.dumps(record).decode(),
            attributes={f"cortex.audit.{name}": value for name, value in record.items() if value is not None},
        )
