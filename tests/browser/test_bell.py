"""Notifications that a user asked for with the bell of a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab

pytestmark = pytest.mark.browser

#: Waits for the gate, then writes the awaited line and fails.
_PROGRAM = """
import os, time
for i in range(50): print('loss=%.2f' % (5 - i / 100), flush=True)
while not os.path.exists({gate!r}): time.sleep(0.05)
print('loss=0.25', flush=True)
raise SystemExit(3)
"""


def test_jupyterlab_announces_a_line_and_the_end_and_leads_to_the_cell(
    lab: Lab, job: Callable[..., str], gate: Path
) -> None:
    name = job(_PROGRAM.format(gate=str(gate)))
    page = lab.open("bell", f"cortex.logs({name!r})", *[f"print({i}); " * 60 for i in range(12)])
    viewer = page.locator(".cortex-logs")
    page.locator(".jp-Notebook").evaluate("(element) => { element.scrollTop = 0 }")
    says(viewer, "50 lines")
    bell = viewer.get_by_role("button", name="Notify me")
    expect(bell).not_to_have_attribute("aria-pressed", "true")
    bell.click()
    viewer.get_by_role("menuitemcheckbox", name="When the task ends").click()
    shot(page, "bell-menu")
    viewer.get_by_role("menuitem", name="When a line matches…").click()
    page.keyboard.type("loss<0.5")
    shot(page, "bell-question")
    page.keyboard.press("Enter")
    expect(viewer.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    # The user goes elsewhere.
    page.locator(".lm-TabBar-addButton:visible").first.click()
    expect(viewer).not_to_be_visible()
    gate.touch()
    toasts = page.locator(".Toastify__toast")
    expect(toasts.filter(has_text=f"{name} has ended: Job failed exit 3")).to_be_visible(timeout=WAIT)
    matched = toasts.filter(has_text=f"{name} · loss<0.5: loss=0.25")
    expect(matched).to_be_visible(timeout=WAIT)
    expect(toasts).to_have_count(2)
    shot(page, "bell-toasts")
    matched.get_by_role("button", name="Show").click()
    expect(viewer).to_be_in_viewport(timeout=WAIT)
    expect(viewer.locator(".cl-picked", has_text="loss=0.25")).to_be_visible()
    shot(page, "bell-shown")


def test_the_viewers_own_page_notifies_through_the_browser(lab: Lab, job: Callable[..., str], gate: Path) -> None:
    name = job(_PROGRAM.format(gate=str(gate)))
    # Headless Chromium shows no notifications.
    init = """
      window.shown = []
      window.Notification = class extends EventTarget {
        static permission = 'default'
        static async requestPermission() { return (window.Notification.permission = 'granted') }
        constructor(text) { super(); window.shown.push(text) }
      }"""
    page = lab.view(f"default:job/{name}", init=init)
    says(page.locator(".cortex-logs"), "50 lines")
    page.get_by_role("button", name="Notify me").click()
    page.get_by_role("menuitemcheckbox", name="When the task ends").click()
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => window.Notification.requestPermission()")
    gate.touch()
    page.wait_for_function(
        "(text) => window.shown.some((one) => one.startsWith(text))", arg=f"{name} has ended: Job failed exit 3"
    )
    assert len(page.evaluate("() => window.shown")) == 1
