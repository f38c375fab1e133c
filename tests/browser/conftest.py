"""Fixtures that share one JupyterLab on the sandbox, and one Chromium per file."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browser import WAIT, Chromium, notebook, run_all
from support.jupyter import TOKEN, Home, Jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page

_log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
_STATIC = _ROOT / "cortex_jupyter" / "notebook" / "static"

#: Playwright's default of 5 s is too short: a busy machine needs as long to draw a page.
expect.set_options(timeout=WAIT)


@dataclass
class Lab:
    """A JupyterLab, and a browser to open notebooks in it."""

    home: Home
    server: Jupyter
    browser: Browser

    def page(self, **options: Any) -> Page:
        """Open an empty page without cookies or stored data. If the test fails, pytest shows the errors of its console."""
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options}).new_page()
        page.on("console", lambda message: _log.error(message.text) if message.type == "error" else None)
        page.on("pageerror", _log.error)
        return page

    def open(self, name: str, *cells: str, init: str = "", app: str = "lab", scale: int = 1) -> Page:
        """Open a new notebook with these cells and run them.

        Parameters
        ----------
        name : str
        *cells : str
        init : str, optional
            Script that runs before the scripts of the page.
        app : str
            `lab`, or `notebooks` for Notebook 7.
        scale : int
            Device pixels per CSS pixel.
        """
        notebook(self.home.path / f"{name}.ipynb", "import cortex_jupyter as cortex", *cells)
        page = self.page(device_scale_factor=scale)
        if init:
            page.add_init_script(init)
        # In a separate workspace, JupyterLab does not reopen the notebooks of other tests.
        folder = f"lab/workspaces/{name}/tree" if app == "lab" else app
        page.goto(f"{self.server.url}{folder}/{name}.ipynb?token={TOKEN}")
        run_all(page)
        return page

    def view(self, task: str, *, init: str = "", **query: str) -> Page:
        """Open the viewer as a page without notebook and kernel, which is fast."""
        page = self.page()
        if init:
            page.add_init_script(init)
        page.goto(f"{self.server.url}cortex/view?{urlencode({'task': task, 'token': TOKEN, **query})}")
        return page

    def kill(self) -> None:
        """Kill the server."""
        self.server.close(signal.SIGKILL)

    def restart(self, token: str = TOKEN) -> None:
        """Start the server again at the same address."""
        self.server = Jupyter(self.home, "lab", self.server.port, token=token)

    def setting(self, plugin: str, name: str, value: str) -> None:
        """Change a setting of JupyterLab for pages that are opened from now on."""
        path = f"lab/api/settings/@jupyterlab/apputils-extension:{plugin}"
        self.server.client.put(path, json={"raw": json.dumps({name: value})}).raise_for_status()

    @contextlib.contextmanager
    def dark(self) -> Iterator[None]:
        """Open pages with the dark theme while the block runs."""
        self.setting("themes", "theme", "JupyterLab Dark")
        try:
            yield
        finally:
            self.setting("themes", "theme", "JupyterLab Light")

    def shut(self) -> None:
        """Close all pages and end all kernels, because a kernel goes on reading after its page is closed."""
        if self.browser.is_connected():
            for context in self.browser.contexts:
                context.close()
        if self.server.token != TOKEN and self.server.process.poll() is None:
            self.kill()
        if self.server.process.poll() is not None:
            self.restart()
        self.end_kernels()

    def end_kernels(self) -> None:
        """End all kernels."""
        for kernel in self.server.client.get("api/kernels").json():
            self.server.client.delete(f"api/kernels/{kernel['id']}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """Yield one Chromium per file. Its driver runs an event loop in this thread, which disturbs the tests of other files."""
    with sync_playwright() as playwright, contextlib.closing(Chromium(playwright)) as chromium:
        yield chromium


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """Yield a running browser, even if it died in an earlier test. A test during which it dies fails."""
    browser = chromium.browser
    yield browser
    if not browser.is_connected():
        pytest.fail("Chromium died during this test")
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="session")
def served(sandbox_process: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home = Home(tmp_path_factory.mktemp("home"), sandbox_process.kubeconfig)
    # A test that restarts the server replaces it here.
    shared = {"home": home, "server": Jupyter(home, "lab")}
    yield shared
    shared["server"].close()
    home.end()


@pytest.fixture
def lab(served: dict[str, Any], browser: Browser) -> Iterator[Lab]:
    lab = Lab(**served, browser=browser)
    lab.setting("notification", "fetchNews", "false")
    yield lab
    lab.shut()
    served["server"] = lab.server


class Harness(SimpleHTTPRequestHandler):
    """Serves the page of the harness, and the built viewer."""

    extensions_map: ClassVar[dict[str, str]] = {
        ".html": "text/html",
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        "": "text/plain",
    }

    def translate_path(self, path: str) -> str:
        name = path.partition("?")[0].lstrip("/")
        return str(
            _STATIC / name.removeprefix("static/") if name.startswith("static/") else _ROOT / "js/harness" / name
        )

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the page of js/harness, which feeds the built viewer without a server, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Harness) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["auto", "comm"])
def transport(request: pytest.FixtureRequest) -> str:
    """Run a test with both transports: from Jupyter Server, and through the kernel for hosts that cannot reach the server."""
    name: str = request.param
    return name


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Return the path of a missing file that programs wait for, see `gated`."""
    return tmp_path / "gate"


