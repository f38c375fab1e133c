"""`GET cortex/search`: a search in all tasks of a namespace, or in those that are named."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery, TooMany
from cortex_jupyter.model import check_namespace
from cortex_jupyter.reader.search import FILTERS
from cortex_jupyter.reader.task_search import SearchedTasks, parse_task_search, task_matches
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.query.language import LogQuery

_OF_TASKS: Final = ("namespace", "selector")


class TasksSearchHandler(StreamingHandler):
    """The newest matches in each of many tasks, as an event stream."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with an event stream. The work ends when the reader goes."""
        arguments = self.arguments("task")
        names = self.get_query_arguments("task")
        for name in arguments:
            if name not in FILTERS and name not in (*_OF_TASKS, "search", "lines"):
                hint = f"parameters are task, {', '.join(_OF_TASKS)}, search, lines and filters"
                raise BadQuery(f"there is no parameter {name[:60]!r}", hint)
        of_tasks = {name: arguments.pop(name, "") for name in _OF_TASKS}
        query, lines = parse_task_search(arguments)
        tasks = await self._tasks(names, **of_tasks)
        self.begin_reads(*tasks.refs)
        for name, error in tasks.failed:
            self.refuse_read(name, error.code)
        await self.events(self._search(tasks, self.service.app.bounded(query), lines), *tasks.refs)

    async def _tasks(self, names: list[str], namespace: str, selector: str) -> SearchedTasks:
        session = await self.service.recordings()
        if not names:
            namespace = namespace or session.namespace
            self.service.allow(check_namespace(namespace))
            return await SearchedTasks.of_namespace(
                session, namespace, selector, self.service.person(self.current_user)
            )
        if selector:
            raise BadQuery("both tasks and a selector are given", "give one of them")
        max_tasks = self.service.app.max_tasks_per_stream
        if len(names) > max_tasks:
            hint = "search in the whole namespace, or raise CortexJupyter.max_tasks_per_stream"
            raise TooMany(f"{len(names)} tasks are more than the {max_tasks} of one search", hint)
        find = partial(self.service.find, request=self)
        return await SearchedTasks.named(session, names, find, namespace)

    async def _search(self, tasks: SearchedTasks, query: LogQuery, lines: int) -> AsyncGenerator[bytes]:
        async with (
            self.service.searches.slot(self.service.user(self)),
            aclosing(task_matches(tasks, query, lines)) as pieces,
        ):
            async for piece in pieces:
                yield piece
