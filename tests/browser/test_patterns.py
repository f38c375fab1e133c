"""The panel of patterns and fields, on a page of its own and in JupyterLab through the kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from browser.test_accessibility import findings
from playwright.sync_api import expect
from support.browser import says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab

pytestmark = pytest.mark.browser
WAIT = 60_000

PROGRAM = """
import json, time
for i in range(300):
    print(f"INFO trainer: step {i} of 300, loss={2 / (i + 1):.4f}", flush=True)
    if i % 20 == 0: print(f"INFO saved checkpoint /data/run-7/ckpt-{i}.pt in {i % 7 + 1} s", flush=True)
    if i % 5 == 0: print(json.dumps({"level": "info", "msg": f"GET /api/items/{i}", "status": 500 if i % 45 == 0 else 200, "route": "/api/items", "user": {"name": ["ann", "bob", "carla"][i % 3]}, "took_ms": i * 7 % 91}), flush=True)
    if i in (120, 130): print(f"WARNING the loader of shard {i} is slow: 3.{i} s", flush=True)
    time.sleep(0.004)
print("ERROR no space is left on /data", flush=True)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_patterns_and_fields_filter_the_lines(
    lab: Lab, job: Callable[..., str], scheme: Literal["light", "dark"]
) -> None:
    name = job(PROGRAM)
    page = lab.page(color_scheme=scheme)
    page.goto(f"{lab.server.url}cortex/view?task={name}&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    page.keyboard.press("P")
    panel = viewer.get_by_role("group", name="Patterns and fields")
    only = panel.locator(".cl-pat-only")
    expect(only).to_have_count(5, timeout=WAIT)
    expect(only.first).to_contain_text(re.compile(r"300.*step · of ·,? ?loss=·"))
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"patterns-{scheme}-{width}")
    only.filter(has_text="checkpoint").click()
    expect(viewer.locator("[data-seq]")).to_have_count(15, timeout=WAIT)
    expect(viewer.locator(".cl-cw")).to_have_text(re.compile("like saved checkpoint .data.run-·"))
    panel.locator(".cl-pat-hide").first.click()
    expect(panel.locator(".cl-pat-off")).to_have_count(1)
    page.mouse.move(0, 0)
    shot(page, f"patterns-only-{scheme}")
    assert not findings(page, None)
    panel.locator(".cl-pat-hide").first.click()
    # The address has the filter and the panel, so another page shows the same.
    expect(page).to_have_url(re.compile("grep=[^&]*checkpoint(?!.*exclude).*panel=patterns"))
    page.reload()
    expect(viewer.locator("[data-seq]")).to_have_count(15, timeout=WAIT)
    expect(only.filter(has_text="checkpoint")).to_have_attribute("aria-pressed", "true", timeout=WAIT)
    panel.get_by_role("button", name="Fields", exact=True).click()
    only.first.wait_for(state="hidden")
    panel.get_by_role("button", name=re.compile("^bob")).click()
    expect(viewer.get_by_text("No line matches the filter")).to_be_visible()
    viewer.get_by_role("button", name=re.compile("Remove: like")).click()
    expect(viewer.locator("[data-seq]")).to_have_count(20)
    panel.get_by_role("button", name=re.compile("^status")).click()
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"fields-{scheme}-{width}")
    assert not findings(page, None)
    viewer.get_by_role("button", name="all levels: choose levels").click()
    viewer.get_by_role("menuitemcheckbox", name="info").click()
    shot(page, f"levels-{scheme}")
    page.keyboard.press("Escape")
    expect(viewer.locator("[data-seq]")).to_have_count(0)


def test_patterns_come_through_the_kernel_too(lab: Lab, job: Callable[..., str]) -> None:
    name = job(PROGRAM)
    page = lab.open(
        "patterns",
        f"log = cortex.logs({name!r}, since='all', height=500, panel='patterns')\nlog.transport = 'comm'\nlog",
    )
    viewer = page.locator(".cortex-logs").first
    only = viewer.locator(".cl-pat-only")
    expect(only).to_have_count(5, timeout=WAIT)
    only.filter(has_text="no space").click()
    expect(viewer.locator("[data-seq]")).to_have_count(1)
    shot(page, "patterns-lab")
