from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_jupyter.parsing.fields import fields, message
from cortex_jupyter.parsing.level import ALIASES, LEVELS, level

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "lines.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["line"][:40])
def test_lines(case: dict[str, Any]) -> None:
    line = case["line"]
    assert {"line": line, "level": level(line), "message": message(line), "fields": fields(line)} == case


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert level(text) is None or level(text) in LEVELS
    assert message(text) is not None and (fields(text) is None or fields(text))


@given(st.text(alphabet='{}[]()"=\\: \tIWEF0123456789.-|levelinfo\x1b', max_size=300))
def test_texts_that_look_like_logs(text: str) -> None:
    assert level(text) is None or level(text) in LEVELS
    assert len(message(text)) <= len(text)


@given(st.sampled_from(sorted(ALIASES)), st.text(max_size=30))
def test_a_json_line_has_its_level_whatever_its_message_says(word: str, text: str) -> None:
    line = json.dumps({"msg": text, "level": word.upper()})
    assert level(line) == ALIASES[word]
    assert message(line) == text


def test_lines_of_a_mebibyte_are_parsed_quickly() -> None:
    for line in ("a=" * (1 << 19), "{" * (1 << 20), "[" * (1 << 20), "x " * (1 << 19), "ERROR " * (1 << 17)):
        level(line), message(line), fields(line)
