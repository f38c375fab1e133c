"""A server with several clusters: a person goes from the clusters to a task of one of them, and reads its lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, shot
from support.clusters import run_clusters
from support.kube import python_job

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import NewSandbox, SandboxProcess
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


def test_tasks_of_the_same_name_are_told_apart_by_their_cluster(
    browser: Browser, sandbox_process: SandboxProcess, new_sandbox: NewSandbox, tmp_path: Path
) -> None:
    with run_clusters(tmp_path, sandbox_process, new_sandbox) as clusters:
        for name, sandbox in (("one", clusters.one), ("two", clusters.two)):
            sandbox.kube.create(python_job("twin", f"print('line of {name}')"))
            sandbox.kube.wait_job("twin", "Complete")
        context = browser.new_context(viewport={"width": 1000, "height": 700})
        context.add_cookies([{"name": "user", "value": "alice", "url": clusters.server.url}])
        page = context.new_page()
        page.goto(f"{clusters.server.url}cortex/view")
        expect(page.get_by_role("alert")).to_have_count(2, timeout=WAIT)
        shot(page, "clusters")
        page.get_by_role("link", name="two").click()
        expect(page.get_by_role("heading")).to_contain_text("of two")
        shot(page, "clusters-list")
        page.get_by_role("link", name="job/twin").click()
        expect(page.locator("[data-seq]")).to_have_text(re.compile("line of two"), timeout=WAIT)
        expect(page).to_have_title(re.compile("twin · .* · two"))
        shot(page, "clusters-viewer")
        page.go_back()
        page.get_by_role("link", name="two", exact=True).click()
        expect(page.get_by_role("heading", name="Clusters")).to_be_visible()
        clusters.one.kube.delete("jobs", "twin")