@pytest.fixture
def job(sandbox: Any, unique: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """Create Jobs; they are deleted after the test."""
    made: list[str] = []

    def create(program: str, **options: Any) -> str:
        name = unique("web")
        sandbox.kube.create(python_job(name, program, **options))
        made.append(name)
        return name

    yield create
    for name in made:
        sandbox.kube.delete("jobs", name)


#: Scrolls through a viewer from its newest line to its oldest, and returns the texts of rows by `seq`. A step ends when some
#: rows of the previous step are still drawn and others are new, so that no row is skipped on a busy machine.
_READ = """async (viewer) => {
  const rows = viewer.querySelector('[role=log]')
  const found = {}
  const drawn = () => [...viewer.querySelectorAll('[data-seq]')]
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  const seqs = () => drawn().map((row) => row.dataset.seq)
  const take = async () => { for (let i = 0; i < 3; i++) {
    for (const row of drawn()) (found[row.dataset.seq] ??= new Set()).add(row.querySelector('.cl-m').textContent)
    await frame()
  } }
  // Repeat this: lines that are still being loaded are inserted above, and the viewer keeps the visible rows in place.
  for (let i = 0, last = ''; i < 30 || last !== seqs().join(); i++) { rows.scrollTop = rows.scrollHeight; last = seqs().join(); await frame() }
  await take()
  rows.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 }))
  for (let step = 0; step < 5000; step++) {
    const before = seqs()
    const top = rows.scrollTop
    rows.scrollTop = Math.max(0, top - 220)
    for (let i = 0; i < 100 && rows.scrollTop !== top && seqs().join() === before.join(); i++) await frame()
    for (let i = 0; i < 50 && before.length > 0 && !seqs().some((seq) => before.includes(seq)); i++) {
      await frame()
      if (i > 5) rows.scrollTop += 60
    }
    await take()
    if (top === 0 && rows.scrollTop === 0) break
  }
  return Object.entries(found).map(([seq, texts]) => [Number(seq), [...texts]])
}"""


@pytest.fixture
def lines_of() -> Callable[[Locator], dict[int, list[str]]]:
    """Return a function that scrolls through a viewer and returns the texts that it showed for each `seq`."""

    def read(viewer: Locator) -> dict[int, list[str]]:
        return {int(seq): texts for seq, texts in viewer.evaluate(_READ)}

    return read
