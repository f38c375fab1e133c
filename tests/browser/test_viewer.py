"""The viewer in real JupyterLab shows each line once, executes nothing, and shows the task's state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, cell, notebook, says, shot
from support.jupyter import TOKEN, counter, gated
from support.kube import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

#: Lines that would execute code, hide text or break a page that does not treat them as text.
HOSTILE = r"""
import sys
out = sys.stdout
out.write("<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\n")
out.write("\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jend\n")
out.write(" 10%\r 90%\rdone\n")
out.write("nul\x00here \u202ereversed\n")
out.write("x" * (1 << 20) + "\n")
out.flush()
"""


def viewers(page: Page) -> Locator:
    return page.locator(".cortex-logs")


#: Code of a cell that shows a log.
ALL = "cortex.logs({!r}, since='all')"


def test_two_viewers_of_a_task_share_a_connection_and_survive_a_reload(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]], transport: str
) -> None:
    name = job(counter(450, per_second=50))
    page = lab.open(f"shared-{transport}", cell(name, transport), cell(name, transport))
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/cortex/" in r.url else None)
    for i in range(2):
        expect(viewers(page).nth(i).locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    assert sum("/cortex/stream" in url for url in asked) <= 1, asked
    expect(viewers(page).first.locator(".cl-h-all")).to_have_attribute("d", re.compile("M"), timeout=WAIT)
    shot(page, f"shared-{transport}-light")
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)
    lab.setting("themes", "theme", "JupyterLab Dark")
    page.reload()
    for i in range(2):
        says(viewers(page).nth(i), "Job complete exit 0")
        says(viewers(page).nth(i), re.compile("450 lines, .* 1 source, complete"))
    shot(page, f"shared-{transport}-dark")
    lab.setting("themes", "theme", "JupyterLab Light")
    assert transport == "auto" or not asked, asked
    found = lines_of(viewers(page).first)
    assert [re.findall(r"line (\d{8})", t) for _, (t,) in sorted(found.items())] == [[f"{i:08}"] for i in range(450)]
    page.close()


def test_a_failed_task_a_pending_task_and_hostile_lines(
    lab: Lab, job: Callable[..., str], sandbox: Any, transport: str
) -> None:
    failing = job(counter(30, exit_code=3))
    pending = job(counter(40), image="docker.io/local/missing:1")
    hostile = job(HOSTILE)
    page = lab.open(f"states-{transport}", *(cell(name, transport) for name in (failing, pending, hostile)))
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    failed, waiting, evil = (viewers(page).nth(i) for i in range(3))
    says(failed, "Job failed exit 3")
    expect(waiting).to_contain_text("Log not available yet: ErrImageNeverPull", timeout=WAIT)
    waiting.scroll_into_view_if_needed()
    shot(page, "pending")
    (pod,) = sandbox.kube.pods_of(pending)
    change = {"spec": {"containers": [{"name": "main", "image": IMAGE}]}}
    sandbox.kube.patch("pods", pod["metadata"]["name"], change)
    says(waiting, "Job complete exit 0")
    says(waiting, "40 lines")
    failed.scroll_into_view_if_needed()
    shot(page, "failed")

    evil.scroll_into_view_if_needed()
    says(evil, "5 lines")
    rows = evil.locator("[data-seq] .cl-m")
    expect(rows).to_have_count(5)
    texts = rows.all_inner_texts()
    assert texts[0] == "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    assert texts[1:4] == ["red end", "▸ done  · redrawn", "nulNULhere RLOreversed"]
    assert texts[4].startswith("xxxx") and re.search(r"… 1.044.480 more$", texts[4])
    assert evil.locator("script, img").count() == 0 and page.evaluate("window.hacked") is None
    shot(page, "hostile")
    assert not errors, errors
    page.close()


def test_saved_output_without_a_server_has_the_end_of_the_log(lab: Lab, job: Callable[..., str]) -> None:
    bar = "for i in range(101): print(f'train: {i:3d}%|{chr(9608) * (i // 10):10}| {i}/100 [00:01<00:01, 9.0it/s]', flush=True)\n"
    lines = "for i in range(50): print(f'line {i:08}', flush=True)\n"
    name = job(f"print('<b>bold</b> \\x1b[32mgreen\\x1b[0m', flush=True)\n{bar}{lines}raise ValueError('no loss')")
    cell = f"import cortex_jupyter as cortex\nlog = {ALL.format(name)}\nlog.wait()\nlog"
    notebook(lab.home.path / "static.ipynb", cell)
    for how in (("--execute", "--to", "notebook", "--inplace"), ("--to", "html")):
        done = lab.home.run("jupyter", "nbconvert", *how, "static.ipynb")
        assert done.returncode == 0, done.stderr
    page = lab.browser.new_page()
    page.goto((lab.home.path / "static.html").as_uri(), wait_until="domcontentloaded")
    tail = page.locator(".cortex-logs-static")
    expect(tail).to_be_visible()
    expect(tail).to_contain_text("Job failed exit 1")
    expect(tail).to_contain_text("<b>bold</b>")
    expect(tail).to_contain_text("line 00000049")
    expect(tail).to_contain_text(re.compile("15[56] lines, .* 1 source, complete"))
    expect(tail.get_by_text("it/s]")).to_have_count(1)
    expect(tail.get_by_text("101 states")).to_be_visible()
    expect(tail.locator("summary")).to_contain_text("ValueError: no loss · 1 frame")
    expect(tail.locator("span", has_text="green").last).to_have_css("color", re.compile("rgb"))
    shot(page, "static")
    # The saved notebook is opened again: no kernel has the viewer.
    page.goto(f"{lab.server.url}lab/workspaces/static/tree/static.ipynb?token={TOKEN}")
    expect(page.get_by_text("| Idle")).to_be_visible(timeout=WAIT)
    expect(tail).to_contain_text("line 00000049", timeout=WAIT)
    expect(tail).to_contain_text(re.compile("15[56] lines, .* 1 source, complete"))
    expect(tail.locator("summary")).to_contain_text("ValueError: no loss · 1 frame")
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    shot(page, "tomorrow")
    page.close()


def test_an_open_page_survives_a_killed_and_restarted_server(
    lab: Lab, job: Callable[..., str], lines_of: Callable[[Locator], dict[int, list[str]]], gate: Path
) -> None:
    name = job(gated(500, gate))
    page = lab.open("killed", ALL.format(name))
    viewer = viewers(page).first
    expect(viewer.locator("[data-seq]").first).to_be_visible(timeout=WAIT)
    before = viewer.locator("[data-seq]").count()
    lab.kill()
    says(viewer, re.compile(r"Reconnecting, last line (\d+ [hms] )+ago"))
    assert viewer.locator("[data-seq]").count() >= before
    shot(page, "reconnecting")
    gate.touch()
    lab.restart()
    says(viewer, "Job complete exit 0")
    says(viewer, re.compile("500 lines, .* 1 source, complete"))
    found = lines_of(viewer)
    assert [re.findall(r"line (\d{8})", t) for _, (t,) in sorted(found.items())] == [[f"{i:08}"] for i in range(500)]
    page.close()
