"""A real Jupyter server with our extension, and its clients."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TOKEN = "a-token-for-tests"
_TLS = ssl.create_default_context()  # once: reading the certificates takes longer than a request
BASE = "/a%40b/"  # an escaped character on purpose: URLs must be joined, not concatenated


@dataclass
class Server:
    """A running server."""

    url: str
    home: Path
    store_url: str
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {TOKEN}"}

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        """Send a GET request with the token."""
        return httpx.get(
            self.url + path, params=query or None, headers=self.headers | (headers or {}), timeout=60, verify=_TLS
        )

    def page(self, name: str, **query: Any) -> dict[str, Any]:
        """Return a page."""
        response = self.get(logs(name), **query)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("application/json")
        found: dict[str, Any] = response.json()
        return found

    def error(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> tuple[int, dict[str, str]]:
        """Return status and error of a failed request."""
        response = self.get(path, headers, **query)
        return response.status_code, response.json()["error"]

    def refused(self, code: str, headers: dict[str, str] | None = None) -> float:
        """Return how often the server has answered with an error, from its `/metrics`."""
        text = self.get("metrics", headers).text
        found = re.search(rf'^cortex_jupyter_refused_total{{code="{code}"}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, headers: dict[str, str] | None = None, **query: Any
    ) -> AsyncIterator[httpx_sse.EventSource]:
        """Open a stream."""
        async with (
            httpx.AsyncClient(timeout=60, verify=_TLS, headers=self.headers | (headers or {})) as client,
            httpx_sse.aconnect_sse(client, "GET", self.url + path, params=query or None) as source,
        ):
            if source.response.is_error:
                await source.response.aread()
                raise AssertionError(source.response.text)
            yield source

    async def events(
        self, path: str, headers: dict[str, str] | None = None, **query: Any
    ) -> list[httpx_sse.ServerSentEvent]:
        """Read a stream until the server closes it."""
        async with self.stream(path, headers, **query) as source:
            return [event async for event in source.aiter_sse()]


def logs(name: str, suffix: str = "logs", namespace: str = "default", kind: str = "job") -> str:
    """Return the path of a task's log."""
    return f"cortex/tasks/{namespace}/{kind}/{name}/{suffix}"


def records(events: list[httpx_sse.ServerSentEvent], task: str | None = None) -> list[tuple[int, str]]:
    """Return `seq` and text of every record in the `log` events."""
    found = []
    for event in events:
        if event.event == "log":
            doc = json.loads(event.data)
            if task is None or doc["task"] == task:
                seqs = (
                    [doc["seq"] + q for q in doc["q"]] if "q" in doc else range(doc["seq"], doc["seq"] + len(doc["m"]))
                )
                found += list(zip(seqs, doc["m"], strict=True))
    return found


@contextlib.contextmanager
def run_server(home: Path, *options: str, kubeconfig: Path | str = "/nowhere", **env: str) -> Iterator[Server]:
    """Run `jupyter server` with an empty home directory while the block runs."""
    port = free_port()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JUPYTER_", "CORTEX_", "PYTEST_"))}
    store_url = env.pop("CORTEX_STORE", f"sqlite:///{home / 'store' / 'recordings.sqlite'}")
    log = home / "server.log"
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "jupyter_server",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.base_url={BASE}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={home}",
        "--ServerApp.jpserver_extensions={'cortex_jupyter': True}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.reraise_server_extension_failures=True",
        *options,
    ]
    known = {"HOME": str(home), "KUBECONFIG": str(kubeconfig), "CORTEX_STORE": store_url, "JUPYTER_PLATFORM_DIRS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=clean | known | env, cwd=home, stdout=file, stderr=file)
    server = Server(f"http://127.0.0.1:{port}{BASE}", home, store_url, log)
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                server.get("api")
                break
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
            process.wait()
            raise AssertionError(f"the server does not stop: {log.read_text()}") from None
