"""Pieces of texts as Arrow's string views."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.parsing.fields import fields_text, message
from cortex_jupyter.tables import views as module
from cortex_jupyter.tables.derive import cut
from cortex_jupyter.tables.views import Views

LINES = [
    "",
    "short",
    "exactly 12 b",
    "a line of thirteen",
    "é" * 40,
    "2026-01-31 12:00:00 INFO a message that is long",
    '{"level":"warn","msg":"hot"}',
    '{"msg":"a long enough message","n":1}',
    "a=1 b=2 msg=hello",
    "\x1b[31mred\x1b[0m",
    'before {"n": 1}',
    "2026-01-31 12:00:00 INFO x",
]


@pytest.mark.parametrize("lines", [LINES, LINES[:8], LINES[:5]], ids=["all", "objects and heads", "plain"])
def test_message_and_fields_are_the_same_whether_they_share_the_text_or_not(lines: list[str]) -> None:
    text = pa.chunked_array([pa.array(lines * 3, pa.large_string()).slice(2), pa.array([], pa.large_string())])
    found = find_spans(text)
    at = [found[name] for name in ("message_at", "message_len", "fields_at")]
    own, shared = cut(text, *at), cut(text, *at, shared=True)
    assert [(message(x), fields_text(x)) for x in text.to_pylist()] == list(
        zip(own["message"].to_pylist(), own["fields"].to_pylist(), strict=True)
    )
    own["text"] = text
    for name in ("message", "fields", "text"):
        assert shared[name].type == pa.string_view()
        assert shared[name].to_pylist() == own[name].to_pylist()
        assert pl.from_arrow(pa.table({name: shared[name]}))[name].to_list() == own[name].to_pylist()
        for chunk in shared[name].chunks:
            chunk.validate(full=True)


def test_a_line_with_only_colour_codes_has_an_empty_message() -> None:
    text = pa.chunked_array([pa.array(["\x1b[1m"], pa.large_string())])
    found = find_spans(text)
    assert cut(text, *(found[name] for name in ("message_at", "message_len", "fields_at")))["message"].to_pylist() == [
        ""
    ]


def test_offsets_too_large_for_a_view_refer_to_a_later_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP", 64)
    lines = pa.array([f"line {i} with some more text" for i in range(50)], pa.large_string())
    views = Views(len(lines))
    views.set(None, lines, pa.array([5] * len(lines), pa.int32()))
    found = views.array()
    found.validate(full=True)
    assert found.to_pylist() == [line[5:] for line in lines.to_pylist()]
    monkeypatch.setattr(module, "_MOST", 64)
    assert module.as_views(lines).to_pylist() == lines.to_pylist()


@pytest.mark.parametrize("prefixes", [True, False])
def test_pieces_stay_within_their_value_even_with_wrong_offsets(
    monkeypatch: pytest.MonkeyPatch, *, prefixes: bool
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = random.Random(4)
    lines = ["x" * rng.randrange(3) + f"line {i} of some length"[: rng.randrange(30)] for i in range(100)]
    at = [rng.choice([0, 1, 5, 13, 40, -1, None]) for _ in lines]
    size = [rng.choice([None, 0, 3, 12, 13, 99, -1]) for _ in lines]
    starts = [min(max(a or 0, 0), len(line)) for line, a in zip(lines, at, strict=True)]
    wanted = [line[a:] if n is None else line[a:][: max(n, 0)] for line, a, n in zip(lines, starts, size, strict=True)]
    views = Views(len(lines), prefixes=prefixes)
    views.set(None, pa.array(lines, pa.large_string()), pa.array(at, pa.int32()), pa.array(size, pa.int32()))
    assert views.array().cast(pa.large_string()).to_pylist() == wanted
    if prefixes:
        views.array().validate(full=True)
    views.set(np.array([3, 90]), pa.array(["another that is long", "two"], pa.large_string()))
    assert [views.array().cast(pa.large_string())[i].as_py() for i in (3, 90)] == ["another that is long", "two"]
