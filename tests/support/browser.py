"""Runs a real Chromium, and writes notebooks for it to open."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Playwright

_log = logging.getLogger(__name__)

#: Flags for Debian's Chromium as root in a container; the last ones keep it from contacting its vendor at each start.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Chromium:
    """The machine's Chromium; the property `browser` starts it, and starts it again after it has died.

    Parameters
    ----------
    playwright : Playwright
    """

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._browser: Browser | None = None

    @property
    def browser(self) -> Browser:
        """The running browser."""
        if self._browser is None or not self._browser.is_connected():
            path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            assert path, "Chromium is not installed: run `make test`, which installs it"
            self._browser = self._playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        return self._browser

    def close(self) -> None:
        """End the browser."""
        if self._browser is not None:
            self._browser.close()


#: Makes the page's worker believe that the machine slept: a message (ms) to the channel `sleep` sets its clock forward until
#: the server answers again.
SLEEPER = """
const prelude = `{
  const [now, ask] = [Date.now, fetch]
  let slept = 0
  Date.now = () => now() + slept
  new BroadcastChannel('sleep').onmessage = ({ data }) => (slept = data)
  globalThis.fetch = async (...request) => { const response = await ask(...request); slept = 0; return response }
};`
const made = URL.createObjectURL
URL.createObjectURL = (blob) => made(blob.type === 'text/javascript' ? new Blob([prelude, blob], { type: blob.type }) : blob)
"""


@contextlib.contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Run the machine's Chromium while the block runs."""
    with contextlib.closing(Chromium(playwright)) as running:
        yield running.browser


#: How long a test waits for a condition before it fails (ms).
WAIT = 90_000


def cell(task: str, transport: str = "auto", **query: Any) -> str:
    """Return the code of a cell that shows a log; the default query is `since="all"`."""
    return f"log = cortex.logs({task!r}, **{ ({'since': 'all'} | query)!r})\nlog.transport = {transport!r}\nlog"


def says(viewer: Locator, words: str | re.Pattern[str]) -> None:
    """Wait until a viewer's status bar contains `words`."""
    expect(viewer.locator(".cl-foot")).to_contain_text(words, timeout=WAIT)


#: JavaScript: returns the text of the first visible line of a viewer.
TOP_LINE = """(viewer) => {
  const { top } = viewer.querySelector('[role=log]').getBoundingClientRect()
  return [...viewer.querySelectorAll('[data-seq]')].find((row) => row.getBoundingClientRect().bottom > top + 2)?.querySelector('.cl-m').textContent
}"""


def shot(page: Page, name: str) -> None:
    """Save a screenshot in the folder CORTEX_SHOTS, if that is set."""
    if folder := os.environ.get("CORTEX_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def run_all(page: Page) -> None:
    """Run all cells of the open notebook; repeat that while cells are left out, because the kernel is not ready yet."""
    # On a busy machine Jupyter may tell of a kernel that starts late, in a dialog over its menu. The last button accepts.
    dialog = page.locator(".jp-Dialog")
    page.add_locator_handler(dialog, _accept)
    try:
        _run_all(page)
    finally:
        page.remove_locator_handler(dialog)


def _accept(dialog: Locator) -> None:
    _log.warning("Jupyter's dialog: %s", dialog.inner_text())
    dialog.get_by_role("button").last.click()


def _run_all(page: Page) -> None:
    _wait_for_kernel(page)
    for attempts_left in (4, 3, 2, 1, 0):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            expect(page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[ ]:")).to_have_count(0, timeout=20_000)
        except AssertionError:
            if attempts_left == 0:
                raise
        else:
            return


def _wait_for_kernel(page: Page) -> None:
    """Wait until the notebook's kernel is idle; on a busy machine JupyterLab may fail to load a part of itself."""
    indicator = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    for attempts_left in (2, 1, 0):
        page.wait_for_selector(".jp-CodeCell", timeout=90_000)
        try:
            expect(indicator if "/notebooks/" in page.url else page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
        except AssertionError:
            if attempts_left == 0:
                raise
            page.reload()
        else:
            return


def run_until(page: Page, output: Locator, words: re.Pattern[str]) -> None:
    """Run the current cell until its output contains `words`; the page writes its traits at most once a second."""
    for attempts_left in reversed(range(10)):
        page.keyboard.press("Control+Enter")
        try:
            expect(output).to_contain_text(words, timeout=40_000 if attempts_left == 0 else 2000)
        except AssertionError:
            if attempts_left == 0:
                raise
        else:
            return


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells."""
    document = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"c{i}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for i, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document))
