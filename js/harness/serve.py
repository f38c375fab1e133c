"""Serves the harness and the built bundle on loopback, and opens pages in Chromium."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "cortex_jupyter" / "notebook" / "static"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--js-flags=--expose-gc", "--enable-precise-memory-info"]


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".js": "text/javascript"}

    def translate_path(self, path: str) -> str:
        path = path.split("?")[0]
        return str(STATIC / path[8:]) if path.startswith("/static/") else str(HERE / path.lstrip("/"))

    def log_message(self, *_args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def browser_page(width: int = 1060, height: int = 560, path: str = "page.html", init: str = "") -> Iterator[Page]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1.5)
        page.on("console", lambda message: print("console:", message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: print("page error:", error))
        if init:
            page.add_init_script(init)
        page.goto(f"http://127.0.0.1:{server.server_port}/{path}")
        page.wait_for_function("window.ready === true")
        yield page
        browser.close()
    server.shutdown()
