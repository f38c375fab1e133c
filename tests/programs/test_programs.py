"""The output of real programs (`logs/`), read through the public interface. js/test/store/folds.test.ts uses the same answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cortex_jupyter as cortex
from cortex_jupyter.parsing.progress import progress

HERE = Path(__file__).parent
PROGRAMS: list[dict[str, Any]] = json.loads((HERE / "programs.json").read_text())


@pytest.fixture(params=PROGRAMS, ids=lambda program: program["name"])
def program(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found | {"log": cortex.open(HERE / "logs" / f"{found['name']}.log")}


def test_every_log_has_expected_answers() -> None:
    assert {program["name"] for program in PROGRAMS} == {path.stem for path in (HERE / "logs").iterdir()}


def test_levels(program: dict[str, Any]) -> None:
    found = Counter(program["log"].to_pandas().level.dropna())
    assert {name: count for name, count in found.items() if count} == program["levels"]


def test_messages_contain_no_escape_sequences(program: dict[str, Any]) -> None:
    assert not [m for m in program["log"].to_pandas().message if "\x1b" in m]


def test_errors(program: dict[str, Any]) -> None:
    errors = program["log"].errors()
    assert [error.title for error in errors] == program["errors"]
    blocks = [error for error in errors if error.kind != "line"]
    assert len(blocks) == len(program["blocks"])
    for error, block in zip(blocks, program["blocks"], strict=True):
        assert (error.kind, error.type, error.message, error.chain) == (
            block["kind"],
            block["type"],
            block["message"],
            block["chain"],
        )
        assert (error.seq - 1, len(error.frames)) == (block["rows"][0], block["frames"])
        assert all(frame.file and frame.function is not None for frame in error.frames)


def test_bars(program: dict[str, Any]) -> None:
    bars = [(row, progress(record.text)) for row, record in enumerate(program["log"])]
    assert [[row, bar.label, round(bar.fraction or 0, 4)] for row, bar in bars if bar] == program["bars"]


def test_metrics(program: dict[str, Any]) -> None:
    found = Counter(program["log"].metrics().to_pandas()["name"])
    wanted = program.get("metrics")
    assert not found if wanted == {} else found >= Counter(wanted)


def test_every_line_has_a_pattern(program: dict[str, Any]) -> None:
    assert sum(row["count"] for row in program["log"].patterns()) == len(program["log"].to_arrow())
