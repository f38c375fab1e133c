"""`python -m cortex_jupyter.server.hub`: the logs as a service of a JupyterHub, one process for all its users.

The Hub identifies the user (OAuth) and checks that the user's scopes include this service. The Hub starts the service and
sets its environment: https://jupyterhub.readthedocs.io/en/stable/reference/services.html
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cortex_jupyter.errors import CortexError, MissingExtra
from cortex_jupyter.server.logs_only import LogsServer, configuration, initialize

if TYPE_CHECKING:
    from traitlets.config import Config

#: How long the Hub's answer about a user is cached (seconds). Each open stream asks with every heartbeat, so not much less.
USER_CACHE_S: Final = 30


class HubServer(LogsServer):
    """A service of a JupyterHub."""

    name = "cortex-jupyter-hub"


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
    config = configuration(prefix, JupyterHubIdentityProvider)
    config.ServerApp.ip = address.hostname or ""
    config.ServerApp.port = address.port or 80
    # JupyterHub's default is five minutes. A user who has signed out or lost the role must be refused sooner.
    config.HubOAuth.cache_max_age = USER_CACHE_S
    return config


def main(argv: list[str] | None = None) -> None:
    """Serve until the process gets a signal."""
    try:
        config = settings()
    except CortexError as error:
        sys.exit(str(error))
    server = HubServer(config=config)
    initialize(server, argv)
    server.start()


if __name__ == "__main__":
    main()
