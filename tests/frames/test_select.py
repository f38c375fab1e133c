"""Filters by columns: the same rows as asking each text, and no more read than that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from archive.made import archived, lively

from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.frames.read import read
from cortex_jupyter.parsing.pattern import finder, literal
from cortex_jupyter.parsing.query import LogQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from frames.filled import Filled

LINES = [
    "", "a+b", "aab", "tab\there", "no\0thing", "café noir", "CAFÉ", "50% [done] (best) {x} #1 & ~2 -3", "\\d", "loss=12 best",
    "LOSS=1", "x" * 70_000 + "far=1 away", "ab\\Qcd", "🚂 train 7", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    [
        "a+b", r"a\+b", "b", "fé no", "(?i)café", "(?i:l)oss", r"\[done\] \(best\)", r"#1 & ~2 -3", r"\\d", r"\d best", r"loss=\d+ (best|worst)",
        "far", r"far=\d", "Qcd", "🚂 tr.in", "thing", "no\0", r"\t", "^$", "x?", "a.b", "(?s)a.b", "(?x) loss = 1 2", "$", "(?:best|nothing)", "é",
    ],
)  # fmt: skip
def test_a_pattern_means_what_it_means_line_by_line(filled: Filled, tmp_path: Path, pattern: str) -> None:
    filled.lines([(1, i, text) for i, text in enumerate(LINES)]).end()
    store, held = archived(filled, str(tmp_path))
    find = finder("grep", pattern)
    for name, wanted in (("grep", True), ("exclude", False)):
        expected = [text for text in LINES if bool(find(text)) is wanted]
        assert read(store, held.info.id, LogQuery.parse({name: [pattern]}))["text"].to_pylist() == expected
    needed, whole = literal(pattern)
    assert all(needed in text for text in LINES if find(text))
    assert not whole or all(find(text) for text in LINES if needed in text)


def test_the_rest_of_a_row_is_decoded_where_something_was_found(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.archive.layout._GROUP", 1000)
    store, held = archived(lively(filled), str(tmp_path))
    read_group, decoded = ParquetFile._group, []

    def counted(file: ParquetFile, group: int, names: Sequence[str], parts: Any) -> Any:
        decoded.append((group, *names))
        return read_group(file, group, names, parts)

    monkeypatch.setattr(ParquetFile, "_group", counted)
    assert len(read(store, held.info.id, LogQuery.parse({"grep": ["old 7"]}))) == 1
    groups = held.file.metadata.num_row_groups
    texts, others = ([one for one in decoded if ("text" in one) is wanted] for wanted in (True, False))
    assert groups > 5 and sorted(texts) == [(i, "text") for i in range(groups)] and len(others) == 1
