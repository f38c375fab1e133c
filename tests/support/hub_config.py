"""Configuration of a JupyterHub for tests, or additions to an example of one. In the former, alice, bob and the teams may use the service, carol may not; ports and tokens come from the environment."""

import os
import sys
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    """No proxy: tests without a browser send requests directly to the Hub and its service."""

    should_start = False

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def add_route(self, routespec: str, target: str, data: Any) -> None: ...
    async def delete_route(self, routespec: str) -> None: ...
    async def get_all_routes(self) -> dict[str, Any]:
        return {}


c = get_config()  # type: ignore[name-defined]  # noqa: F821
if proxy := os.environ.get("TEST_PROXY"):
    c.ConfigurableHTTPProxy.command = [proxy]
    c.ConfigurableHTTPProxy.api_url = os.environ["TEST_PROXY_API"]
else:
    c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}  # a request for a server returns before the server runs
c.SimpleLocalProcessSpawner.home_dir_template = str(Path.home() / "homes" / "{username}")
c.Spawner.args = ["--allow-root"]
c.Spawner.env_keep = ["PATH", "KUBECONFIG", "PYTHONPATH", "CORTEX_STORE", "JUPYTER_PLATFORM_DIRS"]
c.JupyterHub.hub_port = int(os.environ["TEST_HUB_PORT"])
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.load_groups = {"vision": {"users": ["alice"]}}
admin = {"name": "admin", "api_token": os.environ["TEST_ADMIN_TOKEN"]}
admin_scopes = ["admin:users", "admin:servers", "tokens", "access:services"]
admin_role = {"name": "tests", "scopes": admin_scopes, "services": ["admin"]}
if example := os.environ.get("TEST_EXAMPLE"):
    exec(compile(Path(example).read_text(), example, "exec"))
    c.JupyterHub.services.append(admin)
    c.JupyterHub.load_roles.append(admin_role)
else:
    # Short caches, so that a change of a user's rights takes effect during a test.
    command = [sys.executable, "-m", "cortex_jupyter.server.hub", "--allow-root", "--CortexJupyter.heartbeat_s=0.3"]
    names = ("HOME", "KUBECONFIG", "CORTEX_STORE", "PYTHONPATH")
    service = {
        "name": "logs",
        "url": f"http://127.0.0.1:{os.environ['TEST_SERVICE_PORT']}",
        "command": [*command, "--HubOAuth.cache_max_age=1"],
        "environment": {name: os.environ[name] for name in names if name in os.environ},
    }
    teams = ["one-team", "three-teams", "no-team"]
    c.JupyterHub.services = [service, admin]
    c.JupyterHub.load_roles = [
        admin_role,
        {"name": "readers", "scopes": ["access:services!service=logs"], "users": ["alice", "bob", *teams]},
        {"name": "others", "scopes": ["access:services!service=admin"], "users": ["carol"]},
    ]
