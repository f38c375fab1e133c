"""`GET cortex/tasks/NAMESPACE/KIND/NAME/outline`: how a recording's lines are spread over time, for scroll bar and histogram."""

from __future__ import annotations

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.reader.outline_json import outline
from cortex_jupyter.server.base import Handler


class OutlineHandler(Handler):
    """The outline of one task's recording."""

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
