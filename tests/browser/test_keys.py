"""Keys in the viewer act on the viewer alone, except the shortcuts of JupyterLab with Ctrl, Meta or Alt."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, cell, says

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

#: Lines that are not folded, as they differ in more than numbers.
LINES = "for i in range(200): print('line', chr(97 + i // 26) + chr(97 + i % 26))"
#: Single keys of JupyterLab and Notebook in command mode, twice each, because `d d` and `0 0` are shortcuts too.
KEYS = [
    *string.ascii_lowercase,
    *string.digits[:7],
    "Shift+M",
    "Shift+L",
    "ArrowUp",
    "ArrowDown",
    "Delete",
    "Shift+Enter",
]


def cells(page: Page) -> tuple[list[str], int]:
    """Return the types of the cells, and the number of the active one."""
    types_and_active: tuple[list[str], int] = page.evaluate(
        """() => {
          const cells = [...document.querySelectorAll('.jp-Notebook .jp-Cell')]
          return [cells.map(({ className }) => className.match(/jp-(Code|Markdown|Raw)Cell/)[1]),
                  cells.findIndex(({ classList }) => classList.contains('jp-mod-active'))]
        }"""
    )
    return types_and_active


@pytest.mark.parametrize("app", ["lab", "notebooks"])
def test_no_key_in_the_viewer_changes_the_notebook_and_ctrl_s_saves_it(
    lab: Lab, job: Callable[..., str], app: str
) -> None:
    name = f"keys-{app}"
    page = lab.open(name, cell(job(LINES)), "1 + 1", app=app)
    viewer = page.locator(".cortex-logs").first
    says(viewer, "Job complete exit 0")
    expect(viewer.locator("[data-seq]").nth(5)).to_be_visible(timeout=WAIT)
    viewer.locator("[data-seq] .cl-t").nth(5).click()
    for selector in ("[role=log]", "[role=toolbar] button[title^='Bookmark']", "button[aria-haspopup=menu]"):
        for key in KEYS:
            viewer.locator(selector).first.focus()
            before = cells(page)
            for _ in range(2):
                page.keyboard.press(key)
            assert cells(page) == before, f"{key} in {selector}"
    for selector in ("[role=log]", "input[type=search]"):
        text = f"# changed in {selector}"
        page.locator(".jp-Cell").nth(1).locator(".jp-InputPrompt").click()
        page.keyboard.press("Enter")
        page.keyboard.insert_text(text)
        viewer.locator(selector).first.focus()
        page.keyboard.press("Control+s")
        page.wait_for_function(
            "async ([path, text]) => (await (await fetch(path)).text()).includes(text)",
            arg=[f"{lab.server.url}api/contents/{name}.ipynb", text],
            timeout=WAIT,
        )
