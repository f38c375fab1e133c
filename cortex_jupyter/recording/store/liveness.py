"""Whether the process of a recorder lives, where it is on our machine: known at once, and not when its heartbeat goes cold."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cortex_jupyter.recording.store import Recorder

HOST: Final = socket.gethostname()


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


#: Where process ids mean the same as here: containers on many machines may all have one name.
MACHINE: Final = _machine()


def process_lives(recorder: Recorder) -> bool:
    """Tell whether its process lives; one that we cannot see is taken to."""
    if recorder.host != HOST:
        return True
    try:
        os.kill(recorder.pid, 0)
        # A zombie takes signals too: killed, and its parent has not looked yet.
        return Path(f"/proc/{recorder.pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # not ours to signal, or no /proc: the heartbeat has to do
