"""What a user types means the same in Python, on the command line, over HTTP and in the viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.typed import typed_query

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "typed.json").read_text())


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["typed"])
def test_the_table(case: dict[str, Any]) -> None:
    query = typed_query(case["typed"])
    assert {k: v for k, v in query.items() if k != "level"} == {k: v for k, v in case["query"].items() if k != "level"}
    assert LogQuery.parse(query).level == LogQuery.parse(case["query"]).level


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_typed_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="empty"):
        typed_query(text)


def test_a_wrong_regular_expression_is_named_as_it_was_typed() -> None:
    with pytest.raises(BadQuery, match=r"^/a\(/ is no regular expression: missing \)") as error:
        typed_query("loss -/a(/")
    assert "double quotes" in error.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/a{99999999999}/", "nested"),
        ("/" + "(" * 4000 + "a" + ")" * 4000 + "/", "nested"),
        ("a" + " " * 60_000 + "b", "longer than 10000"),  # it took seconds of the server's event loop
    ],
)
def test_what_takes_too_much_to_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadQuery, match=message) as refused:
        typed_query(text)
    assert len(str(refused.value)) < 300
