"""Filters by columns select the same rows as filters line by line, and read no more than necessary."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from archive.made import archived, lively

from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.query.re2 import bytewise
from cortex_jupyter.query.required_literals import RequiredLiterals, required_literals
from cortex_jupyter.tables.read import read
from cortex_jupyter.tables.search import match_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.filled import Filled

LINES = [
    "",
    "a+b",
    "aab",
    "tab\there",
    "no\0thing",
    "café noir",
    "CAFÉ",
    "50% [done] (best) {x} #1 & ~2 -3",
    "\\d",
    "loss=12 best",
    "LOSS=1",
    "x" * 70_000 + "far=1 away",
    "ab\\Qcd",
    "🚂 train 7",
    "a\nb",
]


@pytest.mark.parametrize(
    "pattern",
    [
        "a+b",
        r"a\+b",
        "b",
        "fé no",
        "(?i)café",
        "(?i:l)oss",
        r"\[done\] \(best\)",
        r"#1 & ~2 -3",
        r"\\d",
        r"\d best",
        r"loss=\d+ (best|worst)",
        "far",
        r"far=\d",
        "Qcd",
        "🚂 tr.in",
        "thing",
        "no\0",
        r"\t",
        "^$",
        "x?",
        "a.b",
        "(?s)a.b",
        "(?x) loss = 1 2",
        "$",
        "(?:best|nothing)",
        "é",
        "best|away",
        "(best|away)$",
        "(?i)AWAY|best",
        "b|é|q|w|e|r|t|y|u|i",
        "|b",
        "b|",
        "CAF|[0-9] no",
    ],
)
def test_a_pattern_selects_the_same_rows_as_line_by_line(filled: Filled, tmp_path: Path, pattern: str) -> None:
    filled.lines([(1, i, text) for i, text in enumerate(LINES)]).end()
    store, held = archived(filled, str(tmp_path))
    find = finder("grep", pattern)
    for name, wanted in (("grep", True), ("exclude", False)):
        expected = [text for text in LINES if bool(find(text)) is wanted]
        assert read(store, held.info.id, LogQuery.parse({name: [pattern]}))["text"].to_pylist() == expected
    held = required_literals(pattern)
    assert all(_holds(text, held) for text in LINES if find(text))
    assert not held.whole or all(find(text) for text in LINES if _holds(text, held))


def _holds(text: str, held: RequiredLiterals) -> bool:
    fold = str.lower if held.fold else str
    return not held.texts or any(fold(one) in fold(text) for one in held.texts)


#: Patterns and texts that RE2 and `re` treat differently.
# Not formatted: fifty short patterns would take fifty lines.
PIECES = [
    "a", "k", "S", "é", "█", "1", r"\d", r"\w", r"\s", r"\S", r"\W", r"\D", ".", "[ab]", "[^a]", "[a-k]", r"[^\d]", r"[\w-]", "[█é]", "[^█]",
    r"\b", r"\B", "^", "$", r"\A", r"\Z", "\n", "\u017f", "(?i:k)", "(?s:.)", "(?m:^)", "(?m:$)", "[K-s]", "(?i:[^s])", "(?-i:a)", "(?=a)", "(a|k)", "(a)\\1",
    "(?a:\\s)", "[^\\W]", "(?>a+)", "é?", "(?:é█)+", "[à-ü]", "\0", r"\x1c",
]  # fmt: skip


@pytest.mark.parametrize("flag", ["", "(?i)", "(?s)", "(?m)", "(?a)", "(?ia)"])
def test_re2_gets_an_equivalent_pattern(flag: str) -> None:
    rng = random.Random(flag)
    lines = [
        "".join(rng.choices("abkKsSiI_19 .\n\t-é█٣\u212a\u017f\u0131İÅß\u00a0\u2003\x1c\0²→", k=rng.randrange(9)))
        for _ in range(600)
    ]
    lines += ["", *("".join(rng.choices("abk1 ._S█→", k=6)) for _ in range(100))]
    text = pa.array(lines, pa.large_string())
    asked = 0
    for _ in range(120):
        pattern = flag + "".join(
            rng.choice(PIECES) + rng.choice(["", "", "*", "{2}", "?", "{1,3}"]) for _ in range(rng.randrange(1, 4))
        )
        try:
            find = finder("grep", pattern)
        except BadQuery:
            continue
        asked += bytewise(pattern) is not None
        assert match_mask(text, pattern, find).to_pylist() == [bool(find(line)) for line in lines], pattern
    assert asked > 25 or "a" in flag


@pytest.mark.parametrize("pattern", ["word", r"w\w+d", "word|sword", r"\bword\b"])
@pytest.mark.parametrize("often", [1, 2, 40, 100, 5000])
def test_a_word_is_found_whether_rare_or_frequent(pattern: str, often: int) -> None:
    rng = random.Random(often)
    lines = ["a sword, a word" if rng.randrange(often) == 0 else "wo rd" * rng.randrange(4) for _ in range(5000)]
    crowded = ["word"] * 300 + lines  # what comes first is not what comes after
    for texts in (lines, crowded, crowded[::-1]):
        text = pa.array(["rd", *texts, "wo"], pa.large_string())[1:-1]
        assert match_mask(text, pattern, finder("grep", pattern)).to_pylist() == [
            bool(re.search(pattern, t)) for t in texts
        ]


def test_letters_beyond_ascii_that_equal_ascii_letters_in_another_case() -> None:
    others = "".join(chr(i) for i in range(128, 0x110000) if not 0xD800 <= i < 0xE000)
    assert set(re.findall("(?i)[a-z0-9]", others)) == set("\u212a\u017f\u0130\u0131")


def test_other_columns_are_decoded_only_for_matching_rows(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.archive.layout._MIN_GROUP_ROWS", 1000)
    store, held = archived(lively(filled), str(tmp_path))
    read_group, decoded = ParquetFile._group, []

    def counted(file: ParquetFile, group: int, names: Sequence[str], parts: Any) -> Any:
        decoded.append((group, *names))
        return read_group(file, group, names, parts)

    monkeypatch.setattr(ParquetFile, "_group", counted)
    assert len(read(store, held.info.id, LogQuery.parse({"grep": ["ol. 7$"]}))) == 1
    groups = held.file.metadata.num_row_groups
    texts, others = ([one for one in decoded if ("text" in one) is wanted] for wanted in (True, False))
    assert groups > 5 and sorted(texts) == [(i, "text") for i in range(groups)] and len(others) == 1
