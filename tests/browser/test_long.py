"""A recording of a million lines: the scrollbar covers all of it, and lines are loaded wherever the user scrolls."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from server.running import BASE, TOKEN, Server, run_server
from support.browser import WAIT, shot
from support.comm import comm_server
from support.recorded import record, show

from cortex_jupyter.analysis.recording_metrics import measured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
LINES = 1_000_000
#: On a busy machine a chart of all lines takes longer than the 30 s that it is given by default (s).
CHART_S = 3 * WAIT / 1000

#: Returns the `seq` of the line in the middle of the list, or null if no line is drawn there.
_SEEN = """() => {
  const box = document.querySelector('.cl-rows').getBoundingClientRect()
  const row = document.elementFromPoint(box.x + 300, box.y + box.height / 2)?.closest('[data-seq]')
  return row ? Number(row.dataset.seq) : null
}"""
_DRAG = """(share) => {
  const rows = document.querySelector('.cl-rows')
  rows.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 }))
  rows.scrollTop = share * (rows.scrollHeight - rows.clientHeight)
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("home")) as running:
        record(running.store_url, "long", LINES)
        yield running


@pytest.fixture(scope="module")
def comm(server: Server) -> Iterator[str]:
    with comm_server(server.store_url) as address:
        yield address


def opened(browser: Browser, server: Server, comm: str | None) -> Page:
    page = browser.new_page(viewport={"width": 1100, "height": 600})
    show(page, server.url, BASE, TOKEN, json.dumps(["default:job/long"]), comm=comm)
    expect(page.locator(".cl-foot")).to_contain_text(re.compile("1.000.000 lines"))
    return page


@pytest.fixture
def page(server: Server, comm: str, browser: Browser, transport: str) -> Page:
    return opened(browser, server, comm if transport == "comm" else None)


