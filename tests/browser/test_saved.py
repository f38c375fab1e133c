"""A saved notebook holds what its viewers showed when it was saved."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, says, shot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PROGRAM = """
for i in range(300): print('line %04d' % i, flush=True)
import os, time
while not os.path.exists({gate!r}): time.sleep(0.05)
print('\\x1b[1;31mred\\x1b[0m <b>no markup</b>', flush=True)
try: raise RuntimeError('loss is NaN')
except RuntimeError:
    import traceback; print(traceback.format_exc(), flush=True)
print('the last line', flush=True)
"""


def save(lab: Lab, page: Page, name: str) -> str:
    """Save a notebook; return the saved lines of its only viewer."""
    path = lab.home.path / f"{name}.ipynb"
    before = path.stat().st_mtime_ns
    with page.expect_response(lambda r: r.request.method == "PUT" and path.name in r.url):
        page.keyboard.press("Control+s")
    assert path.stat().st_mtime_ns > before
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    (html,) = ["".join(output["data"]["text/html"]) for output in outputs]
    return html


def test_what_the_reader_saw_is_saved(lab: Lab, job: Callable[..., str], gate: Path) -> None:
    name = job(PROGRAM.format(gate=str(gate)))
    page = lab.open("saved", f"cortex.logs({name!r}, since='all')")
    viewer = page.locator(".cortex-logs")
    says(viewer, re.compile("300 lines"))
    viewer.evaluate("(element) => { element.dataset.mark = 'first' }")
    html = save(lab, page, "saved")
    assert "line 0299" in html and "line 0100" in html and "line 0099" not in html, html[:2000]
    assert "when this notebook was saved" in html
    gate.touch()
    says(viewer, "Job complete exit 0")
    viewer.locator("input[type=search]").fill("!line 0")
    expect(viewer.locator("[data-seq]", has_text="the last line")).to_be_visible(timeout=WAIT)
    html = save(lab, page, "saved")  # with the focus in the filter
    # The live viewer stays as it is.
    expect(page.locator(".cortex-logs[data-mark=first] [data-seq]", has_text="the last line")).to_be_visible()
    shot(page, "saved-live")

    assert "line 0299" not in html and "&lt;b&gt;no markup" in html and len(html) < 20_000, html
    lab.end_kernels()
    page.reload()
    static = page.locator(".jp-OutputArea .cortex-logs-static")
    expect(static).to_contain_text("the last line", timeout=WAIT)
    expect(static).to_contain_text(re.compile(r"Job complete exit 0 · since=all exclude=line 0"))
    expect(static).to_contain_text(re.compile(r"30\d lines, .* 1 source, complete"))
    expect(static.locator("summary")).to_contain_text("RuntimeError: loss is NaN")
    expect(static.locator("details")).to_contain_text("Traceback (most recent call last)")
    shot(page, "saved-again")
    done = lab.home.run("jupyter", "nbconvert", "--to", "html", "saved.ipynb")
    assert done.returncode == 0, done.stderr
    page.goto((lab.home.path / "saved.html").as_uri(), wait_until="domcontentloaded")
    expect(page.locator(".cortex-logs-static")).to_contain_text("the last line")
    shot(page, "saved-html")
