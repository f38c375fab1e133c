"""What trainers print, with the metrics in it: trainers.json names the program and its source of each. The page reads the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cortex_jupyter.analysis.metrics import Carried, metrics

PROGRAMS = json.loads(Path(__file__).with_name("trainers.json").read_text())


def reports(lines: list[str], carried: Carried | None = None, first: int = 0) -> list[list[Any]]:
    """Return for each line that reports something its index, step, rank and values."""
    numbers = range(first, first + len(lines))
    table = pa.table(
        {
            "time": pa.array(numbers, pa.timestamp("ns", "UTC")),
            "seq": pa.array(numbers, pa.int64()),
            "text": pa.chunked_array([pa.array(lines, pa.large_string())]),
            "pod": pa.array(["p"] * len(lines)).dictionary_encode(),
            "task": pa.array(["ml:job/t"] * len(lines)).dictionary_encode(),
        }
    )
    found: dict[int, list[Any]] = {}
    for row in metrics(table, carried=carried).to_pylist():
        line = found.setdefault(row["seq"], [row["seq"], row["step"], row["rank"], {}])
        line[3][row["name"]] = row["value"]
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program["program"])
def test_a_program_reports(program: dict[str, Any]) -> None:
    assert reports(program["lines"]) == program["reports"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program["program"])
def test_pieces_report_what_the_whole_does(program: dict[str, Any]) -> None:
    """Apart from the step of a table that comes in a later piece; then the pieces say that it came."""
    carried, found, late = Carried(), [], False
    for number, line in enumerate(program["lines"]):
        found += reports([line], carried, number)
        late |= carried.has_late_steps
    wanted = program["reports"]
    assert [[row[0], row[3]] for row in found] == [[row[0], row[3]] for row in wanted]
    assert late or [row[1] for row in found] == [row[1] for row in wanted]
    assert late == (program["program"].startswith("Stable-Baselines"))
