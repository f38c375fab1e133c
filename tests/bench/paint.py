"""The time from a container's write to the painted line in JupyterLab in real Chromium, and where on the way it passes.

The same lines are seen at four places: `kubectl logs`, a client of the server's event stream, the page's main thread
where the viewer's worker posts them, and the painted row. The clock is the machine's own everywhere.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from conftest import run_sandbox
from playwright.sync_api import expect, sync_playwright
from support.browser import chromium, notebook
from support.jupyter import TOKEN, Home, jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.report import Report
    from playwright.sync_api import Page

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


#: Notes when an update with a line comes from the viewer's worker.
_WATCH_WORKER = r"""
    window.__posted = new Map()
    window.Worker = class extends Worker {
        constructor(...options) {
            super(...options)
            this.addEventListener('message', ({ data }) => {
                const now = performance.timeOrigin + performance.now()
                for (const row of data?.rows ?? []) {
                    const m = /T=(\d{19})/.exec(row.text ?? '')
                    if (m && !window.__posted.has(m[1])) window.__posted.set(m[1], now)
                }
            })
        }
    }
"""
_WRITTEN = re.compile(rb"T=(\d{19})")


@contextmanager
def _read(lines: Callable[[], Iterable[bytes]]) -> Iterator[dict[int, float]]:
    """Read a stream in a thread; yield when each line came (ms since the Unix epoch), by when it was written (ns)."""
    came: dict[int, float] = {}

    def read() -> None:
        for line in lines():
            now = time.time_ns() / 1e6
            for written in _WRITTEN.findall(line):
                came.setdefault(int(written), now)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield came
    thread.join(60)


def _kubectl(kubeconfig: Path) -> Iterator[bytes]:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "logs", "-f", "-l", "job-name=paint", "--tail=-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from process.stdout


def _events(url: str) -> Iterator[bytes]:
    headers = {"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"}
    address = f"{url}cortex/tasks/default/job/paint/logs?since=all"
    with httpx.stream("GET", address, headers=headers, timeout=120) as response:
        assert response.is_success, response.status_code
        for line in response.iter_lines():
            yield line.encode()
            if line == "event: end":
                return


def run(report: Report) -> None:
    """Measure in JupyterLab."""
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "sandbox") as sandbox:
        home = Home(Path(folder) / "home", sandbox.kubeconfig)
        home.path.mkdir()
        notebook(home.path / "paint.ipynb", "%load_ext cortex_jupyter\n%tasklogs paint --since all")
        try:
            with jupyter(home, "lab") as server, sync_playwright() as playwright, chromium(playwright) as browser:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.add_init_script(_WATCH_WORKER)
                page.goto(f"{server.url}lab/tree/paint.ipynb?token={TOKEN}")
                page.wait_for_selector(".jp-CodeCell", timeout=90_000)
                expect(page.get_by_text("| Idle")).to_be_visible(timeout=60_000)
                page.evaluate(WATCH)
                sandbox.kube.create(python_job("paint", PROGRAM, parallelism=2))
                page.click(".jp-CodeCell .jp-InputArea-editor")
                page.keyboard.press("Control+Enter")
                page.wait_for_selector(".cortex-logs [data-seq]", timeout=60_000)
                with (
                    _read(lambda: _kubectl(sandbox.kubeconfig)) as kubectl,
                    _read(lambda: _events(server.url)) as events,
                ):
                    _lines_at(page, 100)
                    begun = time.time_ns()
                    ended = "() => document.querySelector('.cortex-logs [role=status]')?.textContent.includes('Job complete exit 0')"
                    page.wait_for_function(ended, timeout=90_000)
                    posted, painted = (
                        {
                            int(written): at
                            for written, at in json.loads(page.evaluate(f"() => JSON.stringify([...window.{name}])"))
                        }
                        for name in ("__posted", "__painted")
                    )
        finally:
            home.end()
    places = {"kubectl": kubectl, "event stream": events, "update in the page": posted, "painted": painted}
    lines = sorted(written for written in set.intersection(*map(set, places.values())) if written > begun)
    assert len(lines) > 500, f"only {len(lines)} lines were seen everywhere while live"
    for place, came in places.items():
        lags = sorted(came[written] - written / 1e6 for written in lines)
        is_last = place == "painted"
        note = f"{len(lines)} lines, 100 a second" if is_last else ""
        report.add(f"written to {place}, p50", lags[len(lags) // 2], 40 if is_last else None, "ms", note=note)
        report.add(f"written to {place}, p95", lags[int(len(lags) * 0.95)], 50 if is_last else None, "ms")


def _lines_at(page: Page, count: int) -> None:
    """Wait until so many lines were painted."""
    page.wait_for_function(f"() => window.__painted.size >= {count}", timeout=60_000)
