"""Whether a recorder's process lives: known at once on this machine, elsewhere by its heartbeat alone."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.store import RecorderInfo

HOST: Final = socket.gethostname()


def _machine() -> str:
    if sys.platform != "linux":
        return f"{HOST} {uuid.getnode():x}"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


#: The same for all processes that see each other under the same process ids, "" where that cannot be known. A host name
#: does not tell: containers of one image on a shared volume have one name, and each a process 1.
MACHINE = _machine()


def process_lives(recorder: RecorderInfo, machine: str) -> bool:
    """Return whether a recorder's process lives; one that cannot be seen from here counts as living.

    Parameters
    ----------
    recorder : RecorderInfo
    machine : str
        `MACHINE` as the recorder's process has it.
    """
    if not MACHINE or machine != MACHINE:
        return True
    try:
        os.kill(recorder.pid, 0)
        # A zombie takes signals too: killed, and its parent has not looked yet.
        return Path(f"/proc/{recorder.pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # not ours to signal, or no /proc: the heartbeat has to do
