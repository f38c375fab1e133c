"""What all handlers share: who may ask, how a query is read, how an error is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web

from cortex_jupyter.errors import BadQuery, CortexError, NotFound, OtherCluster
from cortex_jupyter.model import TaskRef
from cortex_jupyter.query.language import SEVERAL, LogQuery
from cortex_jupyter.server.discreet import Discreet
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cortex_jupyter.model import Cursor
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.server.service import Service

#: The header in which a page says whose tasks it asks for; see `Connection.origin`.
ORIGIN: Final = "X-Cortex-Origin"
#: Arguments that belong to Jupyter Server and may stand in any URL.
_JUPYTERS: Final = frozenset({"token", "_xsrf", "no_track_activity"})


class Handler(ExtensionHandlerMixin, Discreet, APIHandler):
    """A handler below `cortex/`; each error it raises becomes `{"error": {code, message, hint}}` with its status."""

    auth_resource = "cortex-jupyter"
    # Reading logs does not keep an idle server alive; see `CortexJupyter.keep_alive_while_following`.
    _track_activity = False

    span = tracing.Span()
    _code = ""  # of the error that is answered

    async def prepare(self) -> None:  # type: ignore[override]  # as the base has it
        """Begin the request's span before anything is checked: what is refused is seen too."""
        asked = self.request
        described = {
            "http.request.method": asked.method, "http.route": self.route, "url.path": asked.path, "url.scheme": asked.protocol,
        }  # fmt: skip
        self.span = tracing.open_span(f"{asked.method} {self.route}", described, carrier=asked.headers)
        self.span.make_current()
        await super().prepare()

    def on_finish(self) -> None:
        """End it; that of a stream lasts as long as the stream."""
        super().on_finish()
        status = self.get_status()
        self.span.set({"http.response.status_code": status})
        if status >= 500:  # noqa: PLR2004 - https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status
            self.span.fail(self._code or str(status))
        self.span.end()

    @property
    def service(self) -> Service:
        """What the handlers of one server share."""
        service: Service = self.extensionapp.service
        return service

    def arguments(self, *several: str) -> dict[str, Any]:
        """Give the query's arguments, each given once but those of `SEVERAL`, which may come as a list.

        Parameters
        ----------
        *several : str
            Names that may be given several times; they are left out.

        Raises
        ------
        BadQuery
            Another one is given twice: which holds would be a guess.
        """
        found: dict[str, Any] = {}
        for name in self.request.query_arguments:
            if name in _JUPYTERS or name in several:
                continue
            values = self.get_query_arguments(name, strip=False)  # a space counts in `grep`
            if len(values) > 1 and name not in SEVERAL:
                raise BadQuery(f"{name!r} is given {len(values)} times", f"give {name} once")
            found[name] = values if len(values) > 1 else values[0]
        return found

    def query(self, arguments: dict[str, Any], since: str, allowed: frozenset[str]) -> LogQuery:
        """Read a query, within what this server allows.

        Parameters
        ----------
        arguments : dict
        since : str
            Where it is not given.
        allowed : frozenset of str
            The names that may occur.

        Raises
        ------
        BadQuery
        """
        return self.service.app.bounded(LogQuery.parse(arguments, default_since=since, allowed=allowed))

    def reference(self, namespace: str, kind: str, name: str) -> TaskRef:
        """Read the task in a path; the kind `task` or `-` leaves the kind open.

        Raises
        ------
        BadQuery
            It names no task.
        """
        return TaskRef.parse(f"{namespace}:{name}" if kind in ("task", "-") else f"{namespace}:{kind}/{name}")

    async def check_cluster(self) -> None:
        """Refuse a page whose kernel reads another cluster or store than this server: a task of the same name is another one.

        Raises
        ------
        OtherCluster
        """
        origin = self.request.headers.get(ORIGIN)
        if origin and origin != (await self.service.recordings()).origin:
            raise OtherCluster("this Jupyter server reads another cluster or store than the kernel")

    async def find(self, namespace: str, kind: str, name: str, cursor: Cursor | None = None) -> Recording:
        """Find the task of a path, and have it recorded; see `Service.find`."""
        ref = self.reference(namespace, kind, name)
        await self.check_cluster()
        return await self.service.find(ref, self.current_user, cursor)

    def reply(self, body: bytes) -> Awaitable[None]:
        """Answer with JSON; what is given back is done when the reader has been sent all of it."""
        self.set_header("Cache-Control", "no-store")
        return self.finish(body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error in the form of the contract, never with a traceback."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, CortexError) and error.retry_s is not None:
            self.set_header("Retry-After", error.retry_s)
        body = self.refusal(status_code, error)
        self._code = body["code"]
        self.finish(orjson.dumps({"error": body}))


class NotFoundHandler(Handler):
    """Everything else below `cortex/`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Say what there is."""
        raise NotFound(
            "there is no such address", "GET cortex/tasks, cortex/tasks/NAMESPACE/KIND/NAME[/logs], cortex/stream"
        )
