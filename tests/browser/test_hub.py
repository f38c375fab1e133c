"""A real JupyterHub in a real browser: the logs as its service, and in a server of one's own."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import SandboxProcess
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

#: Twenty lines at a time, each lot when there is a file.
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
    """Somebody with a browser of their own."""

    def __init__(self, hub: Hub, browser: Browser, name: str) -> None:
        self.hub, self.name = hub, name
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.tokens: list[str] = []
        #: Each address that was asked for, and what the browser said where it came from.
        self.visited: list[str] = []
        self.context.on("request", lambda r: self.visited.extend((r.url, r.headers.get("referer", ""))))
        self.page = self.context.new_page()

    def open(self, path: str, page: Page | None = None) -> Page:
        """Go to a page of the service; the Hub asks who it is, and whether the service may know."""
        page = page or self.page
        page.goto(f"{self.hub.url}services/logs/{path}")
        self.sign_in(page)
        expect(page.get_by_text("would like permission to identify you")).to_be_visible(timeout=WAIT)
        page.get_by_role("button", name="Authorize").click()
        expect(page).to_have_url(re.compile("/services/logs/cortex/view"), timeout=WAIT)
        # The cookie is signed and not secret.
        (cookie,) = (c["value"] for c in self.context.cookies() if c["name"] == "service-logs")
        self.tokens.append(base64.b64decode(cookie.split("|")[4].partition(":")[2]).decode())
        return page

    def sign_in(self, page: Page) -> None:
        """Say who it is."""
        page.get_by_label("Username").fill(self.name)
        page.get_by_label("Password").fill("x")
        page.get_by_role("button", name="Sign in").click()

    def left_no_secret(self) -> bool:
        """Whether no token is in an address, and none in the log; a code neither, which is good for a token once."""
        log = self.hub.log.read_text()
        codes = {m[1] for url in self.visited if (m := re.search(r"oauth_callback\?code=(\w+)", url))}
        assert len(codes) == len(self.tokens) and all(len(secret) > 20 for secret in (*codes, *self.tokens))
        said = [s for s in (*codes, *self.tokens) if s in log]
        shown = [url for url in self.visited if "token=" in url or any(t in url for t in self.tokens)]
        assert (said, shown) == ([], []) and "Traceback" not in log
        return True


def test_whom_kubernetes_lets_not_is_told_so_on_every_way_in(
    hub: Hub, sandbox: SandboxProcess, browser: Browser, job: Callable[..., str]
) -> None:
    name = job("print('a secret line')")
    sandbox.fault("deny", resource="pods/log", user="bob")
    bob = Person(hub, browser, "bob")
    page = bob.open(f"cortex/view?task={name}")
    refused = "user 'bob' may not read logs in namespace 'default'"
    expect(page.get_by_role("heading")).to_have_text(f"{refused}: the right `get pods/log` is missing", timeout=WAIT)
    shot(page, "hub-bob")
    for way in WAYS:
        answer = bob.context.request.get(f"{hub.url}services/logs/{way.format(name)}")
        assert answer.status == 403 and "may not read logs" in answer.text(), way
        assert "secret" not in answer.text()
    assert bob.left_no_secret()
    bob.context.close()


def test_who_signs_in_reads_live_until_they_sign_out_and_goes_on_when_they_are_back(
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

    # What is open ends with the session at the Hub, and a copy of its cookies opens nothing any more.
    copied = browser.new_context(storage_state=alice.context.storage_state())
    door = alice.context.new_page()
    door.goto(f"{hub.url}hub/logout")
    says(viewer, "Reconnecting")
    assert copied.request.get(f"{hub.url}services/logs/cortex/tasks").status == 403
    copied.close()
    gates[2].touch()
    sandbox.kube.wait_job(name, "Complete")
    says(viewer, "40 lines")
    expect(viewer.locator("[data-seq]", has_text="line 2-")).to_have_count(0)

    # Back in another tab, what was left goes on where it was.
    alice.open("", door)
    expect(door.get_by_role("link", name=name)).to_be_visible(timeout=WAIT)
    page.bring_to_front()
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("60 lines, .* complete"))
    shot(page, "hub-back")
    found = lines_of(viewer)
    assert [texts for _, texts in sorted(found.items())] == [[f"line {p}-{i}"] for p in range(3) for i in range(20)]
    assert alice.left_no_secret()
    alice.context.close()


def test_a_server_of_ones_own_has_the_viewer_below_its_address(
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
    # It is hers: to others the Hub says so.
    bob = Person(hub, browser, "bob")
    bob.page.goto(hub.url + path)
    bob.sign_in(bob.page)
    expect(bob.page.get_by_role("heading").first).to_contain_text("do not have permission", timeout=WAIT)
    bob.context.close()
