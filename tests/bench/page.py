"""The viewer in real Chromium: the first screen, a million lines, filters, frame gaps, memory, and ten viewers at rest."""

from __future__ import annotations

import json
import operator
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright
from server.running import BASE, TOKEN, run_server
from support.browser import chromium
from support.recorded import record, show

if TYPE_CHECKING:
    from bench.report import Report

_JS = Path(__file__).parents[2] / "js"
LINES = 1_000_000

#: Returns the time from the start of the viewer's code until rows are drawn (ms), or 0 as long as there are none.
_SHOWN = """() => document.querySelector('[data-seq]') === null ? 0
  : performance.now() - performance.getEntriesByName('begun')[0].startTime"""


def run(report: Report) -> None:
    """Measure. Most figures are shares of their budgets, so that the limit is 1."""
    found = _harness()
    budget = _Budgets(report)
    budget.of("first rows of a page's first viewer", found["first"][0], "first_rows_ms", 300)
    budget.add("first rows of a recording of 1 M lines", _first_screen(), 300, "ms", "server and SSE included")
    budget.of("1 M lines in", found["load"][0], "load_ms", 3000)
    budget.of("its longest gap of the main thread", found["load"][0], "longest_main_thread_gap_ms", 50)
    regexes = [one for one in found["filter"] if one["filter"].startswith("/")]
    for what, key, most in (("first matches", "first_painted_ms", 50), ("all matches", "all_painted_ms", 150)):
        worst = max(regexes, key=operator.itemgetter(key))
        budget.of(f"{what} of a regex, worst of {len(regexes)}", worst, key, most)
    budget.of("longest gap meanwhile", max(found["filter"], key=_gap), "longest_main_thread_gap_ms", 50)
    budget.of("written to painted, p95, 100 lines/s", found["live"][0], "p95_ms", 50)
    budget.of("longest frame gap at 5 000 lines/s with a filter", found["busy"][0], "longest_frame_gap_ms", 50)
    for what, key in (("opened", "opening_ms"), ("growing", "live_ms"), ("under the pointer", "hover_ms")):
        budget.of(f"longest frame gap of a chart of 64 pods x 5 metrics, {what}", found["chart"][0], key, 50)
    report.add("memory of 1 M lines / their text", found["memory"][0]["ratio"], 1.6)
    for one in found["idle"]:
        sight = "all in sight" if one["window_height"] > 2000 else "two in sight"
        budget.add(
            f"ten viewers at rest, {sight}", one["share_of_a_core"] * 100, 2, "%", f"of a core, load {one['load']}"
        )


def _gap(figures: dict[str, Any]) -> float:
    return float(figures["longest_main_thread_gap_ms"])


class _Budgets:
    def __init__(self, report: Report) -> None:
        self._report = report

    def of(self, what: str, figures: dict[str, Any], key: str, most: float) -> None:
        cpu = f", {figures['cpu_ms']} ms of CPU" if "cpu_ms" in figures else ""
        named = f", {figures['filter']}" if "filter" in figures else ""
        self.add(what, float(figures[key]), most, "ms", f"load {figures['load']}{cpu}{named}")

    def add(self, what: str, figure: float, most: float, unit: str, note: str) -> None:
        self._report.add(f"{what} / {most:g} {unit}", figure / most, 1, note=f"{figure:.4g} {unit}, {note}")


def _harness() -> dict[str, list[dict[str, Any]]]:
    command = [sys.executable, "harness/bench.py", str(LINES)]
    done = subprocess.run(command, cwd=_JS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            figures = json.loads(line)
            found.setdefault(figures["what"], []).append(figures)
    return found


def _first_screen() -> float:
    """Return the time from a viewer's start to the newest rows of a recording of a million lines (ms)."""
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as server:
        record(server.store_url, "million", LINES)
        with sync_playwright() as playwright, chromium(playwright) as browser:
            took = []
            for _ in range(3):
                page = browser.new_page(viewport={"width": 1100, "height": 600})
                show(page, server.url, BASE, TOKEN, json.dumps(["default:job/million"]))
                took.append(float(page.wait_for_function(_SHOWN).json_value()))
                page.close()
    return sorted(took)[1]
