"""What a failing request leaves in the server's log: its method, its route, what kind of error; no name, no query, no text."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

#: What stands in addresses beside names.
_ALONE: Final = ("tasks", "stream", "view", "openapi.json")
_OF_TASKS: Final = ("logs", "outline", "search", "metrics", "logs.ndjson", "logs.txt", "logs.parquet")


class Discreet(JupyterHandler):
    """A handler that keeps the query of a request, where the server's token may stand, out of the server's log.

    Jupyter Server blanks tokens in its line for each request, but leaves errors to Tornado, which writes the whole address.
    """

    @property
    def route(self) -> str:
        """What is asked for, without names."""
        return route(self.request.path.removeprefix(self.base_url))

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
