"""The list of sources for a selector of 200 pods: every source is listed with a distinct name and a switch.

Only the rows in sight are elements of the page. `aria-setsize` and `aria-posinset` tell the size of the list and a row's place.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect
from server.running import TOKEN, Server, run_server
from support.browser import WAIT, shot

from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
from cortex_jupyter.store import Commit
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

REF = TaskRef("ml", "selector", "app=training")
#: 2023-11-14T22:13:20Z (ns).
T0 = 1_700_000_000_000_000_000
PODS = 200
#: Number of pods with a second container.
PAIRS = 20
SOURCES = PODS + PAIRS
#: Lines of each source.
LINES = 20
#: The letters that Kubernetes uses for random suffixes: k8s.io/apimachinery/pkg/util/rand, `alphanums`.
ALPHANUMS = "bcdfghjklmnpqrstvwxz2456789"


def pods() -> list[Source]:
    """Return the sources of two Deployments that share a label, as a trainer and its evaluator do."""
    choice = random.Random(1)
    suffixes = ["".join(choice.choices(ALPHANUMS, k=5)) for _ in range(PODS)]
    stems = ["trainer-7d9c6b5f4d"] * 150 + ["evaluator-gateway-5f7c8d9b6c"] * (PODS - 150)
    names = [f"{stem}-{suffix}" for stem, suffix in zip(stems, suffixes, strict=True)]
    containers = [(i, "main") for i in range(PODS)] + [(i, "metrics-exporter") for i in range(PAIRS)]
    return [Source(names[i], f"uid-{i}", name, f"id-{i}-{name}", node=f"node-{i % 9}") for i, name in containers]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("home")) as running:
        store = open_store(running.store_url)
        recording = store.open("https://cluster.test", REF, "uid-crowd")
        lease = store.lease(recording, "tests")
        assert lease is not None
        sources = {store.add_source(lease, source): source.public for source in pods()}
        sids = list(sources)
        lines = len(sids) * LINES
        times = [T0 + i * 10_000_000 for i in range(lines)]
        texts = [
            f"INFO step {i // len(sids):02d} of source {i % len(sids):03d} loss={i % 997 / 1000}" for i in range(lines)
        ]
        data = encode_batch(REF.key, 1, times, [sids[i % len(sids)] for i in range(lines)], None, texts, sources)
        end = notice(REF.key, lines + 1, times[-1], "end", "complete", state="succeeded", exit_code=0)
        done = {"state": "succeeded", "message": "complete", "exit_code": 0, "done": 1, "caught_up": 1}
        store.commit(lease, Commit([Entry(1, lines, "log", times[0], times[-1], data), end], {}, done))
        store.close()
        yield running


def view(server: Server, browser: Browser, width: int, scheme: str = "light") -> Page:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    query = {"task": REF.key, "token": TOKEN, "since": "all"}
    page.goto(f"{server.url}cortex/view?{urlencode(query)}")
    expect(page.locator(".cl-foot")).to_contain_text(re.compile(f"4.400 lines, .*{SOURCES} sources"))
    return page


#: Maximum number of rows of the list that may be elements, in the window of these tests.
MOST_ROWS = 60
#: Scrolls through the list. Returns all names, and those that are cut before the end of the pod's name; also which labels of
#: lines are cut, and how far the viewer itself can be scrolled.
_SEEN = """async () => {
  const one = (selector) => document.querySelector(selector)
  const all = (selector) => [...document.querySelectorAll(selector)]
  const isCut = (text, end) => {
    const range = document.createRange()
    range.setStart(text, end - 1)
    range.setEnd(text, end)
    return range.getBoundingClientRect().right > text.parentElement.getBoundingClientRect().right + 0.5
  }
  const podIn = (text) => text.data.includes(' ') ? text.data.indexOf(' ') : text.length
  const lastText = (node) => node.nodeType === Node.TEXT_NODE ? node : lastText(node.lastChild)
  const list = one('.cl-srcs')
  const names = new Map()
  const cutNames = new Set()
  for (let top = 0; top < list.scrollHeight; top += list.clientHeight) {
    list.scrollTop = top
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
    for (const row of all('.cl-src')) {
      const name = row.querySelector('.cl-sn')
      names.set(row.getAttribute('aria-posinset'), name.textContent)
      if (isCut(lastText(name), podIn(lastText(name)))) cutNames.add(name.textContent)
    }
  }
  list.scrollTop = 0
  return {
    names: [...names.values()],
    cutNames: [...cutNames],
    cutLabels: all('[data-seq] .cl-s').filter(({ firstChild }) => isCut(firstChild, podIn(firstChild))).map((label) => label.textContent),
    beyond: one('.cortex-logs').scrollHeight - one('.cortex-logs').clientHeight,
    main: one('.cl-main').clientWidth,
    message: Math.min(...all('[data-seq] .cl-m').map((message) => message.clientWidth)),
  }
}"""
#: Returns whether the centre of an element is visible and not covered.
_IN_SIGHT = """(element) => {
  const { x, y, width, height } = element.getBoundingClientRect()
  return element.contains(document.elementFromPoint(x + width / 2, y + height / 2))
}"""


def in_sight(locator: Locator) -> None:
    """Wait until an element can be clicked without scrolling."""
    locator.page.wait_for_function(_IN_SIGHT, arg=locator.element_handle(), timeout=WAIT)


def side_list(page: Page) -> Locator:
    """Return the list of sources; open it first in a narrow page."""
    side = page.locator(".cl-side")
    if not side.is_visible():
        page.get_by_role("button", name="Choose sources (s)").click()
    expect(side).to_be_visible()
    expect(side.locator(".cl-src small").first).to_have_text(str(LINES))
    return side


@pytest.mark.parametrize(("width", "least"), [(600, 590), (1000, 800), (1600, 1300)])
def test_every_source_has_a_switch_and_a_distinct_name(
    server: Server, browser: Browser, width: int, least: int
) -> None:
    for scheme in ("light", "dark"):
        page = view(server, browser, width, scheme)
        shot(page, f"crowd-{width}-{scheme}")
        side = side_list(page)
        expect(side.get_by_role("listitem").first).to_have_attribute("aria-setsize", str(SOURCES))
        assert side.get_by_role("switch").count() <= MOST_ROWS
        shot(page, f"crowd-{width}-{scheme}-list")
        seen = page.evaluate(_SEEN)
        assert len(seen["names"]) == len(set(seen["names"])) == SOURCES
        assert seen["cutNames"] == [], "in the list, the ends of pods' names are cut, by which they differ"
        assert seen["cutLabels"] == [], "before the lines, the ends of pods' names are cut"
        assert sum(" " in name for name in seen["names"]) == 2 * PAIRS, (
            "containers are not named exactly for pods that have several"
        )
        assert seen["beyond"] == 0, "the viewer can be scrolled, not only the list"
        assert seen["main"] >= least and seen["message"] >= 0.55 * width, "the lines have too little width"


@pytest.mark.parametrize("width", [600, 1000])
def test_the_list_scrolls_by_wheel_and_by_keyboard(server: Server, browser: Browser, width: int) -> None:
    page = view(server, browser, width)
    side = side_list(page)
    rows = page.locator(".cl-rows")
    scroll_top = rows.evaluate("(rows) => rows.scrollTop")

    def row(number: int) -> Locator:
        return side.locator(f"[aria-posinset='{number + 1}']")

    def switch(number: int) -> Locator:
        return row(number).get_by_role("switch")

    in_sight(switch(0))
    side.hover(position={"x": 60, "y": 200})
    page.mouse.wheel(0, 100_000)
    in_sight(switch(SOURCES - 1))
    in_sight(side.get_by_text(f"{SOURCES} of {SOURCES} sources"))
    page.mouse.wheel(0, -100_000)
    in_sight(switch(0))

    switch(0).focus()
    for key, number in (("ArrowDown", 1), ("End", SOURCES - 1), ("ArrowDown", SOURCES - 1), ("ArrowUp", SOURCES - 2)):
        page.keyboard.press(key)
        expect(switch(number)).to_be_focused()
        in_sight(switch(number))
    assert rows.evaluate("(rows) => rows.scrollTop") == scroll_top, "the keys of the list have moved the lines"
    page.keyboard.press("Space")
    expect(switch(SOURCES - 2)).to_have_attribute("aria-checked", "false")
    expect(switch(SOURCES - 2)).to_be_focused()
    page.keyboard.press("Home")
    expect(switch(0)).to_be_focused()
    in_sight(switch(0))
    page.keyboard.press("Tab")
    expect(row(0).locator(".cl-only")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row(1).locator(".cl-only")).to_be_focused()
    # One Tab leaves the list, and Shift+Tab returns to the same row.
    page.keyboard.press("Tab")
    expect(rows).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(row(1).locator(".cl-only")).to_be_focused()


def test_a_switch_hides_the_lines_of_its_source_and_a_button_shows_all_again(server: Server, browser: Browser) -> None:
    page = view(server, browser, 1000)
    side = side_list(page)
    last = pods()[PODS - 1]
    box = page.locator("input[type=search]")
    box.fill(f"of source {PODS - 1}")
    lines = page.locator("[data-seq]")
    expect(lines).to_have_count(LINES)
    search = side.get_by_role("textbox", name="Search sources")
    search.fill(last.pod)
    switch = side.get_by_role("switch", name=f"{last.pod} main")
    expect(side.get_by_role("switch")).to_have_count(1)
    switch.click()
    expect(side).to_contain_text(f"{SOURCES - 1} of {SOURCES} sources")
    expect(lines).to_have_count(0)
    expect(page.locator(".cl-empty")).to_have_text(re.compile("No line matches"))
    shot(page, "crowd-hidden")
    # The button is visible wherever the list is scrolled to.
    side.get_by_role("textbox", name="Search sources").fill("")
    side.hover(position={"x": 60, "y": 200})
    page.mouse.wheel(0, 100_000)
    in_sight(side.locator(f"[aria-posinset='{SOURCES}']").get_by_role("switch"))
    back = side.get_by_role("button", name="Show the lines of all sources")
    in_sight(back)
    assert side.evaluate("(side) => side.scrollWidth - side.clientWidth") == 0
    back.click()
    expect(lines).to_have_count(LINES)
    expect(back).to_be_hidden()
    search.fill(last.pod)
    expect(switch).to_have_attribute("aria-checked", "true")

    box.fill("")
    # A pod with two containers has two rows.
    search.fill(f"{pods()[0].pod} main")
    only = side.get_by_role("button", name=re.compile("^trainer-.* main.*show only this"))
    expect(only).to_have_count(1)
    search.fill("metrics-exporter")
    expect(side.locator(f"[aria-posinset='{PAIRS}']")).to_have_attribute("aria-setsize", str(PAIRS))
    search.fill(f"{pods()[0].pod} main")
    only.first.click()
    expect(side).to_contain_text(f"1 of {SOURCES} sources")
    expect(lines).to_have_count(LINES)
    expect(page.locator("[data-seq] .cl-m").first).to_contain_text("step 00 of source")
    only.first.click()
    expect(side).to_contain_text(f"{SOURCES} of {SOURCES} sources")


def test_the_column_of_sources_is_resized_and_leaves_a_narrow_viewer_to_the_messages(
    server: Server, browser: Browser
) -> None:
    page = view(server, browser, 1000)
    page.locator("input[type=search]").fill("of source 219")
    label = page.locator("[data-seq] .cl-s").last
    expect(label).to_contain_text("metrics-exporter")
    usual = label.bounding_box()["width"]
    grip = page.locator(".cl-grip-x")
    box = grip.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 93, box["y"] + 40, steps=3)
    page.mouse.up()

    def width() -> float:
        return label.bounding_box()["width"]

    assert abs(width() - usual - 90) < 8, "the column has not followed the pointer"
    assert label.evaluate("(label) => label.scrollWidth <= label.clientWidth"), "the whole name has no room"
    shot(page, "crowd-wide-sources")
    page.wait_for_url("**source_width=*", timeout=WAIT)
    page.reload()
    expect(label).to_contain_text("metrics-exporter")
    assert abs(width() - usual - 90) < 8, "the width is forgotten"
    # The menu has the same for keys.
    dragged = width()
    page.get_by_role("button", name="Columns, order and size").click()
    page.get_by_role("menuitem", name="Narrower sources").press("Enter")
    page.wait_for_function(
        "([label, dragged]) => label.getBoundingClientRect().width < dragged - 8",
        arg=[label.element_handle(), dragged],
        timeout=WAIT,
    )
    page.keyboard.press("Escape")
    # The same width would take half of a narrow viewer.
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_function("() => document.querySelector('.cortex-logs').matches('.cl-slim')", timeout=WAIT)
    assert width() <= 0.34 * 420
    page.set_viewport_size({"width": 1000, "height": 800})
    grip.dblclick()
    page.wait_for_function(
        "([label, usual]) => Math.abs(label.getBoundingClientRect().width - usual) < 1",
        arg=[label.element_handle(), usual],
        timeout=WAIT,
    )
