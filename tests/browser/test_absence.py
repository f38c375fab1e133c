"""A page that was away and then refused. Nothing is lost or doubled in what it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
WAIT = 40_000


def steady(lines: int) -> str:
    """Give a program that writes 40 numbered lines a second, each at a time of its own."""
    return f"import time\nfor i in range({lines}): print('line %08d' % i, flush=True); time.sleep(0.025)"


def says(viewer: Locator, words: str | re.Pattern[str]) -> None:
    expect(viewer.locator("[role=status]")).to_contain_text(words, timeout=WAIT)


def opened(lab: Lab, name: str, task: str, **query: str) -> tuple[Page, Locator]:
    """Open a viewer, and wait for its first lines."""
    cell = f"cortex.logs({task!r}, **{query!r})"
    page = lab.open(name, cell)
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    return page, viewer


def whole(found: dict[int, list[str]], lines: int) -> None:
    """Check that what was read from the screen is every line, once, in its order."""
    shown = [int(n) for _, (text,) in sorted(found.items()) for n in re.findall(r"line (\d{8})", text)]
    missing = sorted(set(range(lines)) - set(shown))
    assert not missing, f"{len(missing)} lines are not shown, from {missing[0]} to {missing[-1]}"
    assert shown == list(range(lines))


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
