"""Reading a log in real JupyterLab.

Filters as chips, finding, selecting a period on the time axis, bookmarks, the kernel's `log.view`, contrast, narrow cells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page

from support.browser import cell as cell_of
from support.browser import run_until, shot

pytestmark = pytest.mark.browser
WAIT = 40_000

#: A training of three seconds whose loss becomes NaN: 300 lines, every tenth a health check, and an error near the end.
TRAINING = """
import json, time
for i in range(300):
    time.sleep(0.01)
    if i % 10 == 9: print('GET /healthz 200', flush=True)
    elif i == 271: print('ERROR loss is NaN', flush=True)
    elif i % 7 == 0: print(json.dumps({'level': 'info', 'message': 'saved', 'step': i}), flush=True)
    else: print(f'WARNING step={i} loss={3 - i / 100:.2f}' if i % 50 == 1 else f'INFO step={i} loss={3 - i / 100:.2f}', flush=True)
"""

#: Returns the four visible texts with the lowest contrast to their background (WCAG 2.2, 1.4.3).
CONTRAST = """(viewer) => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = (color) => { context.clearRect(0, 0, 1, 1); context.fillStyle = color; context.fillRect(0, 0, 1, 1); return [...context.getImageData(0, 0, 1, 1).data] }
  const over = ([r, g, b, a], under) => [r, g, b].map((one, i) => (one * a + under[i] * (255 - a)) / 255)
  const behind = (element) => {
    const layers = []
    for (let one = element; one; one = one.parentElement) { const color = rgba(getComputedStyle(one).backgroundColor); layers.push(color); if (color[3] === 255) break }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255])
  }
  const light = (color) => { const [r, g, b] = color.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const found = []
  const walker = document.createTreeWalker(viewer, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    if (!node.textContent.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || element.closest('.cl-hid, [aria-hidden=true], .cl-off')) continue
    const under = behind(element)
    const [a, b] = [light(over(rgba(getComputedStyle(element).color), under)), light(under)]
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), `${element.className}: ${node.textContent.slice(0, 30)}`])
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 4)
}"""


def open_viewer(lab: Lab, name: str, *cells: str) -> tuple[Page, Locator]:
    page = lab.open(name, *cells)
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator(".cl-foot")).to_contain_text("300 lines", timeout=WAIT)
    return page, viewer


def texts(viewer: Locator) -> list[str]:
    return viewer.locator("[data-seq] .cl-m").all_inner_texts()


def test_the_kernel_knows_the_viewers_filters_and_bookmarks(lab: Lab, job: Callable[..., str], transport: str) -> None:
    training = job(TRAINING)
    # The kernel receives the page's state in another thread, even while a cell runs.
    after = "view = log.view; print([r.text for r in view], repr(view), log.marks)"
    page, viewer = open_viewer(lab, f"reading-{transport}", cell_of(training, transport, time="utc"), "1")
    box = viewer.locator("input[type=search]")
    for text in ("!GET /healthz", "step>=262", "loss<0.35"):
        box.fill(text)
        box.press("Enter")
    expect(viewer.locator(".cl-chips .cl-cw")).to_have_text(["not “GET /healthz”", "step ≥ 262", "loss < 0.35"])
    expect(viewer.locator(".cl-found")).to_have_text(re.compile(r"^\d+ of 300"))
    shown = [t for t in texts(viewer) if "NaN" not in t]
    assert shown and all(re.search(r"step=2[6-9]\d loss=0\.[0-3]", t) for t in shown), shown
    shot(page, "reading-chips")

    # The kernel's `log.view` has exactly the shown lines.
    viewer.locator("[data-seq] .cl-t").nth(3).click()
    page.keyboard.press("m")
    page.keyboard.type("where it begins")
    page.keyboard.press("Enter")
    expect(viewer.locator(".cl-noted")).to_have_attribute("data-note", "where it begins")
    cell = page.locator(".jp-CodeCell").last
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+a")
    page.keyboard.type(after)
    output = cell.locator(".jp-OutputArea-output").last
    filters, note = "where=['step>=262', 'loss<0.35']", "note='where it begins'"
    run_until(page, output, re.compile(f"{re.escape(filters)}.*{re.escape(note)}", re.DOTALL))
    printed = output.inner_text()
    for text in shown:
        assert text in printed
    count = int(viewer.locator(".cl-found").inner_text().split()[0])
    assert printed.count("step=") == count + 1, "the kernel printed other lines than those shown and bookmarked"

    for chip in ("not “GET /healthz”", "step ≥ 262", "loss < 0.35"):
        viewer.get_by_role("button", name=f"Remove: {chip}", exact=True).click()
    viewer.locator(".cl-rows").focus()
    page.keyboard.press("Control+f")
    page.keyboard.type("healthz")
    expect(viewer.locator(".cl-found")).to_contain_text("30 of 300")
    page.keyboard.press("Enter")
    expect(viewer.locator(".cl-picked")).to_contain_text("GET /healthz")
    assert any("loss" in t for t in texts(viewer)), "finding has hidden lines"
    shot(page, "reading-find")
    page.keyboard.press("Escape")
    viewer.locator(".cl-rows").focus()
    page.keyboard.press("E")
    expect(viewer.locator(".cl-picked")).to_contain_text("ERROR loss is NaN")

    # Without focus, the viewer does not handle the notebook's keys.
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("nNgGfwt?em:/")
    expect(cell.locator(".cm-content")).to_have_text("nNgGfwt?em:/")
    assert not {"cl-full", "cl-notime"} & set(str(viewer.get_attribute("class")).split())
    page.close()


def test_a_period_is_selected_on_the_axis_and_texts_have_enough_contrast(lab: Lab, job: Callable[..., str]) -> None:
    training = job(TRAINING)
    contrast: dict[str, list[Any]] = {}
    for theme, transport in (("Light", "auto"), ("Dark", "comm")):
        lab.setting("themes", "theme", f"JupyterLab {theme}")
        page, viewer = open_viewer(lab, f"axis-{theme}", cell_of(training, transport, columns=["pod", "level"]))
        axis = viewer.locator(".cl-axis")
        box = axis.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 10)
        expect(viewer.locator(".cl-axis [role=tooltip]")).to_contain_text("line")
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 12, steps=3)
        page.mouse.up()
        expect(viewer.locator(".cl-chips .cl-cw")).to_have_text(re.compile(r"\d\d:\d\d:\d\d to \d\d:\d\d:\d\d"))
        viewer.locator("[data-seq] .cl-t").nth(3).click()
        viewer.get_by_role("button", name="Copy the picked lines").click()
        page.mouse.move(0, 0)
        contrast[theme] = viewer.evaluate(CONTRAST)
        shot(page, f"reading-{theme.lower()}")
        page.keyboard.press("Escape")
        axis.dblclick()
        expect(viewer.locator(".cl-chips .cl-cw")).to_have_count(0)
        if theme == "Dark":
            _check_narrow(page, viewer)
        page.close()
    lab.setting("themes", "theme", "JupyterLab Light")
    assert all(lowest[0][0] >= 4.5 for lowest in contrast.values()), contrast


#: Returns the controls that lie partly outside the viewer.
OUTSIDE = """(v) => { const { left, right, top, bottom } = v.getBoundingClientRect()
  return [...v.querySelectorAll('button, input, select, .cl-strip, .cl-status > *')].filter((one) => one.checkVisibility() && one.getClientRects().length && !one.closest('.cl-menu, .cl-side, [role=log]'))
    .filter((one) => { const r = one.getBoundingClientRect(); return r.right > right + 1 || r.left < left - 1 || r.bottom > bottom + 1 || r.top < top - 1 }).map((one) => one.outerHTML.slice(0, 80)) }"""


def _check_narrow(page: Page, viewer: Locator) -> None:
    """Check at 400 px and 270 px that all controls are inside the viewer and that the task's state is fully visible."""
    for width in (400, 270):
        viewer.evaluate("(v, width) => { v.style.width = `${width}px` }", width)
        expect(viewer).to_have_class(re.compile("cl-narrow.*cl-slim"))
        assert viewer.evaluate(OUTSIDE) == [], width
        state = viewer.locator(".cl-ph.cl-now")
        assert state.evaluate(
            "(e) => { const [a, b] = [e, e.closest('.cl-strip')].map((one) => one.getBoundingClientRect()); return e.scrollWidth <= e.clientWidth && a.left >= b.left && a.right <= b.right + 1 && a.top >= b.top && a.bottom <= b.bottom + 1 }"
        ), width
        assert viewer.locator(".cl-filter").evaluate("(e) => e.offsetHeight") < 100
    viewer.get_by_role("button", name="Choose sources (s)").click()
    expect(viewer.locator("[role=switch]").first).to_be_visible()
    shot(page, "reading-narrow")
    page.keyboard.press("s")
    # Actions without a button in a narrow viewer are in the menus.
    viewer.get_by_role("button", name="Columns, order and size").click()
    menu_box = viewer.get_by_role("menu").filter(visible=True).bounding_box()
    assert menu_box is not None
    assert menu_box["y"] + menu_box["height"] <= page.evaluate("innerHeight"), "the menu is cut off"
    viewer.get_by_role("menuitemcheckbox", name="Wrap (w)").click()
    expect(viewer.locator(".cl-rows.cl-wrap")).to_have_count(1)
    shot(page, "reading-slim-menu")
    page.keyboard.press("Escape")
    viewer.get_by_role("button", name="Go to a place in the log").click()
    viewer.get_by_role("menuitem", name="Keys (?)").click()
    expect(viewer.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")


def test_newest_first_follows_at_the_top_and_keeps_the_position_of_a_reader(
    lab: Lab, job: Callable[..., str], transport: str
) -> None:
    name = job("import time\nfor i in range(100000): print(f'line {i}', flush=True); time.sleep(0.02)")
    page = lab.open(f"newest-{transport}", cell_of(name, transport, newest_first=True))
    viewer = page.locator(".cortex-logs").first
    rows = viewer.locator("[role=log]")
    number = "(v) => [...v.querySelectorAll('[data-seq] .cl-m')].map((m) => Number(m.textContent.split(' ')[1]))"
    expect(viewer.locator("[data-seq]", has_text=re.compile(r"line \d{3,}$")).first).to_be_visible(timeout=WAIT)
    seen = viewer.evaluate(number)
    assert seen == list(range(seen[0], seen[0] - len(seen), -1)), "lines are missing, or the newest is not on top"
    page.wait_for_function(f"(was) => ({number})(document.querySelector('.cortex-logs'))[0] > was + 20", arg=seen[0])
    assert rows.evaluate("(r) => r.scrollTop") == 0

    # A user who has scrolled keeps seeing the same lines, while the scroll position grows with new lines above.
    rows.hover()
    page.mouse.wheel(0, 200)
    expect(viewer.locator(".cl-foot")).to_contain_text("Paused")
    page.wait_for_function("document.querySelector('.cortex-logs [role=log]').scrollTop >= 200")  # it scrolls smoothly
    visible = """(v) => {
        const { top } = v.querySelector("[role=log]").getBoundingClientRect();
        const rows = [...v.querySelectorAll("[data-seq]")].filter((row) => row.getBoundingClientRect().bottom > top + 1);
        return Math.max(...rows.map((row) => Number(row.querySelector(".cl-m").textContent.split(" ")[1])));
    }"""
    top, bar = viewer.evaluate(visible), rows.evaluate("(r) => r.scrollTop")
    page.wait_for_function(
        "(was) => document.querySelector('.cortex-logs [role=log]').scrollTop > was + 19 * 50", arg=bar
    )
    assert viewer.evaluate(visible) == top
    expect(viewer.locator(".cl-foot")).to_contain_text("lines waiting")
    shot(page, "newest-first")

    rows.focus()
    page.keyboard.press("g")
    expect(viewer.locator("[data-seq]").last).to_contain_text("line 0")
    position = rows.evaluate("(r) => r.scrollTop / (r.scrollHeight - r.clientHeight)")
    assert position > 0.99, "the scrollbar is not at its end at the first line of the log"
    page.keyboard.press("r")
    page.wait_for_function(
        f"() => {{ const [a, b] = ({number})(document.querySelector('.cortex-logs')); return a < b && b < 100; }}"
    )
    seen = viewer.evaluate(number)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    viewer.get_by_role("button", name="Columns, order and size").click()
    viewer.get_by_role("menuitemcheckbox", name="Newest first").click()
    page.keyboard.press("Escape")
    rows.focus()
    page.keyboard.press("G")
    page.wait_for_function(f"(was) => ({number})(document.querySelector('.cortex-logs'))[0] > was", arg=top + 50)
    page.close()


def test_a_saved_filter_is_there_in_all_viewers_and_the_bars_are_split(lab: Lab, job: Callable[..., str]) -> None:
    name = job(TRAINING, parallelism=2, completions=2, completionMode="Indexed")
    page = lab.open("saved", cell_of(name), cell_of(name, "comm"))
    first, second = page.locator(".cortex-logs").nth(0), page.locator(".cortex-logs").nth(1)
    expect(first.locator(".cl-foot")).to_contain_text("Job complete exit 0", timeout=WAIT)
    first.locator("input[type=search]").fill("loss level>=warning")
    first.get_by_role("button", name="Columns, order and size").click()
    first.get_by_role("menuitem", name="Save the filter…").click()
    dialog = first.get_by_role("dialog", name="Saved filters")
    dialog.get_by_label("Name of the filter").fill("trouble")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="trouble", exact=True)).to_be_visible()
    shot(page, "saved-filters")
    page.keyboard.press("Escape")
    expect(first.get_by_role("button", name="Columns, order and size")).to_be_focused()

    def choose(viewer: Locator) -> None:
        viewer.get_by_role("button", name="Columns, order and size").click()
        viewer.get_by_role("menuitemradio", name="trouble").click()
        expect(viewer.locator(".cl-found .cl-count")).to_have_text("14 of 600", timeout=WAIT)
        expect(viewer.locator(".cl-chips .cl-cw")).to_have_text("contains “loss”")

    expect(second.locator(".cl-foot")).to_contain_text("Job complete exit 0", timeout=WAIT)
    choose(second)
    page.goto(f"{lab.server.url}cortex/view?task={name}&split=pod")
    own = page.locator(".cortex-logs")
    expect(own.locator(".cl-foot")).to_contain_text("Job complete exit 0", timeout=WAIT)
    colour = "(e) => getComputedStyle(e).getPropertyValue('fill')"
    of_pods = [own.locator(".cl-h-pod").nth(i).evaluate(colour) for i in (0, 1)]
    swatches = own.locator(".cl-src .cl-sw")
    assert of_pods == [swatches.nth(i).evaluate("(e) => getComputedStyle(e).backgroundColor") for i in (0, 1)]
    shot(page, "split-by-pod")
    choose(own)
    expect(own.locator(".cl-h-pod")).to_have_count(2)
    shot(page, "split-matches")
    page.close()


