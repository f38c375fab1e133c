"""How the viewer shows lines, in real Chromium without a server: the page of js/harness feeds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import shot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.browser

HOSTILE: list[dict[str, Any]] = json.loads((ROOT / "tests/parsing/fixtures/hostile.json").read_text())
BLOCKS: list[dict[str, Any]] = json.loads((ROOT / "tests/parsing/fixtures/blocks.json").read_text())
TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/app/train.py", line 212, in step',
    "    assert torch.isfinite(loss)",
    "RuntimeError: loss is NaN at step {}",
]
BAR = "train:  {0}%|██▏       | {0}/100 [00:40<01:05,  3.10it/s]"

#: Returns the lowest contrast between texts in rows and their background, and where it is; with colours as Chromium paints them.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const paint = (...colours) => {
    canvas.clearRect(0, 0, 1, 1)
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1) }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
  }
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
  let worst = [99, '']
  for (const span of document.querySelectorAll('.cl-m span, .cl-m a')) {
    const papers = []
    for (let at = span; at; at = at.parentElement) papers.unshift(getComputedStyle(at).backgroundColor)
    const style = getComputedStyle(span)
    const paper = paint('white', ...papers)
    canvas.globalAlpha = Number(style.opacity)
    const ink = luminance(paint('white', ...papers, style.color))
    canvas.globalAlpha = 1
    const ground = luminance(paper)
    const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05)
    if (contrast < worst[0]) worst = [contrast, span.className + ' ' + span.textContent + ' ' + style.color + ' on ' + paper]
  }
  return worst
}"""


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, site: str, browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1180, "height": 760}, device_scale_factor=1.5)
    page.goto(f"{site}#{request.param}")
    page.wait_for_function("window.ready === true")
    page.evaluate("() => { model.traits.height = 720; model.emit('change:height') }")
    page.evaluate("() => model.bytes(feed.event('status', { state: 'running', message: '', older: null }))")
    return page


def feed(page: Page, *lines: str | tuple[int, str]) -> None:
    """Write lines one millisecond apart; a line without a source is of source 1."""
    rows = [(1, line) if isinstance(line, str) else line for line in lines]
    page.evaluate(
        """rows => { const now = window.clock ??= Date.now() - 30000
           window.clock += rows.length
           model.bytes(feed.log(rows.map(([source, text], i) => [now + i, source, text]))) }""",
        rows,
    )


def picture(page: Page, name: str) -> None:
    shot(page, f"{name}-{page.url.partition('#')[2]}")


def messages(page: Page) -> Locator:
    return page.locator("[data-seq] .cl-m")


