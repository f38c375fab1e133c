"""`GET cortex/tasks/NAMESPACE/KIND/NAME/metrics`: the numbers that a whole recording reports, for a chart, as an event stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.query.bounds import QUERY_S
from cortex_jupyter.server.answers import Answers
from cortex_jupyter.server.process import EndedEarlyError, event
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.reader.recording import Recording

#: A piece of 65 536 lines takes a fraction of a second; on a machine that is busy, longer.
_DEAF_S: Final = 60.0


async def measured(recording: Recording, query_s: float = QUERY_S) -> AsyncGenerator[bytes]:
    """Give the events of `server.measurer.measure`, in pieces as they come, one process for all who ask meanwhile."""
    ask = {"store": recording.store.url, "recording": recording.id, "query_s": query_s}
    try:
        upto = (await recording.info()).last_seq
        async with aclosing(Answers.here().read("cortex_jupyter.server.measurer", ask, _DEAF_S, upto)) as pieces:
            async for piece in pieces:
                yield piece
    except CortexError as error:
        yield event("error", **error.as_dict())
    except (EndedEarlyError, OSError):  # a TimeoutError is one
        message = "the metrics could not be read to the end"
        yield event("error", code="MetricsFailed", message=message, hint="the server's log says why")


class MetricsHandler(StreamingHandler):
    """The metrics of one task's recording."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with an event stream; it ends when the reader goes."""
        for argument in self.arguments():
            raise BadQuery(f"there is no parameter {argument[:60]!r}", "metrics are of the whole recording")
        recording = await self.find(namespace, kind, name)
        await self.events(measured(recording, self.service.app.max_query_s), recording.ref)
