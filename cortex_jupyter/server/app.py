"""The extension itself: its routes, its start and its stop."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.extension.application import ExtensionApp

from cortex_jupyter._version import __version__
from cortex_jupyter.cluster import kinds
from cortex_jupyter.errors import BadQuery, CortexError, MissingExtra
from cortex_jupyter.model.task import check_namespace
from cortex_jupyter.server.base import NotFoundHandler
from cortex_jupyter.server.clusters import (
    ClusterNamespacesHandler,
    ClustersHandler,
    ClusterTasksHandler,
    check_clusters,
)
from cortex_jupyter.server.download import DownloadHandler
from cortex_jupyter.server.logs import LogsHandler
from cortex_jupyter.server.openapi import OpenApiHandler
from cortex_jupyter.server.recording import MetricsHandler, OutlineHandler, PatternsHandler, RanksHandler, SearchHandler
from cortex_jupyter.server.search import TasksSearchHandler
from cortex_jupyter.server.service import Service
from cortex_jupyter.server.settings import Settings
from cortex_jupyter.server.static import StaticHandler
from cortex_jupyter.server.stream import StreamHandler
from cortex_jupyter.server.tasks import NamespacesHandler, TaskHandler, TasksHandler
from cortex_jupyter.server.view import ViewHandler
from cortex_jupyter.store.configuration import TRAITS, setting_problems
from cortex_jupyter.store.masking import requested_masking
from cortex_jupyter.telemetry import logs, tracing

_TASK = r"cortex/tasks/([^/]+)/([^/]+)/([^/]+)"


class CortexJupyter(Settings, ExtensionApp):
    """The logs of Kubernetes tasks, for pages and programs: `GET {base_url}cortex/...`.

    It is an ExtensionApp because Jupyter Server stops only those; an extension that is a function is not stopped. This one
    holds open streams and connections to the cluster.
    """

    name = "cortex_jupyter"
    app_name = "cortex-jupyter"
    description = __doc__
    extension_url = "/cortex/tasks"
    load_other_extensions = True

    def initialize_settings(self) -> None:
        """Create the service, and write our version into the page configuration, so that pages need not probe for us."""
        logs.begin(alone=False)
        tracing.begin("cortex-jupyter-server")
        self.service = Service(self)
        self.services = {name: Service(self, name, self.service) for name in self.clusters}
        if self.mask is not None:
            os.environ["CORTEX_MASK"] = str(int(self.mask))  # for kernels, which start recorders without this server
        problems = self._setting_problems()
        for service in (self.service, *self.services.values()):
            service.problem = next(iter(problems), None)  # the error of each request
        for problem in problems:
            self.log.critical("No task can be read: %s", problem, extra={"code": problem.code})
        try:
            requested_masking(wish=self.mask)
        except MissingExtra as error:
            self.log.critical("Nothing will be recorded: %s", error)  # each request fails with the same error
        except BadQuery:
            pass  # one of the problems
        if self.audit_target:
            try:
                self.service.audit_log()
            except CortexError as error:
                self.log.critical("No task can be read: %s", error)  # each request fails with the same error
        assert self.serverapp is not None
        # Each request fails with the same error, but nobody may ask for days. In a thread, when the server runs.
        self.serverapp.io_loop.add_callback(asyncio.to_thread, self.service.try_store)
        page: dict[str, Any] = self.serverapp.web_app.settings.setdefault("page_config_data", {})
        page["cortexJupyter"] = __version__

    def _setting_problems(self) -> list[CortexError]:
        """Return what is wrong with our settings, and pass those on that kernels and recorders need."""
        problems: list[CortexError] = []
        try:
            if self.kinds:
                os.environ[kinds.SETTING] = kinds.as_setting(self.kinds)
            for namespace in self.namespaces:
                check_namespace(namespace)
            check_clusters(self)
        except CortexError as error:
            problems.append(error)
        return [*problems, *setting_problems({name: getattr(self, name) for name in TRAITS})]

    def service_of(self, cluster: str) -> Service:
        """Return the service of a cluster; of the server if it has only one, which has no name."""
        return self.services[cluster] if cluster else self.service

    def initialize_handlers(self) -> None:
        """Add the routes; Jupyter Server puts its base URL before them."""
        routes: list[tuple[Any, ...]] = [
            (r"cortex/namespaces", NamespacesHandler),
            (r"cortex/tasks", TasksHandler),
            (_TASK, TaskHandler),
            (rf"{_TASK}/logs", LogsHandler),
            (rf"{_TASK}/outline", OutlineHandler),
            (rf"{_TASK}/search", SearchHandler),
            (rf"{_TASK}/metrics", MetricsHandler),
            (rf"{_TASK}/patterns", PatternsHandler),
            (rf"{_TASK}/ranks", RanksHandler),
            (rf"{_TASK}/logs\.(ndjson|txt|parquet)", DownloadHandler),
            (r"cortex/search", TasksSearchHandler),
            (r"cortex/stream", StreamHandler),
            (r"cortex/view", ViewHandler),
        ]
        if self.clusters:
            routes = [
                *(
                    (f"cortex/clusters/{re.escape(name)}/{path[len('cortex/') :]}", handler, {"cluster": name})
                    for name in self.clusters
                    for path, handler in routes
                ),
                (r"cortex/namespaces", ClusterNamespacesHandler),
                (r"cortex/tasks", ClusterTasksHandler),
                (r"cortex/view", ClustersHandler),
            ]
        self.handlers.extend(
            [
                *routes,
                (r"cortex/openapi\.json", OpenApiHandler),
                (r"cortex/static/([^/]+)", StaticHandler),
                (r"cortex(?:/.*)?", NotFoundHandler),
            ]
        )

    def note_activity(self) -> None:
        """Tell Jupyter Server that it is in use."""
        assert self.serverapp is not None
        self.serverapp.web_app.settings["last_activity_times"]["cortex_jupyter"] = utcnow()

    async def stop_extension(self) -> None:
        """End every stream and close the cluster's connections and the store."""
        await asyncio.gather(*(service.close() for service in (*self.services.values(), self.service)))
