"""`python -m cortex_jupyter.server.hub`: the logs as a service of a JupyterHub, one process for all its users.

It is a Jupyter server with nothing in it but this extension: no kernels, no files, no terminals, for what runs here has
the service's own rights. The Hub says who asks (OAuth, and whether their scopes reach this service), Kubernetes says
what they may read (`CortexJupyter.access_for`). The Hub starts it as a managed service and gives it its environment:
https://jupyterhub.readthedocs.io/en/stable/reference/services.html
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

from cortex_jupyter.errors import CortexError, MissingExtra
from cortex_jupyter.server.base import Handler

#: What the Hub says of a user holds so long, seconds. Each open stream asks with its heartbeat, so not much less.
HOLDS_S: Final = 30


class LogsOnly(Authorizer):
    """Whoever the Hub lets in may read logs, and do nothing else."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:  # noqa: ARG002 - as the base has it
        """Tell whether somebody may do something with something."""
        return resource == Handler.auth_resource and action == "read"


class LogsServer(ServerApp):
    """A Jupyter server that has logs and nothing else."""

    name = "cortex-jupyter-hub"
    default_services: tuple[str, ...] = ()  # type: ignore[assignment]  # the base's is as long as its default

    def find_server_extensions(self) -> None:
        """Load no other extension, whatever is enabled on this machine."""
        self.jpserver_extensions = {"cortex_jupyter": True}


def settings() -> Config:
    """Give the configuration that the Hub's environment says; the command line and configuration files come after it.

    Raises
    ------
    MissingExtra
        jupyterhub is not installed.
    CortexError
        This is no service of a Hub.
    """
    try:
        from jupyterhub.singleuser.extension import JupyterHubIdentityProvider  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("jupyterhub is not installed", "pip install 'cortex-jupyter[hub]'") from error
    url, prefix = os.environ.get("JUPYTERHUB_SERVICE_URL"), os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if not url or not prefix:
        hint = "add it to c.JupyterHub.services with `url` and `command`; docs/how-to/jupyterhub.md"
        raise CortexError("this is not a service that a JupyterHub has started", hint)
    address = urlsplit(url)
    config = Config()
    # The Hub's proxy hands on the name that the browser asked for, so any is let in (`allow_remote_access`). A page of
    # another site that has its own name lead here (DNS rebinding) gains nothing: nobody is let in for where they come
    # from, but by a token, or by a cookie that the Hub's OAuth set for the Hub's name and that goes to no other.
    config.ServerApp = Config(
        ip=address.hostname or "", port=address.port or 80, port_retries=0, base_url=prefix,
        default_url=url_path_join(prefix, "cortex", "view"), identity_provider_class=JupyterHubIdentityProvider,
        authorizer_class=LogsOnly, allow_unauthenticated_access=False, allow_remote_access=True, trust_xheaders=True,
        open_browser=False, root_dir=tempfile.mkdtemp(prefix="cortex-hub-"), reraise_server_extension_failures=True,
    )  # fmt: skip
    # Not JupyterHub's five minutes: who has logged out or lost the role is let in no longer than this.
    config.HubOAuth.cache_max_age = HOLDS_S
    config.CortexJupyter.access_for = "user"
    config.CortexJupyter.max_bytes_per_s = 32_000_000
    return config


def main(argv: list[str] | None = None) -> None:
    """Serve until it is told to stop."""
    try:
        config = settings()
    except CortexError as error:
        sys.exit(str(error))
    server = LogsServer(config=config)
    LogsServer._instance = server  # noqa: SLF001 - as launch_instance does, with a configuration of our own
    server.initialize(argv)
    server.start()


if __name__ == "__main__":
    main()
