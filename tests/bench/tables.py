"""A million recorded lines as frames, compared with reading the same rows from Parquet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import greps
from bench.pipe import program

if TYPE_CHECKING:
    from bench.report import Report

LINES = 1_000_000

_FILL = """
import sys, time, subprocess
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store import Commit
from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
ref = TaskRef.parse("frames")
store = open_store()
rec = store.open("https://bench", TaskRef("default", "job", "frames"), "u")
lease = store.lease(rec, "bench")
sids = [store.add_source(lease, Source(f"frames-{i}", f"u{i}", "main", f"c{i}")) for i in range(8)]
lines = sys.stdin.read().split("\\n")[:-1]
seq, t0 = 1, 1_700_000_000_000_000_000
for start in range(0, len(lines), 1000):
    texts = lines[start:start + 1000]
    times = [t0 + (start + i) * 1_000_000 for i in range(len(texts))]
    ids = [sids[i % 8] for i in range(len(texts))]
    sources = {s: {"pod": f"frames-{s}", "container": "main", "kind": "main", "run": 0, "node": "n"} for s in sids}
    data = encode_batch("default:job/frames", seq, times, ids, None, texts, sources)
    store.commit(lease, Commit([Entry(seq, len(texts), "log", times[0], times[-1], data)]))
    seq += len(texts)
end = notice("default:job/frames", seq, times[-1], "end", "Job complete exit 0", state="succeeded", exit_code=0)
store.commit(lease, Commit([end], {}, {"done": 1, "state": "succeeded", "exit_code": 0, "message": "Job complete exit 0"}))
store.close()
"""

_RECORDED = """
import json, time
import pandas, pyarrow
import cortex_jupyter as cortex
log = cortex.logs("frames")
times = []
for _ in range(3):
    started = time.perf_counter(); log.to_pandas(); times.append(time.perf_counter() - started)
print(json.dumps({"pandas": min(times)}))
"""

_ARCHIVE = """
import json, resource, sys, time
from cortex_jupyter.cli.command_line import run
import pyarrow.parquet as pq
from cortex_jupyter.archive import layout
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before, at = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, cpu()
assert run(["archive"]) == 0
found = {"archive": cpu() - at, "archive_rss": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}
from pathlib import Path
path = next(Path("archive").rglob("*.parquet"))
found["size"] = path.stat().st_size
import pyarrow as pa
pa.set_cpu_count(1)
table = pq.read_table(path)
at = cpu()
pq.write_table(table, "copy.parquet", row_group_size=65_536, **layout.writer_options())
found["write"] = cpu() - at
from cortex_jupyter.archive.spans import find_spans
text = table["text"].combine_chunks()
at = cpu()
find_spans(pa.chunked_array([text.slice(i, 65_536) for i in range(0, len(table), 65_536)]))
found["places"] = cpu() - at
print(json.dumps(found))
"""

_READ = """
import json, re, resource, subprocess, sys, time
from pathlib import Path
import pandas, polars, pyarrow.parquet
import cortex_jupyter as cortex
log = cortex.logs("frames")
path = next(Path("archive").rglob("*.parquet"))
text = int(sys.argv[1])
found = {}
def peak(run):
    Path("/proc/self/clear_refs").write_text("5")
    now = int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    kept = run()
    most = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    return (most - now) * 1024 / text
log.filter(until="2023-11-14T22:13:21Z").to_pandas()  # what libraries take is not what lines take
time.sleep(1.2); pyarrow.default_memory_pool().release_unused()  # and what they keep of that is given back first
found["memory"] = peak(log.to_pandas)
runs = {"table": lambda: pyarrow.parquet.read_table(path), "pandas": log.to_pandas, "polars": log.to_polars}
times, used = ({name: [] for name in runs} for _ in range(2))
for _ in range(5):  # one after the other, so that what else the machine does meets all of them
    for name, run in runs.items():
        started, at = time.perf_counter(), time.process_time(); run()
        times[name].append(time.perf_counter() - started); used[name].append(time.process_time() - at)
found |= {name: min(taken) for name, taken in times.items()}
found |= {name + "_cpu": min(taken) for name, taken in used.items()}
found["rows"] = len(log.to_arrow())
print(json.dumps(found))
"""


def run(report: Report) -> None:
    """Measure in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"HOME": folder, "PATH": "/usr/bin:/bin", "CORTEX_STORE": f"sqlite://{folder}/frames.sqlite"}
        env |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        lines = subprocess.run([sys.executable, "-c", program(LINES)], capture_output=True, check=True).stdout
        Path(folder, "lines.txt").write_bytes(lines)
        subprocess.run([sys.executable, "-c", _FILL], input=lines, env=env, check=True)
        recorded = _python(_RECORDED, folder, env)
        env |= {"CORTEX_ARCHIVE": f"{folder}/archive"}
        made = _python(_ARCHIVE, folder, env)
        found = _python(_READ, folder, env, str(len(lines)))
        assert found["rows"] == LINES
        Path(folder, "lines.txt.gz").write_bytes(
            subprocess.run(["gzip", "-6", "-c"], input=lines, capture_output=True, check=True).stdout
        )
        zipped = Path(folder, "lines.txt.gz").stat().st_size
        greps.run(report, folder, env)
    for name in ("pandas", "polars"):
        note = f"{found[name]:.2f} s / {found['table']:.2f} s, CPU {found[name + '_cpu'] / found['table_cpu']:.2f} x"
        what = f"1 M archived lines to {name} / read_table of the file"
        report.add(what, found[name] / found["table"], 1.5, note=note)
    report.add("1 M recorded lines to pandas / read_table of the file", recorded["pandas"] / found["table"], None)
    report.add("memory of 1 M archived lines to pandas / text", found["memory"], 3.0)
    report.add("archive / gzip -6 of the text", made["size"] / zipped, 1.0)
    report.add("CPU to write 1 M rows as Parquet, one core", made["write"], 1.0, "s")
    report.add("CPU to archive 1 M lines, all of it: read, derive, write", made["archive"], None, "s")
    report.add("memory added by that", made["archive_rss"], None, "MB")
    report.add("CPU to find level, message and fields in 1 M lines", made["places"], 3.0, "s")


def _python(code: str, folder: str, env: dict[str, str], *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
