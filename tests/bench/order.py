"""How many lines `logs -f` prints out of time order if several pods write at once, and how much its sorting delays lines."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from conftest import run_sandbox
from support.kube import python_job

from cortex_jupyter.model import parse_rfc3339

if TYPE_CHECKING:
    from bench.report import Report

PODS = 3
#: Time before the reader starts (s), so that it begins with a backlog.
WARM_S = 8
#: How long the reader follows the log (s).
SECONDS = 12
#: Writes 20 000 lines at up to 2 000 a second, then up to 100 a second.
_PROGRAM = "import time\nfor i in range(100_000):\n    print(f'line {i}', flush=True)\n    i % 20 and i < 20_000 or time.sleep(0.01)"


def run(report: Report) -> None:
    """Measure the lines from before and after the reader's start separately."""
    with tempfile.TemporaryDirectory() as folder, run_sandbox(Path(folder) / "sandbox") as sandbox:
        sandbox.kube.create(python_job("several", _PROGRAM, parallelism=PODS))
        time.sleep(WARM_S)
        began = time.time_ns()
        rows = _follow(Path(folder), sandbox.kubeconfig)
        sandbox.kube.delete("jobs", "several")
    live = [row for row in rows if row[0] > began + 3_000_000_000]
    delays = sorted((seen - at) / 1e6 for at, seen, _ in live)
    numbers: dict[str, list[int]] = {}
    for _, _, record in rows:
        numbers.setdefault(record["pod"], []).append(int(record["text"].split()[1]))
    assert len(numbers) == PODS and all(n == list(range(len(n))) for n in numbers.values()), (
        "lines are missing, duplicated or out of order"
    )
    backlog = rows[: len(rows) - len(live)]
    report.add(f"logs -f, {PODS} pods: live lines that come too late", _late(live), 0, "", f"of {len(live)}")
    report.add("the same among the lines from before", _late(backlog), 0, "", f"of {len(backlog)}")
    p95 = delays[int(len(delays) * 0.95)]
    report.add("written to read by logs -f, p95", p95, 100, "ms", f"median {statistics.median(delays):.0f} ms")


def _late(rows: list[tuple[int, int, Any]]) -> int:
    """Count the lines that come after a line with a later time."""
    latest, late = 0, 0
    for at, _, _ in rows:
        late += at < latest
        latest = max(at, latest)
    return late


def _follow(folder: Path, kubeconfig: Path) -> list[tuple[int, int, Any]]:
    """Return (time, time of arrival, record) of each line that `logs -f` prints."""
    env = os.environ | {"CORTEX_STORE": f"sqlite://{folder}/r.sqlite", "KUBECONFIG": str(kubeconfig)}
    command = [sys.executable, "-m", "cortex_jupyter.cli", "logs", "several", "-f", "--since", "all", "-o", "ndjson"]
    rows = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        until = time.monotonic() + SECONDS
        for line in process.stdout:
            seen, record = time.time_ns(), orjson.loads(line)
            rows.append((parse_rfc3339(record["time"]), seen, record))
            if time.monotonic() > until:
                break
        process.terminate()
    return rows
