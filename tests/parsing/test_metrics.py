"""Lines of the common libraries in metrics.json, with their metrics and steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.parsing.metrics import number, read

CASES = json.loads(Path(__file__).with_name("metrics.json").read_text())


@pytest.mark.parametrize(("line", "values", "step"), CASES, ids=[c[0][:40] for c in CASES])
def test_a_line_reports(line: str, values: dict[str, Any], step: float | None) -> None:
    found = shapes(pa.chunked_array([pa.array([line], pa.large_string())]))
    reading = read(found.texts[0])
    tokens = found.tokens(range(len(found.start))).to_pylist()
    got: dict[str, float] = {}
    for name, at in reading.values.items() if reading else ():
        value = at if isinstance(at, float) else number(",".join(tokens[at : at + reading.joined.get(at, 0) + 1]))
        if value is not None:
            got[name] = value
    assert got.keys() == values.keys()
    for name, value in values.items():
        assert got[name] == value or str(got[name]) == value, name
    stepped = number(tokens[reading.step]) if reading and reading.step is not None else None
    assert stepped == step or not values
