"""A recorder that is killed whenever it starts, as without memory: the user is told, and attempts stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from support.jupyter import Home
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_follower_is_told_that_the_recorder_was_killed(
    sandbox: Any, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique("killed")
    sandbox.kube.create(python_job(name, "import time; time.sleep(600)"))
    home = Home(tmp_path, sandbox.kubeconfig)
    killed: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for pid in home.recorders():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        done = home.run("cortex-jupyter", "logs", "-f", name, timeout=110)
    finally:
        over.set()
        killer.join()
        sandbox.kube.delete("jobs", name)
        home.end()
    assert done.returncode == 1, done.stderr
    assert "the recorder was killed by SIGKILL" in done.stderr and "memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("times, each within") == 1, f"the error is printed with each attempt: {done.stderr}"
    assert len(killed) <= 6
