"""The examples of docs/how-to/jupyterhub.md, as printed, with a real JupyterHub, Valkey, S3 server and collector.

Only addresses, ports and folders are replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from archive.s3 import gate, seaweed
from server.running import logs
from support.hub import Hub, run_hub
from support.jupyter import Home
from support.kube import python_job
from support.ports import free_port
from support.valkey import Server

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.server.hub import VARIABLES, settings
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import SandboxProcess

_GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
_PAGE = (_GUIDES / "jupyterhub.md").read_text()
_SERVICE = "services/logs/"


def blocks(title: str) -> list[str]:
    """Return the code blocks that begin with a comment."""
    found = re.findall(rf"```\w+\n# {re.escape(title)}\n(.*?)```", _PAGE, re.DOTALL)
    assert found, title
    return found


def replaced(text: str, changes: Mapping[str, object]) -> str:
    for old, new in changes.items():
        assert old in text, f"{old} is not in the example"
        text = text.replace(old, str(new))
    return text


@dataclass
class Installation:
    """What the examples take for granted, with the recording of a Job that is gone."""

    home: Home
    valkey: Server
    bucket: dict[str, str]
    task: str


@pytest.fixture(scope="module")
def installation(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("home", "s3"):
        (folder / name).mkdir()
    acl = _GUIDES / "valkey-users.acl"
    with (
        pytest.MonkeyPatch.context() as patch,
        seaweed(folder / "s3") as port,
        gate(port) as s3,
        Server(folder / "valkey", login=("admin", "ADMIN_PASSWORD"), aclfile=acl) as valkey,
    ):
        patch.setenv("CORTEX_STORE_PASSWORD", "")  # `open_store` sets it for child processes
        url = valkey.url.replace("//", "//recorder:RECORDER_PASSWORD@")
        env = s3.env | {"CORTEX_STORE": url, "CORTEX_ARCHIVE": "s3://logs/runs", "CORTEX_CLUSTER": "prod-1"}
        home = Home(folder / "home", sandbox_process.kubeconfig)
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--all"]
        with (folder / "collector.log").open("wb") as log:
            collector = subprocess.Popen(command, env=home.env | env, cwd=home.path, stdout=log, stderr=log)
        task, kube = "examples-train", sandbox_process.kube
        try:
            kube.create(python_job(task, "print('a line of the example')"))
            with contextlib.closing(open_store(url)) as store:
                ref = TaskRef("default", "job", task)
                kube.wait_for(
                    lambda: (i := store.find(ref)) and i.done and store.setting(f"archived:{i.id}"), "the archive"
                )
            # Now nobody can record it.
            kube.delete("jobs", task)
            kube.wait_for(lambda: kube.request("GET", kube.path("jobs", task)).status_code == 404, "the Job to go")
            yield Installation(home, valkey, s3.env, task)
        finally:
            collector.terminate()
            collector.wait(120)
            home.end()


@contextlib.contextmanager
def signed_in(hub: Hub, user: str) -> Iterator[httpx.Client]:
    """Yield a browser's stand-in that has signed in at the Hub."""
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        client.get(f"{hub.url}hub/login")
        data = {"username": user, "password": "x", "_xsrf": client.cookies.get("_xsrf", path="/hub/")}
        client.post(f"{hub.url}hub/login", data=data, headers={"Referer": hub.url})
        yield client


def assert_shows_the_task(hub: Hub, installation: Installation) -> None:
    with signed_in(hub, "alice") as client:
        page = client.get(hub.url + _SERVICE)
        assert page.status_code == 200 and page.url.path == f"/{_SERVICE}cortex/view", page.text
        assert installation.task in page.text
        lines = client.get(f"{hub.url}{_SERVICE}{logs(installation.task, 'logs.txt')}").text
        assert "a line of the example" in lines
    search = hub.get("cortex/search?namespace=default&search=example", "alice").text
    [found] = [json.loads(x[6:]) for x in search.splitlines() if x.startswith("data: ") and '"unrecorded"' in x]
    assert not found.get("archive_problem"), found


def scrape(config: Mapping[str, Any], target: str) -> httpx.Response:
    """Request what Prometheus requests with a scrape configuration."""
    token = Path(config["authorization"]["credentials_file"]).read_text().strip()
    kind = config["authorization"].get("type", "Bearer")
    return httpx.get(f"http://{target}{config['metrics_path']}", headers={"Authorization": f"{kind} {token}"})


