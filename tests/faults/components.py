"""Kill a component of a cluster on this machine, and start it again.

The process ids of the components are in files in the folder `pid/` beside the kubeconfig; other clusters have no such folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path


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

    def kill_and_start(self) -> None:
        """Kill it with SIGKILL and start it again with the same command, environment, folder and log."""
        pid = int(self._file.read_text())
        proc = Path(f"/proc/{pid}")
        command = [os.fsdecode(a) for a in (proc / "cmdline").read_bytes().split(b"\0")[:-1]]
        pairs = [os.fsdecode(a).partition("=") for a in (proc / "environ").read_bytes().split(b"\0") if a]
        env, folder = {k: v for k, _, v in pairs}, (proc / "cwd").resolve()
        # The command's first word may need the PATH that it was started with.
        program, log = (proc / "exe").resolve(), (proc / "fd/1").resolve()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 120
        while _is_running(pid) and time.monotonic() < end:
            time.sleep(0.02)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, executable=program, env=env, cwd=folder, start_new_session=True, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out,
            )  # fmt: skip
        self._file.write_text(f"{process.pid}\n")
        process.returncode = 0  # keeps Popen from warning that the process outlives the test


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False
