"""`GET cortex/namespaces`, `GET cortex/tasks` and `GET cortex/tasks/NAMESPACE/KIND/NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import check_namespace
from cortex_jupyter.reader.shared_lists import MAX_AGE_S
from cortex_jupyter.reader.task_list import describe_task, list_tasks
from cortex_jupyter.server.base import Handler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cortex_jupyter.server.service import Service


class NamespacesHandler(Handler):
    """The namespaces whose tasks the user may read."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with their names, or null if they cannot be listed, and the namespace that is shown by default."""
        check_parameters(self.arguments())
        self.reply(orjson.dumps(await read_namespaces(self.service, self.current_user)))


class TasksHandler(Handler):
    """The tasks of a namespace."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the tasks of the cluster, and deleted tasks that are still recorded or archived, newest first."""
        self.reply(orjson.dumps(await read_tasks(self.service, self.arguments(), self.current_user)))


async def read_namespaces(service: Service, user: Any) -> dict[str, Any]:
    """Return the answer to a request for the namespaces that a user may read."""
    session, person = await service.recordings(), service.person(user)
    names = await session.namespaces(person, service.app.namespaces or None)
    return {"namespaces": names, "default": session.namespace}


async def read_tasks(service: Service, arguments: Mapping[str, str], user: Any) -> dict[str, Any]:
    """Return the answer to a request for the tasks that a user may read."""
    check_parameters(arguments, "namespace", "selector", "max_age")
    recordings = await service.recordings()
    namespace = arguments.get("namespace") or recordings.namespace
    service.allow(check_namespace(namespace))
    person = service.person(user)
    max_age, selector = _max_age(arguments.get("max_age")), arguments.get("selector", "")
    if max_age:
        (rows, problem), rest_s = await service.lists.read(recordings, namespace, selector, person, max_age)
    else:
        rows, problem = await list_tasks(recordings, namespace, selector, person)
    body: dict[str, Any] = {"tasks": rows} | ({"problem": problem.as_dict()} if problem else {})
    return body | ({"rest_s": round(rest_s, 1)} if max_age else {})


def check_parameters(arguments: Iterable[str], *names: str) -> None:
    """Refuse other parameters than these.

    Raises
    ------
    BadQuery
    """
    for name in arguments:
        if name not in names:
            hint = f"parameters are {', '.join(names)}" if names else "this address has none"
            raise BadQuery(f"there is no parameter {name[:60]!r}", hint)


def _max_age(text: str | None) -> int:
    if text and not (text.isdecimal() and len(text) < 4 and int(text) <= MAX_AGE_S):
        raise BadQuery(f"max_age={text[:60]!r} is no number of seconds up to {MAX_AGE_S}", "write max_age=2")
    return int(text or 0)


class TaskHandler(Handler):
    """One task."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with the task's state, pods, events and what is recorded. This request does not start a recording."""
        check_parameters(self.arguments())
        ref = self.reference(namespace, kind, name)
        self.service.allow(ref.namespace)
        person = self.service.person(self.current_user)
        description = await describe_task(await self.service.recordings(), ref, person)
        self.begin_reads(ref)  # a termination message may be the end of a log
        self.reply(orjson.dumps(description))
