"""The time from a container's write to the painted line in JupyterLab in real Chromium, and the page with a million lines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import run_sandbox
from playwright.sync_api import expect, sync_playwright
from support.browser import chromium, notebook
from support.jupyter import TOKEN, Home, jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from bench.report import Report

PROGRAM = (
    "import time, os\n"
    "for i in range(1000):\n"
    "    print('%s T=%d number %07d loss=0.5' % (os.environ['HOSTNAME'], time.time_ns(), i), flush=True); time.sleep(0.02)\n"
)

WATCH = r"""() => {
    const seen = window.__painted = new Map()
    const look = () => requestAnimationFrame(() => {
        const now = performance.timeOrigin + performance.now()
        for (const row of document.querySelectorAll('.cortex-logs [data-seq]')) {
            const m = /T=(\d{19})/.exec(row.textContent)
            if (m && !seen.has(m[1])) seen.set(m[1], now)
        }
    })
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true })
}"""


def run(report: Report) -> None:
    """Measure in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "sandbox") as sandbox:
        home = Home(Path(folder) / "home", sandbox.kubeconfig)
        home.path.mkdir()
        notebook(home.path / "paint.ipynb", "%load_ext cortex_jupyter\n%tasklogs paint --since all")
        try:
            with jupyter(home, "lab") as server, sync_playwright() as playwright, chromium(playwright) as browser:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"{server.url}lab/tree/paint.ipynb?token={TOKEN}")
                page.wait_for_selector(".jp-CodeCell", timeout=90_000)
                expect(page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
                page.evaluate(WATCH)
                sandbox.kube.create(python_job("paint", PROGRAM, parallelism=2))
                page.click(".jp-CodeCell .jp-InputArea-editor")
                page.keyboard.press("Control+Enter")
                page.wait_for_selector(".cortex-logs [data-seq]", timeout=60_000)
                begun = page.evaluate("() => (performance.timeOrigin + performance.now()) * 1e6")
                ended = "() => document.querySelector('.cortex-logs [role=status]')?.textContent.includes('Job complete exit 0')"
                page.wait_for_function(ended, timeout=90_000)
                painted = json.loads(page.evaluate("() => JSON.stringify([...window.__painted])"))
        finally:
            home.end()
    lags = sorted(at - int(written) / 1e6 for written, at in painted if int(written) > begun)
    assert len(lags) > 500, f"only {len(lags)} lines were painted while live"
    report.add("written to painted, p50", lags[len(lags) // 2], None, "ms", note=f"{len(lags)} lines, 100 a second")
    report.add("written to painted, p95", lags[int(len(lags) * 0.95)], 100, "ms")
