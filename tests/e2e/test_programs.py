"""Real programs run as tasks: their errors, metrics and progress bars, and their lines as frames."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.jupyter import Home

PROGRAMS = Path(__file__).parents[1] / "programs"
#: The file system of a pod is read-only, so pytest must not capture output into files.
COMMANDS = {
    "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "-sv", "failing.py"],
    "train": [sys.executable, "-u", "train.py"],
    "node": ["node", "shop.mjs"],
    "java": ["java", "-XX:-UsePerfData", "Orders.java"],
}
#: The calls of a user's notebook for these tasks.
LOOK = """
import json, sys
import cortex_jupyter as cortex
found = {}
for program, task in json.loads(sys.argv[1]).items():
    log = cortex.logs(task)
    log.wait()
    found[program] = {
        "exit": log.exit_code, "errors": [error.title for error in log.errors()], "why": str(log.why()),
        "pandas": log.to_pandas().text.tolist(), "polars": log.to_polars()["text"].to_list(),
        "sql": log.sql("select count(*) from log where level = 'error'").fetchall()[0][0],
        "metrics": sorted(set(log.metrics().to_pandas()["name"])),
        "bars": sorted(bar["label"] for bar in log.progress()),
        "complete": [log.complete.records, len(log.complete.gaps)],
    }
print(json.dumps(found))
"""


def test_errors_metrics_and_progress_of_real_programs_are_found(home: Home, job: Callable[..., str]) -> None:
    run = f"import os; os.chdir({str(PROGRAMS / 'src')!r}); os.environ['PYTHONDONTWRITEBYTECODE'] = '1'; os.execv(c[0], c)"
    installed = {name: [path, *rest] for name, (command, *rest) in COMMANDS.items() if (path := shutil.which(command))}
    tasks = {program: job(f"c = {command!r}; {run}") for program, command in installed.items()}
    done = home.run(sys.executable, "-c", LOOK, json.dumps(tasks))
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    expected = {program["name"]: program for program in json.loads((PROGRAMS / "programs.json").read_text())}
    for program, seen in found.items():
        assert seen["errors"] == expected[program]["errors"], program
        assert seen["exit"] == 1 and seen["complete"] == [len(seen["pandas"]), 0]
        assert seen["pandas"] == seen["polars"] and seen["sql"] > 0
        assert expected[program]["errors"][-1].split(":")[0] in seen["why"]
    assert {"train_loss", "val_loss", "val_acc"} <= set(found["train"]["metrics"])
    assert found["train"]["bars"] == ["Epoch 0", "Epoch 1"]
