"""A real JupyterHub in a real browser: our service of the Hub, and our extension in a user's own server."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from server.test_access import WAYS
from support.browser import WAIT, says, shot
from support.hub import Hub, run_hub
from support.jupyter import Home, gated
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

#: Writes twenty lines after each of some files exists.
_IN_PARTS = """import os, time
for part, gate in enumerate({}):
    while not os.path.exists(gate):
        time.sleep(0.02)
    for i in range(20):
        print(f"line {{part}}-{{i}}", flush=True)
"""


@pytest.fixture(scope="module")
def hub(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = Home(tmp_path_factory.mktemp("hub"), sandbox_process.kubeconfig)
    with run_hub(home, proxy=True) as hub:
        hub.start_server("alice")
        yield hub
    home.end()


class Person:
    """A user with a browser context."""

    def __init__(self, hub: Hub, browser: Browser, name: str) -> None:
        self.hub, self.name = hub, name
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.tokens: list[str] = []
        #: URL and `Referer` of each request.
        self.visited: list[str] = []
        self.context.on("request", lambda r: self.visited.extend((r.url, r.headers.get("referer", ""))))
        self.page = self.context.new_page()

    def open(self, path: str, page: Page | None = None) -> Page:
        """Open a page of the service: sign in at the Hub, and allow the service to identify the user."""
        page = page or self.page
        page.goto(f"{self.hub.url}services/logs/{path}")
        self.sign_in(page)
        expect(page.get_by_text("would like permission to identify you")).to_be_visible(timeout=WAIT)
        page.get_by_role("button", name="Authorize").click()
        expect(page).to_have_url(re.compile("/services/logs/cortex/view"), timeout=WAIT)
        # The cookie is signed, not encrypted; it contains the token.
        (cookie,) = (c["value"] for c in self.context.cookies() if c["name"] == "service-logs")
        self.tokens.append(base64.b64decode(cookie.split("|")[4].partition(":")[2]).decode())
        return page

    def sign_in(self, page: Page) -> None:
        """Sign in at the Hub."""
        page.get_by_label("Username").fill(self.name)
        page.get_by_label("Password").fill("x")
        page.get_by_role("button", name="Sign in").click()

    def has_leaked_nothing(self) -> bool:
        """Check that no token is in a URL or in the Hub's log, and no OAuth code (which can be exchanged once for a token) in the log."""
        log = self.hub.log.read_text()
        codes = {m[1] for url in self.visited if (m := re.search(r"oauth_callback\?code=(\w+)", url))}
        assert len(codes) == len(self.tokens) and all(len(secret) > 20 for secret in (*codes, *self.tokens))
        in_log = [s for s in (*codes, *self.tokens) if s in log]
        in_urls = [url for url in self.visited if "token=" in url or any(t in url for t in self.tokens)]
        assert (in_log, in_urls) == ([], []) and "Traceback" not in log
        return True


def test_a_user_without_the_right_is_refused_at_every_address(
    hub: Hub, sandbox: SandboxProcess, browser: Browser, job: Callable[..., str]
) -> None:
    name = job("print('a secret line')")
    sandbox.fault("deny", resource="pods/log", user="bob")
    bob = Person(hub, browser, "bob")
    page = bob.open(f"cortex/view?task={name}")
    refused = "user 'bob' may not read logs in namespace 'default'"
    expect(page.get_by_role("heading")).to_have_text(f"{refused}: the right `get pods/log` is missing", timeout=WAIT)
    _shots(page, "hub-bob")
    for way in WAYS:
        answer = bob.context.request.get(f"{hub.url}services/logs/{way.format(name)}")
        assert answer.status == 403 and "may not read logs" in answer.text(), way
        assert "secret" not in answer.text()
    assert bob.has_leaked_nothing()
    bob.context.close()


