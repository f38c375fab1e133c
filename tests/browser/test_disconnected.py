"""A page that lost its connection: asleep, refused, offline, or with a cursor of a deleted recording.

Afterwards it shows every line exactly once.
"""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import TimeoutError as Late
from playwright.sync_api import expect
from support.browser import SLEEPER, TOP_LINE, WAIT, cell, says, shot
from support.jupyter import gated, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.browser

_HOUR = 3_600_000
#: Returns the distance of a line from the list's top (px), or null if the line is not drawn.
_OFFSET = """([viewer, text]) => {
  const row = [...viewer.querySelectorAll('[data-seq]')].find((row) => row.querySelector('.cl-m').textContent === text)
  return row ? row.getBoundingClientRect().top - viewer.querySelector('[role=log]').getBoundingClientRect().top : null
}"""

#: Returns the first visible line after scrolling has ended; a turn of the wheel scrolls for several frames.
_RESTING_TOP = f"""async (viewer) => {{
  let [top, still] = [null, 0]
  while (still < 30) {{
    await new Promise(requestAnimationFrame)
    const now = ({TOP_LINE})(viewer)
    still = now === top ? still + 1 : 0
    top = now
  }}
  return top
}}"""


def opened(page: Page) -> Locator:
    """Return the page's viewer once it shows lines."""
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator("[data-seq]").nth(15)).to_be_visible(timeout=WAIT)
    return viewer


def check_all_lines(found: dict[int, list[str]], lines: int) -> None:
    """Check that the texts read from the screen contain every line once and in order."""
    shown = [int(n) for _, (text,) in sorted(found.items()) for n in re.findall(r"line (\d{8})", text)]
    missing = sorted(set(range(lines)) - set(shown))
    assert not missing, f"{len(missing)} lines are not shown, from {missing[0]} to {missing[-1]}"
    assert shown == list(range(lines))


def in_groups(number: int) -> str:
    """Return a number as the viewer writes it."""
    return f"{number:,}".replace(",", "\u202f")


@pytest.fixture
def sleep(lab: Lab, job: Callable[..., str], gate: Path, sandbox: Any) -> Callable[[str], tuple[Page, int]]:
    """Return a function that opens a log with a window of two seconds in a notebook, and lets the machine sleep.

    When the machine is awake again, the whole log is wanted, and the Job has ended, it returns the page and the number of lines.
    """

    def run(transport: str) -> tuple[Page, int]:
        # The Job still writes during the sleep, however slowly the page opens.
        name = job(until(gate, per_second=20))
        # In a notebook, because the viewer's own page asks for at least one minute, which would cover the sleep.
        page = lab.open(f"asleep-{transport}", cell(name, transport, since="2s"), init=SLEEPER)
        viewer = opened(page)
        lab.server.process.send_signal(signal.SIGSTOP)
        try:
            page.evaluate(f"new BroadcastChannel('sleep').postMessage({3 * _HOUR})")
            says(viewer, "Waiting for the kernel" if transport == "comm" else "Reconnecting, last line 3 h 0 m ago")
            # Wait for more lines than the window of two seconds covers.
            (pod,) = sandbox.kube.pods_of(name)
            count_lines = lambda: len(sandbox.kube.logs(pod["metadata"]["name"]).splitlines())  # noqa: E731
            lines_before = count_lines()
            sandbox.kube.wait_for(lambda: count_lines() >= lines_before + 80, "lines while the page is asleep")
        finally:
            lab.server.process.send_signal(signal.SIGCONT)
        page.evaluate("new BroadcastChannel('sleep').postMessage(0)")
        viewer.get_by_role("button", name="All", exact=True).click()
        gate.touch()
        says(viewer, re.compile("Job complete exit 0.*complete"))
        return page, count_lines()

    return run


def load_hole(lab: Lab, page: Page, picture: str) -> bool:
    """Scroll back to the lines that are not loaded, and load them; return whether there were any."""
    viewer = page.locator(".cortex-logs").first
    hole = viewer.locator("[data-notice]", has_text="Not loaded:")
    first_line = viewer.locator(".cl-m", has_text="line 00000000")
    # Scrolling to the hole loads its lines, so the notice stays visible only while the server is stopped.
    lab.server.process.send_signal(signal.SIGSTOP)
    try:
        viewer.locator("[role=log]").hover()
        while not (found := hole.count() > 0) and first_line.count() == 0:
            page.mouse.wheel(0, -200)
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot(page, picture)
        if found:
            hole.get_by_role("button", name="Load").click(timeout=WAIT)
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    expect(hole).to_have_count(0, timeout=WAIT)
    return found


