"""Kill a component of a cluster on this machine, and start it again.

The process ids of the components are in files in the folder `pid/` beside the kubeconfig; other clusters have no such folder.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.kube import Kube


_MAX_STARTS = 3


class Component:
    """A component of the cluster.

    Parameters
    ----------
    kubeconfig : path
    name : str
        `apiserver`, `kubelet`, `containerd`, ...
    """

    def __init__(self, kubeconfig: str | Path, name: str) -> None:
        self.name = name
        self._file = Path(kubeconfig).parent / "pid" / name

    @property
    def is_local(self) -> bool:
        """Whether the cluster runs on this machine."""
        return self._file.exists()

    def kill_and_start(self) -> RestartedComponent:
        """Kill it with SIGKILL and start it again with the same command, environment, folder and log."""
        pid = int(self._file.read_text())
        proc = Path(f"/proc/{pid}")
        command = [os.fsdecode(a) for a in (proc / "cmdline").read_bytes().split(b"\0")[:-1]]
        pairs = [os.fsdecode(a).partition("=") for a in (proc / "environ").read_bytes().split(b"\0") if a]
        env, folder = {k: v for k, _, v in pairs}, (proc / "cwd").resolve()
        # The command's first word may need the PATH that it was started with.
        program, log = (proc / "exe").resolve(), (proc / "fd/1").resolve()
        # Not its state in /proc: a process is a zombie there while threads of it still hold its port.
        ended = select.poll()
        pidfd = os.pidfd_open(pid)
        try:
            ended.register(pidfd, select.POLLIN)
            os.kill(pid, signal.SIGKILL)
            assert ended.poll(120_000), f"the {self.name} does not die"
        finally:
            os.close(pidfd)

        def start() -> int:
            with log.open("ab") as out:
                process = subprocess.Popen(
                    command,
                    executable=program,
                    env=env,
                    cwd=folder,
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            process.returncode = 0  # keeps Popen from warning that the process outlives the test
            self._file.write_text(f"{process.pid}\n")
            return process.pid

        return RestartedComponent(self.name, log, start)


class RestartedComponent:
    """The new process of a component.

    Parameters
    ----------
    name : str
    log : path
        The file that it writes to.
    start : callable
        Starts the process, and returns its id.
    """

    def __init__(self, name: str, log: Path, start: Callable[[], int]) -> None:
        self._name, self._log, self._start = name, log, start
        self._pid, self._starts = start(), 1

    def supervise(self) -> None:
        """Start it again if it has ended since, as a supervisor does; fail with the end of its log the third time."""
        has_ended, status = os.waitpid(self._pid, os.WNOHANG)
        if not has_ended:
            return
        log = self._log.read_text(errors="replace")[-3000:]
        assert self._starts < _MAX_STARTS, f"the {self._name} ended ({status}): {log}"
        self._starts += 1
        self._pid = self._start()


def restart_api(kube: Kube, api: Component) -> None:
    """Kill the API server, start it again, and wait until it is ready."""
    restarted = api.kill_and_start()

    def ready() -> bool:
        restarted.supervise()
        with contextlib.suppress(httpx.TransportError):
            return kube.request("GET", "/readyz").is_success
        return False

    kube.wait_for(ready, "the API server to be back")
