from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.parsing.level import ALIASES, level

PIECES = [
    *ALIASES,
    *(a.upper() for a in ALIASES),
    *(a.capitalize() for a in ALIASES),
    "I0102 10:00:00.000001 1 x",
    "E",
    "Traceback (most recent call last):",
    'File "x.py", line 3',
    "ValueError: x",
    "a.b.KeyError",
    "Caused by: x",
    "goroutine 7 [running]",
    "at com.x.Y(Z.java:1)",
    "Exception in thread main",
    "level",
    "lvl",
    "severity",
    "30",
    "x",
    '{"level": "warn"}',
    '{"severity":40}',
    "{",
    "\x1b[31m",
    "é",
    "K",
    "\x1c",
    "\v",
    "loss",
    "2026-01-01T00:00:00Z",
]
GLUE = st.sampled_from(["", " ", "  ", ":", ": ", "=", '="', "'", "[", "]", "(", ")", "|", ".", "/", "-", "_", "\t"])
LINES = st.lists(st.tuples(GLUE, st.sampled_from(PIECES), GLUE), max_size=6).map(
    lambda parts: "".join(x for part in parts for x in part)
)


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=120), max_size=30))
def test_a_column_has_the_levels_that_single_lines_have(lines: list[str]) -> None:
    column = pa.chunked_array([pa.array(lines, pa.large_string())])
    assert find_spans(column)["level"].to_pylist() == [level(line) for line in lines]
