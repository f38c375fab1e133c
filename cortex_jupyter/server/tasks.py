"""`GET cortex/tasks` and `GET cortex/tasks/NAMESPACE/KIND/NAME`."""

from __future__ import annotations

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import checked_namespace
from cortex_jupyter.reader.task_list import describe_task, list_tasks
from cortex_jupyter.server.base import Handler


class TasksHandler(Handler):
    """The tasks of a namespace."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the tasks of the cluster, and deleted tasks that are still recorded or archived, newest first."""
        arguments = self.arguments()
        for name in arguments:
            if name not in ("namespace", "selector"):
                raise BadQuery(f"there is no parameter {name[:60]!r}", "parameters are namespace, selector")
        recordings = await self.service.recordings()
        namespace = arguments.get("namespace") or recordings.namespace
        self.service.allow(checked_namespace(namespace))
        person = self.service.person(self.current_user)
        rows, problem = await list_tasks(recordings, namespace, arguments.get("selector", ""), person)
        self.reply(orjson.dumps({"tasks": rows} | ({"problem": problem.as_dict()} if problem else {})))


class TaskHandler(Handler):
    """One task."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with the task's state, pods, events and what is recorded. This request does not start a recording."""
        for argument in self.arguments():
            raise BadQuery(f"there is no parameter {argument[:60]!r}", "this address has none")
        ref = self.reference(namespace, kind, name)
        self.service.allow(ref.namespace)
        person = self.service.person(self.current_user)
        self.reply(orjson.dumps(await describe_task(await self.service.recordings(), ref, person)))
