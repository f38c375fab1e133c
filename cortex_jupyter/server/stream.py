"""`GET cortex/stream?task=REF&task=REF...`: a page follows all its tasks over one connection.

Browsers open six connections to a host, so six open streams would freeze JupyterLab (architecture.md, "Sending").
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery, CortexError, TooMany
from cortex_jupyter.model import Cursor, TaskRef
from cortex_jupyter.query.language import NAMES
from cortex_jupyter.reader.event_stream import Slot
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.window import Window, at_most
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery

_ALLOWED = frozenset(NAMES) - {"limit", "before", "after", "timestamps", "pretty"} | {"cursor", "task", "most"}


class StreamHandler(StreamingHandler):
    """The events of several tasks. Each event has the key of its task and the cursors of all tasks."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with events until the last task has ended."""
        arguments = self.arguments("task")
        query = self.query(arguments, "1m", _ALLOWED)
        tasks = self.get_query_arguments("task")
        if not tasks:
            raise BadQuery("no task is named", "write stream?task=job/train-1&task=...")
        max_tasks = self.service.app.max_tasks_per_stream
        if len(tasks) > max_tasks:
            raise TooMany(
                f"{len(tasks)} tasks are more than the {max_tasks} of one stream",
                "open a second stream, or raise CortexJupyter.max_tasks_per_stream",
            )
        cursors = self.resume(arguments.get("cursor"))
        if len(cursors) > len(tasks):
            raise BadQuery(
                f"there are {len(cursors)} cursors for {len(tasks)} tasks",
                "give one cursor for each task, in the same order",
            )
        cursors += [None] * (len(tasks) - len(cursors))
        await self.check_cluster()
        pairs = zip(tasks, cursors, strict=True)
        max_records = at_most(arguments.get("most"))
        slots = await asyncio.gather(*(self._slot(task, query, cursor, max_records) for task, cursor in pairs))
        if len(slots) == 1 and slots[0].error is not None:
            raise slots[0].error
        for slot in slots:
            if slot.error is not None:
                self.refuse_read(slot.task_name, slot.error.code)
        await self.stream(slots)

    async def _slot(self, name: str, query: LogQuery, cursor: Cursor | None, max_records: int | None) -> Slot:
        slot = Slot(name, cursor="" if cursor is None else str(cursor))
        try:
            recordings = await self.service.recordings()
            recording = await self.service.find(TaskRef.parse(name, recordings.namespace), self, cursor)
            await check_names(recording, query)
            slot.window = await Window.open(recording, query, cursor, max_records)
        except CortexError as error:
            slot.error = error
        return slot