@pytest.fixture
def patient_page(
    server: Server, comm: str, browser: Browser, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    """A page whose server or kernel takes as long for a chart as the test waits for it."""
    if transport == "comm":
        monkeypatch.setattr("cortex_jupyter.notebook.comm.measured", partial(measured, query_s=CHART_S))
        yield opened(browser, server, comm)
        return
    limit = f"--CortexJupyter.max_query_s={CHART_S}"
    with run_server(tmp_path, limit, CORTEX_STORE=server.store_url) as patient:
        yield opened(browser, patient, None)


def near(page: Page, share: float) -> int:
    """Wait for the rows at a position of the scrollbar (0 to 1); return the `seq` of the row in the middle."""
    wanted = f"() => Math.abs(({_SEEN})() / {LINES} - {share}) < 0.002"
    page.wait_for_function(wanted, timeout=WAIT)
    return int(page.evaluate(_SEEN))


def test_dragging_the_scrollbar_shows_the_lines_of_that_position(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/logs?" in r.url else None)
    for share in (0.5, 0.1, 0.93, 0.31, 0.32):
        page.evaluate(_DRAG, share)
        seq = near(page, share)
        text = page.locator(f"[data-seq='{seq}'] .cl-m").inner_text()
        assert f"line {seq:08d}" in text
    shot(page, "long-middle")
    assert len(asked) < 20, "more was loaded than the visible positions need"


def test_the_wheel_shows_every_line_in_turn(page: Page) -> None:
    page.evaluate(_DRAG, 0.4)
    near(page, 0.4)
    rows = """(last) => {
      const rows = [...document.querySelectorAll('.cl-sheet > *')]
      const seqs = rows.map((row) => Number(row.dataset.seq))
      return rows.length > 0 && rows.every((row) => row.dataset.seq) && seqs[0] > last && seqs
    }"""
    page.mouse.move(500, 400)
    found: list[int] = []
    for _ in range(100):
        page.mouse.wheel(0, 1000)
        seqs = page.wait_for_function(rows, arg=found[-1] if found else 0).json_value()
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "visible rows are out of order or incomplete"
        found.append(seqs[0])
        # A check may see half of a turn, and the next check the rest and one more, but never more than all turns so far.
        assert seqs[0] - found[0] <= 60 * len(found), "the list scrolled further than the wheel was turned"
    assert found[-1] - found[0] > 4000, "the lines are all within the first loaded page"


def test_home_and_end_are_the_first_and_the_last_line(page: Page) -> None:
    page.focus(".cl-rows")
    page.keyboard.press("Home")
    expect(page.locator("[data-seq='1']")).to_be_visible()
    expect(page.locator("[data-notice=edge]")).to_have_text("Beginning of the log")
    page.keyboard.press("End")
    expect(page.locator(f"[data-seq='{LINES}']")).to_be_visible()


def test_a_filter_finds_lines_that_are_not_loaded(page: Page) -> None:
    box = page.locator("input[type=search]")
    box.fill("line 00123456")
    row = page.locator("[data-seq='123456']")
    expect(row).to_be_visible(timeout=20_000)
    expect(page.locator("[data-notice=edge]")).to_contain_text("there are no more matches before")
    assert page.locator("[data-seq]").count() == 1
    # Without the filter, the line is shown exactly once among its neighbours, after these are loaded.
    box.fill("")
    page.wait_for_function("() => document.querySelector('.cl-rows').scrollHeight > 1e6")
    page.evaluate(_DRAG, 0.123456)
    near(page, 0.123456)
    page.wait_for_function("() => [...document.querySelectorAll('.cl-sheet > *')].every((row) => row.dataset.seq)")
    seqs = page.evaluate("() => [...document.querySelectorAll('[data-seq]')].map((row) => Number(row.dataset.seq))")
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_a_search_with_too_many_matches_pauses_and_can_be_continued(page: Page) -> None:
    page.locator("input[type=search]").fill("/ERROR line/")
    bar = page.locator(".cl-filter")
    expect(bar).to_contain_text(re.compile(r"searched back to \d\d:\d\d:\d\d"))
    search_on = bar.get_by_role("button", name="Search on")
    expect(search_on).to_be_visible(timeout=20_000)
    before = page.locator(".cl-filter .cl-count:not([role])").inner_text()
    shot(page, "long-search")
    search_on.click()
    expect(page.locator(".cl-filter .cl-count:not([role])")).not_to_have_text(before)
    texts = page.locator("[data-seq] .cl-m").all_inner_texts()
    assert texts and all("ERROR line" in text for text in texts)


def test_the_next_and_previous_match_are_found_in_lines_that_are_not_loaded(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/logs?" in r.url else None)
    page.locator(".cl-rows").focus()
    page.keyboard.press("Control+f")
    page.keyboard.type("/line 00[27]34567/")
    expect(page.locator(".cl-found")).to_contain_text("0 of")
    page.locator(".cl-rows").focus()
    for key, seq in (("N", "00734567"), ("N", "00234567"), ("n", "00734567")):
        page.keyboard.press(key)
        expect(page.locator(".cl-picked")).to_contain_text(f"line {seq}")
    expect(page.locator(".cl-foot")).not_to_contain_text("what is not loaded")
    assert len(asked) < 12, "more was loaded than the matches need"
    shot(page, "long-found")
    page.keyboard.press("N")
    expect(page.locator(".cl-picked")).to_contain_text("line 00234567")
    page.keyboard.press("N")
    expect(page.locator(".cl-foot")).to_contain_text("No earlier match in what is not loaded")


def test_the_chart_covers_all_lines_and_leads_to_lines_that_are_not_loaded(patient_page: Page) -> None:
    page = patient_page
    page.focus(".cl-rows")
    page.keyboard.press("p")
    chart = page.locator(".cl-chart")
    expect(chart.locator(".cl-pn")).to_have_text(["loss", "mem"])
    expect(chart.locator(".cl-of")).to_have_text(re.compile(r"^reading|^$"))
    expect(chart.locator(".cl-of")).to_have_text("", timeout=CHART_S * 1000)
    loss = chart.locator(".cl-plot").first
    expect(loss).to_have_attribute("aria-label", re.compile("3 sources, from 0 to 0.996"))
    width = (loss.bounding_box() or {"width": 0.0})["width"] - 48
    for share in (0.1, 0.62):
        loss.click(position={"x": 40 + share * width, "y": 30})
        picked = page.locator(".cl-picked .cl-m")
        expect(picked).to_contain_text(re.compile(rf"line 00{int(share * 10)}\d{{5}} loss="))
    shot(page, "long-chart")
