"""A user's settings in JupyterLab are the defaults of new viewers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from browser.conftest import Lab

pytestmark = pytest.mark.browser

_PLUGIN = "lab/api/settings/cortex-jupyter:plugin"


@pytest.fixture
def wide_letters(lab: Lab) -> Iterator[None]:
    """Let the user want wrapped lines, UTC and a font size of 15 px."""
    raw = json.dumps({"wrap": True, "time": "utc", "font_size": 15})
    lab.server.client.put(_PLUGIN, json={"raw": raw}).raise_for_status()
    yield
    lab.server.client.put(_PLUGIN, json={"raw": "{}"}).raise_for_status()


@pytest.mark.parametrize("app", ["lab", "notebooks"])
@pytest.mark.usefixtures("wide_letters")
def test_new_viewers_have_the_users_defaults_and_what_the_cell_says_wins(
    lab: Lab, job: Callable[..., str], app: str
) -> None:
    name = job("print('a line')")
    cells = (f"cortex.logs({name!r}, wrap=False, font_size=12)", f"cortex.logs({name!r})")
    page = lab.open(f"settings-{app}", *cells, app=app)
    expect(page.locator(".cortex-logs")).to_have_count(2, timeout=WAIT)
    for nth, wrap, size in ((0, "false", "12px"), (1, "true", "15px")):
        viewer = page.locator(".cortex-logs").nth(nth)
        says(viewer, "Job complete exit 0")
        expect(viewer.get_by_role("button", name="Wrap long lines")).to_have_attribute("aria-pressed", wrap)
        expect(viewer.locator("[data-seq]", has_text="a line")).to_have_css("font-size", size)
        expect(viewer.get_by_role("group", name="Status")).to_contain_text("UTC")
    shot(page, f"settings-{app}")