def test_hostile_lines_are_text_that_hides_nothing(page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.evaluate("() => { window.alert = () => { window.hacked = true } }")
    title = page.title()
    feed(page, *(case["line"] for case in HOSTILE), "x" * (1 << 20))
    expect(messages(page)).to_have_count(len(HOSTILE) + 1)
    picture(page, "hostile-lines")
    assert [row.text_content() for row in messages(page).all()[:-1]] == [case["shows"] for case in HOSTILE]
    page.locator(".cl-tw[aria-expanded=false]").evaluate_all("all => all.forEach((one) => one.click())")
    messages(page).last.evaluate("(one) => one.click()")
    expect(messages(page).last).to_contain_text("x" * (1 << 15))
    whole = messages(page).last.get_by_role("button", name="Copy the whole line")
    expect(whole).to_be_visible()
    assert page.locator(".cl-rows :is(script, img, iframe, b)").count() == 0
    links = page.locator(".cl-rows a").evaluate_all("links => links.map((link) => [link.protocol, link.rel])")
    assert {tuple(link) for link in links} <= {("https:", "noopener noreferrer"), ("http:", "noopener noreferrer")}
    assert page.evaluate("window.hacked") is None and page.title() == title
    assert not errors, errors


def test_all_colours_are_readable(page: Page) -> None:
    attributes = [0, 1, 2, 3, 4, 7]
    for level in ("", "ERROR "):
        feed(
            page,
            *(
                level + "".join(f"\x1b[{a};{c}m{c}\x1b[0m" for c in (*range(30, 38), *range(90, 98)))
                for a in attributes
            ),
        )
        feed(page, *(level + "".join(f"\x1b[38;5;{16 * row + i}m{i:3}" for i in range(16)) for row in range(16)))
        for bg in (40, 41, 42, 43, 44, 45, 46, 47, 100, 103, 107):
            feed(
                page,
                f"{level}\x1b[{bg}mplain \x1b[31mred \x1b[34mblue \x1b[33myellow \x1b[37mwhite \x1b[30mblack\x1b[0m",
            )
        feed(
            page,
            *(
                f"{level}\x1b[38;2;{r};{g};{b}mtrue"
                for r in (0, 128, 255)
                for g in (0, 128, 255)
                for b in (0, 128, 255)
            ),
        )
    worst = 99.0
    where = ""
    expect(messages(page).last).to_contain_text("true")
    picture(page, "colours")
    for top in (0, 400, 800, 1200, 1600, 2000):
        page.locator(".cl-rows").evaluate(
            "(rows, top) => { rows.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 })); rows.scrollTop = top }", top
        )
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        contrast, position = page.evaluate(CONTRAST)
        if contrast < worst:
            worst, where = contrast, position
    assert worst >= 4.5, (worst, where)


def test_a_traceback_folds_and_opens_and_a_filter_finds_text_within_it(page: Page) -> None:
    feed(page, "before", *TRACEBACK[:3], TRACEBACK[3].format(5), (2, "between"), "after")
    for line in TRACEBACK:
        feed(page, (3, line.format(7)))
    feed(page, (3, "restarted"))
    expect(messages(page)).to_have_text(
        ["before", "▸ RuntimeError: loss is NaN at step 5  · 1 frame · also in w-2", "between", "after", "restarted"]
    )
    picture(page, "traceback-folded")
    messages(page).nth(1).click()
    expect(messages(page)).to_have_count(9)
    expect(messages(page).nth(2)).to_have_text(TRACEBACK[1])
    expect(messages(page).nth(5)).to_have_text("▸ RuntimeError: loss is NaN at step 7  · 1 frame")
    picture(page, "traceback-open")
    page.locator(".cl-tw").first.focus()
    page.keyboard.press("Enter")
    expect(messages(page)).to_have_count(5)
    page.fill("input[type=search]", "isfinite")
    expect(messages(page)).to_have_count(1)
    expect(messages(page)).to_contain_text("loss is NaN")


def test_a_group_below_a_traceback_a_line_of_another_process_and_a_rust_panic_each_have_their_row(page: Page) -> None:
    cases = {case["name"]: [line for _, line in case["lines"]] for case in BLOCKS}
    for name in (
        "group below a traceback (CPython 3.11)",
        "lines of another process between",
        "rust backtrace (rustc 1.95)",
    ):
        feed(page, *cases[name])
    expect(messages(page)).to_have_text(
        [
            "▸ ValueError: bad shard 3  · 2 frames",
            "▸ ExceptionGroup: reading (2 sub-exceptions)  · 1 frame · 2 more exceptions",
            "INFO next epoch",
            "▸ ValueError: 3  · 2 frames",
            "INFO: read shard 1",
            "read shard 2",
            "  of 8",
            "Epoch: 3",
            "Done",
            "read shard 4",
            "INFO: read shard 5",
            "after",
            "",
            "▸ panic: index out of bounds: the len is 3 but the index is 7  · 10 frames",
            "after",
        ]
    )
    picture(page, "tracebacks")
    messages(page).nth(13).click()
    expect(messages(page).filter(has_text="main::step")).to_be_visible()
    picture(page, "tracebacks-rust-open")


def test_a_progress_bar_updates_in_one_row_and_keeps_its_history(page: Page) -> None:
    feed(page, "start", BAR.format(10), (2, "other"), f"{BAR.format(12)}\r{BAR.format(15)}")
    bar = page.locator("[role=progressbar]")
    expect(bar).to_have_attribute("aria-valuenow", "15")
    for share in (40, 62):
        feed(page, BAR.format(share))
        expect(bar).to_have_attribute("aria-valuenow", str(share))
    expect(messages(page)).to_have_count(3)
    expect(messages(page).nth(1)).to_have_text("▸ train  62\u202f%  62 / 100  3.1 it/s  1 m 05 s left  · 3 updates")
    picture(page, "progress")
    messages(page).nth(1).click()
    expect(messages(page)).to_have_count(6)


def test_a_json_line_opens_as_a_tree_whose_values_become_filters_and_columns(page: Page) -> None:
    record = {"level": "info", "msg": "saved", "step": 7, "meta": {"host": "gpu-1", "note": "one\ntwo"}}
    feed(page, "before", json.dumps(record), json.dumps(record | {"step": 8, "meta": {"host": "gpu-2"}}))
    messages(page).nth(1).click()
    leaf = page.locator(".cl-leaf", has_text="host")
    expect(leaf).to_be_visible()
    picture(page, "record-open")
    leaf.locator(".cl-key").click()
    expect(messages(page).nth(2)).to_have_text("gpu-2▸ INFO saved ")
    expect(page.get_by_role("button", name="Remove the column meta.host")).to_be_visible()
    leaf.hover()
    leaf.locator(".cl-act").first.click()
    expect(messages(page)).to_have_count(1)


def test_what_the_columns_show_too_is_dim_or_hidden_and_copied_as_a_whole(page: Page) -> None:
    page.evaluate(
        """() => { const now = window.clock = Date.now() - 30000
           const at = (i, hours) => new Date(now + i + hours * 3_600_000).toISOString().replace('T', ' ').replace('.', ',').slice(0, 23)
           const texts = [`${at(0, 0)} INFO trainer: step 1`, `${at(1, 9)} - trainer - WARNING - slow`, `\\x1b[32m${at(2, 0)}\\x1b[0m | \\x1b[1mINFO    \\x1b[0m | app - hello`]
           window.texts = texts.map((text) => text.replace(/\\x1b\\[\\d+m/g, ''))
           model.bytes(feed.log(texts.map((text, i) => [now + i, 1, text]))) }"""
    )
    expect(messages(page)).to_have_count(3)
    page.evaluate("() => { model.traits.columns = ['pod', 'level']; model.emit('change:columns') }")
    shown = "() => [...document.querySelectorAll('.cl-m')].map((m) => [...m.childNodes].filter((n) => !n.matches || n.getBoundingClientRect().width > 0).map((n) => n.textContent).join(''))"
    whole = page.evaluate("window.texts")
    assert page.evaluate(shown) == whole
    picture(page, "own-time-dim")
    assert page.evaluate(CONTRAST)[0] >= 4.5, page.evaluate(CONTRAST)
    page.locator("[role=log]").focus()
    page.keyboard.press("h")
    assert page.evaluate(shown) == ["trainer: step 1", "trainer - slow", "app - hello"]
    picture(page, "own-time-hidden")
    # A text that is selected and copied is the whole line.
    message = messages(page).first
    message.evaluate("(m) => getSelection().selectAllChildren(m)")
    assert page.evaluate("String(getSelection())") == whole[0]
    page.evaluate("() => getSelection().removeAllRanges()")
    # What is found is shown.
    page.keyboard.press("Control+f")
    page.keyboard.type("WARNING")
    expect(page.locator("mark")).to_have_count(1)
    assert page.evaluate(shown)[1] == "trainer - WARNING - slow"


def test_text_that_is_selected_does_not_move(page: Page) -> None:
    feed(page, *(f"line {i} of many words" for i in range(100)))
    row = messages(page).filter(has_text="line 97 ")
    box = row.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 9, steps=4)
    page.mouse.up()
    state = page.locator(".cl-foot .cl-state")
    expect(state).to_contain_text("Paused while text is selected")
    text = page.evaluate("String(getSelection())")
    assert text and text in "line 97 of many words"
    feed(page, *(f"later {i}" for i in range(50)))
    expect(state).to_contain_text("lines waiting")
    assert row.bounding_box() == box and page.evaluate("String(getSelection())") == text
    picture(page, "text-selected")
    page.mouse.click(box["x"] + 400, box["y"] + 9)
    expect(state).to_have_text("Live")
    expect(messages(page).last).to_have_text("later 49")


def test_days_and_lines_that_came_meanwhile_are_set_off(page: Page) -> None:
    page.get_by_role("button", name="All", exact=True).click()
    day = "(days, text) => model.bytes(feed.log([[Date.now() - 30000 - days * 86_400_000, 1, text]]))"
    for days in (2, 1, 0):
        page.evaluate(f"([days, text]) => ({day})(days, text)", [days, f"{days} days ago"])
    dividers = page.locator(".cl-divided")
    expect(dividers).to_have_count(3)
    above = "(row) => [getComputedStyle(row, '::before').content, row.getBoundingClientRect().top - (row.previousElementSibling?.getBoundingClientRect().bottom ?? 0)]"
    words, room = dividers.last.evaluate(above)
    assert words.strip('"') == dividers.last.get_attribute("data-divider") and room == 19
    picture(page, "days")
