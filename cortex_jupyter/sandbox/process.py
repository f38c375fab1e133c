"""One run of one container: a local process group whose output goes into a CRI log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.sandbox.crilog import CriLog

_BLOCK = 65536
#: Seconds that output may still come after the process has ended, from children that left its group.
_DRAIN = 1.0


class StartError(Exception):
    """The command cannot be executed; the text is runc's."""


def resolve(command: list[str]) -> list[str]:
    """Turn a container's command into one that runs on this machine.

    `[busybox, chroot, /host, PROGRAM, ...]` is how a manifest reaches the programs of a real node, and
    `[busybox, X, ...]` how it runs an applet: here both run the program itself. A path that this machine
    lacks falls back to the program of that name, so that `/usr/bin/python3` runs wherever Python is.

    Raises
    ------
    StartError
        If there is no such program.

    Examples
    --------
    >>> resolve(["busybox", "chroot", "/host", "/bin/sh", "-c", "true"])
    ['/bin/sh', '-c', 'true']
    """
    match command:
        case [box, "chroot", _, *rest] if Path(box).name == "busybox" and rest:
            command = rest
        case [box, *rest] if Path(box).name == "busybox" and rest:
            command = rest
        case _:
            pass
    name = command[0] if command else "sh"
    program = shutil.which(name, path=search_path()) or shutil.which(Path(name).name, path=search_path())
    if program is None:
        raise StartError(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
            f'unable to start container process: exec: "{name}": executable file not found in $PATH: unknown',
        )
    return [program, *command[1:]]


def search_path() -> str:
    """Give the PATH of containers: this Python first, so that `python3` starts at once and has its libraries."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


class Process:
    """A started container.

    Parameters
    ----------
    log : CriLog
        Where its output goes; closed at its end.
    """

    def __init__(self, log: CriLog) -> None:
        self.log = log
        self.oom = False
        #: Set by the kubelet once the end is known to it.
        self.ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._open: set[int] = set()
        self._drained = asyncio.Event()

    async def start(self, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the command.

        Raises
        ------
        StartError
            If it cannot be executed.
        """
        ends: dict[bytes, tuple[int, int]] = {b"stdout": os.pipe(), b"stderr": os.pipe()}
        options: dict[str, Any] = {
            "stdin": asyncio.subprocess.DEVNULL,
            "env": env,
            "cwd": cwd,
            "start_new_session": True,
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                *resolve(command), stdout=ends[b"stdout"][1], stderr=ends[b"stderr"][1], **options
            )
        except (OSError, StartError) as error:
            for reading, _ in ends.values():
                os.close(reading)
            self.log.close()
            raise StartError(str(error)) from error
        finally:
            for _, writing in ends.values():
                os.close(writing)
        loop = asyncio.get_running_loop()
        for stream, (reading, _) in ends.items():
            os.set_blocking(reading, False)
            self._open.add(reading)
            loop.add_reader(reading, self._read, reading, stream)

    async def wait(self) -> int:
        """Wait for the end; give the exit code as containerd does, 128 + the number of a signal.

        All output is in the log then, and no process of the group is left.
        """
        assert self._process is not None
        code = await self._process.wait()
        self.signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), _DRAIN)
        for reading in list(self._open):
            self._close(reading)
        for stream in (b"stdout", b"stderr"):
            self.log.end(stream)
        self.log.close()
        return 128 - code if code < 0 else code

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _read(self, reading: int, stream: bytes) -> None:
        try:
            data = os.read(reading, _BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.log.feed(stream, data)
            return
        self.log.end(stream)
        self._close(reading)

    def _close(self, reading: int) -> None:
        asyncio.get_running_loop().remove_reader(reading)
        os.close(reading)
        self._open.discard(reading)
        if not self._open:
            self._drained.set()
