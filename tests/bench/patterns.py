"""Compare `log.patterns()` with a known truth, beside Drain3: how many lines are in a group that holds other lines, or not all.

Two sets: lines that are made here, of a trainer, a web server and an operator; and Loghub-2k, if `CORTEX_LOGHUB` names a folder
with its `SYSTEM/SYSTEM_2k.log` and `SYSTEM/SYSTEM_2k.log_structured_corrected.csv` (16 systems, 2 000 lines each; see
https://github.com/logpai/loghub for its licence). Of each system the messages are grouped, and the raw lines with their headers.

Grouping accuracy (GA) is the share of lines whose group holds exactly the lines of their statement. FGA is the harmonic mean of
the share of our groups, and of the statements, that are right (Zhu et al., Tools and Benchmarks for Automated Log Parsing, 2019;
Khan et al., Guidelines for Assessing the Accuracy of Log Message Template Identification Techniques, 2022). The report shows
1 - GA and 1 - FGA, because its budgets are upper bounds. Drain3 has its default configuration with the masks of its examples.
"""

from __future__ import annotations

import csv
import importlib
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from cortex_jupyter.analysis.patterns import find_patterns
from cortex_jupyter.tables.derive import derived

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.report import Report

#: Budgets of 1 - GA and 1 - FGA, on messages and on raw lines.
BUDGETS: Final = {"messages": (0.10, 0.15), "raw lines": (0.15, 0.15)}
#: Statements of made logs. `{}` is a value.
STATEMENTS: Final = {
    "trainer": [
        "step {number} loss={number} lr={number} tokens/s={number}",
        "saved checkpoint {path} in {number} s",
        "loading shard {path} ({number} MiB)",
        "rank {number} joined the ring",
        "evaluation started",
        "evaluation finished, accuracy {number}",
        "gradient overflow, scale is now {number}",
        "data loader waits for worker {number}",
        "data loader has {number} workers",
        "early stopping after {number} epochs",
    ],
    "web server": [
        '{ip} "GET {path}" status {number} in {number} ms',
        '{ip} "POST {path}" status {number} in {number} ms',
        "session {id} opened for user {user}",
        "session {id} closed for user {user}",
        "cache miss for {path}",
        "cache hit for {path}",
        "upstream {ip} timed out after {number} ms, retrying",
        "upstream {ip} is down",
        "worker started",
        "worker stopped",
    ],
    "operator": [
        "Reconciling {id}",
        "Reconciled {id} in {number} ms",
        'Created pod "{id}" on node-{number}',
        'Deleted pod "{id}" from node-{number}',
        "Queue depth is {number}, limit {number}",
        "Lease {id} lost to {user}",
        "Lease {id} renewed",
        "Transition of {id} from PENDING to RUNNING",
        "Transition of {id} from RUNNING to FAILED",
        "Watch of pods ended, reconnecting",
    ],
}
HEADERS: Final = {
    "trainer": "2026-01-31 12:{minute:02}:{second:02},{number:03} - {name} - {level} - ",
    "web server": "[Sat Jan 31 12:{minute:02}:{second:02} 2026] [{level}] [pid {number}] ",
    "operator": "Jan 31 12:{minute:02}:{second:02} host-{number} {name}[{number}]: ",
}


class LabelledLog(NamedTuple):
    """The lines of a system and their statements."""

    name: str
    messages: list[str]
    raw: list[str]
    statements: list[str]


def run(report: Report) -> None:
    """Group the lines of each set."""
    rival = _drain()
    sets = {"made logs": [_made(name) for name in STATEMENTS]}
    if folder := os.environ.get("CORTEX_LOGHUB"):
        sets["Loghub-2k"] = loghub(Path(folder))
    else:
        print("CORTEX_LOGHUB names no folder: Loghub-2k is left out")
    for title, logs in sets.items():
        for kind, budgets in BUDGETS.items():
            ours = [grouping(_groups(log, kind), log.statements) for log in logs]
            theirs = [grouping(rival(_lines(log, kind)), log.statements) for log in logs] if rival else []
            worst = min(zip(ours, logs, strict=True), key=lambda pair: pair[0])
            for at, (figure, budget) in enumerate(zip(("GA", "FGA"), budgets, strict=True)):
                note = f"worst {figure}: {worst[1].name} {worst[0][at]:.3f}"
                if theirs:
                    note += f"; Drain3 {1 - mean(score[at] for score in theirs):.3f}"
                report.add(f"1 - {figure}, {title}, {kind}", 1 - mean(s[at] for s in ours), budget, unit="", note=note)


