"""Two users in one notebook with the real jupyter-collaboration: whose rights count, and which state they share.

jupyter-collaboration changes every JupyterLab that finds it, so `make test` installs it into a separate folder.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import cell, notebook, run_all, says, shot
from support.jupyter import Home, Jupyter, gated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess
    from playwright.sync_api import Browser, Locator, Page

FOLDER = str(Path(sys.prefix) / "collaboration")
LINES = 200

pytestmark = pytest.mark.browser


@pytest.fixture
def shared(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Jupyter]:
    """Yield a JupyterLab for several users, each with their own rights in Kubernetes."""
    path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""), FOLDER))
    home = Home(tmp_path, sandbox.kubeconfig)
    home = replace(
        home,
        settings={
            "PYTHONPATH": path,
            "JUPYTER_PATH": f"{FOLDER}/share/jupyter",
            "JUPYTER_CONFIG_PATH": f"{FOLDER}/etc/jupyter",
        },
    )
    server = Jupyter(
        home,
        "lab",
        None,
        "--ServerApp.identity_provider_class=server.people.People",
        "--CortexJupyter.access_for=user",
    )
    yield server
    server.close()
    home.end()


def _open(browser: Browser, server: Jupyter, who: str) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    context.add_cookies([{"name": "user", "value": who, "url": server.url}])
    page = context.new_page()
    page.goto(f"{server.url}lab/workspaces/{who}/tree/shared.ipynb")
    return page


def test_the_server_checks_each_users_rights_and_filters_are_not_shared(
    shared: Jupyter,
    sandbox: SandboxProcess,
    browser: Browser,
    job: Callable[..., str],
    gate: Path,
    lines_of: Callable[[Locator], dict[int, list[str]]],
) -> None:
    via_server, via_kernel = job(gated(LINES, gate)), job(gated(LINES, gate))
    notebook(
        shared.home.path / "shared.ipynb", "import cortex_jupyter as cortex", cell(via_server), cell(via_kernel, "comm")
    )
    sandbox.fault("deny", resource="pods/log", user="bob")
    alice = _open(browser, shared, "alice")
    run_all(alice)
    hers = alice.locator(".cortex-logs")
    says(hers.nth(0), "Live")
    says(hers.nth(1), "via kernel")
    bob = _open(browser, shared, "bob")
    his = bob.locator(".cortex-logs")
    expect(his).to_have_count(2)
    # The server answers a page by the rights of its user. The kernel's lines are sent to all users of the notebook.
    says(his.nth(0), "user 'bob' may not read logs in namespace 'default'")
    expect(his.nth(0).locator("[data-seq]")).to_have_count(0)
    says(his.nth(1), "Live")
    says(his.nth(1), "via kernel")
    # Each user has their own filter.
    his.nth(1).locator("input[type=search]").fill("line 0000001")
    says(his.nth(1), re.compile("10 of "))
    expect(hers.nth(1).locator("input[type=search]")).to_have_value("")
    shot(bob, "shared-bob")
    gate.touch()
    for viewer in (hers.nth(0), hers.nth(1)):
        says(viewer, re.compile(f"(?<!of ){LINES} lines, .* complete"))
    says(his.nth(1), re.compile(f"10 of {LINES} lines, .* complete"))
    his.nth(1).locator("input[type=search]").fill("")
    all_lines = [[f"line {i:08}"] for i in range(LINES)]
    for page, viewer in ((alice, hers.nth(1)), (bob, his.nth(1))):
        page.bring_to_front()
        viewer.scroll_into_view_if_needed()
        assert [texts for _, texts in sorted(lines_of(viewer).items())] == all_lines
    shot(alice, "shared-alice")
    for page in (alice, bob):
        page.context.close()


def test_what_one_user_saves_leaves_the_viewers_of_the_others_as_they_are(
    shared: Jupyter, sandbox: SandboxProcess, browser: Browser, job: Callable[..., str], gate: Path
) -> None:
    name = job(gated(LINES, gate))
    notebook(shared.home.path / "shared.ipynb", "import cortex_jupyter as cortex", cell(name))
    alice = _open(browser, shared, "alice")
    run_all(alice)
    hers = alice.locator(".cortex-logs")
    says(hers, "Live")
    bob = _open(browser, shared, "bob")
    his = bob.locator(".cortex-logs")
    says(his, "Live")
    his.locator("input[type=search]").fill("line 0000001")
    says(his, re.compile("10 of "))
    for viewer in (hers, his):
        viewer.evaluate("one => (one.dataset.mark = 'first')")
    alice.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    alice.keyboard.press("Control+s")
    # The server sends it to Bob's page before it writes the file.
    alice.wait_for_function(
        "async () => (await (await fetch('/api/contents/shared.ipynb')).text()).includes('line 00000179')"
    )
    gate.touch()
    says(his, re.compile(f"10 of {LINES} lines, .* complete"))
    expect(his.locator("input[type=search]")).to_have_value("line 0000001")
    for viewer in (hers, his):
        expect(viewer).to_have_attribute("data-mark", "first")
    for page in (alice, bob):
        page.context.close()
