"""A JupyterHub for tests: two users whose scopes reach the service, one whose do not; what differs is in the environment."""

import os
import sys
from typing import Any

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    """Tests ask the Hub and its service themselves."""

    should_start = False

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def add_route(self, routespec: str, target: str, data: Any) -> None: ...
    async def delete_route(self, routespec: str) -> None: ...
    async def get_all_routes(self) -> dict[str, Any]:
        return {}


c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.hub_port = int(os.environ["TEST_HUB_PORT"])
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.load_groups = {"vision": {"users": ["alice"]}}
c.JupyterHub.services = [
    {
        "name": "logs",
        "url": f"http://127.0.0.1:{os.environ['TEST_SERVICE_PORT']}",
        "command": [sys.executable, "-m", "cortex_jupyter.server.hub", "--allow-root"],
        "environment": {
            k: os.environ[k] for k in ("HOME", "KUBECONFIG", "CORTEX_STORE", "PYTHONPATH") if k in os.environ
        },
        "oauth_client_allowed_scopes": ["read:users:groups!user"],
    },
    {"name": "admin", "api_token": os.environ["TEST_ADMIN_TOKEN"]},
]
c.JupyterHub.load_roles = [
    {"name": "tests", "scopes": ["admin:users", "tokens", "access:services"], "services": ["admin"]},
    {"name": "readers", "scopes": ["access:services!service=logs"], "users": ["alice", "bob"]},
    {"name": "others", "scopes": ["access:services!service=admin"], "users": ["carol"]},
]
