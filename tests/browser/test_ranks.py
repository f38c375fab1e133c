"""The strips of the ranks, in the panel and below the chart, and their badges in the list of sources, on a page of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect
from support.browser import says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
WAIT = 180_000  # processes that compare ranks wait for all others

#: All begin together. One fails, so the Job stops the others. Each step has its moment, so a busy machine delays a step and
#: not the pace of a rank.
PROGRAM = """
import os, time
rank, folder, step = int(os.environ["JOB_COMPLETION_INDEX"]), {folder!r}, 0
open(f"{{folder}}/{{rank}}", "w").close()
print("INFO trainer: loading", flush=True)
while len(os.listdir(folder)) < 6:
    time.sleep(0.01)
begun = time.monotonic()
while rank != 3 or step < 250:
    step += 1
    time.sleep(max(0, begun + step * (0.3 if rank == 1 else 0.05) - time.monotonic()))
    if rank != 2 or step < 40:
        print(f"INFO trainer: step {{step}} loss={{2 / step:.4f}}", flush=True)
raise RuntimeError("CUDA error: device-side assert triggered")
"""


def test_the_panel_the_chart_and_the_sources_show_which_rank_stands_out(
    lab: Lab, job: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "begun").mkdir()
    name = job(PROGRAM.format(folder=str(tmp_path / "begun")), parallelism=6, completionMode="Indexed")
    page = lab.page()
    page.goto(f"{lab.server.url}cortex/view?task={name}&panel=ranks&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job failed exit 1")
    ranks = viewer.get_by_role("list", name="Ranks").get_by_role("listitem")
    expect(ranks).to_have_count(6, timeout=WAIT)
    expect(ranks.nth(3)).to_contain_text("failed first", timeout=WAIT)
    expect(ranks.nth(1)).to_contain_text("slow", timeout=WAIT)
    expect(ranks.nth(2)).to_contain_text("silent")
    sources = viewer.get_by_role("group", name="Sources")
    expect(sources.locator(".cl-badge:visible")).to_have_text(["slow", "silent", "failed first"])
    expect(sources.locator(".cl-badge:visible").nth(1)).to_have_attribute(
        "title", re.compile(r"rank 2: silent .*, step 39")
    )
    words = "all => all.every(one => one.scrollWidth <= one.clientWidth)"
    assert ranks.locator(".cl-rank-l").evaluate_all(words)
    ranks.nth(3).get_by_role("button").click()
    expect(viewer.locator(".cl-picked")).to_contain_text("CUDA error", timeout=WAIT)
    _pictures(page, "ranks")
    viewer.get_by_role("button", name="Chart of the metrics (p)").click()
    chart = viewer.get_by_role("group", name="Chart of the metrics")
    # What stands out comes first.
    expect(chart.get_by_role("listitem").nth(2)).to_contain_text("failed first")
    expect(chart.get_by_role("list", name="Ranks").get_by_role("listitem")).to_have_count(6)
    expect(chart.locator(".cl-plot")).not_to_have_count(0)
    _pictures(page, "ranks-chart")
    # The task has ended, so what stands out is known for good.
    chart.get_by_role("button", name="Close the chart").click()
    expect(ranks).to_have_count(0)
    expect(sources.locator(".cl-badge:visible")).to_have_count(3)


def _pictures(page: Page, name: str) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in (600, 1000, 1600):
            page.set_viewport_size({"width": width, "height": 700})
            shot(page, f"{name}-{scheme}-{width}")
    page.set_viewport_size({"width": 1600, "height": 700})
