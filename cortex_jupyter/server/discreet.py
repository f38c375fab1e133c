"""What a failing request tells and leaves: the answer's words, a count, and in the server's log only method, route and kind of error."""

from __future__ import annotations

import logging
from http.client import responses
from typing import TYPE_CHECKING, Final

from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import CortexError
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

#: What stands in addresses beside names.
_ALONE: Final = ("tasks", "stream", "view", "openapi.json")
_OF_TASKS: Final = ("logs", "outline", "search", "metrics", "logs.ndjson", "logs.txt", "logs.parquet")

#: Jupyter's own refusals, in our words: code and hint by status.
_REFUSALS: Final = {
    400: ("BadQuery", "check the address"),
    403: ("NotAllowed", "ask for the right to read"),
    404: ("NotFound", "requests are answered only to pages of this server"),
    405: ("MethodNotAllowed", "logs are read: use GET"),
}


class Discreet(JupyterHandler):
    """A handler that keeps the query of a request, where the server's token may stand, out of the server's log.

    Jupyter Server blanks tokens in its line for each request, but leaves errors to Tornado, which writes the whole address.
    """

    @property
    def route(self) -> str:
        """What is asked for, without names."""
        return route(self.request.path.removeprefix(self.base_url))

    def refusal(self, status_code: int, error: BaseException | None) -> dict[str, str]:
        """Give code, message and hint of an error that is about to be answered; sets its status and counts it."""
        if isinstance(error, CortexError):
            self.set_status(error.status)
            body = error.as_dict()
        elif status_code in (401, 403) and not self.current_user:
            hint = "sign in again in another tab; a program sends the server's token: `Authorization: token ...`"
            body = {"code": "NotAllowed", "message": "Jupyter Server does not know who asks", "hint": hint}
        elif isinstance(error, web.HTTPError):
            code, hint = _REFUSALS.get(status_code, ("HTTPError", ""))
            body = {"code": code, "message": responses.get(status_code, "Refused"), "hint": hint}
        else:
            hint = "this is a bug of cortex-jupyter; the server's log says more"
            body = {"code": "InternalError", "message": "the server failed on this request", "hint": hint}
        server_metrics.count_refusal(body["code"])
        return body

    def log_exception(
        self,
        typ: type[BaseException] | None,  # noqa: ARG002 - as the base has it
        value: BaseException | None,
        tb: TracebackType | None,  # noqa: ARG002
    ) -> None:
        """Write what is the server's fault, and of what is answered to whoever asked only the kind."""
        method = self.request.method
        if isinstance(value, CortexError):
            _log.debug("%s %s is answered with %s", method, self.route, value.code)
        elif isinstance(value, web.HTTPError):  # its text may quote a piece of the address
            level = logging.WARNING if value.status_code >= 500 else logging.DEBUG  # noqa: PLR2004
            _log.log(level, "%s %s is answered with status %s", method, self.route, value.status_code)
        else:
            _log.error("%s %s failed", method, self.route, exc_info=value)
            # After the first byte there is no answer to tell it in, and that a reader has gone is no failure of ours.
            if self._headers_written and not isinstance(value, StreamClosedError):
                server_metrics.count_refusal("InternalError")


def route(path: str) -> str:
    """Give a path below the base URL without the names in it.

    Examples
    --------
    >>> route("cortex/tasks/ml/job/train-1/logs.parquet"), route("cortex/stream"), route("cortex/x/y")
    ('/cortex/tasks/{namespace}/{kind}/{name}/logs.parquet', '/cortex/stream', '/cortex/{other}')
    """
    first, *rest = path.removeprefix("cortex/").split("/")
    if first == "tasks" and len(rest) in (3, 4) and (len(rest) == 3 or rest[3] in _OF_TASKS):  # noqa: PLR2004
        return "/".join(["/cortex/tasks/{namespace}/{kind}/{name}", *rest[3:]])
    if first == "static" and len(rest) == 1:
        return "/cortex/static/{name}"
    return f"/cortex/{first}" if not rest and first in _ALONE else "/cortex/{other}"
