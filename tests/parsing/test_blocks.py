from __future__ import annotations

import json
import timeit
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_jupyter.parsing.blocks import Block, Blocks, blocks
from cortex_jupyter.parsing.grammars.heads import begin

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "blocks.json").read_text())
TRACEBACK = """Traceback (most recent call last):
  File "/app/train.py", line 212, in step
    assert torch.isfinite(loss)
RuntimeError: loss is NaN at step {}"""


def as_case(block: Block) -> dict[str, Any]:
    frames = [[frame.file, frame.line, frame.function, frame.code] for frame in block.frames]
    plain = {name: getattr(block, name) for name in ("kind", "source", "type", "message", "rows", "chain")}
    return {**plain, "frames": frames}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_blocks(case: dict[str, Any]) -> None:
    assert [as_case(block) for block in blocks(map(tuple, case["lines"]))] == case["blocks"]


@pytest.mark.parametrize("words", ["' panicked at 'x', a:1:1 ", "', x", "', a:1", ":1", "' (1) panicked at "])
def test_a_line_that_looks_like_a_panic_costs_at_most_quadratic_time(words: str) -> None:
    def seconds(repeats: int) -> float:
        line = f"thread 'm' panicked at '{words * repeats}"
        return min(timeit.repeat(lambda: begin(line), number=1, repeat=3))

    # Cubic time would be 64 times longer.
    assert seconds(160) < 40 * max(seconds(40), 1e-4)


def test_a_real_traceback_is_parsed() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("deep\nand wide")
        deep(n - 1)

    try:
        try:
            deep(2)
        except ValueError as error:
            raise ExceptionGroup("all", [error, KeyError(1)]) from error
    except ExceptionGroup:
        text = traceback.format_exc()
    (block,) = blocks(("pod", line) for line in ["before", *text.splitlines(), "after"])
    assert block.rows == list(range(1, len(text.splitlines()) + 1))
    assert block.title == "ExceptionGroup: all (2 sub-exceptions)"
    assert {"ValueError: deep", "KeyError: 1"} <= set(block.chain)
    assert sum(frame.function == "deep" for frame in block.frames) % 3 == 0


def test_a_block_is_returned_when_its_source_continues() -> None:
    parser = Blocks()
    for line in TRACEBACK.format(1).splitlines():
        assert parser.feed("a", line) is None
    assert parser.feed("b", "something else") is None
    (ended,) = [block for i in range(30) if (block := parser.feed("a", f"step {i}"))]
    assert ended.title == "RuntimeError: loss is NaN at step 1"
    assert parser.close() == []


def test_one_failure_in_many_pods_has_one_signature() -> None:
    lines = [(pod, line) for pod in range(3) for line in TRACEBACK.format(pod).splitlines()]
    assert len({block.signature for block in blocks(lines)}) == 1
    other = [("x", line.replace("line 212", "line 213")) for line in TRACEBACK.format(1).splitlines()]
    assert len({block.signature for block in blocks(lines + other)}) == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([line for case in CASES for _, line in case["lines"]]))))
def test_any_order_of_lines_makes_complete_blocks(lines: list[tuple[int, str]]) -> None:
    tracebacks = blocks(lines)
    rows = [row for block in tracebacks for row in block.rows]
    assert len(rows) == len(set(rows))
    for block in tracebacks:
        assert len(block.rows) > 1 and block.rows == sorted(block.rows)
        assert {lines[row][0] for row in block.rows} == {block.source}


@given(st.text(alphabet='{}[]()"=\\: \tTraceback.(most recent call last)at|+-0123\x1b', max_size=300))
def test_texts_that_look_like_tracebacks(text: str) -> None:
    blocks([("a", "Traceback (most recent call last):"), ("a", text), ("a", f"  at {text}"), ("a", f"panic: {text}")])


def test_lines_of_a_mebibyte_are_parsed_quickly() -> None:
    for line in ("a." * (1 << 19), " at " * (1 << 18), "│" * (1 << 19), "frame #" * (1 << 17), " " * (1 << 20)):
        blocks([("a", "x"), ("a", line), ("a", "Traceback (most recent call last):"), ("a", line), ("a", line)])
