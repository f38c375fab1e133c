"""The table of figures, and the CPU time, memory and stalls of processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Report:
    """Prints figures with their budgets."""

    missed: list[str] = field(default_factory=list)

    def add(self, what: str, figure: float, budget: float | None, unit: str = "x", note: str = "") -> None:
        """Print a figure. A budget is an upper bound."""
        holds = budget is None or figure <= budget
        if not holds:
            self.missed.append(what)
        bound = "" if budget is None else f"<= {budget:g} {unit}"
        mark = " " if budget is None else ("ok" if holds else "OVER")
        print(f"{what:62} {figure:10.3f} {unit:4} {bound:14} {mark:4} {note}", flush=True)

    def close(self) -> int:
        """Print the figures over budget; return their number."""
        print(f"\n{len(self.missed)} over budget{': ' if self.missed else ''}{'; '.join(self.missed)}")
        return len(self.missed)


def cpu(*pids: int) -> float:
    """Return the CPU time that processes have used so far (s)."""
    total = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(stat[11]) + int(stat[12])
    return total / _TICK


def peak(pid: int) -> float:
    """Return the largest resident memory of a process since the last call of `resident` (MB)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def resident(pid: int) -> float:
    """Return the resident memory of a process (MB), and reset its peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def timed(command: list[str], **options: Any) -> tuple[float, float]:
    """Run a program; return its wall time and CPU time (s)."""
    started = time.perf_counter()
    process = subprocess.Popen(command, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def pings(url: str, headers: dict[str, str], pid: int) -> Iterator[list[tuple[float, float]]]:
    """Send small requests all the time, to measure stalls of a server's event loop.

    Yields a list of (duration of a request, part of it spent waiting for a CPU), both in ms. With more busy processes than
    cores a long request mostly waits for a CPU, which is no stall. The wait is that of the server's main thread or of the
    thread here, whichever is longer, because both can wait at the same time.
    """
    durations: list[tuple[float, float]] = []
    stop = threading.Event()

    def run() -> None:
        with httpx.Client(headers=headers) as client:
            client.get(url)
            while not stop.wait(0.005):
                waited, started = _waited(pid), time.perf_counter()
                client.get(url)
                took = (time.perf_counter() - started) * 1000
                durations.append((took, max(now - before for now, before in zip(_waited(pid), waited, strict=True))))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield durations
    finally:
        stop.set()
        thread.join()


def _waited(pid: int) -> list[float]:
    """Return how long the main thread of a process, and this thread, have waited for a CPU (ms).

    Notes
    -----
    The second number in `/proc/<pid>/schedstat` (ns), see https://docs.kernel.org/scheduler/sched-stats.html.
    """
    tasks = (f"{pid}/task/{pid}", f"self/task/{threading.get_native_id()}")
    return [int(Path(f"/proc/{task}/schedstat").read_text().split()[1]) / 1e6 for task in tasks]
