"""`python -m cortex_jupyter.server.hub`: the logs as a service of a JupyterHub, one process for all its users.

The service is a Jupyter server with only this extension: no kernels, files or terminals, because anything that runs here
would have the service's own permissions. The Hub identifies the user (OAuth) and checks that the user's scopes include
this service. Kubernetes decides what the user may read (`CortexJupyter.access_for`). The Hub starts the service and sets
its environment: https://jupyterhub.readthedocs.io/en/stable/reference/services.html
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any, Final
from urllib.parse import urlsplit

from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from traitlets.config import Config

from cortex_jupyter.errors import CortexError, MissingExtra, StoreBusy
from cortex_jupyter.server.base import Handler

#: How long the Hub's answer about a user is cached (seconds). Each open stream asks with every heartbeat, so not much less.
USER_CACHE_S: Final = 30


class LogsOnly(Authorizer):
    """Lets every user whom the Hub lets in read logs, and do nothing else."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:  # noqa: ARG002 - the base class's signature
        """Return whether the user may do an action with a resource."""
        return resource == Handler.auth_resource and action == "read"


class LogsServer(ServerApp):
    """A Jupyter server with logs and nothing else."""

    name = "cortex-jupyter-hub"
    default_services: tuple[str, ...] = ()  # type: ignore[assignment]  # the base declares a tuple of fixed length

    def find_server_extensions(self) -> None:
        """Load only our extension, whatever is enabled on this machine."""
        self.jpserver_extensions = {"cortex_jupyter": True}


def settings() -> Config:
    """Return the configuration from the Hub's environment. The command line and configuration files override it.

    Raises
    ------
    MissingExtra
        jupyterhub is not installed.
    CortexError
        The process was not started as a service of a Hub.
    """
    try:
        from jupyterhub.singleuser.extension import JupyterHubIdentityProvider  # an extra
    except ImportError as error:
        raise MissingExtra("jupyterhub is not installed", "pip install 'cortex-jupyter[hub]'") from error
    url, prefix = os.environ.get("JUPYTERHUB_SERVICE_URL"), os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if not url or not prefix:
        hint = "add it to c.JupyterHub.services with `url` and `command`; docs/how-to/jupyterhub.md"
        raise CortexError("JupyterHub has not started this process: JUPYTERHUB_SERVICE_URL or _PREFIX is not set", hint)
    address = urlsplit(url)
    config = Config()
    # The Hub's proxy passes on the host name of the browser's request, so any name is accepted (`allow_remote_access`).
    # DNS rebinding gains nothing: a request needs a token, or the cookie of the Hub's OAuth, which browsers send only to
    # the Hub's own name.
    config.ServerApp = Config(
        ip=address.hostname or "",
        port=address.port or 80,
        port_retries=0,
        base_url=prefix,
        default_url=url_path_join(prefix, "cortex", "view"),
        identity_provider_class=JupyterHubIdentityProvider,
        authorizer_class=LogsOnly,
        allow_unauthenticated_access=False,
        allow_remote_access=True,
        trust_xheaders=True,
        open_browser=False,
        root_dir=tempfile.mkdtemp(prefix="cortex-hub-"),
        reraise_server_extension_failures=True,
    )
    # JupyterHub's default is five minutes. A user who has signed out or lost the role must be refused sooner.
    config.HubOAuth.cache_max_age = USER_CACHE_S
    config.CortexJupyter.access_for = "user"
    config.CortexJupyter.max_bytes_per_s = 32_000_000
    return config


def main(argv: list[str] | None = None) -> None:
    """Serve until the process gets a signal."""
    try:
        config = settings()
    except CortexError as error:
        sys.exit(str(error))
    server = LogsServer(config=config)
    LogsServer._instance = server  # noqa: SLF001 - launch_instance does the same, but takes no configuration
    server.initialize(argv)
    (app,) = server.extension_manager.extension_apps["cortex_jupyter"]
    # A store that is away comes back by itself. A wrong password does not, and whoever starts the service must see that.
    if (problem := app.service.try_store()) and not isinstance(problem, StoreBusy):
        sys.exit(f"cannot start the service: {problem}")
    server.start()


if __name__ == "__main__":
    main()
