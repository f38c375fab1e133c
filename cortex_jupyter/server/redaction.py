"""Failed requests: the error in the answer, its count in our metrics, and a line without query or names in the server's log."""

from __future__ import annotations

import logging
from http.client import responses
from typing import TYPE_CHECKING, Final

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.prometheus.log_functions import prometheus_log_method
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import CortexError
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

#: The fixed parts of our addresses directly below `cortex/`.
_TOP_LEVEL: Final = ("namespaces", "tasks", "search", "stream", "view", "openapi.json")
#: The fixed parts of our addresses behind a task.
_OF_TASK: Final = (
    "logs",
    "outline",
    "search",
    "metrics",
    "patterns",
    "ranks",
    "logs.ndjson",
    "logs.txt",
    "logs.parquet",
)

#: Code and hint for refusals by Jupyter Server itself, by status.
_REFUSALS: Final = {
    400: ("BadQuery", "check the address"),
    403: ("NotAllowed", "ask for permission to read"),
    404: ("NotFound", "requests from pages of other sites are not answered"),
    405: ("MethodNotAllowed", "use GET"),
}


class RedactingHandler(JupyterHandler):
    """A handler that keeps a request's query, which may hold the server's token, out of the server's log.

    Jupyter Server removes tokens from its access log. But Tornado logs errors with the whole address.
    """

    _refused: dict[str, str] | None = None  # the error in the answer
    sign_in_problem: CortexError | None = None  # why the identity provider knows no user

    @property
    def route(self) -> str:
        """The request's path with placeholders instead of names."""
        return route(self.request.path.removeprefix(self.base_url))

    def refusal(self, status_code: int, error: BaseException | None) -> dict[str, str]:
        """Return code, message and hint of the error to answer with. Also set status and `Retry-After`, and count the error."""
        if self.sign_in_problem is not None:
            error = self.sign_in_problem
        if isinstance(error, CortexError):
            self.set_status(error.status)
            if error.retry_s is not None:
                self.set_header("Retry-After", error.retry_s)
            body = error.as_dict()
        elif status_code in (401, 403) and not self.current_user:
            hint = "sign in again in another tab; a program sends the server's token: `Authorization: token ...`"
            body = {"code": "NotAllowed", "message": "you are not signed in to Jupyter Server", "hint": hint}
        elif isinstance(error, web.HTTPError):
            code, hint = _REFUSALS.get(status_code, ("HTTPError", ""))
            body = {"code": code, "message": responses.get(status_code, "Refused"), "hint": hint}
        else:
            hint = "this is a bug of cortex-jupyter; the server's log says more"
            body = {"code": "InternalError", "message": "the server failed on this request", "hint": hint}
        server_metrics.count_refusal(body["code"])
        self._refused = body
        return body

    def _log(self) -> None:
        """Log a failed request with its reason; all other requests as Jupyter Server does.

        For a failure, Jupyter Server logs the headers of the request, and not what failed.
        """
        if self.get_status() < 500 or self._refused is None:
            super()._log()
            return
        code, message, hint = (self._refused[name] for name in ("code", "message", "hint"))
        reason = f"{message}; {hint}" if hint else message
        text = "%s %s is answered with %d after %.0f ms: %s"
        took_ms = 1000 * self.request.request_time()
        _log.error(text, self.request.method, self.route, self.get_status(), took_ms, reason, extra={"code": code})
        prometheus_log_method(self)  # type: ignore[no-untyped-call]

    def log_exception(
        self,
        typ: type[BaseException] | None,  # noqa: ARG002 - the base class's signature
        value: BaseException | None,
        tb: TracebackType | None,  # noqa: ARG002 - an override
    ) -> None:
        """Log failures of the server with their traceback, and errors of the request only by code or status."""
        method = self.request.method
        if isinstance(value, CortexError):
            _log.debug("%s %s is answered with %s", method, self.route, value.code)
        elif isinstance(value, web.HTTPError):  # its text may quote a part of the address
            level = logging.WARNING if value.status_code >= 500 else logging.DEBUG
            _log.log(level, "%s %s is answered with status %s", method, self.route, value.status_code)
        else:
            _log.error("%s %s failed", method, self.route, exc_info=value)
            # After the first byte, no answer counts the error. A closed connection is not our failure.
            if self._headers_written and not isinstance(value, StreamClosedError):
                server_metrics.count_refusal("InternalError")


def route(path: str) -> str:
    """Return a path below the base URL with placeholders instead of names.

    Examples
    --------
    >>> route("cortex/tasks/ml/job/train-1/logs.parquet"), route("cortex/stream"), route("cortex/x/y")
    ('/cortex/tasks/{namespace}/{kind}/{name}/logs.parquet', '/cortex/stream', '/cortex/{other}')
    >>> route("cortex/clusters/prod-1/tasks")
    '/cortex/clusters/{cluster}/tasks'
    """
    # A stranger's address may have thousands of parts, and none of ours has more than seven.
    prefix, (first, *rest) = "/cortex", path.removeprefix("cortex/").split("/", 8)
    if first == "clusters" and len(rest) > 1 and rest[1] != "clusters":
        prefix, (first, *rest) = "/cortex/clusters/{cluster}", rest[1:]
    if first == "tasks" and len(rest) in (3, 4) and (len(rest) == 3 or rest[3] in _OF_TASK):
        return "/".join([f"{prefix}/tasks/{{namespace}}/{{kind}}/{{name}}", *rest[3:]])
    if first == "static" and len(rest) == 1:
        return f"{prefix}/static/{{name}}"
    return f"{prefix}/{first}" if not rest and first in _TOP_LEVEL else f"{prefix}/{{other}}"
