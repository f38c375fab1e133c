"""One run of one container: a local process group with its output in a CRI log."""

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
#: How long to wait for output after the process has ended, from children that left its group (seconds).
_DRAIN_S = 1.0


class StartError(Exception):
    """The command cannot be executed; the message is worded as by runc."""


def resolve(command: list[str]) -> list[str]:
    """Return the command that runs a container's command on this machine.

    A manifest runs a program of a real node as `[busybox, chroot, /host, PROGRAM, ...]`, and an applet as
    `[busybox, APPLET, ...]`. Here both run the program itself. If a path does not exist on this machine, the program
    of that name on the PATH runs instead, so that `/usr/bin/python3` works wherever Python is installed.

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
    """Return the PATH of containers: this Python comes first, so that `python3` starts fast and has our libraries."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


class Process:
    """The process of one run of a container.

    Parameters
    ----------
    log : CriLog
        The log that receives its output; closed at its end.
    """

    def __init__(self, log: CriLog) -> None:
        self.log = log
        self.is_oom_killed = False
        #: Set after the pod's worker has recorded the end.
        self.ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._open_pipes: set[int] = set()
        self._drained = asyncio.Event()

    async def start(self, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the command.

        Raises
        ------
        StartError
            If it cannot be executed.
        """
        pipes: dict[bytes, tuple[int, int]] = {b"stdout": os.pipe(), b"stderr": os.pipe()}
        options: dict[str, Any] = {
            "stdin": asyncio.subprocess.DEVNULL,
            "env": env,
            "cwd": cwd,
            "start_new_session": True,
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                *resolve(command), stdout=pipes[b"stdout"][1], stderr=pipes[b"stderr"][1], **options
            )
        except (OSError, StartError) as error:
            for read_end, _ in pipes.values():
                os.close(read_end)
            self.log.close()
            raise StartError(str(error)) from error
        finally:
            for _, write_end in pipes.values():
                os.close(write_end)
        loop = asyncio.get_running_loop()
        for stream, (read_end, _) in pipes.items():
            os.set_blocking(read_end, False)
            self._open_pipes.add(read_end)
            loop.add_reader(read_end, self._read, read_end, stream)

    async def wait(self) -> int:
        """Wait for the end; return the exit code, 128 + N after signal N, as containerd does.

        On return, all output is in the log and no process of the group is left.
        """
        assert self._process is not None
        code = await self._process.wait()
        self.signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), _DRAIN_S)
        for read_end in list(self._open_pipes):
            self._close(read_end)
        for stream in (b"stdout", b"stderr"):
            self.log.end_stream(stream)
        self.log.close()
        return 128 - code if code < 0 else code

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _read(self, read_end: int, stream: bytes) -> None:
        try:
            data = os.read(read_end, _BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.log.feed(stream, data)
            return
        self.log.end_stream(stream)
        self._close(read_end)

    def _close(self, read_end: int) -> None:
        asyncio.get_running_loop().remove_reader(read_end)
        os.close(read_end)
        self._open_pipes.discard(read_end)
        if not self._open_pipes:
            self._drained.set()
