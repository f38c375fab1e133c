"""What a user takes from a viewer to a colleague: a link to a line, lines as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab

pytestmark = pytest.mark.browser


def test_a_link_from_a_notebook_leads_a_colleague_to_the_line(lab: Lab, job: Callable[..., str]) -> None:
    name = job("for i in range(4000): print('line %04d' % i, flush=True)")
    page = lab.open("link", f"cortex.logs({name!r})")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    viewer.locator("input[type=search]").fill("line 1234")
    row = viewer.locator("[data-seq]", has_text="line 1234")
    row.locator(".cl-t").click()
    seq = row.get_attribute("data-seq")
    page.keyboard.press("Shift+M")
    expect(viewer.locator(".cl-pickbar")).to_contain_text("Copied")
    markdown = page.evaluate("() => navigator.clipboard.readText()")
    page.keyboard.press("Shift+L")
    expect(viewer.locator(".cl-pickbar")).to_contain_text("Link copied")
    shot(page, "takealong-copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    head, _, fence, line, _ = markdown.split("\n", 4)
    assert f"`default:job/{name}`" in head and f"[line {seq}](" in head
    assert fence == "```text" and line.endswith("line 1234")

    colleague = lab.page()
    colleague.goto(f"{link}&token={TOKEN}")
    picked = colleague.locator(".cl-picked")
    expect(picked).to_contain_text("line 1234", timeout=WAIT)
    expect(picked).to_have_attribute("data-seq", str(seq))
    # The lines around it are there too.
    expect(colleague.locator("[data-seq]", has_text="line 1235")).to_be_visible()
    shot(colleague, "takealong-opened")
