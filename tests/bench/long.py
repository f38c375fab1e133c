"""A recording of ten million lines in the viewer: the first screen, jumps to random positions, and a search over all lines."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright
from server.running import BASE, TOKEN, run_server
from support.browser import chromium
from support.recorded import record, show

if TYPE_CHECKING:
    from bench.report import Report
    from playwright.sync_api import Page

LINES = 10_000_000

#: Drags the scrollbar and waits until the rows at that position are drawn; returns the time (ms).
_JUMP = """([share, lines]) => new Promise((done) => {
  const rows = document.querySelector('.cl-rows')
  const begun = performance.now()
  rows.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 }))
  rows.scrollTop = share * (rows.scrollHeight - rows.clientHeight)
  const look = () => {
    const row = rows.querySelectorAll('[data-seq]')[8]
    if (row && Math.abs(Number(row.dataset.seq) / lines - share) < 0.002) done(performance.now() - begun)
    else requestAnimationFrame(look)
  }
  look()
})"""


def run(report: Report) -> None:
    """Measure in a page of Chromium."""
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        record(server.store_url, "long", LINES)
        with sync_playwright() as playwright, chromium(playwright) as browser:
            page = browser.new_page(viewport={"width": 1100, "height": 600})
            show(page, server.url, BASE, TOKEN, json.dumps(["default:job/long"]))
            page.wait_for_selector("[data-seq]")
            first = page.evaluate("() => performance.now()")
            report.add("10 M lines: from the page's beginning to its first rows", first, 1500, "ms")
            page.wait_for_function("() => document.querySelector('.cl-rows').scrollHeight > 30e6")
            _jumps(report, page)
            _search(report, page)


def _jumps(report: Report, page: Page) -> None:
    pick = random.Random(5)
    positions = [pick.uniform(0.01, 0.99) for _ in range(30)]
    took = sorted(page.evaluate(_JUMP, [share, LINES]) for share in positions)
    report.add("10 M lines: jump to any place, median", took[len(took) // 2], 200, "ms")
    report.add("10 M lines: jump to any place, p95", took[int(len(took) * 0.95)], None, "ms")


def _search(report: Report, page: Page) -> None:
    begun = page.evaluate("() => performance.now()")
    page.locator("input[type=search]").fill("line 00000042")
    page.wait_for_selector("[data-seq='42']", timeout=120_000)
    took = page.evaluate("() => performance.now()") - begun
    report.add("10 M lines: the oldest is found by a search back over all", took / 1000, None, "s")
