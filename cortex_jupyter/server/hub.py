"""`python -m cortex_jupyter.server.hub`: the logs as a service of a JupyterHub, one process for all its users.

The Hub identifies the user (OAuth) and checks that the user's scopes include this service. The Hub starts the service and
sets its environment, or whoever else starts it does so: https://jupyterhub.readthedocs.io/en/stable/reference/services.html
"""

from __future__ import annotations

import hmac
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
#: What a Hub tells a service that it starts. A service that it does not start gets the same from its administrator.
VARIABLES: Final = (
    "JUPYTERHUB_API_TOKEN",
    "JUPYTERHUB_API_URL",
    "JUPYTERHUB_CLIENT_ID",
    "JUPYTERHUB_SERVICE_NAME",
    "JUPYTERHUB_SERVICE_PREFIX",
    "JUPYTERHUB_SERVICE_URL",
)


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
        A variable is missing that a service of a Hub needs.
    """
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        hint = "the Hub sets them for a service with `command`; for one without, set them: docs/how-to/jupyterhub.md"
        verb = "is" if len(missing) == 1 else "are"
        raise CortexError(f"this process is no service of a JupyterHub: {', '.join(missing)} {verb} not set", hint)
    try:
        from jupyterhub.singleuser.extension import JupyterHubIdentityProvider  # an extra
    except ImportError as error:
        raise MissingExtra("jupyterhub is not installed", "pip install 'cortex-jupyter[hub]'") from error
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    config = configuration(os.environ["JUPYTERHUB_SERVICE_PREFIX"], JupyterHubIdentityProvider)
    # Users stay signed in when the service starts again. A new token signs them out.
    token = os.environ["JUPYTERHUB_API_TOKEN"].encode()
    config.ServerApp.cookie_secret = hmac.digest(token, b"cookies of the service", "sha256")
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
