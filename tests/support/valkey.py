"""Real Valkey servers for the tests, on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import valkey

if TYPE_CHECKING:
    from pathlib import Path


class Server:
    """A `valkey-server` with a folder of its own; a context manager.

    Parameters
    ----------
    folder : Path
    **options
        Its settings, `_` for `-`.
    """

    def __init__(self, folder: Path, **options: object) -> None:
        self._options = {"save": "", "bind": "127.0.0.1", "dir": str(folder), "logfile": str(folder / "log")} | options
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    def client(self, port: int = 0) -> valkey.Valkey:
        return valkey.Valkey(
            port=port or self.port, password=self._options.get("requirepass") or None, socket_timeout=5
        )

    def ask(self, *command: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*command)

    def start(self) -> None:
        """Start it; again on the same port."""
        program = shutil.which("valkey-server")
        assert program, "valkey-server is missing: apt-get install valkey-server"
        for _ in range(20):  # somebody else may take a free port first
            port = self.port or _free_port()
            options = [x for k, v in self._options.items() for x in (f"--{k.replace('_', '-')}", str(v))]
            process = subprocess.Popen([program, "--port", str(port), *options], stdout=subprocess.DEVNULL)
            if self._is_up(process, port):
                self.port, self.process = port, process
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _is_up(self, process: subprocess.Popen[bytes], port: int) -> bool:
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(valkey.ConnectionError), self.client(port) as client:
                if client.info("server")["process_id"] == process.pid:
                    return True
            time.sleep(0.01)
        process.kill()
        process.wait()
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, without a chance to write anything by default."""
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(20)
            self.process = None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
