"""`python -m cortex_jupyter.server.oidc`: the logs for the users of an OpenID Connect provider, without a JupyterHub.

A proxy in front (oauth2-proxy, for example) signs users in, and passes on their ID token with each request; see `id_token`.
"""

from __future__ import annotations

import sys

from jupyter_server.serverapp import ServerApp

from cortex_jupyter.errors import CortexError
from cortex_jupyter.server.id_token import OpenIDConnect
from cortex_jupyter.server.logs_only import LogsServer, configuration, initialize


class OidcServer(LogsServer):
    """The logs for the users of an OpenID Connect provider."""

    name = "cortex-jupyter-oidc"
    classes = [*ServerApp.classes, OpenIDConnect]  # noqa: RUF012 - as in the base class


def main(argv: list[str] | None = None) -> None:
    """Serve until the process gets a signal."""
    server = OidcServer(config=configuration("/", OpenIDConnect))
    app = initialize(server, argv)
    try:
        server.identity_provider.check_settings()
    except CortexError as error:
        sys.exit(f"cannot start the service: {error}")
    if app.access_prefix:
        sys.exit(
            "cannot start the service: CortexJupyter.access_prefix is set; set OpenIDConnect.username_prefix and groups_prefix instead"
        )
    server.start()


if __name__ == "__main__":
    main()