def test_after_hours_of_sleep_the_window_is_loaded_and_the_rest_on_demand(
    lab: Lab,
    sleep: Callable[[str], tuple[Page, int]],
    lines_of: Callable[[Locator], dict[int, list[str]]],
    transport: str,
) -> None:
    page, lines = sleep(transport)
    found = load_hole(lab, page, f"not-loaded-{transport}")
    # The kernel's messages wait in the stopped server, so they may come before the page asks for its window.
    assert found or transport == "comm"
    viewer = page.locator(".cortex-logs").first
    says(viewer, re.compile(f"{in_groups(lines)} lines, .* 1 source, complete"))
    check_all_lines(lines_of(viewer), lines)


def test_a_refused_page_goes_on_with_the_cookie_of_the_refusal(
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
    check_all_lines(lines_of(viewer), 800)


def test_a_signed_out_user_sees_why_and_reads_on_after_signing_in_again(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    """This happens when a server was restarted with another token, or when a cookie has expired."""
    page = lab.view(job(gated(600, gate)), since="all")
    viewer = opened(page)
    lab.kill()
    page.context.clear_cookies()
    lab.restart(token="another-token")
    problem = viewer.locator(".cl-problem")
    expect(problem).to_contain_text("you are not signed in to Jupyter Server", timeout=WAIT)
    expect(problem).to_contain_text("sign in again")
    says(viewer, re.compile(r"Reconnecting, last line (\d+ [hms] )+ago"))
    assert viewer.locator("[data-seq]").count() > 15, "the loaded lines are not shown any more"
    shot(page, "signed-out")

    tab = page.context.new_page()
    tab.goto(f"{lab.server.url}cortex/view?token={lab.server.token}")
    tab.close()
    # The user returns to this tab.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    says(viewer, "Live")
    expect(problem).to_be_hidden()
    gate.touch()
    says(viewer, re.compile("600 lines, .* 1 source, complete"))
    check_all_lines(lines_of(viewer), 600)


def test_a_page_that_wakes_up_offline_says_so_and_goes_on_when_online(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page = lab.view(job(gated(600, gate)), init=SLEEPER, since="all")
    viewer = opened(page)
    page.context.set_offline(True)
    # Chromium's offline mode does not cut open connections, so the server is stopped to make them silent.
    lab.server.process.send_signal(signal.SIGSTOP)
    page.evaluate(f"new BroadcastChannel('sleep').postMessage({60_000})")
    try:
        says(viewer, re.compile(r"Offline, last line [1-9]\d* m (\d+ s )?ago"))
    finally:
        lab.server.process.send_signal(signal.SIGCONT)
    assert viewer.locator("[data-seq]").count() > 15, "the loaded lines are not shown any more"
    shot(page, "offline")
    page.context.set_offline(False)
    says(viewer, "Live")
    # Go offline again: the end of the task arrives on the open connection, but "complete" needs a new request.
    page.context.set_offline(True)
    gate.touch()
    says(viewer, re.compile("Job complete exit 0.*600 lines"))
    page.context.set_offline(False)
    says(viewer, re.compile("600 lines, .* 1 source, complete"))
    check_all_lines(lines_of(viewer), 600)


def test_a_deleted_recording_is_reported_and_loaded_again(
    lab: Lab, job: Callable[..., str], gate: Path, lines_of: Callable[[Locator], dict[int, list[str]]]
) -> None:
    page = lab.view(job(gated(700, gate)), since="all")
    viewer = opened(page)
    says(viewer, re.compile(r"[1-9]\d\d lines"))
    viewer.locator("[role=log]").hover()
    page.mouse.wheel(0, -900)
    expect(viewer.get_by_role("button", name="newest")).to_be_visible(timeout=WAIT)
    reading = viewer.evaluate(_RESTING_TOP)
    offset = page.evaluate(_OFFSET, [viewer.element_handle(), reading])
    lab.kill()
    says(viewer, "Reconnecting")
    lab.home.end()
    for file in lab.home.path.rglob("*.sqlite*"):
        file.unlink()
    lab.restart()
    expect(viewer.locator("[data-notice]", has_text="the window was loaded again")).to_have_count(1, timeout=WAIT)
    gate.touch()
    says(viewer, "Job complete exit 0")
    shot(page, "loaded-anew")
    # The same line is at the top, except that a row cut by the edge may be fully visible now (19 px).
    back = f"([text, offset]) => Math.abs(({_OFFSET})([document.querySelector('.cortex-logs'), text]) - offset) < 19"
    with contextlib.suppress(Late):
        page.wait_for_function(back, arg=[reading, offset])
    assert page.evaluate(_OFFSET, [viewer.element_handle(), reading]) == pytest.approx(offset, abs=19)
    says(viewer, re.compile("700 lines, .* 1 source, complete"))
    check_all_lines(lines_of(viewer), 700)
