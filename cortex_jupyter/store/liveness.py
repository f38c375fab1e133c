"""Whether a recorder's process lives. On this machine that is known at once, elsewhere only from its heartbeat."""

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


#: Equal for all processes that see each other under the same process ids, "" if that cannot be known. A host name does
#: not suffice: containers of one image that share a volume have one name, and each has a process 1.
MACHINE = _machine()


def process_lives(recorder: RecorderInfo, machine: str) -> bool:
    """Return whether a recorder's process lives. A process that is not visible from here counts as living.

    Parameters
    ----------
    recorder : RecorderInfo
    machine : str
        `MACHINE` of the recorder's process.
    """
    if not MACHINE or machine != MACHINE:
        return True
    try:
        os.kill(recorder.pid, 0)
        # A zombie accepts signals too: it was killed, but its parent has not collected it yet.
        return Path(f"/proc/{recorder.pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # we may not signal it, or there is no /proc: rely on the heartbeat
