"""A real JupyterHub with our service, and a client for its users."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.jupyter import Home

ADMIN = "an-admin-token-for-tests"
_CONFIG = Path(__file__).with_name("hub_config.py")
_PROXY = Path(__file__).parents[2] / "js" / "node_modules" / ".bin" / "configurable-http-proxy"


@dataclass
class Hub:
    """A running JupyterHub with our service."""

    home: Home
    api: str
    url: str
    service: str
    log: Path
    process: subprocess.Popen[bytes]

    def token(self, user: str, scope: str = "access:services!service=logs") -> httpx.Response:
        body = {"scopes": [scope, "read:users:groups!user"]}
        return httpx.post(f"{self.api}/users/{user}/tokens", json=body, headers={"Authorization": f"token {ADMIN}"})

    def get(self, path: str, user: str | None, scope: str = "access:services!service=logs") -> httpx.Response:
        headers = {} if user is None else {"Authorization": f"token {self.token(user, scope).json()['token']}"}
        return httpx.get(self.service + path, headers=headers, timeout=60)

    def start_server(self, user: str) -> None:
        """Make the Hub start a user's server."""
        httpx.post(f"{self.api}/users/{user}/server", headers={"Authorization": f"token {ADMIN}"}).raise_for_status()

    def wait_server(self, user: str) -> None:
        """Wait until a user's server runs."""
        end = time.monotonic() + 120
        headers = {"Authorization": f"token {ADMIN}"}
        while not httpx.get(f"{self.api}/users/{user}", headers=headers).json()["server"]:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)


@contextlib.contextmanager
def run_hub(
    home: Home,
    *,
    proxy: bool = False,
    example: tuple[Path, int] | None = None,
    hub_port: int = 0,
    store: str = "",
) -> Iterator[Hub]:
    """Run a JupyterHub while the block runs.

    Parameters
    ----------
    home : Home
    proxy : bool, optional
        Run its usual proxy, which browsers need.
    example : (Path, int), optional
        A configuration of services, roles and users' servers, and the port of its service.
    hub_port : int, optional
        The port of the Hub's API.
    store : str, optional
        Where the service keeps recordings, by default in a file.
    """
    front, hub, service, inner = (free_port() for _ in range(4))
    hub = hub_port or hub
    env = home.env | {
        "TEST_HUB_PORT": str(hub),
        "TEST_SERVICE_PORT": str(service),
        "TEST_ADMIN_TOKEN": ADMIN,
        "CORTEX_STORE": store or f"sqlite:///{home.path}/store.sqlite",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    if example:
        service = example[1]
        del env["CORTEX_STORE"]
        env["TEST_EXAMPLE"] = str(example[0])
    if proxy:
        env |= {"TEST_PROXY": str(_PROXY), "TEST_PROXY_API": f"http://127.0.0.1:{inner}"}
    log = home.path / "hub.log"
    command = [sys.executable, "-m", "jupyterhub", f"--config={_CONFIG}", f"--port={front}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=env, cwd=home.path, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{front if proxy else hub}/"
    running = Hub(
        home, f"http://127.0.0.1:{hub}/hub/api", url, f"http://127.0.0.1:{service}/services/logs/", log, process
    )
    end = time.monotonic() + 120
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(running.service).status_code == 302 and httpx.get(f"{url}hub/api").is_success:
                    break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(120)
        _end_service(running.service)


def _end_service(url: str) -> None:
    """Kill the service process that an early stop of the Hub has left."""
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            address = f"JUPYTERHUB_SERVICE_URL={url.removesuffix('/services/logs/')}\0".encode()
            if address in (proc / "environ").read_bytes():
                os.kill(int(proc.name), signal.SIGKILL)
