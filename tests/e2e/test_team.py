"""A team's installation in which collectors, Valkey and the API server fail in turn, the last while alice watches.

Afterwards alice, who has the rights, can read every line, and bob, who has none, nothing. The parts are a real cluster with
RBAC, two collectors, Valkey, S3, a Jupyter server for many users, and Chromium.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest
from archive.s3 import gate, seaweed
from faults.components import Component, restart_api
from playwright.sync_api import expect, sync_playwright
from server.running import logs, run_server
from server.test_access import _PEOPLE, ALICE, BOB, WAYS
from support.browser import WAIT, chromium, says
from support.jupyter import Home, counter, numbers
from support.kube import python_job
from support.valkey import Server

from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.store import RecordingInfo, Store

LINES, PODS = 9_000, 2
_ALL = {"follow": "true", "since": "all"}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_TESTS = Path(__file__).parents[1]


@pytest.fixture
def namespace(target: Any, unique: Callable[[str], str]) -> Iterator[str]:
    """Create a namespace in which alice may read logs and bob may not."""
    name, kube, api = unique("team"), target.kube, "rbac.authorization.k8s.io"
    assert kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": name}}).status_code == 201
    role = {"metadata": {"name": "logs"}, "rules": [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]}
    binding = {
        "metadata": {"name": "logs"},
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "logs"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": "alice"}],
    }
    for kind, body in (("roles", role), ("rolebindings", binding)):
        assert kube.request("POST", f"{_RBAC}/namespaces/{name}/{kind}", json=body).status_code == 201
    yield name
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


class Team:
    """The parts of the installation, with methods that break them."""

    def __init__(self, home: Home, store: Store, valkey: Server, namespace: str) -> None:
        self.home, self.store, self.valkey, self.namespace = home, store, valkey, namespace
        self.collectors = [self._collector() for _ in range(2)]

    def _collector(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--all", "-n", self.namespace]
        with (self.home.path / "collector.log").open("ab") as log:
            return subprocess.Popen(command, env=self.home.env, cwd=self.home.path, stdout=log, stderr=log)

    def info(self, name: str) -> RecordingInfo | None:
        return self.store.find(TaskRef(self.namespace, "job", name))

    def kill_a_collector(self) -> None:
        """Kill the older collector and start a new one. One of two calls kills the collector that records the task."""
        victim = self.collectors.pop(0)
        victim.kill()
        victim.wait()
        self.collectors.append(self._collector())

    def restart_valkey(self) -> None:
        self.valkey.kill()
        self.valkey.start()

    def close(self) -> None:
        for collector in self.collectors:
            collector.terminate()
        for collector in self.collectors:
            collector.wait(120)
        self.store.close()


class Intruder(threading.Thread):
    """Bob, who requests every address again and again until the task ends."""

    def __init__(self, server: Any, namespace: str, name: str) -> None:
        super().__init__(daemon=True)
        self._server, self._paths = server, [way.format(name).replace("default", namespace) for way in WAYS]
        self._over = threading.Event()
        #: Whether errors of status 500 and above are expected too: the API server is down. Lines never are.
        self.may_fail = False
        #: Path, status, whether it has a line of the task, and text of each answer that is not expected.
        self.unexpected: list[tuple[str, int, bool, str]] = []
        #: How many times all addresses were requested.
        self.rounds = 0

    def run(self) -> None:
        while not self._over.is_set():
            for path in self._paths:
                answer = self._server.get(path, BOB)
                has_line = "line 0" in answer.text
                is_refusal = answer.status_code == 403 and "may not read logs" in answer.text
                is_failure = answer.status_code >= 500 and self.may_fail
                if has_line or not (is_refusal or is_failure):
                    self.unexpected.append((path, answer.status_code, has_line, answer.text[:300]))
            self.rounds += 1

    def end(self) -> None:
        self._over.set()
        self.join(120)


@pytest.mark.cluster
@pytest.mark.browser
def test_a_team_loses_no_line_and_users_without_rights_see_none(
    target: Any, namespace: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, kube = unique("train"), target.kube
    api = Component(kube.kubeconfig, "apiserver")
    if not api.is_local:
        pytest.skip("the API server is not on this machine, so this test cannot restart it")
    (tmp_path / "s3").mkdir()
    with (
        seaweed(tmp_path / "s3") as port,
        gate(port) as s3,
        Server(tmp_path / "valkey", appendonly="yes", appendfsync="always") as valkey,
    ):
        env = s3.env | {"CORTEX_STORE": valkey.url, "CORTEX_ARCHIVE": "s3://logs/runs", "CORTEX_CLUSTER": "ours"}
        (tmp_path / "home").mkdir()
        home = Home(tmp_path / "home", kube.kubeconfig, env)
        team = Team(home, open_store(valkey.url), valkey, namespace)
        path = f"{_TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        try:
            with run_server(
                home.path, *_PEOPLE, "--CortexJupyter.heartbeat_s=1", kubeconfig=home.kubeconfig, PYTHONPATH=path, **env
            ) as server:
                job = python_job(name, counter(LINES, per_second=900), parallelism=PODS)
                kube.create(job | {"metadata": job["metadata"] | {"namespace": namespace}})
                # Only bob requests the task, who may not read it.
                intruder = Intruder(server, namespace, name)
                intruder.start()
                for part, fail in enumerate((team.kill_a_collector, team.restart_valkey, team.kill_a_collector)):
                    least = LINES * PODS * (part + 1) // 5
                    kube.wait_for(lambda n=least: (i := team.info(name)) and i.last_seq > n, f"{least} lines", 120)
                    fail()
                live = LiveReader(server.url + logs(name, namespace=namespace), server.headers | ALICE)
                before = intruder.rounds
                intruder.may_fail = True
                restart_api(kube, api)
                kube.wait_for(lambda: (i := team.info(name)) and i.done, "the recording to be complete", 120)
                intruder.end()
                assert intruder.unexpected == [] and before > 1
                assert _is_complete(live.texts()), "a user who began to watch in the middle does not see every line"
                # A day later: pods and Job are gone, and the recording is only in the archive.
                info = team.info(name)
                assert info is not None
                kube.wait_for(lambda: team.store.setting(f"archived:{info.id}"), "the archive")
                kube.delete("jobs", name, namespace=namespace)
                kube.wait_for(
                    lambda: kube.request("GET", kube.path("jobs", name, namespace)).status_code == 404, "the Job to go"
                )
                kube.wait_for(lambda: team.store.forget(info.id), "the recording to leave")
                lines = server.get(logs(name, "logs.txt", namespace), ALICE).text.splitlines()
                assert _is_complete([line.split(" ", 2)[2] for line in lines]), "after source and time"
                page = server.get(logs(name, namespace=namespace), ALICE).json()
                assert page["complete"]["records"] == LINES * PODS and page["complete"]["gaps"] == []
                for way in WAYS:
                    asked = way.format(name).replace("default", namespace)
                    answer = server.get(asked, BOB)
                    assert (
                        answer.status_code == 403 and "may not read logs" in answer.text and "line 0" not in answer.text
                    )
                _check_in_browser(server.url, server.headers, namespace, name)
        finally:
            team.close()
            home.end()


def _is_complete(texts: list[str]) -> bool:
    found = numbers(texts)
    return len(found) == PODS and all(n == list(range(LINES)) for n in found.values())


class LiveReader:
    """Alice, who begins to watch while parts fail. A stream that ends early is resumed at its cursor."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._texts: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        cursor = ""
        with httpx.Client(timeout=60, headers=self._headers) as client:
            while True:
                resume = {"Last-Event-ID": cursor} if cursor else {}
                with (
                    contextlib.suppress(httpx.TransportError),
                    httpx_sse.connect_sse(client, "GET", self._url, params=_ALL, headers=resume) as source,
                ):
                    for event in source.iter_sse():
                        cursor = event.id or cursor
                        if event.event == "log":
                            self._texts += json.loads(event.data)["m"]
                        assert event.event not in ("error", "gap"), event.data
                        if event.event == "end":
                            return

    def texts(self) -> list[str]:
        """Wait for the end of the task, and return all lines."""
        self._thread.join(120)
        return self._texts


def _check_in_browser(url: str, headers: dict[str, str], namespace: str, name: str) -> None:
    """Check what alice and bob see in a browser."""
    with sync_playwright() as playwright, chromium(playwright) as browser:
        for person, sees in ((ALICE, True), (BOB, False)):
            context = browser.new_context(extra_http_headers=headers | person)
            page = context.new_page()
            page.goto(f"{url}cortex/view?task={namespace}:job/{name}&since=all")
            if sees:
                says(page.locator(".cortex-logs"), "complete")
                expect(page.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
            else:
                expect(page.get_by_role("heading")).to_contain_text("may not read logs")
                expect(page.locator("[data-seq]")).to_have_count(0)
            context.close()
