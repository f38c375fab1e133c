"""Real Chromium, and notebooks for it to open."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Playwright

#: Debian's Chromium as root in a container; without the last ones it looks for its maker's hosts at every start.
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Chromium:
    """The machine's Chromium; a test takes `Chromium.browser`, which is started anew when it has died.

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
            assert path, "Chromium is missing: `make test` installs it where it may"
            self._browser = self._playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        return self._browser

    def close(self) -> None:
        """End the browser."""
        if self._browser is not None:
            self._browser.close()


@contextlib.contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Run the machine's Chromium while the block runs."""
    with contextlib.closing(Chromium(playwright)) as running:
        yield running.browser


#: How long a test waits for a condition before it fails, ms.
WAIT = 90_000


def cell(task: str, transport: str = "auto", **query: Any) -> str:
    """Return the code of a cell that shows a log, all of it unless asked otherwise."""
    return f"log = cortex.logs({task!r}, **{ ({'since': 'all'} | query)!r})\nlog.transport = {transport!r}\nlog"


def says(viewer: Locator, words: str | re.Pattern[str]) -> None:
    """Wait until a viewer's status bar says so."""
    expect(viewer.locator("[role=status]")).to_contain_text(words, timeout=WAIT)


def shot(page: Page, name: str) -> None:
    """Leave a picture for whoever looks; CORTEX_SHOTS names the folder."""
    if folder := os.environ.get("CORTEX_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def run_all(page: Page) -> None:
    """Run every cell of the notebook that is open: again where that had no effect, for what is run before the kernel is there is not run."""
    page.wait_for_selector(".jp-CodeCell", timeout=90_000)
    seven = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    expect(seven if "/notebooks/" in page.url else page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(AssertionError):
            expect(page.locator(".jp-CodeCell .jp-InputPrompt").first).not_to_have_text("[ ]:", timeout=20_000)
            return


def run_until(page: Page, output: Locator, words: re.Pattern[str]) -> None:
    """Run the cell until the kernel says so: the page writes its traits at most once a second."""
    for left in reversed(range(10)):
        page.keyboard.press("Control+Enter")
        try:
            expect(output).to_contain_text(words, timeout=40_000 if left == 0 else 2000)
        except AssertionError:
            if left == 0:
                raise
        else:
            return


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells."""
    document = {
        "cells": [
            {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
            for i, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip
    path.write_text(json.dumps(document))
