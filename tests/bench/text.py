"""Metrics and patterns of a million lines, from a table in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report import Report

_RUN = """
import json, random, time
import pyarrow as pa
from cortex_jupyter.analysis.metrics import metrics
from cortex_jupyter.analysis.patterns import patterns

r, n = random.Random(1), 1_000_000
def line(i):
    k = i % 10
    if k < 7:
        return f"2026-01-01 10:{i // 60 % 60:02d}:{i % 60:02d},{i % 1000:03d} INFO trainer: epoch {i // 1000} step {i} loss={2.3 / (1 + i / 1000):.4f} lr=3.00e-04 samples/s={2950 + r.random() * 10:.0f}"
    if k == 7:
        return f'{{"level":"info","ts":"2026-01-01T10:00:00.{i % 1000:03d}Z","step":{i},"loss":{r.random():.4f},"gpu":{{"util":{i % 100},"mem_gib":{r.random() * 30:.1f}}}}}'
    if k == 8:
        return f"{{'loss': {r.random():.4f}, 'grad_norm': {r.random():.3f}, 'learning_rate': 1e-05, 'epoch': {i / 1e5:.2f}}}"
    return f'10.0.0.{i % 255} - - [01/Jan/2026:10:00:00 +0000] "GET /item/{r.getrandbits(32):08x} HTTP/1.1" 200 {i % 9999} "-" "curl/8"'
texts = [line(i) for i in range(n)]
text = pa.chunked_array([pa.array(texts[i : i + 16384], pa.large_string()) for i in range(0, n, 16384)])
pod = pa.array([f"train-{i % 8}-abcde" for i in range(n)]).dictionary_encode()
task = pa.array(["ml:job/train"] * n).dictionary_encode()
level = pa.nulls(n, pa.string()).dictionary_encode()
table = pa.table({"time": pa.array(range(n), pa.timestamp("ns", "UTC")), "seq": pa.array(range(n)), "text": text, "message": text, "level": level, "pod": pod, "task": task,
    **{name: pa.array([value] * n).dictionary_encode() for name, value in {"container": "main", "stream": "stdout"}.items()}, "run": pa.array([0] * n, pa.int32())})
found = {}
def best(name, run):
    times, used = [], []
    for _ in range(3):
        started, at = time.perf_counter(), time.process_time(); run()
        times.append(time.perf_counter() - started); used.append(time.process_time() - at)
    found[name] = min(times), min(used)
best("metrics", lambda: metrics(table))
best("patterns", lambda: patterns(table))
print(json.dumps(found))
"""


def run(report: Report) -> None:
    """Measure in a separate process."""
    done = subprocess.run([sys.executable, "-c", _RUN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (seconds, used) in json.loads(done.stdout).items():
        what = f"{name} of 1 M lines (104 MB)"
        report.add(what, seconds, {"metrics": 3.0, "patterns": 5.0}[name], unit="s", note=f"CPU {used:.2f} s")
