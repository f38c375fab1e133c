"""Runs real Valkey and Redis servers on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import valkey
from support.ports import free_port
from support.relay import Relay

if TYPE_CHECKING:
    from pathlib import Path


#: The default server program; `CORTEX_TEST_SERVER=redis-server` runs all tests on Redis.
PROGRAM = os.environ.get("CORTEX_TEST_SERVER", "valkey-server")


class Server:
    """A `valkey-server` with its own folder; a context manager.

    Parameters
    ----------
    folder : Path
    program : str, optional
        The server program (default: `PROGRAM`).
    login : tuple of str, optional
        User and password for `client`, if the default user is off.
    **options
        The server's settings, with `_` in place of `-`.
    """

    def __init__(
        self, folder: Path, program: str = "", login: tuple[str, str] | None = None, **options: object
    ) -> None:
        self._program = program or PROGRAM
        self._user, self._password = login or (None, options.get("requirepass") or None)
        self._options = {"save": "", "bind": "127.0.0.1", "dir": str(folder), "logfile": str(folder / "log")} | options
        self.folder = folder
        self.port = 0
        self.restarts = -1
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

    @property
    def tls_port(self) -> int:
        return int(str(self._options["tls_port"]))

    def client(self, port: int = 0) -> valkey.Valkey:
        return valkey.Valkey(port=port or self.port, username=self._user, password=self._password, socket_timeout=5)

    def ask(self, *command: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*command)

    def start(self) -> None:
        """Start the server; a restart uses the same port."""
        # Debian's package of tools has the same program under another name, without installing a service.
        program = shutil.which(self._program) or shutil.which(self._program.replace("-server", "-check-rdb"))
        assert program, f"{self._program} is missing: apt-get install {self._program.replace('-server', '-tools')}"
        for _ in range(20):  # another process may take a free port first
            port = self.port or free_port()
            options = [x for k, v in self._options.items() for x in (f"--{k.replace('_', '-')}", str(v))]
            command = [self._program, "--port", str(port), *options]
            process = subprocess.Popen(command, executable=program, stdout=subprocess.DEVNULL)
            if self._is_up(process, port):
                self.port, self.process = port, process
                self.restarts += 1
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _is_up(self, process: subprocess.Popen[bytes], port: int) -> bool:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(valkey.ConnectionError), self.client(port) as client:
                if client.info("server")["process_id"] == process.pid:
                    return True
            time.sleep(0.01)
        process.kill()
        process.wait()
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server, by default with SIGKILL, so that it cannot write anything."""
        if self.process is not None:
            os.kill(self.process.pid, number)
            self.process.wait(120)
            self.process = None


class ValkeySetup:
    """A primary behind a relay, with replicas behind another relay; a context manager.

    Parameters
    ----------
    folder : Path
    replicas : int, optional
    wait : bool, optional
        Whether a commit waits until the replicas have it.
    **options
        The servers' settings.
    """

    def __init__(self, folder: Path, replicas: int = 0, *, wait: bool = True, **options: object) -> None:
        self._stack = contextlib.ExitStack()
        self._folder, self._options, self._replicas, self._wait = folder, options, replicas, wait
        self.replicas: list[Server] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.primary = stack.enter_context(
                Server(self._folder / "valkey", repl_diskless_sync_delay=0, **self._options)
            )
            self.relay = stack.enter_context(Relay(self.primary.port))
            self.replication_relay = stack.enter_context(Relay(self.primary.port))
            self._stack = stack.pop_all()
        for _ in range(self._replicas):
            self.add_replica(self.replication_relay.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_replica(self, port: int) -> None:
        """Start another replica of the server at a port."""
        folder = self._folder / f"replica-{len(self.replicas)}"
        replica = Server(folder, repl_diskless_sync_delay=0, replicaof=f"127.0.0.1 {port}", **self._options)
        self.replicas.append(self._stack.enter_context(replica))

    @property
    def url(self) -> str:
        wait = f"/0?replicas={self._replicas}" if self._replicas and self._wait else "/0"
        return f"valkey://127.0.0.1:{self.relay.port}{wait}"
