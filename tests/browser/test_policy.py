"""Pages whose Content-Security-Policy forbids the viewer's code: why is said, and the log is shown as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot
from support.jupyter import TOKEN, counter, jupyter

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser


def test_a_notebook_shows_the_saved_lines(lab: Lab, job: Callable[..., str]) -> None:
    name = job(counter(30))
    policy = "worker-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'"
    option = f"--ServerApp.tornado_settings={{'headers': {{'Content-Security-Policy': {policy!r}}}}}"
    with jupyter(lab.home, "lab", option) as server:
        cells = (f"cortex.logs({name!r}).wait()", f"cortex.logs({name!r})", "import ipywidgets\nipywidgets.IntSlider()")
        page = replace(lab, server=server).open("policy", *cells)
        output = page.locator(".jp-OutputArea-output", has=page.get_by_role("alert"))
        expect(output.get_by_role("alert")).to_contain_text(
            "this page's Content-Security-Policy forbids its code (script-src-elem without blob:). "
            "The server's operator can add blob: to script-src.",
            timeout=WAIT,
        )
        expect(output.locator(".cortex-logs-static")).to_contain_text("line 00000029")
        expect(output).to_have_count(1)
        expect(output.locator(".jupyter-widgets-error-widget")).to_have_count(0)
        expect(page.locator(".widget-slider")).to_be_visible()
        shot(page, "policy-lab")
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_its_own_shows_the_log_as_text(lab: Lab, job: Callable[..., str], scheme: str) -> None:
    name = job(counter(30))

    def stricter(route: Route) -> None:
        response = route.fetch()
        policy = response.headers["content-security-policy"].replace(
            "script-src 'self' blob:; worker-src blob:", "script-src 'self'; worker-src 'none'"
        )
        route.fulfill(response=response, headers=response.headers | {"content-security-policy": policy})

    page = lab.page(color_scheme=scheme)
    page.goto(f"{lab.server.url}cortex/view?task={name}&token={TOKEN}")
    says(page.locator(".cortex-logs"), "Job complete exit 0")
    page.route("**/cortex/view*", stricter)
    page.goto(f"{lab.server.url}cortex/view?task={name}")
    expect(page.locator(".cl-problem")).to_contain_text(
        re.compile(
            r"forbids its code \(script-src-elem and worker-src without blob:\).*add blob: to script-src or worker-src"
        ),
        timeout=WAIT,
    )
    expect(page.locator(".cl-fallback")).to_contain_text("line 00000029", timeout=WAIT)
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"policy-page-{scheme}-{width}")
