"""A page that was away: asleep, refused, or with a place that is held no more. Nothing is lost or doubled in what it shows."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import shot

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
WAIT = 40_000

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


def steady(lines: int) -> str:
    """Give a program that writes 40 numbered lines a second, each at a time of its own."""
    return f"import time\nfor i in range({lines}): print('line %08d' % i, flush=True); time.sleep(0.025)"


def says(viewer: Locator, words: str | re.Pattern[str]) -> None:
    expect(viewer.locator("[role=status]")).to_contain_text(words, timeout=WAIT)


def opened(lab: Lab, name: str, task: str, **query: str) -> tuple[Page, Locator]:
    """Open a viewer whose worker can be put to sleep, with its first lines."""
    cell = f"cortex.logs({task!r}, **{query!r})"
    page = lab.open(name, cell, init=_SLEEPER)
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    return page, viewer


def whole(found: dict[int, list[str]], lines: int) -> None:
    """Check that what was read from the screen is every line, once, in its order."""
    shown = [int(n) for _, (text,) in sorted(found.items()) for n in re.findall(r"line (\d{8})", text)]
    missing = sorted(set(range(lines)) - set(shown))
    assert not missing, f"{len(missing)} lines are not shown, from {missing[0]} to {missing[-1]}"
    assert shown == list(range(lines))


def test_a_laptop_that_slept_for_hours_asks_for_its_window_and_has_the_rest_on_demand(
    lab: Lab, job: Callable[..., str], sandbox: Any, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    name = job(steady(900))
    page, viewer = opened(lab, "asleep", name, since="2s")
    lab.server.process.send_signal(signal.SIGSTOP)
    try:
        page.evaluate(f"new BroadcastChannel('sleep').postMessage({3 * _HOUR})")
        says(viewer, "Reconnecting, last line 3 h 0 m ago")
        # More than the window of two seconds reaches back to.
        (pod,) = sandbox.kube.pods_of(name)
        pod_name = pod["metadata"]["name"]
        there = len(sandbox.kube.logs(pod_name).splitlines())
        more = lambda: len(sandbox.kube.logs(pod_name).splitlines()) >= there + 160  # noqa: E731
        sandbox.kube.wait_for(more, "lines while the page is asleep")
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    viewer.get_by_role("button", name="All", exact=True).click()
    says(viewer, "Job complete exit 0")
    hole = viewer.locator("[data-notice]", has_text="Not loaded:")
    viewer.locator("[role=log]").hover()
    for _ in range(100):
        if hole.count():
            break
        page.mouse.wheel(0, -150)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shot(page, "not-loaded")
    hole.get_by_role("button", name="Load").click(timeout=WAIT)
    expect(hole).to_have_count(0, timeout=WAIT)
    says(viewer, re.compile("900 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 900)
    page.close()


def test_a_page_that_is_refused_goes_on_with_the_cookie_that_it_is_given_then(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page, viewer = opened(lab, "refused", job(steady(800)), since="all")
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
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("800 lines, .* 1 source, complete"))
    assert len(sent) >= 3 and sent[-1] == "renewed", sent
    whole(lines_of(viewer), 800)
    page.close()


def test_a_recording_that_is_gone_is_said_and_loaded_anew(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page, viewer = opened(lab, "gone", job(steady(700)), since="all")
    says(viewer, re.compile(r"[2-9]\d\d lines"))
    viewer.locator("[role=log]").hover()
    page.mouse.wheel(0, -900)
    expect(viewer.get_by_role("button", name="newest")).to_be_visible(timeout=WAIT)
    reading = viewer.locator("[data-seq] .cl-m").first.inner_text()
    lab.kill()
    says(viewer, "Reconnecting")
    lab.home.end()
    for file in lab.home.path.rglob("*.sqlite*"):
        file.unlink()
    lab.restart()
    expect(viewer.locator("[data-notice]", has_text="the window was loaded anew")).to_have_count(1, timeout=WAIT)
    says(viewer, "Job complete exit 0")
    shot(page, "loaded-anew")
    # The reader is where they were.
    expect(viewer.locator("[data-seq] .cl-m").first).to_have_text(reading)
    says(viewer, re.compile("700 lines, .* 1 source, complete"))
    whole(lines_of(viewer), 700)
    page.close()
