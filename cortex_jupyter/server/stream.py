"""`GET cortex/stream?task=REF&task=REF...`: a page follows all its tasks over one connection.

Browsers open six connections to a host, and six open streams would freeze JupyterLab (`research/jupyter.md` section 0).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery, CortexError, TooMany
from cortex_jupyter.model import Cursor, TaskRef
from cortex_jupyter.query.language import NAMES
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.window import Window, at_most
from cortex_jupyter.server.sse import Slot
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery

_ALLOWED = frozenset(NAMES) - {"limit", "before", "after", "timestamps", "pretty"} | {"cursor", "task", "most"}


class StreamHandler(StreamingHandler):
    """The events of several tasks; each carries its task's key and all cursors."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Follow to the end of the last of them."""
        arguments = self.arguments("task")
        query = self.query(arguments, "1m", _ALLOWED)
        tasks = self.get_query_arguments("task")
        if not tasks:
            raise BadQuery("no task is named", "write stream?task=job/train-1&task=...")
        bound = self.service.app.max_tasks_per_stream
        if len(tasks) > bound:
            raise TooMany(
                f"{len(tasks)} tasks are more than the {bound} of one stream",
                "open a second stream, or raise CortexJupyter.max_tasks_per_stream",
            )
        cursors = self.resume(arguments.get("cursor"))
        if len(cursors) > len(tasks):
            raise BadQuery(
                f"there are {len(cursors)} cursors for {len(tasks)} tasks", "give one for each, in the same order"
            )
        cursors += [None] * (len(tasks) - len(cursors))
        await self.check_cluster()
        pairs = zip(tasks, cursors, strict=True)
        most = at_most(arguments.get("most"))
        slots = await asyncio.gather(*(self._slot(task, query, cursor, most) for task, cursor in pairs))
        if len(slots) == 1 and slots[0].error is not None:
            raise slots[0].error
        await self.stream(slots)

    async def _slot(self, asked: str, query: LogQuery, cursor: Cursor | None, most: int | None) -> Slot:
        slot = Slot(asked, cursor="" if cursor is None else str(cursor))
        try:
            recordings = await self.service.recordings()
            recording = await self.service.find(TaskRef.parse(asked, recordings.namespace), self.current_user, cursor)
            await check_names(recording, query)
            slot.window = await Window.open(recording, query, cursor, most)
        except CortexError as error:
            slot.error = error
        return slot
