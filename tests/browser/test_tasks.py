"""The page of its own without a task: a live list of the tasks of a namespace, and a search that leads to a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot
from support.jupyter import TOKEN, counter, gated
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from browser.conftest import Lab

pytestmark = pytest.mark.browser

_OOM = """
for i in range(60):
    print(f"INFO step {i}" if i != 37 else "ERROR step 37: torch.OutOfMemoryError: CUDA <b>out of memory</b>", flush=True)
"""


def test_a_namespace_is_chosen_and_its_list_stays_fresh(
    lab: Lab, job: Callable[..., str], sandbox: Any, unique: Callable[[str], str], gate: Path
) -> None:
    space, name = unique("space"), unique("later")
    sandbox.kube.create({"kind": "Namespace", "metadata": {"name": space}})
    first = job(counter(3))
    page = lab.page()
    page.goto(f"{lab.server.url}cortex/view?token={TOKEN}")
    expect(page.get_by_role("link", name=first)).to_be_visible()
    page.get_by_label("Namespace").select_option(space)
    expect(page.locator("section.tasks")).to_contain_text("There are no tasks.")
    expect(page.get_by_role("link", name=first)).to_have_count(0)
    sandbox.kube.create(python_job(name, gated(2, gate), namespace=space))
    task = page.locator("tr", has_text=name)
    expect(task).to_contain_text("running", timeout=WAIT)
    gate.touch()
    expect(task).to_contain_text("succeeded", timeout=WAIT)
    # It is remembered by the browser.
    page.goto(f"{lab.server.url}cortex/view")
    expect(page.get_by_label("Namespace")).to_have_value(space)
    expect(task).to_be_visible()
    sandbox.kube.delete("namespaces", space)
    expect(page.get_by_role("alert")).to_contain_text("not found", timeout=WAIT)
    expect(task).to_have_count(0)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_search_finds_a_line_in_another_task_and_opens_it(lab: Lab, job: Callable[..., str], scheme: str) -> None:
    name, other, unrecorded = job(_OOM), job(counter(30)), job(counter(3))
    for task in (name, other):
        page = lab.view(task, since="all")
        says(page.locator(".cortex-logs"), "Job complete exit 0")
        page.close()
    page = lab.page(color_scheme=scheme)
    page.goto(f"{lab.server.url}cortex/view?namespace=default&token={TOKEN}")
    for task in (name, other, unrecorded):
        page.get_by_label(f"Choose default:job/{task} for a search").check()
    page.keyboard.press("/")
    page.keyboard.type("<b>out of memory -info")
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"tasks-{scheme}-{width}")
    page.keyboard.press("Enter")
    found = page.locator("section.found")
    expect(found.get_by_role("status")).to_have_text("1 line in 1 of 3 tasks", timeout=WAIT)
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        shot(page, f"tasks-found-{scheme}-{width}")
    line = found.locator("li")
    expect(line.locator("mark")).to_have_text("<b>out of memory")
    with page.expect_popup() as opened:
        line.get_by_role("link").click()
    viewer = opened.value.locator(".cortex-logs")
    expect(viewer.locator("[data-seq] .cl-m", has_text="out of memory")).to_be_visible(timeout=WAIT)
    shot(opened.value, f"tasks-line-{scheme}")
    opened.value.close()
    # The address alone searches, too; the list comes back with the browser's button.
    page.reload()
    expect(found.get_by_role("status")).to_have_text("1 line in 1 of 3 tasks", timeout=WAIT)
    page.go_back()
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(found).to_have_count(0)
    expect(page).to_have_url(re.compile(r"view\?namespace=default"))
    page.close()
