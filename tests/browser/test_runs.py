"""An indexed Job with a restarted pod, in JupyterLab: the list of sources has its runs; a selected run has the same rows in Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import run_until, shot
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from browser.conftest import Lab

pytestmark = pytest.mark.browser
WAIT = 60_000

#: Each run waits for a file. The first two runs of the pod with index 1 fail.
PROGRAM = """
import os, pathlib, sys, time
index, folder = int(os.environ["JOB_COMPLETION_INDEX"]), pathlib.Path(%r)
run = len(list(folder.glob(f"begun-{index}-*")))
(folder / f"begun-{index}-{run}").touch()
for i in range(40): print(f"INFO run {run} of {index}: step {i} loss={1 / (i + 1):.4f}", flush=True)
while not ((folder / "all").exists() or (index == 1 and (folder / f"end-{run}").exists())): time.sleep(0.05)
if index == 1 and run < 2:
    print("Traceback (most recent call last):", '  File "train.py", line 41, in step', "RuntimeError: CUDA out of memory", sep="\\n", file=sys.stderr, flush=True)
    sys.exit(1)
"""


@pytest.fixture
def restarted(sandbox: Any, unique: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    name = unique("indexed")
    job = python_job(name, PROGRAM % str(tmp_path), parallelism=12, backoff=6, completionMode="Indexed")
    job["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    sandbox.kube.create(job)
    yield name
    (tmp_path / "all").touch()
    sandbox.kube.delete("jobs", name)


def test_one_run_of_a_restarted_pod_can_be_selected(lab: Lab, restarted: str, tmp_path: Path) -> None:
    page = lab.open(
        "runs",
        f"log = cortex.logs({restarted!r}, since='all')\nlog",
        "log.view.to_pandas().groupby(['pod', 'run']).size()",
    )
    viewer = page.locator(".cortex-logs").first
    side = viewer.locator(".cl-side")
    expect(side.locator(".cl-sn").first).to_have_text("#0", timeout=WAIT)
    expect(side.locator(".cl-sn")).to_have_text([f"#{i}" for i in range(12)], timeout=WAIT)
    expect(side.locator("small").nth(1)).to_have_text("40", timeout=WAIT)
    (tmp_path / "end-0").touch()
    side.get_by_label("Restarted 1 time: show its runs").click(timeout=WAIT)
    expect(side.locator(".cl-run small")).to_have_text(["exit 1 43", "40"], timeout=WAIT)
    (tmp_path / "end-1").touch()
    runs = side.locator(".cl-run")
    expect(runs.locator("small")).to_have_text(["exit 1 43", "exit 1 43", "40"], timeout=WAIT)
    shot(page, "runs-light")
    runs.nth(1).locator(".cl-only").click()
    expect(viewer.locator("[data-seq] .cl-m").filter(has_text="run 0 of")).to_have_count(0)
    expect(viewer.locator("[data-seq] .cl-m").filter(has_text="run 1 of 1").first).to_be_visible()
    cell = page.locator(".jp-CodeCell").last
    cell.locator(".jp-InputArea-editor").click()
    run_until(page, cell.locator(".jp-OutputArea-output").last, re.compile(r"-1-\w+\s+1\s+43\s+dtype"))
    shot(page, "runs-one")
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)
    lab.setting("themes", "theme", "JupyterLab Dark")
    page.reload()
    expect(runs.nth(1).get_by_role("switch")).to_have_attribute("aria-checked", "true", timeout=WAIT)
    expect(runs.nth(0).get_by_role("switch")).to_have_attribute("aria-checked", "false")
    shot(page, "runs-dark")
    lab.setting("themes", "theme", "JupyterLab Light")
    page.close()
