"""A service of a real JupyterHub: the Hub identifies the user, Kubernetes decides what the user may read.

Browsers: `tests/browser/test_hub.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from server.running import logs
from support.hub import Hub, run_hub
from support.jupyter import Home
from support.kube import python_job
from support.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube


@pytest.fixture(scope="module")
def hub(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = Home(tmp_path_factory.mktemp("hub"), sandbox_process.kubeconfig)
    with run_hub(home) as hub:
        yield hub
    home.end()


def test_each_user_reads_what_kubernetes_allows(
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


def test_access_reviews_contain_the_hubs_groups_of_the_user(
    hub: Hub, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]
) -> None:
    space, name = unique("groups"), unique("hub")  # new names, for which no answer is cached
    kube.create({"kind": "Namespace", "metadata": {"name": space}})
    kube.create(python_job(name, "print('a line')", namespace=space))
    kube.wait_job(name, "Complete", space)
    sandbox.fault("deny", resource="pods/log", namespace=space, group="vision")
    found = {user: hub.get(logs(name, namespace=space), user).status_code for user in ("alice", "bob")}
    kube.delete("namespaces", space)
    assert found == {"alice": 403, "bob": 200}, "the review does not contain alice's group"


@pytest.fixture
def teams(hub: Hub, sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]) -> Iterator[list[str]]:
    """Create three namespaces that three-teams may read, the first of which one-team may read, and no-team none."""
    known = hub.get("cortex/namespaces", "alice").json()["namespaces"]  # also those of tasks that are only recorded
    spaces = [unique("team") for _ in range(3)]
    for space in spaces:
        kube.create({"kind": "Namespace", "metadata": {"name": space}})
    for user, mine in (("one-team", spaces[:1]), ("three-teams", spaces), ("no-team", [])):
        for space in {"", *known, *spaces} - {*mine}:  # "" is the right in all namespaces
            sandbox.fault("deny", verb="get", resource="pods/log", namespace=space, user=user)
    yield spaces
    for space in spaces:
        kube.delete("namespaces", space)


def _links(page: httpx.Response) -> list[str]:
    return re.findall(r'<a href="(view[^"]*)"', page.text)


def test_no_page_of_the_service_is_a_dead_end(hub: Hub, sandbox: SandboxProcess, kube: Kube, teams: list[str]) -> None:
    for space in teams:
        kube.create(python_job("train", "print('a line')", namespace=space))
    all_choices = [f"view?namespace={space}" for space in sorted(teams)]
    # The only namespace of a user is shown at once.
    first = hub.get("cortex/view", "one-team")
    assert (first.status_code, _links(first)) == (200, [f"view?task={teams[0]}%3Ajob/train"])
    assert f"Tasks in {teams[0]}" in first.text
    # Who has several chooses, and sees no other.
    choice = hub.get("cortex/view", "three-teams")
    assert (choice.status_code, _links(choice)) == (200, all_choices) and "Choose a namespace" in choice.text
    assert hub.get(f"cortex/{_links(choice)[1]}", "three-teams").status_code == 200
    # A namespace in the address wins, and its refusal names those that may be read.
    for path in ("cortex/view?namespace=default", "cortex/view?task=default:job/x"):
        refused = hub.get(path, "one-team")
        assert (refused.status_code, _links(refused)) == (403, [f"view?namespace={teams[0]}", "view"])
        assert "may not read logs in namespace" in refused.text
    # Whoever may read none gets no link that leads to the same page.
    none = hub.get("cortex/view", "no-team")
    assert (none.status_code, _links(none)) == (403, []) and "in no other namespace of this cluster" in none.text
    # A user who may read the usual namespace sees it.
    assert "Tasks in default" in hub.get("cortex/view", "alice").text
    # Where the namespaces cannot be listed, one is typed.
    sandbox.fault("deny", verb="list", resource="namespaces")
    unknown = hub.get("cortex/view", "three-teams")
    assert unknown.status_code == 403 and '<form action="view">' in unknown.text
    assert hub.get(f"cortex/view?namespace={teams[2]}", "three-teams").status_code == 200


def test_a_namespace_that_cannot_be_listed_is_no_choice(hub: Hub, sandbox: SandboxProcess, teams: list[str]) -> None:
    """The user may read its logs, but the service lacks a right there: a link would lead to the same page."""
    sandbox.fault("deny", verb="list", resource="pods", namespace=teams[0])
    refused = hub.get(f"cortex/view?namespace={teams[0]}", "one-team")
    assert (refused.status_code, _links(refused)) == (403, []), refused.text


def test_users_without_the_scope_and_anonymous_users_are_refused(hub: Hub) -> None:
    assert hub.get("cortex/tasks", None).status_code == 403
    login = httpx.get(hub.service + "cortex/view")
    assert login.status_code == 302 and login.headers["location"].startswith(
        "/hub/api/oauth2/authorize?client_id=service-logs"
    )
    assert hub.get("cortex/tasks", "carol", "access:services!service=admin").status_code == 403, (
        "a token for another service is accepted"
    )


@pytest.mark.parametrize(
    "path", ["api/kernels", "api/contents", "api/sessions", "files/hub.log", "api/terminals", "lab"]
)
def test_the_service_offers_nothing_else(hub: Hub, path: str) -> None:
    """A user who could start a kernel there would have the service's own permissions."""
    assert hub.get(path, "alice").status_code in (403, 404)


