"""As a service of a real JupyterHub: the Hub says who asks, Kubernetes says what they may read."""

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
import pytest
from server.running import logs
from support.jupyter import Home, free_port
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess
    from support.kube import Kube

ADMIN = "an-admin-token-for-tests"


@dataclass
class Hub:
    """A Hub, its service, and a token of each user."""

    api: str
    url: str
    log: Path

    def token(self, user: str, scope: str = "access:services!service=logs") -> httpx.Response:
        body = {"scopes": [scope, "read:users:groups!user"]}
        return httpx.post(f"{self.api}/users/{user}/tokens", json=body, headers={"Authorization": f"token {ADMIN}"})

    def get(self, path: str, user: str | None, scope: str = "access:services!service=logs") -> httpx.Response:
        headers = {} if user is None else {"Authorization": f"token {self.token(user, scope).json()['token']}"}
        return httpx.get(self.url + path, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def hub(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = Home(tmp_path_factory.mktemp("hub"), sandbox_process.kubeconfig)
    ports = free_port(), free_port(), free_port()
    env = home.env | {
        "TEST_HUB_PORT": str(ports[0]), "TEST_SERVICE_PORT": str(ports[1]), "TEST_ADMIN_TOKEN": ADMIN,
        "CORTEX_STORE": f"sqlite:///{home.path}/store.sqlite", "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }  # fmt: skip
    config = Path(__file__).with_name("hub_config.py")
    log = home.path / "hub.log"
    command = [sys.executable, "-m", "jupyterhub", f"--config={config}", f"--port={ports[2]}"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=env, cwd=home.path, stdout=file, stderr=file)
    found = Hub(f"http://127.0.0.1:{ports[0]}/hub/api", f"http://127.0.0.1:{ports[1]}/services/logs/", log)
    end = time.monotonic() + 90
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(found.url).status_code == 302 and httpx.get(found.api).is_success:
                    break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(30)
        _end_service(found.url)
        home.end()


def _end_service(url: str) -> None:
    """End what a Hub that was stopped early has left."""
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            address = f"JUPYTERHUB_SERVICE_URL={url.removesuffix('/services/logs/')}\0".encode()
            if address in (proc / "environ").read_bytes():
                os.kill(int(proc.name), signal.SIGKILL)


def test_each_user_reads_what_kubernetes_lets_them(
    hub: Hub, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("hub")
    kube.create(python_job(name, "print('a secret line')"))
    kube.wait_job(name, "Complete")
    sandbox.fault("deny", resource="pods/log", user="bob")
    assert "a secret line" in hub.get(logs(name), "alice").text
    for path in (logs(name), logs(name, "logs.txt"), "cortex/tasks", f"cortex/stream?task={name}"):
        answer = hub.get(path, "bob")
        assert answer.status_code == 403 and "user 'bob' may not read logs" in answer.text


def test_who_may_not_use_the_service_and_who_is_not_known(hub: Hub) -> None:
    assert hub.get("cortex/tasks", None).status_code == 403
    login = httpx.get(hub.url + "cortex/view")
    assert login.status_code == 302 and login.headers["location"].startswith(
        "/hub/api/oauth2/authorize?client_id=service-logs"
    )
    assert hub.get("cortex/tasks", "carol", "access:services!service=admin").status_code == 403, (
        "a token for another service"
    )


@pytest.mark.parametrize(
    "path", ["api/kernels", "api/contents", "api/sessions", "files/hub.log", "api/terminals", "lab"]
)
def test_there_is_nothing_else_in_it(hub: Hub, path: str) -> None:
    """Whoever could start a kernel there would have the service's own rights."""
    assert hub.get(path, "alice").status_code in (403, 404)


def test_no_token_in_its_log(hub: Hub) -> None:
    token = hub.token("alice").json()["token"]
    httpx.get(hub.url + f"cortex/tasks?token={token}")
    assert token not in hub.log.read_text() and "Traceback" not in hub.log.read_text()
