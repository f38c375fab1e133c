from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from cortex_jupyter.parsing.progress import progress

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "progress.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["line"][:40])
def test_progress(case: dict[str, Any]) -> None:
    bar = progress(case["line"])
    assert (None if bar is None else asdict(bar)) == case["progress"]


@pytest.mark.parametrize("options", [{}, {"ascii": True}, {"desc": "train: a"}, {"unit": " examples"}, {"total": None}])
def test_bars_drawn_by_tqdm(options: dict[str, Any]) -> None:
    out = io.StringIO()
    with tqdm(**{"total": 400, "file": out, "mininterval": 0, **options}) as drawn:
        drawn.update(100)
        drawn.set_postfix(loss=0.5)
    bar = progress(out.getvalue())
    assert bar is not None and bar.step == 100 and bar.total == options.get("total", 400)
    assert bar.label == options.get("desc", "") and bar.unit == options.get("unit", "it").strip()
    assert bar.rest == "loss=0.5" and bar.elapsed is not None and bar.elapsed <= time.monotonic()


@given(st.text(alphabet='0123456789%|█━ [](),:<?/.it/skMGB=>-\r\x1b"', max_size=200))
def test_texts_that_look_like_bars(text: str) -> None:
    bar = progress(text)
    assert bar is None or bar.fraction is None or bar.fraction >= 0


def test_lines_of_a_mebibyte_are_parsed_quickly() -> None:
    for line in ("10%| ", "━", "1/2 [=", " ", "a: ", "|", "0.", "\r", "1%|█| 1/2 [00:01<00:01, 1it/s]\r"):
        progress(line * ((1 << 20) // len(line)))
        progress(line * (999 // len(line)))
        progress(f"%|{line * (990 // len(line))}%|")
