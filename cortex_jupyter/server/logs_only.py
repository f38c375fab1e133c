"""A Jupyter server with the logs and nothing else, for many users: no kernels, files or terminals.

Anything that runs in it would have the service's own permissions. Another module says who the users are: `hub` asks a
JupyterHub, `oidc` reads the tokens of an OpenID Connect provider. Kubernetes decides what each of them may read (`access_for="user"`).
"""

from __future__ import annotations

import logging
import tempfile
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from traitlets.config import Config

from cortex_jupyter.server.base import Handler

if TYPE_CHECKING:
    from jupyter_server.auth.identity import IdentityProvider

    from cortex_jupyter.server.app import CortexJupyter

#: Bytes per second of one stream, search or download.
_MAX_BYTES_PER_S: Final = 32_000_000


class LogsOnly(Authorizer):
    """Lets every user who is signed in read logs, and do nothing else."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:  # noqa: ARG002 - the base class's signature
        """Return whether the user may do an action with a resource."""
        return resource == Handler.auth_resource and action == "read"


class LogsServer(ServerApp):
    """A Jupyter server with logs and nothing else."""

    default_services: tuple[str, ...] = ()  # type: ignore[assignment]  # the base declares a tuple of fixed length

    def find_server_extensions(self) -> None:
        """Load only our extension, whatever is enabled on this machine."""
        self.jpserver_extensions = {"cortex_jupyter": True}

    def start_app(self) -> None:
        """Start to serve, and log the address alone: Jupyter Server's own lines speak of kernels and of its token."""
        level = self.log.level
        self.log.setLevel(max(level, logging.WARNING))
        try:
            super().start_app()
        finally:
            self.log.setLevel(level)
        self.log.info("The service listens on http://%s:%s%s", self.ip or "*", self.port, self.base_url)


def configuration(base_url: str, identity_provider: type[IdentityProvider]) -> Config:
    """Return the configuration of such a server. The command line and configuration files override it."""
    config = Config()
    # A proxy in front passes on the host name of the browser's request, so any name is accepted (`allow_remote_access`).
    # DNS rebinding gains nothing: a request needs a token, or a cookie, which browsers send only to the proxy's own name.
    config.ServerApp = Config(
        port_retries=0,
        base_url=base_url,
        default_url=url_path_join(base_url, "cortex", "view"),
        identity_provider_class=identity_provider,
        authorizer_class=LogsOnly,
        allow_unauthenticated_access=False,
        allow_remote_access=True,
        trust_xheaders=True,
        open_browser=False,
        root_dir=tempfile.mkdtemp(prefix="cortex-logs-"),
        reraise_server_extension_failures=True,
    )
    config.CortexJupyter.access_for = "user"
    config.CortexJupyter.max_bytes_per_s = _MAX_BYTES_PER_S
    return config


def initialize(server: LogsServer, argv: list[str] | None) -> CortexJupyter:
    """Read the settings of a server and return our extension.

    A store that cannot be used, or a wrong setting of ours, is logged by the extension and is the answer to each request.
    The process stays: a JupyterHub ends when a service that it starts exits.
    """
    type(server)._instance = server  # noqa: SLF001 - launch_instance does the same, but takes no configuration
    server.initialize(argv)
    app: CortexJupyter
    (app,) = server.extension_manager.extension_apps["cortex_jupyter"]
    return app
