"""`GET cortex/tasks/NAMESPACE/KIND/NAME/metrics`: the numbers that a whole recording reports, for a chart, as an event stream."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.analysis.recording_metrics import measured
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.server.streaming import StreamingHandler


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
