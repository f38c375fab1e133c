"""A page that was away: asleep, refused, or with a place that is held no more. Nothing is lost or doubled in what it shows."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import TimeoutError as Late
from playwright.sync_api import expect
from support.browser import WAIT, cell, says, shot
from support.jupyter import gated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.browser

#: The page's worker, whose clock goes on by what is said to the channel `sleep` until the server answers again: all that a
#: machine's sleep is to a program.
_SLEEPER = """
const prelude = `{
  const [now, ask] = [Date.now, fetch]
  let slept = 0
  Date.now = () => now() + slept
  new BroadcastChannel('sleep').onmessage = ({ data }) => (slept = data)
  globalThis.fetch = async (...request) => { const response = await ask(...request); slept = 0; return response }
};`
const made = URL.createObjectURL
URL.createObjectURL = (blob) => made(blob.type === 'text/javascript' ? new Blob([prelude, blob], { type: blob.type }) : blob)
"""
_HOUR = 3_600_000
#: The first line in sight.
_TOP = """(viewer) => {
  const { top } = viewer.querySelector('[role=log]').getBoundingClientRect()
  return [...viewer.querySelectorAll('[data-seq]')].find((row) => row.getBoundingClientRect().bottom > top + 2)?.querySelector('.cl-m').textContent
}"""

#: How far below the list's top a line is, px; null where it is not drawn.
_PLACE = """([viewer, text]) => {
  const row = [...viewer.querySelectorAll('[data-seq]')].find((row) => row.querySelector('.cl-m').textContent === text)
  return row ? row.getBoundingClientRect().top - viewer.querySelector('[role=log]').getBoundingClientRect().top : null
}"""

#: The top line, once nothing moves any more: a turn of the wheel is several frames' work.
_RESTING_TOP = f"""async (viewer) => {{
  let [top, still] = [null, 0]
  while (still < 30) {{
    await new Promise(requestAnimationFrame)
    const now = ({_TOP})(viewer)
    still = now === top ? still + 1 : 0
    top = now
  }}
  return top
}}"""


def opened(page: Page) -> Locator:
    """Give the page's viewer once it shows lines."""
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator("[data-seq]").nth(15)).to_be_visible(timeout=WAIT)
    return viewer


def whole(found: dict[int, list[str]], lines: int) -> None:
    """Check that what was read from the screen is every line, once, in its order."""
    shown = [int(n) for _, (text,) in sorted(found.items()) for n in re.findall(r"line (\d{8})", text)]
    missing = sorted(set(range(lines)) - set(shown))
    assert not missing, f"{len(missing)} lines are not shown, from {missing[0]} to {missing[-1]}"
    assert shown == list(range(lines))


