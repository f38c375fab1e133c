"""A page whose kernels read several clusters shows each cluster's own lines, even for tasks with the same name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from browser.conftest import Lab
from playwright.sync_api import expect
from support.browser import WAIT, says, shot
from support.jupyter import Home, Jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conftest import SandboxProcess
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.browser


@pytest.fixture
def two_clusters(
    new_sandbox: Callable[..., AbstractContextManager[SandboxProcess]], tmp_path: Path, browser: Browser
) -> Iterator[Lab]:
    """Yield a JupyterLab with a kubeconfig of two clusters, each with a Job `same`. The current context is `here`."""
    with new_sandbox(tmp_path / "a") as here, new_sandbox(tmp_path / "b") as there:
        config: dict[str, Any] = {"clusters": [], "users": [], "contexts": [], "current-context": "here"}
        for name, sandbox in (("here", here), ("there", there)):
            sandbox.kube.create(python_job("same", f"for i in range(5): print('line', i, 'of {name}')"))
            single = yaml.safe_load(sandbox.kubeconfig.read_text())
            config["clusters"].append({"name": name, "cluster": single["clusters"][0]["cluster"]})
            config["users"].append({"name": name, "user": single["users"][0]["user"]})
            config["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
            sandbox.kube.wait_job("same")
        (tmp_path / "home").mkdir()
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        home = Home(tmp_path / "home", kubeconfig)
        lab = Lab(home=home, server=Jupyter(home, "lab"), browser=browser)
        lab.setting("notification", "fetchNews", "false")
        yield lab
        lab.end_kernels()
        lab.server.close()
        home.end()


def texts(viewer: Locator) -> list[str]:
    """Return the lines that a viewer shows."""
    return viewer.locator("[data-seq]").all_inner_texts()


def test_one_page_shows_the_lines_of_each_cluster(two_clusters: Lab, transport: str) -> None:
    def cell(context: str) -> str:
        return f"log = cortex.logs('same', since='all'{context})\nlog.transport = {transport!r}\nlog"

    page = two_clusters.open(
        f"clusters-{transport}", cell(""), cell(", context='there'"), "cortex.tasks(context='there')"
    )
    viewers = page.locator(".cortex-logs")
    for number, name in ((0, "here"), (1, "there")):
        viewer = viewers.nth(number)
        viewer.scroll_into_view_if_needed(timeout=WAIT)
        says(viewer, re.compile("5 lines, .* complete"))
        expect(viewer.locator("[data-seq]").last).to_contain_text(f"of {name}", timeout=WAIT)
        shown = " ".join(texts(viewer))
        assert all(f"line {i} of {name}" in shown for i in range(5)), shown
        assert ("of there" in shown) == (name == "there"), shown
        shot(page, f"clusters-{transport}-{name}")
    # The server sends only lines of its own cluster; the other viewer reads through the kernel.
    for number, way in ((0, transport), (1, "comm")):
        seen = viewers.nth(number).locator(".cl-foot")
        if way == "comm":
            expect(seen).to_contain_text("via kernel", timeout=WAIT)
        else:
            expect(seen).not_to_contain_text("via kernel", timeout=WAIT)
    # A link to a task of the other cluster does not lead to the task of the same name in this one.
    with page.expect_popup() as opened:
        page.get_by_role("link", name="same").click()
    expect(opened.value.locator("h1")).to_contain_text("reads another cluster or store", timeout=WAIT)
    with two_clusters.dark():
        dark = two_clusters.open(f"dark-{transport}", cell(", context='there'"))
        says(dark.locator(".cortex-logs").first, re.compile("5 lines, .* complete"))
        shot(dark, f"clusters-{transport}-dark")


def test_two_kernels_show_the_lines_of_their_own_clusters(two_clusters: Lab, transport: str) -> None:
    """Two notebooks in one page share the page's store, but the same name means two tasks."""
    cell = f"log = cortex.logs('same', since='all', context={{!r}})\nlog.transport = {transport!r}\nlog"
    pages = [two_clusters.open(f"kernel-{name}-{transport}", cell.format(name)) for name in ("here", "there")]
    for page, name in zip(pages, ("here", "there"), strict=True):
        viewer = page.locator(".cortex-logs").first
        says(viewer, re.compile("5 lines, .* complete"))
        shown = " ".join(texts(viewer))
        assert all(f"line {i} of {name}" in shown for i in range(5)), shown
