from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_jupyter.parsing.fields import fields, message
from cortex_jupyter.tables.convert import to_pandas
from cortex_jupyter.tables.derive import derived

if TYPE_CHECKING:
    from pathlib import Path


def of(lines: list[str]) -> list[tuple[str, dict[str, Any] | None]]:
    found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    read = [None if text is None else orjson.loads(text) for text in found["fields"].to_pylist()]
    return list(zip(found["message"].to_pylist(), read, strict=True))


def by_line(lines: list[str]) -> list[tuple[str, dict[str, Any] | None]]:
    return [(message(x), fields(x)) for x in lines]


LINES = [
    '{"msg": "a", "n": 1}',
    '  {"message": "b"} ',
    '{"event": "c", "log": {"level": "x"}}',
    '{"msg": 7, "n": 1}',
    r'ts=1 level=info msg="a \"quoted\" word" empty= path=/a/b',
    "{not json}",
    "{",
    "loss=0.5",
    "epoch 3 loss=0.5 lr=1",
    "a=1 b",
    "",
    "[1, 2]",
    "{}}",
    "\x1b[31mERROR\x1b[0m \x1b[1;4mno\x1b[m",
    "plain",
    'worker 3: {"loss": 0.5}',
    "2026-01-31 12:00:00,123 WARNING disk is full",
    "[2026-01-31T12:00:00Z] [error]: no",
    "[2026-01-31T12:00:00Z no",
    "I0102 10:00:00.000001 1 main.go:3] up",
    "2026-01-31 12:00:00 | INFO | x",
    "INFO",
    "INFO: ",
    "[foo] x",
    "ERRORS x",
    "2026-01-31 12:00:00\u00a0INFO\u00a0x",
    "[ Warning ]\vx",
    "é 1",
    "2026/01/31 12:00:00 +0100 - DEBUG - x",
]


@pytest.mark.parametrize("line", LINES)
def test_message_and_fields_of_a_known_line(line: str) -> None:
    assert of([line]) == by_line([line])


# Not formatted: thirty short pieces would take thirty lines.
PIECES = st.sampled_from([
    "2026-01-31", "12:00:00", ",123", "Z", "+01:00", "INFO", "[warn]", "[x]", "|", "-", ":", " ", "  ", "T", "[", "]",
    "a=1", 'b="c d"', '{"m":1}', "{", "}", "\x1b[1m", "\u00a0", "\t", "text", "I0102 10:00:00.000001 1 a.go:3] ",
])  # fmt: skip
MADE = st.lists(PIECES, max_size=8).map("".join)


@settings(deadline=None)
@given(st.lists(MADE | st.text(max_size=60), max_size=20))
def test_a_column_gives_the_same_as_single_lines(lines: list[str]) -> None:
    assert of(lines) == by_line(lines)


def test_a_column_without_chunks() -> None:
    found = derived(pa.chunked_array([], pa.large_string()))
    assert all(len(column) == 0 for column in found.values())


def test_a_key_that_first_occurs_late_is_found() -> None:
    lines = ['{"n":12345678,"msg":"as before"}'] * 3000 + ['{"severity":"error","event":"at last"}', '{"n":1}']
    found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    assert found["level"].to_pylist()[-3:] == [None, "error", None]
    assert found["message"].to_pylist()[-3:] == ["as before", "at last", '{"n":1}']


def test_fields_that_are_whole_lines_share_memory_and_survive_a_round_trip(tmp_path: Path) -> None:
    lines = ['{"n":1,"msg":"first"}', "between, and longer than any view holds itself", '{"n":2}', "last"]
    text = pa.chunked_array([pa.array(lines, pa.large_string())])
    column = derived(text)["fields"]
    assert column.chunk(0).buffers()[2].address == text.chunk(0).buffers()[2].address
    expected = [lines[0], None, lines[2], None]
    table = pa.table({"fields": column})
    pq.write_table(table, tmp_path / "fields.parquet")
    assert pq.read_table(tmp_path / "fields.parquet")["fields"].to_pylist() == expected
    assert pl.DataFrame(table)["fields"].to_list() == expected
    frame = pickle.loads(pickle.dumps(to_pandas(table)))
    assert frame["fields"].isna().tolist() == [False, True, False, True]
    assert frame["fields"].str.len().fillna(0).tolist() == [21, 0, 7, 0]
    found = duckdb.from_arrow(table)
    assert found.filter("fields is not null").aggregate("sum(length(fields)), count(fields)").fetchall() == [(28, 2)]
    assert pc.sort_indices(column).to_pylist()[:2] == [0, 2]
