from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.conditions import conditions, holds
from cortex_jupyter.query.language import LogQuery

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "where.json").read_text())


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["where"])
def test_the_table(case: dict[str, Any]) -> None:
    def test(line: str) -> bool:
        return all(holds(one)(line) for one in conditions(case["where"]))

    wrong = {line: test(line) for line in case["yes"] + case["no"]}
    assert wrong == {line: line in case["yes"] for line in case["yes"] + case["no"]}


@pytest.mark.parametrize("text", TABLE["refused"])
def test_refused(text: str) -> None:
    with pytest.raises(BadQuery) as error:
        conditions(text)
    assert "field op value" in error.value.hint


def test_every_where_parameter_must_match_and_raw_keeps_them() -> None:
    query = LogQuery.parse({"where": ["a>1", "b=x"], "grep": "q", "exclude": ["x", "y"]})
    assert (query.where, query.grep, query.exclude) == (("a>1", "b=x"), ("q",), ("x", "y"))
    assert query.raw == {"where": ["a>1", "b=x"], "grep": "q", "exclude": ["x", "y"]}
    with pytest.raises(BadQuery, match="no condition"):
        LogQuery.parse({"where": "a"})
    with pytest.raises(BadQuery, match="not a string"):
        LogQuery.parse({"where": [3]})


@given(st.text(alphabet="{}\"'\\:=,[]() loss0.5en\x1b[m|", max_size=60))
def test_any_line_has_an_answer(line: str) -> None:
    for text in ("loss<1", "loss.x=0", 'loss~"e"'):
        for one in conditions(text):
            assert holds(one)(line) in (True, False)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(BadQuery):
        conditions(text)
