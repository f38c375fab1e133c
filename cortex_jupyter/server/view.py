"""`GET cortex/view?task=REF&...`: the viewer as a page of its own; without a task, a list of tasks and a search in them.

The pages' scripts (js/src/hosts/page.ts and tasks.ts) read the other parameters. The page has no inline script or style, so its content security
policy can be strict.
"""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from jupyter_server.auth.decorator import authorized
from jupyter_server.extension.handler import ExtensionHandlerMixin
from jupyter_server.utils import url_path_join
from tornado import web

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import CortexError, CursorNotHeld, NotAllowed, NotFound, OtherCluster, TaskNotFound, TooMany
from cortex_jupyter.model import TaskRef, check_namespace
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.state import unasked_list
from cortex_jupyter.server.auditing import AuditedHandler
from cortex_jupyter.server.static import address_of

if TYPE_CHECKING:
    from cortex_jupyter.reader.session import Session
    from cortex_jupyter.server.service import Service

#: The page's store runs as a worker from a blob: URL, and the code for charts and for panels is imported from others. Only a
#: script of the page can make such a URL.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' blob:; worker-src blob:; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
#: Age (seconds) of a list that the page may show at first; its script asks for a newer one.
_LIST_AGE_S: Final = 2
#: How long (seconds) a page that refuses a namespace may wait for those that the user may read.
_CHOICES_S: Final = 5.0
_LIST_SHEETS: Final = ("page.css", "tasks.css")
_COLUMNS: Final = ("state", "status", "restarts", "started", "finished", "exit_code", "pods")