def test_a_service_that_the_hub_starts(installation: Installation, tmp_path: Path) -> None:
    for folder in ("etc/secrets", "var"):
        (tmp_path / folder).mkdir(parents=True)
    secrets = {
        "store-password": "READER_PASSWORD",
        "bucket-key-id": installation.bucket["AWS_ACCESS_KEY_ID"],
        "bucket-key": installation.bucket["AWS_SECRET_ACCESS_KEY"],
        "prometheus-token": "a-token-of-prometheus",
    }
    for name, text in secrets.items():
        (tmp_path / "etc" / "secrets" / name).write_text(f"{text}\n")
    shutil.copy(installation.home.kubeconfig, tmp_path / "etc" / "kubeconfig")
    port = free_port()
    changes = {
        "/etc/jupyterhub": tmp_path / "etc",
        "/var/lib/jupyterhub": tmp_path / "var",
        "valkey.example.org:6379": f"127.0.0.1:{installation.valkey.port}",
        "https://s3.example.org": installation.bucket["AWS_ENDPOINT_URL"],
        "127.0.0.1:10101": f"127.0.0.1:{port}",
        # The tests may run as root.
        '"cortex_jupyter.server.hub"]': '"cortex_jupyter.server.hub", "--allow-root"]',
    }
    config = tmp_path / "jupyterhub_config.py"
    config.write_text(replaced("".join(blocks("jupyterhub_config.py")), changes))
    with run_hub(installation.home, proxy=True, example=(config, port)) as hub:
        assert_shows_the_task(hub, installation)
        assert '"audit":"cortex-jupyter"' in hub.log.read_text() and '"user":"alice"' in hub.log.read_text()
        metrics = httpx.get(f"{hub.url}{_SERVICE}metrics", headers={"Authorization": "Bearer a-token-of-prometheus"})
        assert metrics.status_code == 200 and "cortex_jupyter_streams" in metrics.text
        # `c.Spawner.environment`
        hub.start_server("alice")
        hub.wait_server("alice")
        token = hub.token("alice", "access:servers!user").json()["token"]
        answer = httpx.get(
            f"{hub.url}user/alice/{logs(installation.task, 'logs.txt')}",
            headers={"Authorization": f"token {token}"},
            timeout=60,
        )
        assert "a line of the example" in answer.text, answer.text


class ExternalService:
    """The service as a process that the Hub does not start, with the environment of the page."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env, self._folder = env, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it as in a new pod, without files of an earlier one."""
        home = tempfile.mkdtemp(dir=self._folder)
        command = [sys.executable, "-P", "-m", "cortex_jupyter.server.hub", "--allow-root"]
        with (self._folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._env | {"HOME": home}, cwd=home, stdout=log, stderr=log)

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)

    def wait(self, url: str) -> None:
        """Wait until its probe succeeds."""
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(url).is_success:
                    return
            assert time.monotonic() < end, (self._folder / "service.log").read_text()
            time.sleep(0.05)


def native(values: dict[str, Any], tokens: Mapping[str, str]) -> str:
    """Return the configuration file that Zero to JupyterHub's values stand for: dictionaries become lists.

    The chart makes up tokens: https://z2jh.jupyter.org/en/stable/resources/reference.html#hub-services
    """
    services = [{"name": n, "api_token": tokens[n]} | service for n, service in values["hub"]["services"].items()]
    roles = [{"name": n} | role for n, role in values["hub"]["loadRoles"].items()]
    return f"c.JupyterHub.services = {services!r}\nc.JupyterHub.load_roles = {roles!r}\n"