def loghub(folder: Path) -> list[LabelledLog]:
    """Read the systems of Loghub-2k that a folder holds."""
    result = []
    for path in sorted(folder.glob("*/*_2k.log_structured_corrected.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        text = path.with_name(f"{path.parent.name}_2k.log").read_text(encoding="utf-8", errors="replace")
        raw = text.removesuffix("\n").split("\n")
        assert len(raw) == len(rows), path
        result.append(
            LabelledLog(
                path.parent.name,
                [row["Content"] for row in rows],
                [line.removesuffix("\r") for line in raw],
                [row["EventTemplate"] for row in rows],
            )
        )
    assert result, f"{folder} has no SYSTEM/SYSTEM_2k.log_structured_corrected.csv"
    return result


def grouping(codes: Sequence[object], statements: Sequence[str]) -> tuple[float, float]:
    """Return grouping accuracy and FGA."""
    ours, true = defaultdict(set), defaultdict(set)
    for line, (code, statement) in enumerate(zip(codes, statements, strict=True)):
        ours[code].add(line)
        true[statement].add(line)
    right = {frozenset(lines) for lines in ours.values()} & {frozenset(lines) for lines in true.values()}
    return sum(map(len, right)) / len(statements), 2 * len(right) / (len(ours) + len(true))


def _lines(log: LabelledLog, kind: str) -> list[str]:
    return log.messages if kind == "messages" else log.raw


def _groups(log: LabelledLog, kind: str) -> list[int]:
    text = pa.chunked_array([pa.array(_lines(log, kind), pa.large_string())])
    message = text if kind == "messages" else derived(text)["message"]
    codes: list[int] = find_patterns(message, text, lambda: np.zeros(len(text), np.int64)).code.tolist()
    return codes


def _made(name: str) -> LabelledLog:
    choose = random.Random(name)
    statements = STATEMENTS[name]
    weights = [1 / (rank + 1) for rank in range(len(statements))]
    messages, raw, truth = [], [], []
    for at in range(2000):
        statement = choose.choices(statements, weights)[0]
        words = {
            "number": choose.randrange(1000),
            "path": f"/{choose.choice(['data', 'mnt', 'srv'])}/{choose.choice(['a', 'b', 'web'])}/{choose.randrange(99)}.bin",
            "ip": f"10.0.{choose.randrange(9)}.{choose.randrange(255)}:{choose.randrange(1024, 65536)}",
            "id": f"{choose.choice(['web', 'tune', 'etl'])}-{choose.getrandbits(20):05x}",
            "user": choose.choice(["ann", "bob", "root", "eve", "svc-7"]),
        }
        message = statement.format(**words)
        header = {
            "minute": at // 60 % 60,
            "second": at % 60,
            "number": choose.randrange(1000),
            "name": choose.choice(["core", "io", "net"]),
            "level": choose.choice(["INFO", "INFO", "WARNING"]),
        }
        messages.append(message)
        raw.append(HEADERS[name].format(**header) + message)
        truth.append(statement)
    return LabelledLog(name, messages, raw, truth)


def _drain() -> Callable[[list[str]], list[int]] | None:
    """Return Drain3 as a function, installed on demand into a folder of its own; None if it cannot be had."""
    folder = Path(sys.prefix) / "drain3"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        if subprocess.run([*command, "drain3"], check=False).returncode:
            print("Drain3 cannot be installed: it is left out")
            return None
    sys.path.append(str(folder))
    drain, masking, configuration = (
        importlib.import_module(name) for name in ("drain3", "drain3.masking", "drain3.template_miner_config")
    )

    def groups(lines: list[str]) -> list[int]:
        config = configuration.TemplateMinerConfig()
        for name, pattern in {
            "ID": r"([0-9a-f]{2,}:){3,}[0-9a-f]{2,}",
            "IP": r"\d{1,3}(?:\.\d{1,3}){3}",
            "HEX": r"0x[0-9a-fA-F]+",
            "NUM": r"[-+]?\d+",
        }.items():
            bounded = rf"((?<=[^A-Za-z0-9])|^)({pattern})((?=[^A-Za-z0-9])|$)"
            config.masking_instructions.append(masking.MaskingInstruction(bounded, name))
        miner = drain.TemplateMiner(config=config)
        return [miner.add_log_message(line)["cluster_id"] for line in lines]

    return groups