def test_at_200_percent_zoom_all_controls_are_visible_and_reachable(lab: Lab, job: Callable[..., str]) -> None:
    name = job(TRAINING)
    page = lab.open("zoom", f"cortex.logs({name!r}, since='all')", scale=2)
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator(".cl-foot")).to_contain_text("300 lines", timeout=WAIT)
    # Chromium's zoom of 200 % makes a window of 1280 px half as many CSS pixels, each twice as large.
    page.set_viewport_size({"width": 640, "height": 500})
    page.keyboard.press("Control+b")
    viewer.scroll_into_view_if_needed()
    page.wait_for_function("innerWidth === 640 && devicePixelRatio === 2")
    expect(viewer).to_have_class(re.compile("cl-narrow"))
    assert viewer.evaluate(OUTSIDE) == []
    box = viewer.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 640, "the viewer is wider than the page"
    shot(page, "zoom-200")
    # Tab reaches each control, and the focused control is visible.
    viewer.locator(".cl-head button").first.focus()
    reached = []
    for _ in range(40):
        reached.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent")
        )
        seen = page.evaluate(
            "(() => { const r = document.activeElement.getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth && r.bottom > 0 && r.top < innerHeight })()"
        )
        assert seen, reached[-1]
        page.keyboard.press("Tab")
        if not page.evaluate("document.activeElement.closest('.cortex-logs') !== null"):
            break
    for label in (
        "Choose sources (s)",
        "Go to a place in the log",
        "Download the log",
        "Filter lines",
        "all levels: choose levels",
        "Wrap long lines (w)",
        "Log lines",
        "Go to the newest line and follow (End)",
    ):
        assert label in reached, (label, reached)
    viewer.get_by_role("button", name="Go to a place in the log").click()
    menu = viewer.get_by_role("menu").filter(visible=True)
    menu_box = menu.bounding_box()
    assert menu_box is not None
    assert menu_box["x"] >= 0
    assert menu_box["x"] + menu_box["width"] <= page.evaluate("innerWidth")
    shot(page, "zoom-200-menu")
    page.close()