def test_a_service_that_the_hub_does_not_start(installation: Installation, tmp_path: Path) -> None:
    port = free_port()
    values = yaml.safe_load(blocks("values.yaml")[0])
    assert [*values["hub"]["services"]] == ["logs", "prometheus"]
    assert values["proxy"]["chp"]["networkPolicy"]["egress"] == values["hub"]["networkPolicy"]["egress"]
    tokens = {"logs": "the-token-of-the-service", "prometheus": "a-token-of-prometheus"}
    changes = {"http://cortex-jupyter-hub.cortex-jupyter:10101": f"http://127.0.0.1:{port}"}
    config = tmp_path / "jupyterhub_config.py"
    config.write_text(replaced(native(values, tokens), changes))

    [block] = blocks("The environment of a service that the Hub does not start")
    shown = dict(re.findall(r"^(\w+)=(\S+)", block, re.MULTILINE))
    assert set(VARIABLES) < shown.keys()
    shown |= {"JUPYTERHUB_API_TOKEN": tokens["logs"], "CORTEX_STORE_PASSWORD": "READER_PASSWORD"}
    shown["CORTEX_STORE"] = shown["CORTEX_STORE"].replace("valkey.example.org:6379", installation.valkey.url[9:])
    shown["JUPYTERHUB_SERVICE_URL"] = f"http://0.0.0.0:{port}"
    in_pod = {"PATH": os.environ["PATH"], "KUBECONFIG": str(installation.home.kubeconfig)}
    python_path = {n: os.environ[n] for n in ("PYTHONPATH",) if n in os.environ}
    hub_port = free_port()
    shown["JUPYTERHUB_API_URL"] = f"http://127.0.0.1:{hub_port}/hub/api"
    service = ExternalService(in_pod | python_path | installation.bucket | shown, tmp_path)
    service.start()
    try:
        service.wait(f"http://127.0.0.1:{port}/{_SERVICE}api")
        with run_hub(installation.home, proxy=True, example=(config, port), hub_port=hub_port) as hub:
            assert_shows_the_task(hub, installation)
            # A restart signs nobody out.
            with signed_in(hub, "alice") as client:
                client.get(hub.url + _SERVICE)
                service.end()
                service.start()
                service.wait(f"http://127.0.0.1:{port}/{_SERVICE}api")
                again = client.get(f"{hub.url}{_SERVICE}cortex/view", follow_redirects=False)
                assert again.status_code == 200 and installation.task in again.text
            check_scraping(f"127.0.0.1:{port}", tokens, tmp_path)
    finally:
        service.end()


def test_the_examples_fit_the_deployment() -> None:
    """Names, ports and variables on the page are those of `deploy/`."""
    text = (_GUIDES.parents[1] / "deploy" / "kustomize" / "components" / "hub" / "hub.yaml").read_text()
    objects = {one["kind"]: one for one in yaml.safe_load_all(text)}
    service, pod = objects["Service"], objects["Deployment"]["spec"]["template"]
    hub = yaml.safe_load(blocks("values.yaml")[0])["hub"]
    [port] = service["spec"]["ports"]
    meta = service["metadata"]
    assert hub["services"]["logs"]["url"] == f"http://{meta['name']}.{meta['namespace']}:{port['port']}"
    assert hub["networkPolicy"]["egress"][0]["ports"] == [{"port": port["port"]}]
    assert pod["metadata"]["labels"]["hub.jupyter.org/network-access-hub"] == "true"
    [container] = pod["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert set(VARIABLES) < env.keys()
    [block] = blocks("The environment of a service that the Hub does not start")
    shown = dict(re.findall(r"^(JUPYTERHUB_\w+)=(\S+)", block, re.MULTILINE))
    differs = {"JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL"}  # a Secret; the Hub is in a namespace of its own
    assert {n: v for n, v in env.items() if n.startswith("JUPYTERHUB_")}.items() - shown.items() == {
        (name, env[name]) for name in differs
    }
    monitor = yaml.safe_load(blocks("servicemonitor.yaml")[0])
    assert monitor["spec"]["selector"]["matchLabels"].items() <= meta["labels"].items()
    [endpoint] = monitor["spec"]["endpoints"]
    [scraped] = yaml.safe_load(blocks("prometheus.yml")[0])["scrape_configs"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], scraped["metrics_path"])


def check_scraping(target: str, tokens: Mapping[str, str], folder: Path) -> None:
    """Check that Prometheus' token opens the metrics of the service, and no other token does."""
    file = folder / "hub-token"
    file.write_text(f"{tokens['prometheus']}\n")
    changes = {"cortex-jupyter-hub.cortex-jupyter:10101": target, "/etc/prometheus/secrets/hub-token": file}
    text = replaced(blocks("prometheus.yml")[0], changes)
    (folder / "prometheus.yml").write_text(text)
    [config] = yaml.safe_load(text)["scrape_configs"]
    assert config["static_configs"] == [{"targets": [target]}]
    answer = scrape(config, target)
    assert answer.status_code == 200 and "cortex_jupyter_build_info" in answer.text
    file.write_text("another token\n")
    assert scrape(config, target).status_code == 403
    if promtool := shutil.which("promtool"):
        done = subprocess.run(
            [promtool, "check", "config", str(folder / "prometheus.yml")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("missing", VARIABLES)
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv(missing)
    with pytest.raises(CortexError, match=rf"no service of a JupyterHub: {missing} is not set"):
        settings()