class ViewHandler(ExtensionHandlerMixin, AuditedHandler):
    """A page for a browser. A user who is not signed in gets the login page, and errors are pages too."""

    auth_resource = "cortex-jupyter"
    namespace = ""  # the server's own, once it is known
    #: The namespace that is refused, and those that the user may read instead: None if they cannot be known.
    refused = ""
    choices: list[str] | None = None

    def set_default_headers(self) -> None:
        """Forbid everything that the page does not need."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Cache-Control", "no-store")

    def _named_tasks(self) -> list[str]:
        """Return nothing for the page that is shown first: a user without rights has not asked for anybody's lines."""
        return super()._named_tasks() if self.request.query_arguments.keys() & {"task", "namespace"} else []

    def get_login_url(self) -> str:
        """Return the address of the login page. Without one, a proxy in front has it, and the page says what is wrong."""
        if not self.identity_provider.login_available:
            raise web.HTTPError(403)
        return super().get_login_url()

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the viewer of the tasks in the address, or with a list of tasks."""
        service: Service = self._shared
        recordings = await service.recordings()
        self.namespace = recordings.namespace
        tasks = self.get_query_arguments("task")
        max_tasks = service.app.max_tasks_per_stream
        if len(tasks) > max_tasks:
            hint = "open a second page, or raise CortexJupyter.max_tasks_per_stream"
            raise TooMany(f"{len(tasks)} tasks are more than the {max_tasks} of one page", hint)
        is_list = not tasks or bool(self.get_query_argument("search", ""))
        [task, *_] = [*tasks, ""]
        named = self.get_query_argument("namespace", "") or (task.partition(":")[0] if ":" in task else "")
        try:
            if is_list:
                await self._list(recordings, named or recordings.namespace, recordings.namespace)
            else:
                await self._view(recordings, tasks)
        except (NotAllowed, NotFound) as error:
            if isinstance(error, (TaskNotFound, CursorNotHeld)):  # the namespace can be read
                raise
            await self._find_choices(recordings, named or self.namespace)
            if named or not is_list or not self.choices:
                raise
            # The namespace that the server shows first is not for this user. Show the only one that is, or let them choose.
            [choice, *more] = self.choices
            if more:
                self._choose(self.choices)
            else:
                await self._list(recordings, choice, choice)

    async def _view(self, recordings: Session, tasks: list[str]) -> None:
        """Answer with the viewer of some tasks."""
        service: Service = self._shared
        origin = self.get_query_argument("origin", "")
        if origin and origin != recordings.origin:
            hint = "show it in a notebook whose kernel reads that cluster, or start Jupyter with its KUBECONFIG and CORTEX_STORE"
            raise OtherCluster("this Jupyter server reads another cluster or store than the kernel of this link", hint)
        # The page itself knows no words such as `yesterday`.
        window = LogQuery.parse({name: self.get_query_argument(name, "") for name in ("since", "until")}).window()
        refs = [TaskRef.parse(task, recordings.namespace) for task in tasks]
        opened = await asyncio.gather(*(service.find(ref, self) for ref in refs))
        base = url_path_join(self.base_url, "cortex")
        page_config = {
            "cortexTasks": [recording.ref.key for recording in opened],
            "cortexWindow": window,
            "cortexScripts": {n: url_path_join(base, address_of(f"{n}.js")) for n in ("store", "charts", "panels")},
        }
        title = ", ".join(ref.name for ref in refs) + (f" · {self._cluster}" if self._cluster else "")
        self._page(title, '<main class="cl-page"></main>', self._script("page.js", page_config))

    async def _list(self, session: Session, namespace: str, first: str) -> None:
        """Answer with the list of tasks. Where the browser runs scripts, they keep it fresh, and search in the tasks.

        `first` is the namespace of an address that names none.
        """
        service: Service = self._shared
        service.allow(check_namespace(namespace))
        person, selector = service.person(self.current_user), self.get_query_argument("selector", "")
        (rows, problem), _ = await service.lists.read(session, namespace, selector, person, _LIST_AGE_S)
        self.begin_reads()
        script = self._script("tasks.js", {"cortexNamespace": first})
        self._page(f"Tasks in {namespace}", _table(namespace, rows, problem), script, _LIST_SHEETS)

    def _choose(self, namespaces: list[str]) -> None:
        """Answer with the namespaces that the user may read. A script goes on to the one that was chosen last."""
        self.begin_reads()
        body = f'<main class="plain list"><h1>Choose a namespace</h1>{_choices(namespaces)}</main>'
        script = self._script("tasks.js", {"cortexNamespace": "", "cortexNamespaces": namespaces})
        self._page("Choose a namespace", body, script, _LIST_SHEETS)

    async def _find_choices(self, session: Session, refused: str) -> None:
        """Find out which namespaces the user may read, for a page that refuses one."""
        service: Service = self._shared
        try:
            async with asyncio.timeout(_CHOICES_S):
                person = service.person(self.current_user)
                readable = await session.namespaces(person, service.app.namespaces or None)
        except TimeoutError:
            return  # the page's script asks again
        except CortexError:
            readable = None  # the page has the error that led to it
        self.refused = refused
        self.choices = None if readable is None else [name for name in readable if name != refused]

    def _script(self, name: str, config: dict[str, Any]) -> str:
        """Return a script of ours and its configuration as HTML."""
        # Reading it sets the XSRF cookie, whose value JupyterHub wants in each request of the page.
        _ = self.xsrf_token
        page_config = {"baseUrl": self.base_url, "cortexJupyter": __version__, **config}
        if self._cluster:
            page_config |= {"cortexCluster": self._cluster, "cortexPath": f"cortex/clusters/{self._cluster}/"}
        data = orjson.dumps(page_config).decode().replace("<", "\\u003c")
        base = url_path_join(self.base_url, "cortex")
        return (
            f'<script id="jupyter-config-data" type="application/json">{data}</script>'
            f'<script src="{base}/{address_of(name)}" defer></script>'
        )

    def _page(
        self, title: str, body: str, head: str = "", sheets: tuple[str, ...] = ("viewer.css", "page.css")
    ) -> None:
        base = url_path_join(self.base_url, "cortex")
        links = "".join(f'<link rel="stylesheet" href="{base}/{address_of(name)}">' for name in sheets)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title>{links}{head}</head><body>{body}</body></html>"
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error as a page."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        refusal = self.refusal(status_code, error)
        message, hint = refusal["message"], refusal["hint"]
        # Not `get_query_arguments`, which fails again where an argument is no text, and writes it into the log.
        arguments = self.request.query_arguments
        choices = _choices(self.choices) if self.refused else ""
        # Without a namespace to choose, and on the list that is shown first, the link would lead to the same page.
        leads_on = not self.refused or self.choices != []
        link = '<p><a href="view">All tasks</a></p>' if leads_on and arguments.keys() & {"task", "namespace"} else ""
        body = f'<main class="plain list"><h1>{escape(message)}</h1><p>{escape(hint)}</p>{choices}{link}</main>'
        # A namespace that cannot be read has its page too: there the user chooses another one.
        is_list = "task" not in arguments or "search" in arguments
        is_known = isinstance(error, CortexError) and bool(self.namespace)
        config: dict[str, Any] = {"cortexNamespace": self.namespace}
        if self.refused:
            config["cortexNamespaces"] = self.choices
        script = self._script("tasks.js", config) if is_list and is_known else ""
        self._page(f"{self.get_status()} · {message}", body, script, _LIST_SHEETS)


def _choices(namespaces: list[str] | None) -> str:
    """Return the namespaces that a user may read as HTML, or a field for the name of one, if they cannot be known.

    Examples
    --------
    >>> _choices(["ml"])
    '<p>You may read logs in:</p><ul class="choices"><li><a href="view?namespace=ml">ml</a></li></ul>'
    >>> _choices([])
    '<p>You may read logs in no other namespace of this cluster.</p>'
    """
    if namespaces is None:
        return (
            '<form action="view"><label>Tasks in namespace <input type="text" name="namespace" required></label> '
            '<button class="btn">Show</button></form>'
        )
    if not namespaces:
        return "<p>You may read logs in no other namespace of this cluster.</p>"
    items = "".join(f'<li><a href="view?namespace={quote(name)}">{escape(name)}</a></li>' for name in namespaces)
    return f'<p>You may read logs in:</p><ul class="choices">{items}</ul>'


def _table(namespace: str, tasks: list[dict[str, Any]], problem: CortexError | None = None) -> str:
    """Return the list of tasks as HTML, each with a link to its log, and why the cluster could not be asked.

    Examples
    --------
    >>> _table("ml", [])
    '<main class="plain list"><h1>Tasks in ml</h1><p>There are none.</p></main>'
    """
    rows = "".join(
        f'<tr><td><a href="view?task={quote(t["task"])}">{escape(t["task"])}</a></td>'
        + "".join(f'<td data-{c}="{escape(_cell(c, t[c]))}">{escape(_cell(c, t[c]))}</td>' for c in _COLUMNS)
        + "</tr>"
        for t in tasks
    )
    head = "".join(f"<th>{c.replace('_', ' ')}</th>" for c in ("task", *_COLUMNS))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if rows else "<p>There are none.</p>"
    why = "" if problem is None else f'<p role="alert">{escape(unasked_list(problem))}</p><p>{escape(problem.hint)}</p>'
    return f'<main class="plain list"><h1>Tasks in {escape(namespace)}</h1>{why}{table}</main>'


def _cell(column: str, value: object) -> str:
    text = "" if value is None else str(value)
    return text.replace("T", " ") if column in ("started", "finished") else text
