"""A real Jupyter server for tests, a user's empty home, and programs that write numbered lines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token-for-tests"
_BIN = Path(sys.executable).parent


@dataclass
class Home:
    """The empty home of a new user, with a kubeconfig."""

    path: Path
    kubeconfig: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of this user's programs."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JUPYTER_", "CORTEX_", "PYTEST_"))}
        return {
            **clean,
            "HOME": str(self.path),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{_BIN}:{clean['PATH']}",
            "JUPYTER_PLATFORM_DIRS": "1",
            **self.settings,
        }

    def run(self, *command: object, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in this home."""
        return subprocess.run(
            [str(c) for c in command],
            check=False,
            env=self.env,
            cwd=self.path,
            text=True,
            capture_output=True,
            timeout=timeout,
            **options,
        )

    def python(self, code: str, timeout: float = 120) -> str:
        """Run Python code as this user; return what it printed."""
        result = self.run(sys.executable, "-c", code, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def recorders(self) -> list[int]:
        """Return the process ids of this user's recorders."""
        pids = []
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_in_home = f"HOME={self.path}\0".encode() in (proc / "environ").read_bytes()
                if is_in_home and b"cortex_jupyter.recorder" in (proc / "cmdline").read_bytes():
                    pids.append(int(proc.name))
        return pids

    def end(self) -> None:
        """End this user's recorders."""
        for pid in self.recorders():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while self.recorders() and time.monotonic() < end:
            time.sleep(0.05)
        for pid in self.recorders():
            os.kill(pid, signal.SIGKILL)


@dataclass
class Event:
    """One SSE event."""

    event: str
    id: str
    data: dict[str, Any]


class Jupyter:
    """A running `jupyter server` or `jupyter lab`.

    Parameters
    ----------
    home : Home
    app : str
        `server` or `lab`.
    port : int, optional
        TCP port, to start a server again at the same address.
    *options : str
    token : str
    """

    def __init__(
        self, home: Home, app: str = "server", port: int | None = None, *options: str, token: str = TOKEN
    ) -> None:
        self.home, self.port, self.token = home, port or free_port(), token
        self.url = f"http://127.0.0.1:{self.port}/"
        with (home.path / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    _BIN / "jupyter",
                    app,
                    f"--port={self.port}",
                    f"--IdentityProvider.token={token}",
                    "--no-browser",
                    "--allow-root",
                    f"--ServerApp.root_dir={home.path}",
                    "--ServerApp.port_retries=0",
                    *options,
                ],
                env=home.env,
                cwd=home.path,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 180
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.url + "api", timeout=5)
                break
            assert self.process.poll() is None and time.monotonic() < end, (home.path / "server.log").read_text()
            time.sleep(0.1)
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"token {token}"}, timeout=httpx.Timeout(60, read=90)
        )

    def close(self, sig: int = signal.SIGTERM) -> None:
        """End the server; send the signal again if it does not end.

        A Jupyter Server that gets the signal while a kernel restarts fails to end: jupyter_client's
        `_async_shutdown_kernel` asks a future for its exception before the future is done.
        """
        self.client.close()
        for _ in range(3):
            self.process.send_signal(sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
                return
        self.process.kill()
        raise AssertionError((self.home.path / "server.log").read_text())

    @staticmethod
    def path(name: str, suffix: str = "logs", namespace: str = "default", kind: str = "job") -> str:
        """Return the path of a task's resource."""
        return f"cortex/tasks/{namespace}/{kind}/{name}/{suffix}"

    def events(
        self, name: str, headers: dict[str, str] | None = None, *, kind: str = "job", **query: Any
    ) -> Iterator[Event]:
        """Follow a task's log as SSE."""
        path = self.path(name, kind=kind) + "?" + urllib.parse.urlencode({"follow": "true", **query})
        with httpx_sse.connect_sse(self.client, "GET", path, headers=headers or {}) as source:
            if source.response.is_error:
                source.response.read()
                raise AssertionError(f"{source.response.status_code} {source.response.text}")
            for event in source.iter_sse():
                if not event.data:
                    continue  # httpx-sse returns an event for a lone `retry:`, against the specification
                yield Event(event.event, event.id, json.loads(event.data))

    def pages(self, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield all pages of a completed task, from the oldest to the newest."""
        cursor: str | None = "0"
        while cursor is not None:
            response = self.client.get(self.path(name), params={"since": "all", "after": cursor, **query})
            assert response.status_code == 200, response.text
            page = response.json()
            yield page
            cursor = page["newer"]


@contextlib.contextmanager
def jupyter(home: Home, app: str = "server", *options: str) -> Iterator[Jupyter]:
    """Run a Jupyter server while the block runs."""
    server = Jupyter(home, app, None, *options)
    try:
        yield server
    finally:
        server.close()


COUNTER = (
    "import sys, time, os\n"
    "time.sleep({wait})\n"
    "i = -1\n"
    "while (i := i + 1) < {lines} or (i % 50 or not os.path.exists({until!r})) and {until!r}:\n"
    "    sys.stdout.write('%s line %08d ' % (os.environ.get('HOSTNAME', 'h'), i) + 'x' * 60 + chr(10))\n"
    "    if {pause} and i % 50 == 49: sys.stdout.flush(); time.sleep({pause})\n"
    "sys.stdout.flush(); sys.exit({exit_code})\n"
)


def counter(lines: int, *, per_second: float = 0, wait: float = 0, exit_code: int = 0, until: str = "") -> str:
    """Return a program that writes numbered lines.

    Parameters
    ----------
    lines : int
        Least number of lines to write.
    per_second : float, optional
        Lines per second; 0 means as fast as possible.
    wait : float, optional
        Delay before the first line (seconds).
    exit_code : int, optional
    until : str, optional
        Path of a file; the program writes until it exists.
    """
    pause = 50 / per_second if per_second else 0
    return COUNTER.format(lines=lines, pause=pause, wait=wait, exit_code=exit_code, until=until)


def gated(lines: int, gate: Path, per_second: int = 40) -> str:
    """Return a program that writes numbered lines slowly until the file `gate` exists, and the rest at once."""
    return (
        "import os, time\n"
        f"for i in range({lines}):\n"
        "    print('line %08d' % i, flush=True)\n"
        f"    while not os.path.exists({str(gate)!r}):\n"
        f"        time.sleep({1 / per_second})\n"
        f"        if i < {lines} - 20: break\n"
    )


def until(gate: Path, per_second: int) -> str:
    """Return a program that writes numbered lines until the file `gate` exists, and then 20 more at once."""
    return (
        "import itertools, os, time\n"
        "for i in itertools.count():\n"
        "    print('line %08d' % i, flush=True)\n"
        f"    if os.path.exists({str(gate)!r}): break\n"
        f"    time.sleep({1 / per_second})\n"
        "for j in range(i + 1, i + 21): print('line %08d' % j, flush=True)\n"
    )


_NUMBER = re.compile(r"^(\S+) line (\d{8}) ")


def numbers(texts: list[str]) -> dict[str, list[int]]:
    """Return the numbers of `counter` lines by pod, in order of arrival."""
    numbers_by_pod: dict[str, list[int]] = {}
    for text in texts:
        if match := _NUMBER.match(text):
            numbers_by_pod.setdefault(match[1], []).append(int(match[2]))
    return numbers_by_pod
