"""Requests about a whole recording, below `cortex/tasks/NAMESPACE/KIND/NAME/`: `outline`, `search`, `metrics` and the like."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.analysis.recording_metrics import measured, patterned, ranked
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.outline_json import outline
from cortex_jupyter.reader.search import matches, parse_search
from cortex_jupyter.server.base import Handler
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording


class OutlineHandler(Handler):
    """The number of a recording's lines over time, for scroll bar and histogram."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with JSON."""
        arguments = self.arguments()
        for argument in arguments:
            if argument not in ("bins", "levels"):
                raise BadQuery(f"there is no parameter {argument[:60]!r}", "parameters are bins, levels")
        recording = await self.find(namespace, kind, name)
        self.reply(orjson.dumps(await outline(recording, arguments.get("bins"), levels="levels" in arguments)))


class SearchHandler(StreamingHandler):
    """The matches of a filter in a whole recording, newest first, as an event stream."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with an event stream. The work ends when the reader goes."""
        query = self.service.app.bounded(parse_search(self.arguments()))
        recording = await self.find(namespace, kind, name)
        await check_names(recording, query)
        if query.before is not None:
            (await recording.info()).check(query.before)
        await self.events(self._search(recording, query), recording.ref)

    async def _search(self, recording: Recording, query: LogQuery) -> AsyncGenerator[bytes]:
        async with self.service.searches.slot(self.service.user(self)), aclosing(matches(recording, query)) as pieces:
            async for piece in pieces:
                yield piece


class _AnalysisHandler(StreamingHandler):
    """The base of handlers that analyse a whole recording, and answer with an event stream."""

    #: What is answered, and the function that does so.
    what = ""
    events_of: Callable[[Recording, float], AsyncGenerator[bytes]]

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with an event stream. The work ends when the reader goes."""
        for argument in self.arguments():
            raise BadQuery(
                f"there is no parameter {argument[:60]!r}", f"the {self.what} of the whole recording take no parameters"
            )
        recording = await self.find(namespace, kind, name)
        await self.events(type(self).events_of(recording, self.service.app.max_query_s), recording.ref)


class MetricsHandler(_AnalysisHandler):
    """The metrics of a whole recording, for a chart."""

    what = "metrics"
    events_of = staticmethod(measured)


class PatternsHandler(_AnalysisHandler):
    """The patterns of a recording's lines, and the commonest values of their fields."""

    what = "patterns"
    events_of = staticmethod(patterned)


class RanksHandler(_AnalysisHandler):
    """The ranks of a distributed task: a strip of each one's progress over time."""

    what = "ranks"
    events_of = staticmethod(ranked)
