"""The built viewer with its real worker in a real browser, before a kernel that the test plays itself (js/harness/page.html)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, CDPSession, Page, Route

pytestmark = pytest.mark.browser

JS = Path(__file__).parents[2] / "js"
STATIC = JS.parent / "cortex_jupyter" / "notebook" / "static"
RUNNING = "() => model.bytes(feed.event('status', { state: 'running', message: '', older: null }))"
#: Returns the `seq` of the line at the top of the list; 0 if there is none.
TOP = """() => {
  const box = document.querySelector('.cl-rows').getBoundingClientRect()
  return Number(document.elementFromPoint(box.x + 200, box.y + 12).closest('[data-seq]')?.dataset.seq ?? 0)
}"""
#: Waits until what was done has been drawn.
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"


@pytest.fixture
def harness(browser: Browser) -> Callable[..., Page]:
    """Open the harness's page, without a server."""

    def serve(route: Route) -> None:
        name = route.request.url.partition("//")[2].partition("/")[2]
        path = STATIC / name.removeprefix("static/") if name.startswith("static/") else JS / "harness" / name
        types = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html"}
        if path.suffix in types:
            route.fulfill(body=path.read_bytes(), content_type=types[path.suffix])
        else:
            route.abort()  # the browser asks for an icon

    def open_page(init: str = "") -> Page:
        page = browser.new_page(viewport={"width": 1060, "height": 560})
        page.set_default_timeout(WAIT)
        if init:
            page.add_init_script(init)
        page.route("http://harness.localhost/**", serve)
        page.goto("http://harness.localhost/page.html")
        page.wait_for_function("() => window.ready")
        page.evaluate(RUNNING)
        return page

    return open_page


def send(page: Page, lines: int) -> None:
    """Send lines of three pods, which all end with the same long word."""
    page.evaluate(
        """(n) => model.bytes(feed.log(Array.from({ length: n }, (_, i) =>
            [Date.now() - 1000 + i / 100, 1 + i % 3, `line ${i} ${'a'.repeat(36)}!`])))""",
        lines,
    )


def test_without_a_worker_the_page_holds_the_store(harness: Callable[..., Page]) -> None:
    page = harness("window.Worker = class { constructor() { throw new Error('forbidden') } }")
    send(page, 500)
    expect(page.locator(".cl-foot")).to_contain_text("500 lines")
    page.fill("input[type=search]", "line 49")
    expect(page.locator(".cl-filter")).to_contain_text("11 of 500")


def test_an_endless_regular_expression_is_stopped_and_the_stream_comes_back(harness: Callable[..., Page]) -> None:
    page = harness()
    send(page, 200)
    expect(page.locator("[data-seq]").first).to_be_visible()
    page.fill("input[type=search]", "/(a+)+$/")
    expect(page.locator(".cl-problem")).to_contain_text("(a+)+$")
    page.wait_for_function("() => window.sent.filter((m) => m.type === 'open').length === 2")
    page.evaluate(RUNNING)
    send(page, 50)
    expect(page.locator(".cl-foot")).to_contain_text("50 lines")


def test_wrapped_lines_scroll_from_the_end_to_the_beginning_in_order(harness: Callable[..., Page]) -> None:
    page = harness()
    page.evaluate(
        """() => model.bytes(feed.log(Array.from({ length: 300 }, (_, i) =>
            [Date.now() - 1000 + i, 1, `line ${i} ` + 'word '.repeat((i * 7) % 120)])))"""
    )
    expect(page.locator("[data-seq='299']")).to_be_visible()
    page.focus(".cl-rows")
    page.keyboard.press("w")
    expect(page.locator(".cl-rows")).to_have_class("cl-rows cl-wrap")
    page.evaluate(FRAMES)
    last, box = page.locator("[data-seq='299']").bounding_box(), page.locator(".cl-rows").bounding_box()
    assert last and box and last["y"] + last["height"] <= box["y"] + box["height"] + 1, (last, box)
    page.mouse.move(600, 400)
    seen = [299]
    for _ in range(200):
        page.mouse.wheel(0, -400)
        page.evaluate(FRAMES)
        seen.append(int(page.evaluate(TOP)))
        if seen[-1] == 0:
            break
    assert seen == sorted(seen, reverse=True), seen
    page.wait_for_function(f"() => ({TOP})() === 0")


#: Opens and closes viewers, each after it has drawn lines.
OPEN_AND_CLOSE = """async (times) => {
  for (let i = 0; i < times; i++) {
    const viewer = another()
    while (viewer.el.querySelector('[data-seq]') === null) await new Promise(requestAnimationFrame)
    viewer.close()
  }
}"""


def memory(session: CDPSession) -> dict[str, float]:
    """Collect garbage, and return what the page holds."""
    session.send("HeapProfiler.collectGarbage")
    counters = session.send("Memory.getDOMCounters")
    return {**counters, "heap": session.send("Runtime.getHeapUsage")["usedSize"]}


def test_viewers_that_were_closed_leave_nothing_in_memory(harness: Callable[..., Page]) -> None:
    page = harness()
    send(page, 500)
    expect(page.locator("[data-seq]").first).to_be_visible()
    session = page.context.new_cdp_session(page)
    page.evaluate(OPEN_AND_CLOSE, 10)  # what is made once is there
    before = memory(session)
    page.evaluate(OPEN_AND_CLOSE, 50)
    # A viewer has hundreds of elements and listeners. Timers may hold the last one for some seconds.
    for _ in range(60):
        after = memory(session)
        grown = {name: after[name] - before[name] for name in before}
        if grown["nodes"] < 500 and grown["jsEventListeners"] < 50 and grown["heap"] < 2e6:
            break
        page.wait_for_timeout(500)
    else:
        pytest.fail(f"50 viewers that were closed left {grown}")
    # The viewer that stays works.
    send(page, 10)
    expect(page.locator(".cl-foot")).to_contain_text("510 lines")
