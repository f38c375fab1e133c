"""The panel with a strip for each rank, on a page of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect
from support.browser import says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Lab

pytestmark = pytest.mark.browser
WAIT = 60_000

PROGRAM = """
import os, time
rank, begin = int(os.environ["JOB_COMPLETION_INDEX"]), time.time()
print("INFO trainer: loading", flush=True)
step = 0
while time.time() < begin + 6:
    time.sleep(0.06 if rank == 1 else 0.03)
    if rank != 2 or time.time() < begin + 2:
        step += 1
        print(f"INFO trainer: step {step} loss={2 / step:.4f}", flush=True)
if rank == 3:
    raise RuntimeError("CUDA error: device-side assert triggered")
if rank == 2:
    time.sleep(60)  # until it is deleted, because another one failed
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_shows_which_rank_stands_out(
    lab: Lab, job: Callable[..., str], scheme: Literal["light", "dark"]
) -> None:
    name = job(PROGRAM, parallelism=6, completionMode="Indexed")
    page = lab.page(color_scheme=scheme)
    page.goto(f"{lab.server.url}cortex/view?task={name}&panel=ranks&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job failed exit 1")
    ranks = viewer.get_by_role("list", name="Ranks").get_by_role("listitem")
    expect(ranks).to_have_count(6, timeout=WAIT)
    expect(ranks.nth(3)).to_contain_text("failed first", timeout=WAIT)
    expect(ranks.nth(1)).to_contain_text("slow")
    expect(ranks.nth(2)).to_contain_text("silent")
    for width in (600, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        shot(page, f"ranks-{scheme}-{width}")
