"""Several clusters of one server: `c.CortexJupyter.clusters`.

Each cluster has all addresses of a server below `cortex/clusters/NAME/`, with a `Service`, a session and access reviews of its
own. So no request can reach two clusters, and a task's name means the same there as in a server with one cluster. Here are
the addresses above them, which ask all clusters; one that does not answer does not hide the others. A task is called
`CLUSTER/NAMESPACE:KIND/NAME` there.
"""

from __future__ import annotations

import asyncio
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import BadQuery, ClusterUnreachable, CortexError
from cortex_jupyter.server.base import Handler
from cortex_jupyter.server.tasks import check_parameters, read_namespaces, read_tasks
from cortex_jupyter.server.view import ViewHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cortex_jupyter.server.service import Service
    from cortex_jupyter.server.settings import Settings

#: A name is a part of addresses and of references. It holds neither `/` nor `:`.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?\Z")
_OPTIONS: Final = ("kubeconfig", "context")
#: A cluster that has not answered for this long (seconds) is left out of a list of all.
_ANSWER_S: Final = 20.0


def check_clusters(settings: Settings) -> None:
    """Check the setting `clusters`.

    Raises
    ------
    BadQuery
    """
    for name, options in settings.clusters.items():
        if not _NAME.match(name):
            hint = "write lower-case letters, digits, '-' and '.', as in prod-1"
            raise BadQuery(f"CortexJupyter.clusters: {name[:80]!r} is no name of a cluster", hint)
        for key in options:
            if key not in _OPTIONS:
                raise BadQuery(f"CortexJupyter.clusters: {name} has {key[:80]!r}", f"write {' and '.join(_OPTIONS)}")
    for key in _OPTIONS:
        if settings.clusters and getattr(settings, key):
            raise BadQuery(
                f"CortexJupyter.{key} is set beside clusters",
                f"set the {key} of each cluster in CortexJupyter.clusters",
            )


def split_reference(reference: str) -> tuple[str, str]:
    """Return the cluster of a reference, "" if it names none, and the reference without it.

    Only what is before the namespace can be a cluster: a kind and a label have slashes too.

    Examples
    --------
    >>> split_reference("prod-1/ml:job/train-1"), split_reference("ml:job/train-1"), split_reference("-l a/b=c")
    (('prod-1', 'ml:job/train-1'), ('', 'ml:job/train-1'), ('', '-l a/b=c'))
    """
    namespace, colon, rest = reference.strip().partition(":")
    cluster, slash, namespace = namespace.rpartition("/")
    return (cluster, f"{namespace}:{rest}") if colon and slash else ("", reference)


async def ask_all(
    services: dict[str, Service], ask: Callable[[Service], Awaitable[dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Ask all clusters at the same time. The answer of one that fails is `{"problem": ...}`."""

    async def answer(name: str, service: Service) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await ask(service)
        except BadQuery:
            raise  # the same for all
        except CortexError as error:
            return {"problem": error.as_dict()}
        except TimeoutError:
            late = ClusterUnreachable(f"cluster {name!r} has not answered within {_ANSWER_S:g} s")
            return {"problem": late.as_dict()}

    answers = await asyncio.gather(*(answer(name, service) for name, service in services.items()))
    return dict(zip(services, answers, strict=True))


class ClusterTasksHandler(Handler):
    """The tasks of a namespace in all clusters."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List the tasks of all clusters, newest first, and the problem of each cluster that gave no answer."""
        arguments = self.arguments()
        services = self.extensionapp.services
        clusters = await ask_all(services, lambda service: read_tasks(service, arguments, self.current_user))
        rows = [
            row | {"task": f"{name}/{row['task']}", "cluster": name}
            for name, answer in clusters.items()
            for row in answer.pop("tasks", ())
        ]
        rows.sort(key=lambda row: row["started"] or "", reverse=True)
        self.reply(orjson.dumps({"tasks": rows, "clusters": clusters}))


class ClusterNamespacesHandler(Handler):
    """The namespaces whose tasks the user may read, in each cluster."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with their names by cluster, or with the reason why a cluster could not be asked."""
        check_parameters(self.arguments())
        services = self.extensionapp.services
        clusters = await ask_all(services, lambda service: read_namespaces(service, self.current_user))
        self.reply(orjson.dumps({"clusters": clusters}))


class ClustersHandler(ViewHandler):
    """A page with the clusters. An address that names tasks leads to the viewer of their cluster."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the page, or with the address of the viewer."""
        services: dict[str, Service] = self.extensionapp.services
        if references := self.get_query_arguments("task"):
            split = [split_reference(reference) for reference in references]
            clusters = {cluster for cluster, _ in split}
            if len(clusters) > 1:
                raise BadQuery("the tasks are of several clusters", "open a page for each cluster")
            [cluster] = clusters
            if cluster not in services:
                names = ", ".join(services)
                raise BadQuery(f"{references[0][:80]!r} names no cluster of this server", f"its clusters are {names}")
            # The server's own token has done its work: the answer sets a cookie.
            arguments = {n: self.get_query_arguments(n) for n in self.request.query_arguments if n != "token"}
            query = urlencode(arguments | {"task": [task for _, task in split]}, doseq=True)
            self.redirect(f"clusters/{cluster}/view?{query}")
            return
        answers = await ask_all(services, lambda service: read_namespaces(service, self.current_user))
        items = "".join(_item(name, answer.get("problem")) for name, answer in answers.items())
        self._page(
            "Clusters", f'<main class="plain list"><h1>Clusters</h1><ul>{items}</ul></main>', sheets=("page.css",)
        )


def _item(name: str, problem: dict[str, str] | None) -> str:
    """Return a cluster as an item of the page's list.

    Examples
    --------
    >>> _item("prod-1", None)
    '<li><a href="clusters/prod-1/view">prod-1</a></li>'
    """
    why = f' <span role="alert">cannot be asked: {escape(problem["message"])}</span>' if problem else ""
    return f'<li><a href="clusters/{quote(name)}/view">{escape(name)}</a>{why}</li>'
