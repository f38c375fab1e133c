"""A browser that dies takes no other test with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error

if TYPE_CHECKING:
    from support.browser import Chromium

pytestmark = pytest.mark.browser


def test_a_browser_that_dies_is_started_again(chromium: Chromium) -> None:
    first = chromium.browser
    assert chromium.browser is first
    with pytest.raises(Error):
        first.new_browser_cdp_session().send("Browser.crash")
    second = chromium.browser
    page = second.new_page()
    assert second is not first and page.evaluate("1 + 1") == 2
    page.close()
