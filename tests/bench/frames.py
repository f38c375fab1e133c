"""A million completed lines as frames, against reading the same rows from Parquet."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipe import program

if TYPE_CHECKING:
    from report import Report

LINES = 1_000_000

_FILL = """
import sys, time, subprocess
from cortex_jupyter.recording.store import Commit, open_store
from cortex_jupyter.records import Entry, Source, TaskRef, encode_batch, notice
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

_READ = """
import json, sys, time
import pandas, polars, pyarrow.parquet
import cortex_jupyter as cortex
log = cortex.logs("frames")
log.to_parquet("frames.parquet")
found = {}
def best(name, run):
    times = []
    for _ in range(3):
        started = time.perf_counter(); run(); times.append(time.perf_counter() - started)
    found[name] = min(times)
best("table", lambda: pyarrow.parquet.read_table("frames.parquet"))
best("pandas from the recording", log.to_pandas)
best("polars from the recording", log.to_polars)
found["rows"] = len(log.to_arrow())
print(json.dumps(found))
"""


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"HOME": folder, "PATH": "/usr/bin:/bin", "CORTEX_STORE": f"sqlite://{folder}/frames.sqlite"}
        lines = subprocess.run([sys.executable, "-c", program(LINES)], capture_output=True, check=True).stdout
        subprocess.run([sys.executable, "-c", _FILL], input=lines, env=env, check=True)
        done = subprocess.run(
            [sys.executable, "-c", _READ], capture_output=True, text=True, env=env, cwd=folder, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["rows"] == LINES
        parquet = Path(folder, "frames.parquet").stat().st_size
        zipped = subprocess.run(["gzip", "-6", "-c"], input=lines, capture_output=True, check=True).stdout
    for name in ("pandas", "polars"):
        note = f"{found[f'{name} from the recording']:.2f} s / {found['table']:.2f} s"
        report.add(
            f"1 M completed lines to {name} / read_table of the file",
            found[f"{name} from the recording"] / found["table"],
            1.5,
            note=note,
        )
    report.add("Parquet / gzip -6 of the text", parquet / len(zipped), 1.0)
