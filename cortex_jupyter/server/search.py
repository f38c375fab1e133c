"""`GET cortex/tasks/NAMESPACE/KIND/NAME/search`: a filter over a whole recording, newest matches first, as an event stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.server.names import check_names
from cortex_jupyter.server.searching import asked, matches
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from cortex_jupyter.parsing.query import LogQuery
    from cortex_jupyter.recording.reading import Recording


class SearchHandler(StreamingHandler):
    """A search of one task's recording."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with an event stream; it ends when the reader goes."""
        query = asked(self.arguments())
        recording = await self.service.find(self.reference(namespace, kind, name))
        await check_names(recording, query)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")
        await self.until_closed(self._run(recording, query))

    async def _run(self, recording: Recording, query: LogQuery) -> None:
        with self.service.streaming():
            await self.flush()  # the headers: a reader knows that it is heard
            async with aclosing(matches(recording, query)) as pieces:
                async for piece in pieces:
                    self.write(piece)
                    await self.flush()
