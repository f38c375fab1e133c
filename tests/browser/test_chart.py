"""The live chart in JupyterLab grows with its task, and shows the values at the pointer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import shot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.browser

PROGRAM = """
import math, os, time
for i in range(60): print(f"INFO step {i} loss={math.exp(-i / 40):.4f} acc={1 - math.exp(-i / 30):.4f}", flush=True)
while not os.path.exists(%r): time.sleep(0.05)
for i in range(60, 120): print(f"INFO step {i} loss={'nan' if i > 100 else math.exp(-i / 40)} acc={1 - math.exp(-i / 30):.4f}", flush=True)
"""


def test_a_chart_grows_with_its_task(lab: Any, job: Callable[..., str], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    name = job(PROGRAM % str(gate), parallelism=2)
    page = lab.open(
        "chart",
        f"log = cortex.logs({name!r})\nlog.wait('step 59', timeout=60)",
        "log.metrics().plot()",
        "log.patterns()",
    )
    chart = page.locator(".cortex-chart").first
    expect(chart).to_contain_text("live")
    expect(chart.locator("svg").first).to_be_visible()
    stops = chart.locator("svg g.stop")
    label = stops.nth(20).locator("text").first
    expect(label).to_have_css("opacity", "0")
    stops.nth(20).locator("rect").first.hover()
    expect(label).to_have_css("opacity", "1")
    shot(page, "chart-live")
    gate.touch()
    expect(chart).to_contain_text("NaN from step 101")
    expect(chart).not_to_contain_text("live")
    shot(page, "chart-ended")
    page.close()
    lab.setting("themes", "theme", "JupyterLab Dark")
    dark = lab.open("dark", f"log = cortex.logs({name!r})", "log.metrics().plot()", "log.why()")
    expect(dark.locator(".cortex-chart").first).to_contain_text("NaN from step 101")
    colour = dark.locator(".cortex-chart").first.evaluate("e => getComputedStyle(e).color")
    assert max(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) > 150, (
        "text is not light on the dark page"
    )
    shot(dark, "chart-dark")
    dark.close()
    lab.setting("themes", "theme", "JupyterLab Light")
