"""The base of all handlers: access, parameters and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web

from cortex_jupyter.errors import BadQuery, NotFound, OtherCluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.query.language import SEVERAL, LogQuery
from cortex_jupyter.server.auditing import AuditedHandler
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cortex_jupyter.model import Cursor
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.server.service import Service

#: Header with which a page names the cluster and store of its tasks; see `Connection.origin`.
ORIGIN: Final = "X-Cortex-Origin"
#: Arguments of Jupyter Server itself, allowed in any URL.
_JUPYTER_ARGUMENTS: Final = frozenset({"token", "_xsrf", "no_track_activity"})


class Handler(ExtensionHandlerMixin, AuditedHandler, APIHandler):
    """A handler below `cortex/`. Each error it raises becomes `{"error": {code, message, hint}}` with the error's status."""

    auth_resource = "cortex-jupyter"
    # Reading logs does not keep an idle server alive; see `CortexJupyter.keep_alive_while_following`.
    _track_activity = False

    span = tracing.Span()

    async def prepare(self) -> None:  # type: ignore[override]  # async, as in the base class
        """Begin the request's trace span, before any check, so that refused requests are traced too."""
        request = self.request
        attributes = {
            "http.request.method": request.method,
            "http.route": self.route,
            "url.path": request.path,
            "url.scheme": request.protocol,
        }
        self.span = tracing.open_span(f"{request.method} {self.route}", attributes, carrier=request.headers)
        self.span.make_current()
        await super().prepare()

    def on_finish(self) -> None:
        """End the request's trace span. The span of a stream lasts as long as the stream."""
        super().on_finish()
        status = self.get_status()
        self.span.set({"http.response.status_code": status})
        if status >= 500:  # https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status
            self.span.fail(self._refused["code"] if self._refused else str(status))
        self.span.end()

    @property
    def service(self) -> Service:
        """The service that all handlers of one server share, or those of one of its clusters."""
        service: Service = self._shared
        return service

    def arguments(self, *several: str) -> dict[str, Any]:
        """Return the arguments of the URL's query by name. A repeated argument of `SEVERAL` becomes a list.

        Parameters
        ----------
        *several : str
            Names of other arguments that may be repeated. They are left out of the result.

        Raises
        ------
        BadQuery
            Another argument is repeated; to choose one of its values would be a guess.
        """
        arguments: dict[str, Any] = {}
        for name in self.request.query_arguments:
            if name in _JUPYTER_ARGUMENTS or name in several:
                continue
            values = self.get_query_arguments(name, strip=False)  # spaces matter in `grep`
            if len(values) > 1 and name not in SEVERAL:
                raise BadQuery(f"{name!r} is given {len(values)} times", f"give {name} once")
            arguments[name] = values if len(values) > 1 else values[0]
        return arguments

    def query(self, arguments: dict[str, Any], since: str, allowed: frozenset[str]) -> LogQuery:
        """Parse a query, and bound it by the limits of this server.

        Parameters
        ----------
        arguments : dict
        since : str
            The default of `since`.
        allowed : frozenset of str
            Names of the parameters that this address takes.

        Raises
        ------
        BadQuery
        """
        return self.service.app.bounded(LogQuery.parse(arguments, default_since=since, allowed=allowed))

    def reference(self, namespace: str, kind: str, name: str) -> TaskRef:
        """Parse the task in a path. The kind `task` or `-` stands for any kind.

        Raises
        ------
        BadQuery
            The path names no task.
        """
        return TaskRef.parse(f"{namespace}:{name}" if kind in ("task", "-") else f"{namespace}:{kind}/{name}")

    async def check_cluster(self) -> None:
        """Refuse a page whose kernel reads another cluster or store than this server.

        There, a task of the same name would be another task.

        Raises
        ------
        OtherCluster
        """
        origin = self.request.headers.get(ORIGIN) or self.get_query_argument("origin", "")
        if origin and origin != (await self.service.recordings()).origin:
            raise OtherCluster("this Jupyter server reads another cluster or store than the kernel")

    async def find(self, namespace: str, kind: str, name: str, cursor: Cursor | None = None) -> Recording:
        """Find the task of a path and request its recording; see `Service.find`."""
        ref = self.reference(namespace, kind, name)
        await self.check_cluster()
        return await self.service.find(ref, self, cursor)

    def reply(self, body: bytes) -> Awaitable[None]:
        """Answer with JSON. The result is done when everything has been sent to the reader."""
        self.set_header("Cache-Control", "no-store")
        return self.finish(body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error as documented (docs/reference/http.md), never with a traceback."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        body = self.refusal(status_code, error)
        self.finish(orjson.dumps({"error": body}))


class NotFoundHandler(Handler):
    """Answers all other addresses below `cortex/`."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with an error that lists the addresses."""
        root = "cortex/clusters/NAME" if self.service.app.clusters else "cortex"
        addresses = (f"{root}/tasks", f"{root}/tasks/NAMESPACE/KIND/NAME[/logs]", f"{root}/stream")
        raise NotFound("there is no such address", f"use GET {', '.join(addresses)}")
