"""Downloads from the viewer: the browser writes them as they come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, cell, says
from support.jupyter import counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def choose(page: Page, label: str) -> None:
    page.get_by_role("button", name="Download the log").click()
    page.get_by_role("menuitem", name=label, exact=True).click()


def test_a_download_is_a_link_that_the_browser_follows(lab: Lab, job: Callable[..., str]) -> None:
    page = lab.view(job(counter(300)), since="all")
    says(page.locator(".cortex-logs"), "Job complete exit 0")
    page.locator("input[type=search]").fill("line 0000001")
    expect(page.locator(".cl-filter")).to_contain_text("10 of 300", timeout=WAIT)
    for label, lines in (("Text", 10), ("Text, all", 300)):
        with page.expect_download() as waiting:
            choose(page, label)
        # A blob would be held in memory as a whole.
        assert waiting.value.url.startswith(f"{lab.server.url}cortex/tasks/")
        assert len(Path(waiting.value.path()).read_text().splitlines()) == lines
        assert ("filtered" in waiting.value.suggested_filename) == (lines == 10)


def test_why_a_download_fails_is_said(lab: Lab, job: Callable[..., str]) -> None:
    page = lab.view(job(counter(3)), since="all")
    says(page.locator(".cortex-logs"), "Job complete exit 0")
    page.route("**/logs.txt*", lambda route: route.continue_(url=f"{route.request.url}&pod=nobody"))
    choose(page, "Text, all")
    expect(page.locator(".cl-problem")).to_contain_text("Download failed: ", timeout=WAIT)
    expect(page.locator(".cl-problem")).to_contain_text("nobody")


def test_a_log_that_comes_through_the_kernel_is_downloaded_and_has_a_page(lab: Lab, job: Callable[..., str]) -> None:
    page = lab.open("kernel-download", cell(job(counter(3000)), "comm"))
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    says(viewer, "via kernel")
    with page.expect_download() as waiting:
        choose(page, "Text, all")
    assert waiting.value.suggested_filename.endswith(".txt")
    assert len(Path(waiting.value.path()).read_text().splitlines()) == 3000
    with page.expect_popup() as opened:
        page.get_by_label("A page of its own").click()
    says(opened.value.locator(".cortex-logs"), "Job complete exit 0")
