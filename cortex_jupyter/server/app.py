"""The extension as Jupyter Server sees it: settings, routes, start and stop."""

from __future__ import annotations

import os
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Enum, Float, List, Unicode

from cortex_jupyter._version import __version__
from cortex_jupyter.errors import CortexError
from cortex_jupyter.server.base import NotFoundHandler
from cortex_jupyter.server.download import DownloadHandler
from cortex_jupyter.server.limits import Limits
from cortex_jupyter.server.logs import LogsHandler
from cortex_jupyter.server.metrics import MetricsHandler
from cortex_jupyter.server.openapi import OpenApiHandler
from cortex_jupyter.server.outline import OutlineHandler
from cortex_jupyter.server.search import SearchHandler
from cortex_jupyter.server.service import Service
from cortex_jupyter.server.static import StaticHandler
from cortex_jupyter.server.stream import StreamHandler
from cortex_jupyter.server.tasks import TaskHandler, TasksHandler
from cortex_jupyter.server.view import ViewHandler
from cortex_jupyter.store.masking import wished
from cortex_jupyter.telemetry import logs, tracing

_TASK = r"cortex/tasks/([^/]+)/([^/]+)/([^/]+)"


def _text(what: str) -> Unicode:
    """Give a setting that is empty where it is not set."""
    return Unicode("", help=what).tag(config=True)


class CortexJupyter(Limits, ExtensionApp):
    """The logs of Kubernetes tasks, for pages and programs: `GET {base_url}cortex/...`.

    An ExtensionApp and not a function, because only it is stopped with the server: it holds connections to the
    cluster and open streams.
    """

    name = "cortex_jupyter"
    app_name = "cortex-jupyter"
    description = __doc__
    extension_url = "/cortex/tasks"
    load_other_extensions = True

    store_url = _text(
        "Where recordings are kept, sqlite:///absolute/path or valkey://host; else CORTEX_STORE, else the user's data directory."
    )
    store_max_bytes = _text(
        "What recordings may take, such as 50GB; completed ones leave, the longest ended first. Else CORTEX_STORE_MAX_BYTES, else 20 GiB or a tenth of the disk, whichever is less."
    )
    store_max_age = _text(
        "How long after its end a task's recording is kept, such as 30d, which is the default; else CORTEX_STORE_MAX_AGE."
    )
    store_max_task_bytes = _text(
        "What the recording of a running task may take, such as 2GB: its oldest lines leave then, and a gap notice says so. Else CORTEX_STORE_MAX_TASK_BYTES, else there is no such bound."
    )
    archive_url = _text(
        "Where completed recordings are written as Parquet: a folder, s3://, gs:// or az://; else CORTEX_ARCHIVE. They leave the store only when they are there."
    )
    mask = Bool(
        None,
        allow_none=True,
        help="Whether tokens, keys, passwords and e-mail addresses are masked before lines are stored; holds for all who use the store; in a shared one `cortex-jupyter store set mask=on` does. Else CORTEX_MASK, else what was set before.",
    ).tag(config=True)
    kubeconfig = _text("Path of a kubeconfig; else KUBECONFIG, ~/.kube/config or the pod's own.")
    context = _text("The kubeconfig's context; else its current one.")
    namespaces = List(Unicode(), help="Namespaces whose tasks may be read; empty for all the cluster allows.").tag(
        config=True
    )
    access_for = Enum(
        ["server", "user"],
        "server",
        help="Whose right to `get pods/log` counts where recordings or archives are shared: this server's own (a single-user server, whose kernels have the same credentials), or that of each user who asks (a service for many).",
    ).tag(config=True)
    access_prefix = _text(
        "With access_for='user': what Kubernetes knows users and groups by before their names, as its --oidc-username-prefix."
    )
    access_each = Bool(
        default_value=False,
        help="Whether a task is shown only to who may also `get` the workload itself, so that RBAC's resourceNames count.",
    ).tag(config=True)
    task_label = _text("The label by which a launcher marks its workloads with its own task id.")
    heartbeat_s = Float(15.0, help="Seconds of silence after which a stream sends a comment.").tag(config=True)
    keep_alive_while_following = Bool(
        default_value=False,
        help="Whether a stream of a running task counts as activity, so that the idle server is not culled.",
    ).tag(config=True)

    def initialize_settings(self) -> None:
        """Make the service and tell pages that it is there, so that they need not probe."""
        logs.begin(alone=False)
        tracing.begin("cortex-jupyter-server")
        self.service = Service(self)
        if self.mask is not None:
            os.environ["CORTEX_MASK"] = str(int(self.mask))  # for kernels: they have tasks recorded without asking us
        try:
            wished(wish=self.mask)
        except CortexError as error:
            self.log.critical("Nothing will be recorded: %s", error)  # each request says the same
        assert self.serverapp is not None
        page: dict[str, Any] = self.serverapp.web_app.settings.setdefault("page_config_data", {})
        page["cortexJupyter"] = __version__

    def initialize_handlers(self) -> None:
        """Add the routes; Jupyter Server puts its base URL before them."""
        self.handlers.extend([
            (r"cortex/tasks", TasksHandler),
            (_TASK, TaskHandler),
            (rf"{_TASK}/logs", LogsHandler),
            (rf"{_TASK}/outline", OutlineHandler),
            (rf"{_TASK}/search", SearchHandler),
            (rf"{_TASK}/metrics", MetricsHandler),
            (rf"{_TASK}/logs\.(ndjson|txt|parquet)", DownloadHandler),
            (r"cortex/stream", StreamHandler),
            (r"cortex/openapi\.json", OpenApiHandler),
            (r"cortex/view", ViewHandler),
            (r"cortex/static/([^/]+)", StaticHandler),
            (r"cortex(?:/.*)?", NotFoundHandler),
        ])  # fmt: skip

    async def stop_extension(self) -> None:
        """End every stream and close the cluster's connections and the store."""
        await self.service.close()
