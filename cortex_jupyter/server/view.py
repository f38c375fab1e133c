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
from cortex_jupyter.errors import CortexError, OtherCluster, TooMany
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
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
#: Age (seconds) of a list that the page may show at first; its script asks for a newer one.
_LIST_AGE_S: Final = 2
_COLUMNS: Final = ("state", "status", "restarts", "started", "finished", "exit_code", "pods")


class ViewHandler(ExtensionHandlerMixin, AuditedHandler):
    """A page for a browser. A user who is not signed in gets the login page, and errors are pages too."""

    auth_resource = "cortex-jupyter"
    namespace = ""  # the server's own, once it is known

    def set_default_headers(self) -> None:
        """Forbid everything that the page does not need."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Cache-Control", "no-store")

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the viewer of the tasks in the address, or with a list of tasks."""
        service: Service = self.extensionapp.service
        recordings = await service.recordings()
        self.namespace = recordings.namespace
        tasks = self.get_query_arguments("task")
        max_tasks = service.app.max_tasks_per_stream
        if len(tasks) > max_tasks:
            hint = "open a second page, or raise CortexJupyter.max_tasks_per_stream"
            raise TooMany(f"{len(tasks)} tasks are more than the {max_tasks} of one page", hint)
        if not tasks or self.get_query_argument("search", ""):
            await self._list(recordings)
            return
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
        title = ", ".join(ref.name for ref in refs)
        self._page(title, '<main class="cl-page"></main>', self._script("page.js", page_config))

    async def _list(self, session: Session) -> None:
        """Answer with the list of tasks. Where the browser runs scripts, they keep it fresh, and search in the tasks."""
        service: Service = self.extensionapp.service
        [task, *_] = [*self.get_query_arguments("task"), ""]
        named = self.get_query_argument("namespace", "") or (task.partition(":")[0] if ":" in task else "")
        namespace = named or session.namespace
        service.allow(check_namespace(namespace))
        person, selector = service.person(self.current_user), self.get_query_argument("selector", "")
        (rows, problem), _ = await service.lists.read(session, namespace, selector, person, _LIST_AGE_S)
        self.begin_reads()
        script = self._script("tasks.js", {"cortexNamespace": session.namespace})
        self._page(f"Tasks in {namespace}", _table(namespace, rows, problem), script, ("page.css", "tasks.css"))

    def _script(self, name: str, config: dict[str, Any]) -> str:
        """Return a script of ours and its configuration as HTML."""
        # Reading it sets the XSRF cookie, whose value JupyterHub wants in each request of the page.
        _ = self.xsrf_token
        page_config = {"baseUrl": self.base_url, "cortexJupyter": __version__, **config}
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
        body = f'<main class="plain list"><h1>{escape(message)}</h1><p>{escape(hint)}</p><p><a href="view">All tasks</a></p></main>'
        # A namespace that cannot be read has its page too: there the user chooses another one.
        # Not `get_query_arguments`, which fails again where an argument is no text, and writes it into the log.
        is_list = "task" not in self.request.query_arguments or "search" in self.request.query_arguments
        is_refused = isinstance(error, CortexError) and bool(self.namespace)
        script = self._script("tasks.js", {"cortexNamespace": self.namespace}) if is_list and is_refused else ""
        self._page(f"{self.get_status()} · {message}", body, script, ("page.css", "tasks.css"))


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
