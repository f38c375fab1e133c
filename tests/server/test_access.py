"""Whose rights count where recordings are shared: those that Kubernetes gives, on every way in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from server.people import HubUser
from server.running import Server, logs, run_server
from support.jupyter import Home
from support.kube import Kube, python_job

from cortex_jupyter.cluster.access import Person
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess

_PEOPLE = ("--ServerApp.identity_provider_class=server.people.People", "--CortexJupyter.access_for=user")
_FOREVER = "import time\nprint('first', flush=True)\ntime.sleep(600)"
ALICE, BOB = {"X-User": "alice"}, {"X-User": "bob"}
#: Every way to a task's lines, or to what is known of it.
WAYS = (
    "cortex/tasks/default/job/{}",
    *(f"cortex/tasks/default/job/{{}}/{end}" for end in ("logs", "logs.txt", "logs.ndjson", "logs.parquet")),
    *(f"cortex/tasks/default/job/{{}}/{end}" for end in ("outline", "search?grep=x", "metrics")),
    "cortex/tasks/default/-/{}/logs?follow=true",
    "cortex/stream?task=default:job/{}",
    "cortex/view?task=default:job/{}",
    "cortex/tasks?namespace=default",
    "cortex/view?namespace=default",
)


@pytest.fixture(scope="module")
def service(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for many people."""
    home = Home(tmp_path_factory.mktemp("service"), sandbox_process.kubeconfig)
    with run_server(
        home.path, *_PEOPLE, "--CortexJupyter.heartbeat_s=0.2", kubeconfig=home.kubeconfig,
        PYTHONPATH=f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}",
    ) as server:  # fmt: skip
        yield server
    home.end()


@pytest.fixture(scope="module")
def task(sandbox_process: SandboxProcess, service: Server) -> str:
    """One that has ended, is recorded, and is gone from the cluster."""
    kube = Kube(sandbox_process.kubeconfig)
    kube.create(python_job("access", "print('a secret line')"))
    kube.wait_job("access", "Complete")
    assert "a secret line" in service.get(logs("access"), ALICE).text
    kube.delete("jobs", "access")
    kube.wait_for(lambda: kube.request("GET", kube.path("jobs", "access")).status_code == 404, "the Job to go")
    kube.close()
    return "access"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_closed_alike_for_what_is_not_theirs_and_what_is_not_there(
    service: Server, sandbox: SandboxProcess, task: str, way: str
) -> None:
    sandbox.fault("deny", verb="get", resource="pods/log", namespace="default", user="bob")
    assert service.get(way.format(task), ALICE).status_code == 200
    answers = [service.get(way.format(name), BOB) for name in (task, "never-was")]
    for answer in answers:
        assert answer.status_code == 403
        assert "bob" in answer.text and "may not read logs in namespace" in answer.text.replace("&#x27;", "'")
        assert "secret" not in answer.text
    assert answers[0].text == answers[1].text


async def test_a_right_that_is_taken_away_ends_an_open_stream(
    service: Server, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("taken")
    kube.create(python_job(name, _FOREVER))
    async with asyncio.timeout(60), service.stream(logs(name), ALICE, follow="true") as source:
        events = source.aiter_sse()
        async for event in events:
            if event.event == "log":
                break
        sandbox.fault("deny", resource="pods/log", user="alice")
        rest = [event async for event in events]
    assert rest[-1].event == "error" and json.loads(rest[-1].data)["code"] == "NotAllowed"


@pytest.mark.parametrize("name", ["system:admin", "system:serviceaccount:kube-system:x"])
def test_nobody_is_called_as_kubernetes_calls_its_own(service: Server, task: str, name: str) -> None:
    status, error = service.error(logs(task), {"X-User": name})
    assert (status, error["code"]) == (403, "NotAllowed") and "access_prefix" in error["hint"]


def test_groups_of_the_hub_are_kubernetes_groups_but_none_of_its_own() -> None:
    app = CortexJupyter(access_for="user", access_prefix="oidc:")
    user = HubUser("dave", hub_user={"name": "dave", "groups": ["vision", "system:masters"]})
    groups = ("oidc:vision", "oidc:system:masters", "system:authenticated")
    assert Service(app).person(user) == Person("oidc:dave", groups)
    app.access_prefix = ""
    assert Service(app).person(user) == Person("dave", ("vision", "system:authenticated"))
    app.access_for = "server"
    assert Service(app).person(user) is None


def test_who_is_not_known_gets_nothing(service: Server, task: str) -> None:
    for way in WAYS:
        answer = httpx.get(service.url + way.format(task))
        assert answer.status_code in (302, 403), way
        assert "secret" not in answer.text


def test_a_task_of_its_own(sandbox: SandboxProcess, kube: Kube, tmp_path: Path) -> None:
    """RBAC's `resourceNames`: who may get one Job sees that one."""
    for name in ("mine", "theirs"):
        kube.create(python_job(name, f"print('of {name}')"))
        kube.wait_job(name, "Complete")
    sandbox.fault("deny", verb="get", resource="jobs", user="bob", name="")
    sandbox.fault("deny", verb="get", resource="jobs", user="bob", name="theirs")
    sandbox.fault("deny", verb="get", resource="jobs", user="bob", name="never-was")
    home = Home(tmp_path, sandbox.kubeconfig)
    try:
        with run_server(
            home.path, *_PEOPLE, "--CortexJupyter.access_each=True", kubeconfig=home.kubeconfig,
            PYTHONPATH=f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}",
        ) as server:  # fmt: skip
            assert "of mine" in server.get(logs("mine"), BOB).text
            refused = [server.error(logs(name), BOB) for name in ("theirs", "never-was")]
            assert [(s, e["code"]) for s, e in refused] == [(403, "NotAllowed")] * 2
            listed = {t["name"] for t in server.get("cortex/tasks", BOB).json()["tasks"]}
            everything = {t["name"] for t in server.get("cortex/tasks", ALICE).json()["tasks"]}
            assert "mine" in listed and "theirs" not in listed and {"mine", "theirs"} <= everything
            assert server.error("cortex/tasks/default/job/theirs", BOB)[0] == 403
    finally:
        home.end()


def test_ones_own_recordings_are_read_without_asking_anybody(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique("own")
    kube.create(python_job(name, "print('a line')"))
    kube.wait_job(name, "Complete")
    home = Home(tmp_path, sandbox.kubeconfig)
    try:
        with run_server(home.path, kubeconfig=home.kubeconfig) as server:
            assert "a line" in server.get(logs(name)).text
            kube.delete("jobs", name)
            kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name)).status_code == 404, "the Job to go")
            denied = sandbox.fault("deny", resource="pods/log")
            assert "a line" in server.get(logs(name)).text
            assert [f["hits"] for f in sandbox.faults() if f["id"] == denied["id"]] == [0]
    finally:
        home.end()
