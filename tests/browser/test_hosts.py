"""The viewer in Notebook 7 and as its own page, and the links that lead to that page."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import TOP_LINE, WAIT, says, shot
from support.jupyter import TOKEN, counter, jupyter

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser


def test_notebook_7_streams_a_job_to_its_end(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]], transport: str
) -> None:
    name = job(counter(300, per_second=100))
    cell = f"log = cortex.logs({name!r}, since='all')\nlog.transport = {transport!r}\nlog"
    page = lab.open(f"seven-{transport}", cell, "cortex.tasks()", app="notebooks")
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/cortex/stream" in r.url else None)
    viewer = page.locator(".cortex-logs").first
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("300 lines, .* 1 source, complete"))
    shot(page, f"seven-{transport}")
    found = lines_of(viewer)
    assert [re.findall(r"line (\d{8})", t) for _, (t,) in sorted(found.items())] == [[f"{i:08}"] for i in range(300)]
    assert bool(asked) == (transport == "auto") and not errors, (asked, errors)
    # The table of tasks has a link to the page of each task.
    with page.expect_popup() as opened:
        page.get_by_role("link", name=name).click()
    says(opened.value.locator(".cortex-logs"), "Job complete exit 0")
    opened.value.close()
    page.close()


def test_the_address_of_the_viewers_own_page_takes_days_and_times_of_day(lab: Lab, job: Callable[..., str]) -> None:
    name = job(counter(30))
    page = lab.view(name, since="yesterday 00:00", until="yesterday 00:00")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    expect(viewer.get_by_text("No line in this range")).to_be_visible(timeout=WAIT)
    shot(page, "page-of-a-day")
    for window in ({"since": "yesterday 00:00"}, {"until": "2100-01-01"}):
        page = lab.view(name, **window)
        expect(page.locator("[data-seq]", has_text="line 00000029")).to_be_visible(timeout=WAIT)


def test_the_viewers_own_page_keeps_filter_and_position_in_its_url(lab: Lab, job: Callable[..., str]) -> None:
    name = job("import time\nfor i in range(600): print('line %08d' % i, flush=True); time.sleep(0.002)")
    page = lab.browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(f"{lab.server.url}cortex/view?task={name}&time=utc&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job complete exit 0")
    page.keyboard.press("?")  # works without a click into the viewer, since the page has nothing else
    expect(viewer.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    shot(page, "page-light")
    # The token is removed from the URL, which users pass on.
    expect(page).to_have_url(re.compile(rf"/cortex/view\?task=default%3Ajob%2F{name}(?!.*token)"), timeout=WAIT)
    expect(page).to_have_title(f"{name} · succeeded")
    viewer.locator("input[type=search]").fill("line 00000[0-4]")
    viewer.get_by_role("button", name="Regular expression").click()
    expect(viewer.locator(".cl-foot")).to_contain_text("500 of", timeout=WAIT)
    expect(viewer.locator("[data-seq]", has_text="line 00000499")).to_be_visible(timeout=WAIT)
    rows = viewer.locator("[role=log]")
    rows.hover()
    page.mouse.wheel(0, -300)
    expect(page).to_have_url(re.compile(r"at=\d{4}"), timeout=WAIT)
    seen = viewer.locator("[data-seq] .cl-m").all_inner_texts()
    # The list scrolled as far as the wheel was turned, and no further.
    assert "line 00000440" <= seen[0] <= "line 00000470", seen
    top = viewer.evaluate(TOP_LINE)
    # The address follows within a second; on a busy machine it may still have the place before the wheel was turned.
    at = viewer.locator("[data-seq]", has_text=top).locator(".cl-t").inner_text().replace(":", "%3A")
    expect(page).to_have_url(re.compile(rf"at=\d{{4}}-\d\d-\d\dT{at}"), timeout=WAIT)
    expect(page).to_have_url(re.compile(r"regex=true"))
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(viewer.locator(".cl-foot")).to_contain_text("500 of", timeout=WAIT)
    expect(viewer.locator("[data-seq] .cl-m", has_text=seen[len(seen) // 2])).to_be_visible(timeout=WAIT)
    top_again = viewer.evaluate(TOP_LINE)
    assert abs(int(top_again[-8:]) - int(top[-8:])) <= 1, (top_again, top)
    shot(page, "page-dark")
    assert not errors, errors

    page.goto(f"{lab.server.url}cortex/view?task=job/no-such-thing")
    expect(page.locator("h1")).to_contain_text("no-such-thing")
    shot(page, "page-missing")
    page.goto(f"{lab.server.url}cortex/view?task=job/{'no-such-thing-' * 10}x")
    expect(page.locator("h1")).to_contain_text("no-such-thing")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a long reason is cut off"
    page.close()


@pytest.mark.parametrize("app", ["lab", "tree"])
def test_launcher_and_view_menu_lead_to_the_list_of_tasks_and_to_a_log(
    lab: Lab, job: Callable[..., str], sandbox: Any, app: str
) -> None:
    name = job(counter(30, exit_code=3))
    sandbox.kube.wait_job(name, "Failed")
    page = lab.browser.new_page()
    page.goto(f"{lab.server.url}{app}?token={TOKEN}")
    if app == "lab":
        entry = page.locator(".jp-LauncherCard", has_text="Task Logs")
        # The icon has the theme's colour.
        fill, theme = entry.locator("svg .jp-icon3").evaluate(
            "(e) => [getComputedStyle(e).fill, getComputedStyle(document.body).getPropertyValue('--jp-inverse-layout-color3')]"
        )
        entry.locator("svg").evaluate("(e, color) => { e.parentElement.style.color = color }", theme)
        assert fill == entry.locator("svg").evaluate("(e) => getComputedStyle(e.parentElement).color")
    else:
        page.get_by_role("menuitem", name="View", exact=True).click(timeout=WAIT)
        entry = page.get_by_role("menuitem", name="Task Logs")
    with page.expect_popup() as opened:
        entry.click()
    tasks = opened.value
    assert tasks.url == f"{lab.server.url}cortex/view"
    expect(tasks.locator("tr", has_text=name).locator("[data-state=failed]")).to_have_css("color", "rgb(211, 47, 47)")
    shot(tasks, f"entry-{app}")
    tasks.get_by_role("link", name=name).click()
    says(tasks.locator(".cortex-logs"), "Job failed exit 3")
    tasks.close()
    page.close()


def test_without_the_server_extension_the_viewer_reads_through_the_kernel(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    name = job(counter(300, per_second=100))
    with jupyter(lab.home, "lab", "--ServerApp.jpserver_extensions={'cortex_jupyter': False}") as server:
        page = replace(lab, server=server).open("bare", f"cortex.logs({name!r}, since='all')")
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url) if "/cortex/" in r.url else None)
        viewer = page.locator(".cortex-logs").first
        says(viewer, "via kernel")
        says(viewer, "Job complete exit 0")
        says(viewer, re.compile("300 lines, .* 1 source, complete"))
        shot(page, "bare")
        found = lines_of(viewer)
        assert [re.findall(r"line (\d{8})", t) for _, (t,) in sorted(found.items())] == [
            [f"{i:08}"] for i in range(300)
        ]
        assert not asked, asked
        page.close()


def test_ten_viewers_two_tabs_and_a_restarted_kernel(lab: Lab, job: Callable[..., str]) -> None:
    """All viewers of a page share one connection and the code, and each shows all lines."""
    name = job(counter(400, per_second=50))
    cell = f"for _ in range(10):\n    display(cortex.logs({name!r}, since='all'))"
    page = lab.open("ten", cell, "import os\nprint('kernel', os.getpid())")
    streams: list[str] = []
    page.on("request", lambda r: streams.append(r.url) if "/cortex/stream" in r.url else None)
    viewers = page.locator(".cortex-logs")
    expect(viewers).to_have_count(10, timeout=WAIT)
    expect(viewers.first.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    assert len(streams) == 1, streams
    shot(page, "ten")
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)

    other = lab.browser.new_page()
    other.goto(f"{page.url}?token={TOKEN}")
    second = other.locator(".cortex-logs").first
    says(second, re.compile("400 lines, .* 1 source, complete"))
    says(viewers.first, re.compile("400 lines, .* 1 source, complete"))
    # A viewer that was never visible has done nothing. It loads everything when it becomes visible.
    expect(viewers.last.locator(".cl-foot")).not_to_contain_text("complete")
    viewers.last.scroll_into_view_if_needed()
    says(viewers.last, re.compile("400 lines, .* 1 source, complete"))
    viewers.first.scroll_into_view_if_needed()
    other.close()

    kernel = page.locator(".jp-OutputArea-output", has_text="kernel")
    before = kernel.inner_text().split()[1]
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    expect(kernel).to_have_text(re.compile(rf"kernel (?!{before}\b)\d+"), timeout=WAIT)
    expect(viewers).to_have_count(10, timeout=WAIT)
    says(viewers.first, re.compile("400 lines, .* 1 source, complete"))

    # The saved notebook is opened again with a new kernel, which has no viewer.
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)
    lab.end_kernels()
    page.reload()
    saved = page.locator(".jp-OutputArea .cortex-logs-static")
    expect(saved.first).to_contain_text("line 00000399", timeout=WAIT)
    expect(saved).to_have_count(10)
    expect(saved.last).to_contain_text(re.compile("400 lines, .* 1 source, complete"))
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    shot(page, "tomorrow")

    # The notebook as HTML, without a kernel.
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)
    done = lab.home.run("jupyter", "nbconvert", "--to", "html", "ten.ipynb")
    assert done.returncode == 0, done.stderr
    page.goto((lab.home.path / "ten.html").as_uri(), wait_until="domcontentloaded")
    tails = page.locator(".cortex-logs-static")
    expect(tails).to_have_count(10)
    expect(tails.last).to_contain_text(re.compile("400 lines, .* 1 source, complete"))
    page.close()
