"""Screenshots of the viewer in its states, light and dark, into a folder (default /tmp/shots)."""

import sys
from pathlib import Path

from serve import browser_page

out = Path(sys.argv[1] if len(sys.argv) > 1 else "/tmp/shots")
out.mkdir(exist_ok=True)
LIVE = "() => model.bytes(training(feed, Date.now() - 200000, 200))"

for theme in ("light", "dark"):
    with browser_page(path=f"page.html#{theme}") as page:
        page.wait_for_timeout(300)
        page.screenshot(path=out / f"{theme}-waiting.png")
        page.evaluate("""() => model.bytes(feed.event("status", { state: "pending", message: "Log not available yet: ContainerCreating", older: null }))""")
        page.wait_for_timeout(300)
        page.screenshot(path=out / f"{theme}-pending.png")
        page.evaluate(LIVE)
        page.wait_for_timeout(900)
        page.screenshot(path=out / f"{theme}-live.png")
        page.fill("input[type=search]", "loss")
        page.wait_for_timeout(700)
        page.screenshot(path=out / f"{theme}-filter.png")
        page.keyboard.press("Escape")
        page.wait_for_timeout(300)
        page.locator(".cl-tw").last.click()
        page.mouse.move(600, 350)
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(600)
        page.screenshot(path=out / f"{theme}-json.png")
        page.evaluate("() => { const rows = document.querySelector('.cl-rows'); rows.scrollTop = 0.833 * (rows.scrollHeight - rows.clientHeight) }")
        page.wait_for_timeout(400)
        page.screenshot(path=out / f"{theme}-gap.png")
        page.evaluate("""() => model.bytes(feed.notice("end", { state: "failed", exit_code: 3, message: "Job failed exit 3: Error" }))""")
        page.wait_for_timeout(600)
        page.set_viewport_size({"width": 520, "height": 560})
        page.wait_for_timeout(400)
        page.screenshot(path=out / f"{theme}-narrow.png")
