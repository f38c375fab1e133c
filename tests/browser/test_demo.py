"""`cortex-jupyter demo` as a new user sees it in JupyterLab: a Job runs to its end, then a table shows its log."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import WAIT, run_all, shot
from support.jupyter import Home
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

SECONDS = 20


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        env = Home(Path(folder), Path()).env | {"CORTEX_DEMO_SECONDS": str(SECONDS)}
        del env["KUBECONFIG"]
        command = [Path(sys.executable).with_name("cortex-jupyter"), "demo", "--no-browser", f"--port={free_port()}"]
        demo = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert demo.stdout is not None and demo.stderr is not None
        try:
            url = demo.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), demo.stderr.read()
            yield url
        finally:
            demo.terminate()
            demo.wait(120)
            demo.stdout.close()
            demo.stderr.close()
    end = time.monotonic() + 120
    while left := [p for p in Path("/proc").glob("[0-9]*") if _belongs(p, folder)]:
        assert time.monotonic() < end, f"the demo left processes behind: {left}"


def _belongs(proc: Path, folder: str) -> bool:
    try:
        return f"HOME={folder}\0".encode() in (proc / "environ").read_bytes()
    except OSError:
        return False


@pytest.mark.browser
def test_the_demo_streams_a_job_to_its_end_and_loads_the_frame(address: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(address)
    run_all(page)
    viewer = page.locator(".cortex-logs").first
    expect(viewer.locator("[data-seq]").first).to_be_visible(timeout=60_000)
    names = viewer.locator("[role=switch]").all_inner_texts()
    assert sum("metrics" in n for n in names) >= 1 and sum("prepare" in n for n in names) >= 1, names
    shot(page, "demo-running")
    expect(viewer.locator(".cl-foot")).to_contain_text("Job complete exit 0")
    shot(page, "demo-ended")
    frame = page.locator(".jp-OutputArea table").first
    expect(frame).to_be_visible(timeout=60_000)
    expect(frame).to_contain_text("train-demo")
    viewer.scroll_into_view_if_needed()
    viewer.locator("input[type=search]").fill("loss=")
    matching = "(v) => { const rows = [...v.querySelectorAll('[data-seq]')]; return rows.length > 0 && rows.every(r => r.textContent.includes('loss=')) }"
    page.wait_for_function(f"() => ({matching})(document.querySelector('.cortex-logs'))", timeout=WAIT)
    shot(page, "demo-filtered")
    assert not errors, errors