def test_a_user_chooses_among_the_namespaces_that_they_may_read(
    hub: Hub, sandbox: SandboxProcess, browser: Browser, unique: Callable[[str], str]
) -> None:
    teams = [unique("team") for _ in range(3)]
    for space in teams:
        sandbox.kube.create({"kind": "Namespace", "metadata": {"name": space}})
    sandbox.kube.create(python_job("train", "print('a line')", namespace=teams[1]))
    spaces = {n["metadata"]["name"] for n in sandbox.kube.request("GET", "/api/v1/namespaces").json()["items"]}
    for space in {"", *spaces} - {*teams}:
        sandbox.fault("deny", verb="get", resource="pods/log", namespace=space, user="three-teams")
    person = Person(hub, browser, "three-teams")
    page = person.open("")
    expect(page.get_by_role("listitem")).to_have_text(sorted(teams), timeout=WAIT)
    _shots(page, "hub-choose")
    page.get_by_role("link", name=teams[1]).click()
    expect(page.get_by_role("link", name="train")).to_be_visible(timeout=WAIT)
    # It is remembered, and a namespace in the address wins.
    page.goto(f"{hub.url}services/logs/")
    expect(page.get_by_label("Namespace")).to_have_value(teams[1], timeout=WAIT)
    expect(page.get_by_role("link", name="train")).to_be_visible()
    page.goto(f"{hub.url}services/logs/cortex/view?namespace=default")
    expect(page.get_by_role("alert")).to_contain_text("may not read logs in namespace 'default'", timeout=WAIT)
    expect(page.get_by_role("listitem")).to_have_text(sorted(teams))
    _shots(page, "hub-refused")
    page.get_by_label("Namespace").select_option(teams[1])
    expect(page.get_by_role("link", name="train")).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("listitem")).to_have_count(0)
    person.context.close()
    for space in teams:
        sandbox.kube.delete("namespaces", space)


def _shots(page: Page, name: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (600, 1000, 1600):
            page.set_viewport_size({"width": width, "height": 600})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            shot(page, f"{name}-{scheme}-{width}")


def test_a_user_reads_live_until_signing_out_and_goes_on_after_signing_in_again(
    hub: Hub,
    sandbox: SandboxProcess,
    browser: Browser,
    job: Callable[..., str],
    tmp_path: Path,
    lines_of: Callable[[Locator], dict[int, list[str]]],
) -> None:
    gates = [tmp_path / f"gate-{i}" for i in range(3)]
    name = job(_IN_PARTS.format([str(gate) for gate in gates]))
    alice = Person(hub, browser, "alice")
    page = alice.open(f"cortex/view?task={name}")
    viewer = page.locator(".cortex-logs")
    for part, gate in enumerate(gates[:2]):
        gate.touch()
        expect(viewer.locator("[data-seq]", has_text=f"line {part}-19")).to_be_visible(timeout=WAIT)
    says(viewer, "Live")
    shot(page, "hub-live")

    # Signing out at the Hub ends open streams, and a copy of the old cookies is refused.
    copied = browser.new_context(storage_state=alice.context.storage_state())
    other_tab = alice.context.new_page()
    other_tab.goto(f"{hub.url}hub/logout")
    says(viewer, "Reconnecting")
    assert copied.request.get(f"{hub.url}services/logs/cortex/tasks").status == 403
    copied.close()
    gates[2].touch()
    sandbox.kube.wait_job(name, "Complete")
    says(viewer, "40 lines")
    expect(viewer.locator("[data-seq]", has_text="line 2-")).to_have_count(0)

    # After signing in in the other tab, the first one continues where it was.
    alice.open("", other_tab)
    expect(other_tab.get_by_role("link", name=name)).to_be_visible(timeout=WAIT)
    page.bring_to_front()
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("60 lines, .* complete"))
    shot(page, "hub-back")
    found = lines_of(viewer)
    assert [texts for _, texts in sorted(found.items())] == [[f"line {p}-{i}"] for p in range(3) for i in range(20)]
    assert alice.has_leaked_nothing()
    alice.context.close()


def test_a_users_own_server_serves_the_viewer_below_its_url(
    hub: Hub, browser: Browser, job: Callable[..., str], gate: Path
) -> None:
    name = job(gated(40, gate))
    path = f"user/alice/cortex/view?task={name}"
    hub.wait_server("alice")
    alice = Person(hub, browser, "alice")
    alice.page.goto(hub.url + path)
    alice.sign_in(alice.page)
    viewer = alice.page.locator(".cortex-logs")
    says(viewer, "Live")
    expect(alice.page).to_have_url(re.compile(f"^{hub.url}user/alice/cortex/view"), timeout=WAIT)
    gate.touch()
    says(viewer, re.compile("40 lines, .* complete"))
    shot(alice.page, "hub-own")
    alice.context.close()
    # The Hub refuses other users at this server.
    bob = Person(hub, browser, "bob")
    bob.page.goto(hub.url + path)
    bob.sign_in(bob.page)
    expect(bob.page.get_by_role("heading").first).to_contain_text("do not have permission", timeout=WAIT)
    bob.context.close()
