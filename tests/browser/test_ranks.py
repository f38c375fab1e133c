"""The panel with a strip for each rank, on a page of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect
from support.browser import says, shot
from support.jupyter import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from browser.conftest import Lab

pytestmark = pytest.mark.browser
WAIT = 60_000

#: All begin together. One fails, so the Job stops the others.
PROGRAM = """
import os, time
rank, folder, step = int(os.environ["JOB_COMPLETION_INDEX"]), {folder!r}, 0
open(f"{{folder}}/{{rank}}", "w").close()
print("INFO trainer: loading", flush=True)
while len(os.listdir(folder)) < 6:
    time.sleep(0.01)
while rank != 3 or step < 150:
    time.sleep(0.08 if rank == 1 else 0.03)
    step += 1
    if rank != 2 or step < 40:
        print(f"INFO trainer: step {{step}} loss={{2 / step:.4f}}", flush=True)
raise RuntimeError("CUDA error: device-side assert triggered")
"""


def test_the_panel_shows_which_rank_stands_out(lab: Lab, job: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    name = job(PROGRAM.format(folder=str(tmp_path / "begun")), parallelism=6, completionMode="Indexed")
    page = lab.page()
    page.goto(f"{lab.server.url}cortex/view?task={name}&panel=ranks&token={TOKEN}")
    viewer = page.locator(".cortex-logs")
    says(viewer, "Job failed exit 1")
    ranks = viewer.get_by_role("list", name="Ranks").get_by_role("listitem")
    expect(ranks).to_have_count(6, timeout=WAIT)
    expect(ranks.nth(3)).to_contain_text("failed first", timeout=WAIT)
    expect(ranks.nth(1)).to_contain_text("slow")
    expect(ranks.nth(2)).to_contain_text("silent")
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in (600, 1000, 1600):
            page.set_viewport_size({"width": width, "height": 700})
            shot(page, f"ranks-{scheme}-{width}")
