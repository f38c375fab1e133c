"""Count the matching lines of an archive, and compare with ripgrep on the plain text and with polars on the same file.

ripgrep need not unpack its text. polars has to unpack the same file, so only our time beyond that of polars is due to
our code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report import Report

#: One pattern for each way in which we search. No pattern was left out because of its result.
PATTERNS = {
    "a word, no line": "OutOfMemoryError",
    "digits of an id, no line": "deadbeef",
    "a text, 4 lines": 'trace":"0000',
    "a text, 0.6 % of the lines": "step 99",
    "a word, half of the lines": "INFO",
    "one of three words": "error|failed|Traceback",
    "a regex with a literal": r"loss=0\.00\d+ lr",
    "a regex with a short literal": r"\b\w+\.py\b",
    "a regex without a literal": r"\d{6}",
    "a class": "[a-f]{6}",
    "a word in any case": "(?i)reconciling",
}

_READ = """
import json, os, subprocess, sys, time
from pathlib import Path
import polars as pl
import zstandard
import pyarrow.parquet as pq
import cortex_jupyter as cortex
log = cortex.logs("frames")
path = next(Path("archive").rglob("*.parquet"))
def rg(pattern, *where):
    return int(subprocess.run(["rg", "-c", *where[1:], "--", pattern, where[0]], stdout=subprocess.PIPE).stdout or 0)
def least(run, rounds=1):
    started, at = time.perf_counter(), time.process_time()
    return run(), time.perf_counter() - started, time.process_time() - at
found = {}
patterns = json.loads(sys.argv[1])
for pattern in [*patterns, *patterns, *patterns, *patterns, *patterns]:  # in turns, so that other load slows all patterns alike
    matches = log.filter(grep=pattern)
    ours, wall, cpu = least(lambda: len(matches))
    theirs, plain, _ = least(lambda: rg(pattern, "lines.txt"))
    assert ours == theirs, (pattern, ours, theirs)
    scan = pl.scan_parquet(path).filter(pl.col("text").str.contains(pattern)).select(pl.len())
    same, scanned, _ = least(lambda: scan.collect().item())
    assert ours == same, (pattern, ours, same)
    frame = least(matches.to_arrow)[1] if ours < 100_000 else 0
    now = ours, wall, cpu, plain, scanned, frame
    found[pattern] = [min(pair) for pair in zip(found.get(pattern, now), now)]
file = pq.ParquetFile(path, memory_map=True)
texts = lambda: [file.read_row_groups([i], ["text"], use_threads=False) and None for i in range(file.num_row_groups)]
blocks = [zstandard.ZstdCompressor(1).compress(block) for block in iter(lambda f=open("lines.txt", "rb"): f.read(1 << 20), b"")]
unpack = zstandard.ZstdDecompressor()
zstd = lambda: [unpack.decompress(block) and None for block in blocks]
found["decoded"] = min(least(texts)[2] for _ in range(5))
found["zstd"] = min(least(zstd)[2] for _ in range(5))
found["packed"] = min(least(lambda: rg("step 99", "lines.txt.gz", "-z"))[1] for _ in range(3))
print(json.dumps(found))
"""


def run(report: Report, folder: str, env: dict[str, str]) -> None:
    """Measure on the archive and the text that `tables` wrote into a folder, if ripgrep is installed."""
    rg = shutil.which("rg")
    if rg is None:
        return
    command = [sys.executable, "-c", _READ, json.dumps(list(PATTERNS.values()))]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    worst = beside = 0.0
    for name, pattern in PATTERNS.items():
        lines, wall, cpu, plain, scanned, frame = found[pattern]
        note = f"{pattern}: {lines} lines, {wall * 1e3:.0f} / {plain * 1e3:.0f} ms, CPU {cpu * 1e3:.0f} ms"
        note += f", polars {scanned * 1e3:.0f} ms"
        note += f"; as a frame {frame * 1e3:.0f} ms" if frame else ""
        report.add(f"grep of the archive / rg of the text: {name}", wall / plain, None, note=note)
        worst, beside = max(worst, wall / plain), max(beside, wall / scanned)
    report.add("the worst of them", worst, 3.0)
    report.add("grep of the archive / polars scanning the same file, the worst of them", beside, None)
    plain = found["step 99"][3]
    note = f"CPU: zstd alone {found['zstd'] * 1e3:.0f} ms, with Parquet {found['decoded'] * 1e3:.0f} ms"
    report.add("to unpack the text on one core / rg for 0.6 % of the lines", found["zstd"] / plain, None, note=note)
    report.add("grep of the archive / rg -z of the text of gzip -6", found["step 99"][1] / found["packed"], None)
