"""What only a real browser shows: no worker allowed, a regex that never ends, ten million rows, theme and zoom."""

from serve import browser_page

STATUS = "() => document.querySelector('.cl-foot').textContent"
TOP = """() => { const box = document.querySelector('.cl-rows').getBoundingClientRect(); return Number(document.elementFromPoint(box.x + 200, box.y + 12).closest('[data-seq]')?.dataset.seq ?? 0) }"""
RUNNING = "() => model.bytes(feed.event('status', { state: 'running', message: '', older: null }))"


def lines(n: int, start: int = 0) -> str:
    return f"() => model.bytes(feed.log(Array.from({{ length: {n} }}, (_, i) => [Date.now() - 1000 + i / 100, 1 + i % 3, `line ${{{start} + i}} aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!`])))"


def no_worker() -> None:
    with browser_page(init="window.Worker = class { constructor() { throw new Error('forbidden') } }") as page:
        page.evaluate(RUNNING)
        page.evaluate(lines(500))
        page.wait_for_function("() => document.querySelector('.cl-foot').textContent.includes('500 lines')")
        page.fill("input[type=search]", "line 49")
        page.wait_for_function("() => document.querySelector('.cl-filter').textContent.includes('11 of 500')")
    print("without a worker the page holds the store: ok")


def endless_regex() -> None:
    with browser_page() as page:
        page.evaluate(RUNNING)
        page.evaluate(lines(200))
        page.wait_for_selector("[data-seq]")
        page.fill("input[type=search]", "/(a+)+$/")
        page.wait_for_function("() => document.querySelector('.cl-problem')?.textContent.includes('(a+)+$')", timeout=8000)
        page.wait_for_function("() => window.sent.filter((m) => m.type === 'open').length === 2")
        page.evaluate(RUNNING)
        page.evaluate(lines(50))
        page.wait_for_function("() => document.querySelector('.cl-foot').textContent.includes('50 lines')")
    print("an endless regex is stopped and named, the stream comes back: ok")


def many_rows() -> None:
    with browser_page() as page:
        page.evaluate("() => { model.traits.query = { since: 'all' }; model.emit('change:query') }")
        page.evaluate(RUNNING)
        page.evaluate("""async () => { for (let k = 0; k < 200; k++) { const t = Date.now(); model.bytes(feed.log(Array.from({ length: 10000 }, (_, i) => [t + i / 1000, 1, `n ${k * 10000 + i}`]))); await new Promise((r) => setTimeout(r)) } }""")
        page.wait_for_function("() => /2.000.000 lines/.test(document.querySelector('.cl-foot').textContent)", timeout=60000)
        for share in (0.25, 0.5, 0.9):
            page.evaluate("() => document.querySelector('.cl-rows').dispatchEvent(new WheelEvent('wheel', { deltaY: -50 }))")
            page.evaluate("(share) => { const r = document.querySelector('.cl-rows'); r.scrollTop = share * (r.scrollHeight - r.clientHeight) }", share)
            page.wait_for_timeout(300)
            seen = page.evaluate(TOP)
            assert abs(seen / 2e6 - share) < 0.005, (share, seen)
        before = page.evaluate(TOP)
        page.mouse.move(600, 400)
        page.mouse.wheel(0, 190)
        page.wait_for_timeout(500)
        after = page.evaluate(TOP)
        assert 8 <= after - before <= 12, (before, after)
        page.focus(".cl-rows")
        page.keyboard.press("Home")
        page.wait_for_timeout(300)
        assert page.locator("[data-seq]").first.get_attribute("data-seq") == "0"
        page.keyboard.press("End")
        page.wait_for_timeout(300)
        assert page.locator("[data-seq]").last.get_attribute("data-seq") == "1999999"
    print("two million rows: the bar tells the truth, the wheel moves by pixels, Home and End: ok")


def wrapped() -> None:
    with browser_page() as page:
        page.evaluate(RUNNING)
        page.evaluate("() => model.bytes(feed.log(Array.from({ length: 300 }, (_, i) => [Date.now() - 1000 + i, 1, `line ${i} ` + 'word '.repeat((i * 7) % 120)])))")
        page.wait_for_selector("[data-seq]")
        page.focus(".cl-rows")
        page.keyboard.press("w")
        page.wait_for_timeout(300)
        last = page.locator("[data-seq='299']").bounding_box()
        box = page.locator(".cl-rows").bounding_box()
        assert last and box and last["y"] + last["height"] <= box["y"] + box["height"] + 1, (last, box)
        page.mouse.move(600, 400)
        seen = []
        for _ in range(60):
            page.mouse.wheel(0, -400)
            page.wait_for_timeout(40)
            seen.append(page.evaluate(TOP))
        assert seen == sorted(seen, reverse=True), seen
        page.wait_for_timeout(400)
        assert page.evaluate(TOP) == 0, seen
    print("wrapped rows scroll from the end to the beginning in order: ok")


for check in (no_worker, endless_regex, many_rows, wrapped):
    check()
