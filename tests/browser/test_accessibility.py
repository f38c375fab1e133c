"""The viewer for everybody: axe-core, forced colours, popovers and the focus, right-to-left lines, small and zoomed windows."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import cell, says, shot
from support.jupyter import TOKEN, counter
from support.pictures import TOLERANCE, difference, small, unlike

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
#: JavaScript: returns what axe-core finds in an element, or in the whole page.
FINDINGS = """async (where) => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice', 'experimental']
  const { violations } = await axe.run(where ?? document, { runOnly: tags })
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`))
}"""
#: JavaScript: feeds a line of each of twenty more pods.
MANY_SOURCES = """() => {
  const numbers = Array.from({ length: 20 }, (_, i) => i)
  const sources = Object.fromEntries(numbers.map((i) => [100 + i, { pod: `train-llm-7b-worker-${i + 10}`, container: 'main', kind: 'main', run: 0 }]))
  const seq = feed.seq
  feed.seq += 20
  model.bytes(feed.event('log', { seq, sources, t0: String(BigInt(Date.now()) * 1000000n), dt: numbers, s: numbers.map((i) => 100 + i), o: numbers.map(() => 1), m: numbers.map((i) => `line ${i}`) }))
}"""
#: States that are compared with pictures of how they looked.
PICTURES = {
    "live",
    "menu Columns, order and size",
    "chips",
    "no match",
    "find",
    "menu of a chip",
    "opened row",
    "keys",
    "gaps",
    "levels, wrapped",
    "320 px",
    "ended",
    "many sources",
}
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])


def findings(page: Page, where: str | None = ".cortex-logs") -> list[str]:
    if not page.evaluate("() => 'axe' in window"):
        # A page may forbid inline scripts, so this is not `add_script_tag`.
        page.evaluate(AXE.read_text())
    found: list[str] = page.evaluate(FINDINGS, where)
    return found


def open_harness(browser: Browser, site: str, theme: str = "light", *, lines: bool = True, **options: Any) -> Page:
    page = browser.new_page(**{"viewport": {"width": 1180, "height": 760}, **options})
    page.goto(f"{site}#{theme}")
    page.wait_for_function("window.ready === true")
    if lines:
        page.evaluate("() => model.bytes(training(feed, Date.now() - 200000, 200))")
        expect(page.locator("[data-seq]").nth(5)).to_be_visible()
    return page


def feed_lines(page: Page, *texts: str) -> None:
    page.evaluate("() => model.bytes(feed.event('status', { state: 'running', message: '', older: null }))")
    page.evaluate("(texts) => model.bytes(feed.log(texts.map((text) => [Date.now() - 5000, 1, text])))", list(texts))
    expect(page.locator("[data-seq]")).to_have_count(len(texts))


def pick_a_line(page: Page) -> None:
    page.locator(".cl-rows").focus()
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".cl-picked")).to_be_visible()


@THEMES
def test_axe_has_no_finding_in_any_state(browser: Browser, site: str, theme: str) -> None:  # noqa: PLR0915
    page = open_harness(browser, site, theme)
    found: dict[str, list[str]] = {}
    changed: list[str] = []

    def look(state: str) -> None:
        shot(page, f"{theme}-{state}")
        found[state] = findings(page)
        if state in PICTURES:
            changed.append(unlike(page, f"{theme}-{state}"))

    look("live")
    for name in ("Go to a place in the log", "Columns, order and size"):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("menu")).to_be_visible()
        look(f"menu {name}")
        page.keyboard.press("Escape")
    page.locator("button[title^='Another window']").click()
    page.keyboard.type("3h")
    page.keyboard.press("Enter")
    expect(page.locator("button[title^='Another window']")).to_have_text("3h")
    look("typed window")
    box = page.locator("input[type=search]")
    for text in ("loss", "!healthz", "step>=5"):
        box.fill(text)
        box.press("Enter")
    page.get_by_role("button", name="all levels: choose levels").click()
    look("menu of levels")
    page.get_by_role("menuitemradio", name="level ≥ info").click()
    expect(page.locator(".cl-chip .cl-x")).to_have_count(3)
    look("chips")
    page.locator(".cl-cw").first.click()
    expect(page.get_by_role("menu")).to_be_visible()
    look("menu of a chip")
    page.keyboard.press("Escape")
    box.fill("no such text")
    expect(page.locator("[data-seq]")).to_have_count(0)
    look("no match")
    box.fill("(")
    page.get_by_role("button", name="Regular expression").click()
    expect(page.locator(".cl-count[role=alert]")).not_to_be_empty()
    look("wrong expression")
    page.get_by_role("button", name="Regular expression").click()
    box.fill("")
    page.get_by_role("button", name="choose levels").click()
    page.get_by_role("menuitemradio", name="All levels").click()
    for _ in range(3):
        page.locator(".cl-chip .cl-x").first.click()
    page.keyboard.press("Control+f")
    page.keyboard.type("step")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_be_visible()
    look("find")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator(".cl-rows").focus()
    page.keyboard.press("p")
    expect(page.locator(".cl-plot").first).to_be_visible()
    look("chart")
    page.keyboard.press("p")
    page.locator(".cl-rows").focus()
    page.keyboard.press("End")
    page.locator("[data-seq]", has_text="checkpoint saved").last.locator(".cl-tw").click()
    expect(page.locator(".cl-tree")).to_be_visible()
    page.locator(".cl-leaf").nth(2).hover()
    look("opened row")
    pick_a_line(page)
    look("picked line")
    page.keyboard.press("m")
    expect(page.get_by_role("dialog", name="Note on line")).to_be_visible()
    look("note")
    page.keyboard.type("here")
    page.keyboard.press("Enter")
    expect(page.locator(".cl-noted")).to_be_visible()
    look("bookmark")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    look("keys")
    page.keyboard.press("Escape")
    page.locator("button.cl-gaps").click()
    expect(page.get_by_role("dialog", name="What is missing")).to_be_visible()
    look("gaps")
    page.keyboard.press("Escape")
    page.evaluate("() => { model.traits.columns = ['pod', 'level']; model.emit('change:columns') }")
    page.evaluate("() => { model.traits.wrap = true; model.emit('change:wrap') }")
    expect(page.locator(".cl-wrap")).to_be_visible()
    look("levels, wrapped")
    error = {"code": "Forbidden", "message": "you may not read logs", "hint": "ask your administrator"}
    page.evaluate("(error) => model.bytes(feed.event('error', error))", error)
    expect(page.locator(".cl-problem")).to_be_visible()
    look("error")
    page.set_viewport_size({"width": 520, "height": 600})
    page.get_by_role("button", name="Choose sources").click()
    expect(page.locator(".cl-side")).to_be_visible()
    look("narrow, with sources")
    page.set_viewport_size({"width": 320, "height": 600})
    look("320 px")
    page.set_viewport_size({"width": 1180, "height": 760})
    end = {"state": "failed", "exit_code": 3, "message": "Job failed exit 3: Error"}
    page.evaluate("(end) => model.bytes(feed.notice('end', end))", end)
    expect(page.get_by_role("status")).to_contain_text("Job failed exit 3")
    look("ended")
    page.evaluate(MANY_SOURCES)
    expect(page.get_by_label("Search sources")).to_be_visible()
    look("many sources")
    assert {state: texts for state, texts in found.items() if texts} == {}
    assert [text for text in changed if text] == []


def test_a_broken_layout_is_noticed(browser: Browser, site: str) -> None:
    page = open_harness(browser, site)
    whole = small(page)
    assert difference(small(page), whole) == 0
    for broken in (
        ".cl-rows { position: static !important }",
        ".cl-head { display: none !important }",
        "[data-seq] * { color: red !important }",
    ):
        style = page.add_style_tag(content=broken)
        assert difference(small(page), whole) > TOLERANCE, broken
        style.evaluate("(one) => one.remove()")


@THEMES
def test_axe_has_no_finding_on_the_viewers_own_pages(lab: Lab, job: Callable[..., str], theme: str) -> None:
    name = job(counter(30))
    page = lab.page(color_scheme=theme)
    page.goto(f"{lab.server.url}cortex/view?task={name}&since=all&token={TOKEN}")
    says(page.locator(".cortex-logs"), "Job complete exit 0")
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert findings(page, None) == []
    shot(page, f"own-page-{theme}")
    page.goto(f"{lab.server.url}cortex/view")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_label("Namespace")).to_be_visible()
    assert findings(page, None) == []
    page.goto(f"{lab.server.url}cortex/view?search=line&task={name}")
    expect(page.get_by_role("status")).to_have_text("30 lines in 1 of 1 task")
    assert findings(page, None) == []
    page.close()


@THEMES
def test_axe_has_no_finding_in_a_cell_of_jupyterlab(lab: Lab, job: Callable[..., str], theme: str) -> None:
    name = job(counter(30, exit_code=3))
    with lab.dark() if theme == "dark" else contextlib.nullcontext():
        page = lab.open(f"axe-{theme}", cell(name))
        viewer = page.locator(".cortex-logs").first
        says(viewer, "Job failed exit 3")
        assert findings(page) == []
        viewer.get_by_role("button", name="Go to a place in the log").click()
        expect(page.locator(".cl-menu:popover-open")).to_be_visible()
        assert findings(page) == []
        shot(page, f"cell-{theme}")
        page.close()


def test_an_input_method_filters_and_asks_only_with_what_it_has_composed(browser: Browser, site: str) -> None:
    page = open_harness(browser, site, lines=False)
    feed_lines(page, "日本 1", "に 2", "other")
    keyboard = page.context.new_cdp_session(page)
    box = page.locator("input[type=search]")
    box.focus()
    for text in ("n", "に", "にほん"):
        keyboard.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
    expect(box).to_have_value("にほん")
    feed_more = "() => model.bytes(feed.log([[Date.now() - 4000, 1, 'one more']]))"
    page.evaluate(feed_more)
    expect(page.locator("[data-seq]")).to_have_count(4)
    keyboard.send("Input.insertText", {"text": "日本"})
    expect(page.locator("[data-seq]")).to_have_count(1)
    expect(page.locator(".cl-chip .cl-x")).to_have_count(0)
    box.press("Enter")
    expect(page.locator(".cl-chip .cl-cw")).to_have_text("contains “日本”")


def test_escape_closes_what_is_open_and_the_focus_goes_back(browser: Browser, site: str) -> None:
    page = open_harness(browser, site)
    rows = page.locator(".cl-rows")
    pick_a_line(page)
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_focused()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    expect(rows).to_be_focused()
    # Only what was open has closed.
    expect(page.locator(".cl-picked")).to_be_visible()
    for opener, panel in (
        (page.locator("button.cl-gaps"), page.get_by_role("dialog", name="What is missing")),
        (page.get_by_role("button", name="Columns, order and size"), page.get_by_role("menu")),
    ):
        opener.focus()
        page.keyboard.press("Enter")
        expect(panel).to_be_visible()
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        expect(opener).to_be_focused()
        opener.click()
        expect(panel).to_be_visible()
        opener.click()
        expect(panel).to_be_hidden()
        opener.click()
        page.locator(".cl-axis").hover()
        page.mouse.down()
        page.mouse.up()
        expect(panel).to_be_hidden()
    expect(page.locator(".cl-picked")).to_be_visible()


def test_a_menu_is_beside_its_button_and_not_cut_off_by_a_small_viewer(browser: Browser, site: str) -> None:
    page = open_harness(browser, site)
    page.evaluate("() => { model.traits.height = 200; model.emit('change:height') }")
    for name in ("Go to a place in the log", "Columns, order and size"):
        opener = page.get_by_role("button", name=name)
        opener.click()
        menu = page.get_by_role("menu")
        expect(menu).to_be_visible()
        shot(page, f"small-viewer-{name}")
        button, box = opener.bounding_box(), menu.bounding_box()
        assert button and box
        assert 0 <= box["y"] - button["y"] - button["height"] < 6
        assert box["x"] < button["x"] + button["width"] and box["x"] + box["width"] > button["x"]
        last = menu.get_by_role("menuitem").last
        last.scroll_into_view_if_needed()
        place = last.bounding_box()
        assert place
        middle = (place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        assert page.evaluate("([x, y]) => document.elementFromPoint(x, y).role", middle) == "menuitem"
        page.keyboard.press("Escape")


def test_forced_colours_show_levels_picks_and_pressed_buttons(browser: Browser, site: str) -> None:
    page = open_harness(browser, site, forced_colors="active", lines=False)
    feed_lines(page, "INFO all is well", "WARNING the disk fills", "ERROR the disk is full")
    pick_a_line(page)
    page.locator("input[type=search]").fill("disk")
    expect(page.locator("mark").first).to_be_visible()
    shot(page, "forced-colors")
    marks = [
        page.locator("[data-seq] > i").nth(i).evaluate("(one) => getComputedStyle(one, '::before').content")
        for i in range(2)
    ]
    assert [mark.split('"')[1] for mark in marks] == ["!", "✕"]

    def style(selector: str, name: str) -> str:
        value: str = page.locator(selector).first.evaluate("(one, name) => getComputedStyle(one)[name]", name)
        return value

    pressed, other = (f".cl-seg button[aria-pressed={pressed}]" for pressed in ("true", "false"))
    assert style(pressed, "backgroundColor") != style(other, "backgroundColor")
    assert style("mark", "backgroundColor") != style(".cl-m", "backgroundColor")
    assert style(".cl-picked", "outlineStyle") == "solid"
    switch = page.get_by_role("switch").first
    on = style(".cl-src .cl-sw", "backgroundColor")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    assert style(".cl-src .cl-sw", "backgroundColor") != on


#: JavaScript: returns the left edges (px) of texts within an element.
LEFT_EDGES = """(element, texts) => texts.map((wanted) => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.data.indexOf(wanted)
    if (at === -1) continue
    const range = document.createRange()
    range.setStart(node, at)
    range.setEnd(node, at + wanted.length)
    return range.getBoundingClientRect().left
  }
  throw new Error(`no ${wanted}`)
})"""


def test_right_to_left_lines_read_from_the_right_with_colours_and_matches(browser: Browser, site: str) -> None:
    page = open_harness(browser, site, lines=False)
    feed_lines(
        page,
        "שגיאה בקובץ: disk full",
        "\x1b[31mשגיאה\x1b[0m בקובץ: \x1b[1mdisk\x1b[0m full",  # noqa: RUF001
        "ERROR שגיאה בקובץ",
        '{"message": "שגיאה בקובץ: disk full", "step": 3}',
    )
    page.locator(".cl-rows").press("Control+f")
    page.keyboard.type("בקובץ")
    texts = page.locator("[data-seq] .cl-m")
    # While it is typed, the beginning of the word is marked.
    for nth in range(3):
        expect(texts.nth(nth).locator("mark")).to_have_text("בקובץ")
    shot(page, "right-to-left")

    def edges(row: Locator, *wanted: str) -> list[float]:
        found: list[float] = row.evaluate(LEFT_EDGES, list(wanted))
        return found

    for row in (texts.nth(0), texts.nth(1)):
        first, match, last = edges(row, "שגיאה", "בקובץ", "disk")
        assert first > match > last
        assert row.locator("mark").inner_text() == "בקובץ"
    first, second, match = edges(texts.nth(2), "ERROR", "שגיאה", "בקובץ")
    assert first < match < second
    # What the viewer adds to a line does not change the order in it.
    texts.nth(3).locator("button.cl-tw").click()
    leaf = page.locator(".cl-leaf", has_text="disk full")
    key, first, last = edges(leaf, "message", "שגיאה", "disk")
    assert key < last < first
    box = page.locator("input[type=search]")
    assert box.evaluate("(one) => getComputedStyle(one).direction") == "rtl"


#: JavaScript: returns the controls and texts of a viewer that are cut off, or that another element covers.
CUT_OFF = """(viewer) => {
  const room = viewer.getBoundingClientRect()
  const wanted = 'button, input, select, a[href], [role=status], [role=slider], [role=switch]'
  const found = []
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} px wide`)
  for (const one of viewer.querySelectorAll(wanted)) {
    if (!one.checkVisibility({ visibilityProperty: true }) || one.closest('[role=log], [role=menu], .cl-side, .cl-plots')) continue
    const { left, right, top, bottom, width, height } = one.getBoundingClientRect()
    if (width === 0 || height === 0) continue
    const name = `${one.getAttribute('aria-label') || one.textContent || one.className} ${Math.round(left)} to ${Math.round(right)}, ${Math.round(top)} to ${Math.round(bottom)}`
    if (left < room.left - 1 || right > room.right + 1 || top < room.top - 1 || bottom > room.bottom + 1) found.push(`outside: ${name}`)
    else if (!one.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2))) found.push(`covered: ${name}`)
  }
  const rows = viewer.querySelector('[role=log]').getBoundingClientRect()
  if (rows.height < 57) found.push(`only ${rows.height} px for lines`)
  return found
}"""


@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 400), (590, 500)])
def test_nothing_is_cut_off_in_a_small_window_or_at_200_percent(
    browser: Browser, site: str, width: int, height: int
) -> None:
    page = open_harness(browser, site, viewport={"width": width, "height": height})
    page.add_style_tag(content="body { padding: 0 !important }")
    viewer = page.locator(".cortex-logs")
    page.evaluate("(height) => { model.traits.height = height; model.emit('change:height') }", height)
    assert viewer.evaluate(CUT_OFF) == []
    shot(page, f"small-{width}")
    # Each menu and panel fits into the window.
    for name in ("Go to a place in the log", "Columns, order and size", "What is missing"):
        page.get_by_role("button", name=name).or_(page.locator(f"button[title^='{name}']")).first.click()
        panel = page.locator(":popover-open")
        expect(panel).to_be_visible()
        box = panel.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width, name
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, name
        shot(page, f"small-{width}-{name}")
        page.keyboard.press("Escape")
    page.locator(".cl-rows").press("?")
    box = page.get_by_role("dialog", name="Keys").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    shot(page, f"small-{width}-keys")
    page.keyboard.press("Escape")
    filter_box = page.locator("input[type=search]")
    for text in ("loss", "!healthz"):
        filter_box.fill(text)
        filter_box.press("Enter")
    pick_a_line(page)
    assert viewer.evaluate(CUT_OFF) == []
    # A wrapped line has room to be read.
    page.keyboard.press("w")
    line = page.locator("[data-seq] .cl-m").first.bounding_box()
    assert line and line["width"] > min(width * 0.6, 250)
    shot(page, f"small-{width}-wrapped")
    page.keyboard.press("m")
    box = page.get_by_role("dialog", name="Note on line").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    shot(page, f"small-{width}-chips-and-note")
