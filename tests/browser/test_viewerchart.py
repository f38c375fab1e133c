"""The chart beside the lines, in JupyterLab on the sandbox: it grows with the task and leads to the lines before the NaN."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect
from support.browser import says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.browser
WAIT = 60_000

#: Two workers. The gradients of one explode at step 700, and its loss is NaN from step 760 on.
PROGRAM = """
import math, os, time
rank = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
def train(steps):
    for i in steps:
        bad = rank == 1 and i >= 700
        loss = "nan" if bad and i >= 760 else f"{2.1 * math.exp(-i / 260) + 0.4 + 0.05 * rank + math.sin(i * 1.7) / 30 + (i - 700) ** 2 / 900 * bad:.4f}"
        print(f"INFO step {i} loss={loss} acc={1 - math.exp(-i / 300) * 0.9:.4f} grad_norm={1 + math.sin(i) ** 2 + 0.6 * (i - 700) * bad:.3f}", flush=True)
        if i == 760 and rank == 1: print("WARNING loss is not finite, the update is skipped", flush=True)
        time.sleep(0.004)
train(range(400))
while not os.path.exists(%r): time.sleep(0.05)
train(range(400, 1000))
"""


def plot(viewer: Locator, name: str) -> Locator:
    return viewer.locator(".cl-mult", has=viewer.page.get_by_text(name, exact=True)).locator(".cl-plot")


def drag(page: Page, area: Locator, a: float, b: float) -> None:
    box = area.bounding_box()
    assert box
    left, width, y = box["x"] + 40, box["width"] - 48, box["y"] + box["height"] / 2
    page.mouse.move(left + a * width, y)
    page.mouse.down()
    page.mouse.move(left + b * width, y, steps=5)
    page.mouse.up()


def test_the_chart_beside_the_lines_while_a_task_runs_and_after_its_end(
    lab: Lab, job: Callable[..., str], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    name = job(PROGRAM % str(gate), parallelism=2, completionMode="Indexed")
    page = lab.open("beside", f"log = cortex.logs({name!r}, since='all', height=560)\nlog", "log.viewer.chart")
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator(".cl-foot")).to_contain_text("800 lines", timeout=WAIT)
    viewer.get_by_role("button", name="Chart of the metrics (p)").click()
    expect(viewer.locator(".cl-pn")).to_have_text(["loss", "acc", "grad_norm"], timeout=WAIT)
    loss = plot(viewer, "loss")
    expect(loss.locator(".cl-pc path")).to_have_count(2)
    expect(viewer.get_by_text("NaN from")).to_have_count(0)
    before = loss.get_attribute("aria-label")
    gate.touch()
    lost = viewer.get_by_text("NaN from step 760")
    expect(lost).to_be_visible(timeout=WAIT)
    assert loss.get_attribute("aria-label") != before
    expect(viewer.locator(".cl-foot")).to_contain_text("Job complete exit 0", timeout=WAIT)
    shot(page, "beside-ended")
    lost.click()
    picked = viewer.locator(".cl-picked")
    expect(picked).to_contain_text("step 760 loss=nan")
    expect(viewer.locator(".cl-warn")).to_contain_text("not finite")
    shot(page, "beside-nan")
    viewer.get_by_role("button", name="Step", exact=True).click()
    drag(page, loss, 0.7, 0.8)
    expect(viewer.locator(".cl-chips .cl-cw")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d to "))
    expect(loss.locator(".cl-h-window")).not_to_have_attribute("width", "0")
    viewer.locator(".cl-rows").press("g")
    # Rows and chart show the same period. The other worker may be a few steps ahead or behind.
    first = viewer.locator("[data-seq] .cl-m").first
    expect(first).to_contain_text(re.compile(r"step [4-9]\d\d "))
    loss.hover(position={"x": 60, "y": 30})
    expect(viewer.locator(".cl-ptip")).to_contain_text(re.compile(r"\d\d:\d\d:\d\d · step \d+"))
    shot(page, "beside-brushed")
    loss.dblclick()
    expect(viewer.locator(".cl-chips .cl-cw")).to_have_count(0)
    page.close()
    lab.setting("themes", "theme", "JupyterLab Dark")
    page = lab.open("besides", f"log = cortex.logs({name!r}, chart='step', height=560)\nlog")
    viewer = page.locator(".cortex-logs").first
    expect(viewer.get_by_text("NaN from step 760")).to_be_visible(timeout=WAIT)
    grads = plot(viewer, "grad_norm")
    grads.click(position={"x": (grads.bounding_box() or {"width": 0})["width"] - 9, "y": 8})
    expect(viewer.locator(".cl-picked")).to_contain_text(re.compile(r"step [89]\d\d loss="))
    shot(page, "beside-dark")
    page.close()
    lab.setting("themes", "theme", "JupyterLab Light")


def test_legend_smoothing_and_a_typed_step(lab: Lab, job: Callable[..., str]) -> None:
    name = job(
        "for i in range(300): print(f'step {i} loss={3 - i / 200 + i * 7919 % 13 / 20:.4f}', flush=True)",
        parallelism=2,
        completions=2,
    )
    page = lab.view(f"default:job/{name}", chart="step", since="all")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    legend = viewer.get_by_role("group", name="Curves").get_by_role("button")
    expect(legend).to_have_count(2, timeout=WAIT)
    legend.first.click()
    expect(plot(viewer, "loss").locator(".cl-pc .cl-pale")).to_have_count(1)
    curve = plot(viewer, "loss").locator(".cl-pc path").first
    before = curve.get_attribute("d") or ""
    more = viewer.get_by_role("button", name="Smooth the curves, or go to a step")
    more.click()
    viewer.get_by_role("menuitemradio", name="Over 20 points").click()
    expect(curve).not_to_have_attribute("d", before)
    expect(page).to_have_url(re.compile("chart_smooth=20"))
    more.click()
    viewer.get_by_role("menuitem", name="A step…").click()
    page.keyboard.type("250")
    page.keyboard.press("Enter")
    expect(viewer.locator(".cl-picked")).to_contain_text("step 250 ")
    shot(page, "chart-smooth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_its_own_loads_charts_and_panels_when_the_first_is_shown(
    lab: Lab, job: Callable[..., str], scheme: Literal["light", "dark"]
) -> None:
    name = job("for i in range(60): print(f'INFO step {i} loss={1 / (i + 1):.4f}', flush=True)")
    page = lab.page(color_scheme=scheme)
    asked: list[str] = []
    on_demand = re.compile(r"/cortex/static/(charts|panels)\.js")
    page.on("request", lambda request: asked.extend(on_demand.findall(request.url)))
    page.route(on_demand, lambda route: route.abort())
    page.goto(f"{lab.server.url}cortex/view?task={name}&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    assert asked == []
    button = viewer.get_by_role("button", name="Chart of the metrics (p)")
    button.click()
    panel = viewer.get_by_role("group", name="Chart of the metrics")
    missing = panel.get_by_text("The code of this panel could not be loaded: Failed to fetch")
    expect(missing).to_be_visible(timeout=WAIT)
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"panel-failed-{scheme}-{width}")
    page.unroute(on_demand)
    page.route("**/cortex/static/charts.js*", lambda route: route.abort())
    panel.get_by_role("button", name="Try again").click()
    expect(missing).to_have_count(0)
    failure = panel.get_by_text("The code for charts could not be loaded: Failed to fetch. Close the chart")
    expect(failure).to_be_visible(timeout=WAIT)
    expect(viewer.locator("[data-seq]", has_text="step 59 ")).to_be_visible()
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"chart-failed-{scheme}-{width}")
        lines, chart = (viewer.locator(place).bounding_box() or {} for place in (".cl-main", ".cl-chart"))
        assert lines["width"] == 600 if width == 600 else lines["x"] < chart["x"], (
            "a narrow viewer has the chart above its lines"
        )
    page.unroute("**/cortex/static/charts.js*")
    button.click()
    button.click()
    expect(viewer.locator(".cl-pn")).to_have_text(["loss"], timeout=WAIT)
    expect(failure).to_have_count(0)
    assert asked.count("panels") == 2 and asked.count("charts") >= 2
    shot(page, f"chart-page-{scheme}")


def test_a_panel_that_the_policy_forbids_says_so(lab: Lab, job: Callable[..., str]) -> None:
    name = job("print('loss=1')")
    page = lab.page()

    def forbid(route: Route) -> None:
        response = route.fetch()
        policy = response.headers["content-security-policy"].replace("script-src 'self' blob:", "script-src 'self'")
        route.fulfill(response=response, headers={**response.headers, "content-security-policy": policy})

    page.route("**/cortex/view?*", forbid)
    page.goto(f"{lab.server.url}cortex/view?task={name}&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    page.keyboard.press("?")
    keys = viewer.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text(
        "This panel cannot run here: this page's Content-Security-Policy forbids its code", timeout=WAIT
    )
    expect(keys).to_contain_text("The server's operator can add blob: to script-src.")
    shot(page, "panel-forbidden")