def test_a_laptop_that_slept_for_hours_asks_for_its_window_and_has_the_rest_on_demand(
    lab: Lab,
    job: Callable[..., str],
    gate: Path,
    sandbox: Any,
    lines_of: Callable[[Locator], dict[int, list[str]]],
    transport: str,
) -> None:
    # For 45 s, so that there is something left to be slept through however long the page takes to open.
    name = job(gated(900, gate, per_second=20))
    # A page of its own asks for a minute at least, which would reach back over this sleep.
    page = lab.open(f"asleep-{transport}", cell(name, transport, since="2s"), init=_SLEEPER)
    viewer = opened(page)
    lab.server.process.send_signal(signal.SIGSTOP)
    try:
        page.evaluate(f"new BroadcastChannel('sleep').postMessage({3 * _HOUR})")
        says(viewer, "Waiting for the kernel" if transport == "comm" else "Reconnecting, last line 3 h 0 m ago")
        # More than the window of two seconds reaches back to.
        (pod,) = sandbox.kube.pods_of(name)
        pod_name = pod["metadata"]["name"]
        there = len(sandbox.kube.logs(pod_name).splitlines())
        more = lambda: len(sandbox.kube.logs(pod_name).splitlines()) >= there + 80  # noqa: E731
        sandbox.kube.wait_for(more, "lines while the page is asleep")
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    page.evaluate("new BroadcastChannel('sleep').postMessage(0)")
    viewer.get_by_role("button", name="All", exact=True).click()
    hole = viewer.locator("[data-notice]", has_text="Not loaded:")
    gate.touch()
    says(viewer, re.compile("Job complete exit 0.*complete"))
    # Scrolling there loads it, so that it is in sight only while the server takes its time.
    lab.server.process.send_signal(signal.SIGSTOP)
    try:
        viewer.locator("[role=log]").hover()
        for _ in range(120):
            if hole.count():
                break
            page.mouse.wheel(0, -200)
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot(page, f"not-loaded-{transport}")
        # A kernel may send what it wrote meanwhile before the page asks it for a window; then nothing is left to load.
        if transport != "comm" or hole.count():
            hole.get_by_role("button", name="Load").click(timeout=WAIT)
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    expect(hole).to_have_count(0, timeout=WAIT)
    says(viewer, re.compile("900 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 900)


def test_a_page_that_is_refused_goes_on_with_the_cookie_that_it_is_given_then(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page = lab.view(job(gated(800, gate)), since="all")
    viewer = opened(page)
    sent: list[str] = []

    def renew(route: Route) -> None:
        sent.append(route.request.headers.get("x-xsrftoken", ""))
        if len(sent) < 3:
            route.fulfill(status=403, json={"error": {"code": "NotAllowed", "message": "Forbidden"}})
        else:
            route.continue_()
        page.evaluate("document.cookie = '_xsrf=renewed; path=/'")

    page.route("**/cortex/stream*", renew)
    lab.kill()
    says(viewer, "Reconnecting")
    lab.restart()
    gate.touch()
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("800 lines, .* 1 source, complete"))
    assert len(sent) >= 3 and sent[-1] == "renewed", sent
    whole(lines_of(viewer), 800)


def test_who_is_signed_out_is_told_so_and_reads_on_when_signed_in_again(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    """As after a server that was started again with another token, or a cookie that is too old."""
    page = lab.view(job(gated(600, gate)), since="all")
    viewer = opened(page)
    lab.kill()
    page.context.clear_cookies()
    lab.restart(token="another-token")
    problem = viewer.locator(".cl-problem")
    expect(problem).to_contain_text("you are not signed in to Jupyter Server", timeout=WAIT)
    expect(problem).to_contain_text("sign in again")
    says(viewer, re.compile(r"Reconnecting, last line \d+ s ago"))
    assert viewer.locator("[data-seq]").count() > 15, "what is here can be read on"
    shot(page, "signed-out")

    tab = page.context.new_page()
    tab.goto(f"{lab.server.url}cortex/view?token={lab.server.token}")
    tab.close()
    # The reader comes back to this tab.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    says(viewer, "Live")
    expect(problem).to_be_hidden()
    gate.touch()
    says(viewer, re.compile("600 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 600)


def test_a_page_that_wakes_up_offline_says_so_and_goes_on_when_it_is_back(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page = lab.view(job(gated(600, gate)), init=_SLEEPER, since="all")
    viewer = opened(page)
    page.context.set_offline(True)
    # A network that is gone is silent; Chromium cuts no connection that is open.
    lab.server.process.send_signal(signal.SIGSTOP)
    page.evaluate(f"new BroadcastChannel('sleep').postMessage({60_000})")
    try:
        says(viewer, re.compile("Offline, last line 1 m [0-9]+ s ago"))
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    assert viewer.locator("[data-seq]").count() > 15, "what is here can be read on"
    shot(page, "offline")
    page.context.set_offline(False)
    says(viewer, "Live")
    # What was said while it runs is one thing; that it is all has to be asked.
    page.context.set_offline(True)
    gate.touch()
    says(viewer, re.compile("Job complete exit 0.*600 lines"))
    page.context.set_offline(False)
    says(viewer, re.compile("600 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 600)


def test_a_recording_that_is_gone_is_said_and_loaded_anew(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page = lab.view(job(gated(700, gate)), since="all")
    viewer = opened(page)
    says(viewer, re.compile(r"[1-9]\d\d lines"))
    viewer.locator("[role=log]").hover()
    page.mouse.wheel(0, -900)
    expect(viewer.get_by_role("button", name="newest")).to_be_visible(timeout=WAIT)
    reading = viewer.evaluate(_RESTING_TOP)
    place = page.evaluate(_PLACE, [viewer.element_handle(), reading])
    lab.kill()
    says(viewer, "Reconnecting")
    lab.home.end()
    for file in lab.home.path.rglob("*.sqlite*"):
        file.unlink()
    lab.restart()
    expect(viewer.locator("[data-notice]", has_text="the window was loaded anew")).to_have_count(1, timeout=WAIT)
    gate.touch()
    says(viewer, "Job complete exit 0")
    shot(page, "loaded-anew")
    # The reader is where they were; a row of 19 px that was cut by the edge may be whole.
    back = f"([text, place]) => Math.abs(({_PLACE})([document.querySelector('.cortex-logs'), text]) - place) < 19"
    with contextlib.suppress(Late):
        page.wait_for_function(back, arg=[reading, place])
    assert page.evaluate(_PLACE, [viewer.element_handle(), reading]) == pytest.approx(place, abs=19)
    says(viewer, re.compile("700 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 700)
