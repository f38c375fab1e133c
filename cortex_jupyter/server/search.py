"""`GET cortex/tasks/NAMESPACE/KIND/NAME/search`: a filter over a whole recording, newest matches first, as an event stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.reader.names import check_names
from cortex_jupyter.reader.search import asked, matches
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording


class SearchHandler(StreamingHandler):
    """A search of one task's recording."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with an event stream; it ends when the reader goes."""
        query = self.service.app.bounded(asked(self.arguments()))
        recording = await self.find(namespace, kind, name)
        await check_names(recording, query)
        if query.before is not None:
            (await recording.info()).check(query.before)
        await self.events(self._in_turn(recording, query), recording.ref)

    async def _in_turn(self, recording: Recording, query: LogQuery) -> AsyncGenerator[bytes]:
        async with self.service.searches.turn(self.service.user(self)), aclosing(matches(recording, query)) as pieces:
            async for piece in pieces:
                yield piece
