from __future__ import annotations

import orjson
import pyarrow as pa
import pytest

from cortex_jupyter.frames.derive import derived


def of(*lines: str) -> list[tuple[str, str | None]]:
    found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    return list(zip(found["message"].to_pylist(), found["fields"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"msg": "a", "n": 1}', "a"),
        ('  {"message": "b"} ', "b"),
        ('{"event": "c", "log": {"level": "x"}}', "c"),
        ('{"msg": 7, "n": 1}', '{"msg": 7, "n": 1}'),
    ],
)
def test_a_json_line_is_its_own_fields(line: str, message: str) -> None:
    assert of(line) == [(message, line)]


def test_logfmt_becomes_an_object() -> None:
    ((message, fields),) = of(r'ts=1 level=info msg="a \"quoted\" word" empty= path=/a/b')
    assert message == 'a "quoted" word'
    assert fields is not None
    assert orjson.loads(fields) == {"ts": "1", "level": "info", "msg": 'a "quoted" word', "empty": "", "path": "/a/b"}


@pytest.mark.parametrize("line", ["{not json}", "{", "loss=0.5", "epoch 3 loss=0.5 lr=1", "a=1 b", "", "[1, 2]", "{}}"])
def test_other_lines_have_no_fields(line: str) -> None:
    assert of(line) == [(line, None)]


def test_colours_are_no_part_of_the_message() -> None:
    assert of("\x1b[31mERROR\x1b[0m \x1b[1;4mno\x1b[m", "plain") == [("ERROR no", None), ("plain", None)]


def test_no_chunk_at_all() -> None:
    found = derived(pa.chunked_array([], pa.large_string()))
    assert all(len(column) == 0 for column in found.values())
