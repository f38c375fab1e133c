"""The audit log of a server: each read of somebody's lines, and each refusal, whichever address it came to.

A read has two records: `started` before its first byte is sent, and `ended`. If the first cannot be written, nothing is
read. A refusal has one. docs/how-to/audit.md describes the fields.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cortex_jupyter.errors import AuditError, CortexError
from cortex_jupyter.server.redaction import RedactingHandler

if TYPE_CHECKING:
    from asyncio import Future

    from cortex_jupyter.model import TaskRef

_log = logging.getLogger(__name__)

#: Names that a request makes up are cut to this length.
_MAX_TEXT: Final = 300
#: Instead of a user's name: the server's own token has none, and Jupyter Server makes up another with each request.
_TOKEN_USER: Final = "(server token)"  # noqa: S105 - no secret


class AuditedRead:
    """One task that a request reads.

    Parameters
    ----------
    task : str
        The task's key.

    Attributes
    ----------
    lines, bytes : int or None
        What was sent of the task, if that is known.
    outcome : str
        The code of the error that ended it; "" if it ended as the request did.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.lines: int | None = None
        self.bytes: int | None = None
        self.outcome = ""


class AuditedHandler(RedactingHandler):
    """A handler whose reads are in the audit log. An answer without any `begin_reads` is refused while there is one."""

    #: False for addresses that answer with no line of a task.
    is_audited: ClassVar[bool] = True

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Begin the request. `cluster` is the name in its address, if the server has several clusters."""
        self._cluster: str = kwargs.pop("cluster", "")
        super().initialize(*args, **kwargs)
        self._reads: dict[str, AuditedRead] = {}
        self._has_audited = False
        self._request_id = uuid.uuid4().hex[:16]
        self._began_at = time.monotonic()
        self._sent_bytes = 0
        self._is_closed = False
        #: The code of an error that ended the answer after its first byte; `stopped` if the server stops.
        self.outcome = ""

    @property
    def _shared(self) -> Any:
        """The `Service` of the handlers of one cluster, which imports this module."""
        return self.extensionapp.service_of(self._cluster)  # type: ignore[attr-defined]  # of ExtensionHandlerMixin

    @property
    def _is_on(self) -> bool:
        return self.is_audited and bool(self._shared.app.audit_target)

    def begin_reads(self, *refs: TaskRef) -> None:
        """Record that the user may read these tasks and begins to. Call it before the first line is sent.

        Without a task it says that the answer has no lines.

        Raises
        ------
        AuditError
            The record cannot be written, so nothing may be read.
        """
        for ref in refs:
            if ref.key not in self._reads:
                if self._is_on:
                    self._write("started", ref.key)
                self._reads[ref.key] = AuditedRead(ref.key)
        self._has_audited = True

    def read_of(self, ref: TaskRef) -> AuditedRead:
        """Return what is recorded of a task that this request reads, to count what is sent of it."""
        return self._reads[ref.key]

    def refuse_read(self, task: str, code: str) -> None:
        """Record that one of several tasks may not, or cannot, be read."""
        self._has_audited = True
        if self._is_on:
            self._write_late("refused", task, outcome=code)

    def write(self, chunk: Any) -> None:
        """Write a part of the answer, and count it."""
        self._sent_bytes += len(chunk if isinstance(chunk, bytes) else str(chunk).encode())
        super().write(chunk)

    def flush(self, include_footers: bool = False) -> Future[None]:  # noqa: FBT001, FBT002 - the base class's signature
        """Send what was written, unless nothing of it was recorded."""
        if self._sent_bytes and not self._has_audited and self._status_code < 300 and self._is_on:
            raise AuditError("this address would answer without a record in the audit log")
        return super().flush(include_footers)

    def on_connection_close(self) -> None:
        """Note that the reader has gone."""
        self._is_closed = True
        super().on_connection_close()

    def on_finish(self) -> None:
        """Record how the reads ended, or that the request was refused."""
        super().on_finish()
        if not self._is_on:
            return
        status = self.get_status()
        outcome = self.outcome or ("closed" if self._is_closed else "complete" if status < 400 else str(status))
        if not self._reads and status >= 400:
            for task in self._named_tasks():
                self._write_late("refused", task, outcome=outcome, status=status)
        several = len(self._reads) > 1
        for read in self._reads.values():
            size = self._sent_bytes if read.bytes is None and not several else read.bytes
            self._write_late(
                "ended",
                read.task,
                outcome=read.outcome or outcome,
                status=status,
                lines=read.lines,
                bytes=size,
                request_bytes=self._sent_bytes,
                seconds=round(time.monotonic() - self._began_at, 3),
            )

    def refusal(self, status_code: int, error: BaseException | None) -> dict[str, str]:
        """Return the error to answer with, and note its code."""
        body = super().refusal(status_code, error)
        self.outcome = body["code"]
        return body

    def _named_tasks(self) -> list[str]:
        """Return the tasks that the address names, as it names them; a namespace if it names no task."""
        match getattr(self, "path_args", []):  # missing if the request was refused at once
            case [namespace, kind, name, *_]:
                return [f"{namespace}:{kind}/{name}"]
        arguments = self.request.query_arguments
        names = arguments.get("task") or [arguments.get("namespace", [b""])[0] + b":"]
        return [name.decode(errors="replace") for name in names]

    def _write_late(self, event: str, task: str, **fields: object) -> None:
        """Write a record about what has happened already: a failure cannot undo it."""
        try:
            self._write(event, task, **fields)
        except CortexError as error:
            _log.error("%s", error)

    def _write(self, event: str, task: str, **fields: object) -> None:
        service, user = self._shared, getattr(self, "_jupyter_current_user", None)  # missing until it was checked
        record: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "audit": "cortex-jupyter",
            "event": event,
            "request": self._request_id,
            "user": (service.user(self) or _TOKEN_USER) if user else None,
            "task": service.full_name(task)[:_MAX_TEXT],
            "way": f"{self.request.method} {self.route}",
            "from": self.request.remote_ip,
            "agent": self.request.headers.get("User-Agent", "")[:_MAX_TEXT],
        }
        service.audit_log().write(record | {name: value for name, value in fields.items() if value is not None})