def test_the_log_of_the_service_has_no_token(hub: Hub) -> None:
    token = hub.token("alice").json()["token"]
    httpx.get(hub.service + f"cortex/tasks?token={token}")
    assert token not in hub.log.read_text() and "Traceback" not in hub.log.read_text()


def test_kubernetes_can_revoke_permissions_while_the_hub_is_away(
    sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, home = unique("away"), Home(tmp_path, sandbox.kubeconfig)
    kube.create(python_job(name, "import time\nprint('first', flush=True)\ntime.sleep(600)"))
    try:
        with run_hub(home) as hub:
            headers = {"Authorization": f"token {hub.token('alice').json()['token']}"}
            with httpx.stream(
                "GET", hub.service + logs(name), params={"follow": "1"}, headers=headers, timeout=60
            ) as got:
                lines = got.iter_lines()
                assert any("first" in line for line in lines)
                hub.process.kill()  # services that it started keep running
                hub.process.wait()
                logged = len(hub.log.read_text())
                while "cannot ask JupyterHub who the reader is" not in hub.log.read_text()[logged:]:
                    assert next(lines) is not None, "the stream ended although the permission was not revoked"
                sandbox.fault("deny", resource="pods/log", user="alice")
                rest = list(lines)
            assert "event: error" in rest and '"code":"NotAllowed"' in rest[-2]
    finally:
        home.end()


def test_a_store_that_refuses_the_service_does_not_end_the_hub(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    """A Hub ends, with all its users, when a service that it starts exits."""
    home = Home(tmp_path, sandbox_process.kubeconfig)
    try:
        with (
            Server(tmp_path / "valkey", requirepass="right") as valkey,
            run_hub(home, store=valkey.url) as hub,
        ):
            page = hub.get("cortex/view", "alice")
            assert page.status_code == 500 and "refuses the user or the password" in page.text, page.text
            assert "CORTEX_STORE_PASSWORD" in page.text
            assert httpx.get(hub.api).is_success and hub.process.poll() is None
            text = hub.log.read_text()
            assert "the store cannot be used: " in text and "Traceback" not in text
            assert "The service listens on http://127.0.0.1:" in text
            assert "Control-C" not in text and "?token=" not in text
            # The next request tries again.
            valkey.ask("CONFIG", "SET", "requirepass", "")
            assert hub.get("cortex/view", "alice").status_code == 200
    finally:
        home.end()
