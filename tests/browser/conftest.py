"""One JupyterLab on the sandbox and one Chromium for the tests that only look."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright
from support.browser import chromium, notebook, run_all
from support.jupyter import TOKEN, Home, Jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page


@dataclass
class Lab:
    """JupyterLab, and a browser that opens notebooks in it."""

    home: Home
    server: Jupyter
    browser: Browser

    def open(self, name: str, *cells: str) -> Page:
        """Open a new notebook of these cells and run them."""
        notebook(self.home.path / f"{name}.ipynb", "import cortex_jupyter as cortex", *cells)
        page = self.browser.new_page(viewport={"width": 1280, "height": 1000})
        # A workspace of its own: the notebooks of other tests are not opened again.
        page.goto(f"{self.server.url}lab/workspaces/{name}/tree/{name}.ipynb?token={TOKEN}")
        run_all(page)
        return page

    def kill(self) -> None:
        """End the server without a word to anybody."""
        self.server.close(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again where it was."""
        self.server = Jupyter(self.home, "lab", self.server.port)

    def setting(self, plugin: str, name: str, value: str) -> None:
        """Set what pages are like that are opened from now on."""
        path = f"lab/api/settings/@jupyterlab/apputils-extension:{plugin}"
        self.server.client.put(path, json={"raw": json.dumps({name: value})}).raise_for_status()


@pytest.fixture(scope="module")
def lab(sandbox_process: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = Home(tmp_path_factory.mktemp("home"), sandbox_process.kubeconfig)
    server = Jupyter(home, "lab")
    with sync_playwright() as playwright, chromium(playwright) as browser:
        lab = Lab(home, server, browser)
        lab.setting("notification", "fetchNews", "false")
        yield lab
        lab.server.close()
    home.end()


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


#: Scrolls through a viewer from its newest line to its oldest, and gives what its rows say by number.
_READ = """async (viewer) => {
  const rows = viewer.querySelector('[role=log]')
  const found = {}
  const take = () => { for (const row of viewer.querySelectorAll('[data-seq]')) {
    const text = row.querySelector('.cl-m').textContent
    ;(found[row.dataset.seq] ??= new Set()).add(text)
  } }
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  const drawn = () => [...viewer.querySelectorAll('[data-seq]')].map((row) => row.dataset.seq + ' ' + Math.round(row.getBoundingClientRect().top)).join()
  const seen = async () => { for (let i = 0; i < 3; i++) { take(); await frame() } }
  const scroll = async (top) => {
    const [place, before] = [rows.scrollTop, drawn()]
    rows.scrollTop = top
    // A busy machine draws later.
    for (let i = 0; i < 100 && rows.scrollTop !== place && drawn() === before; i++) await frame()
    await seen()
  }
  await seen()
  rows.dispatchEvent(new WheelEvent('wheel', { deltaY: -1 }))
  for (let top = rows.scrollHeight; top > -220; top -= 220) await scroll(Math.max(0, top))
  return Object.entries(found).map(([seq, texts]) => [Number(seq), [...texts]])
}"""


@pytest.fixture
def lines_of() -> Callable[[Locator], dict[int, list[str]]]:
    """Read all lines of a viewer by scrolling through it: the texts that stood at each number."""

    def read(viewer: Locator) -> dict[int, list[str]]:
        return {int(seq): texts for seq, texts in viewer.evaluate(_READ)}

    return read
