"""The lines of tracebacks have the traceback's level, however they are cut into batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.model import Batch
from cortex_jupyter.query.filter import Filter
from cortex_jupyter.query.tracebacks import KnownTracebacks, TracebackTracker, find_tracebacks

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "parsing" / "fixtures" / "blocks.json").read_text()
)


def batches(lines: list[tuple[str, str]], size: int) -> Iterator[Batch]:
    ids = {source: number for number, source in enumerate(dict.fromkeys(source for source, _ in lines), 1)}
    for first in range(0, len(lines), size):
        part = lines[first : first + size]
        seqs, zeros = list(range(first + 1, first + len(part) + 1)), [0] * len(part)
        yield Batch("d:job/a", seqs, zeros, [ids[source] for source, _ in part], zeros, [text for _, text in part], {})


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_all_lines_of_a_traceback_are_found(case: dict[str, Any], size: int) -> None:
    wanted = {kind == "nccl": [] for kind in ("nccl", "python")}
    for block in case["blocks"]:
        wanted[block["kind"] == "nccl"] += [row + 1 for row in block["rows"]]
    found = find_tracebacks(batches(case["lines"], size))
    assert (list(found.errors), list(found.warnings)) == (sorted(wanted[False]), sorted(wanted[True]))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_traceback_that_arrives_in_parts_is_found(size: int) -> None:
    lines = CASES[0]["lines"] * 3
    keep = Filter(level="error", tracebacks=TracebackTracker())
    kept = [batch.texts[i] for batch in batches(lines, size) for i in keep(batch)]
    assert kept == [text for _, text in CASES[0]["lines"][1:8]] * 3


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_coloured_traceback_is_found(case: dict[str, Any], size: int) -> None:
    r"""A terminal's colours change nothing, wherever they stand (`\x1b[1;31mgoroutine 1`, or within a word)."""

    def colour(text: str) -> str:
        return text if "\x1b" in text else f"\x1b[0m\x1b[1;31m{text[:1]}\x1b[4m{text[1:2]}\x1b[0m{text[2:]}"

    coloured = [(source, colour(text)) for source, text in case["lines"]]
    plain, found = (find_tracebacks(batches(lines, size)) for lines in (case["lines"], coloured))
    assert [list(each) for each in found] == [list(each) for each in plain]
    live, plain_live = (
        [dict(tracker.levels(batch)) for batch in batches(lines, size)]
        for tracker, lines in ((TracebackTracker(), coloured), (TracebackTracker(), case["lines"]))
    )
    assert live == plain_live


def test_the_higher_level_counts() -> None:
    texts = ["CRITICAL out of memory", "WARNING slow", "on"]
    batch = Batch("d:job/a", [1, 2, 3], [0] * 3, [1] * 3, [0] * 3, texts, {})
    tracebacks = KnownTracebacks([1, 2], [3])
    kept = {level: list(Filter(level=level, tracebacks=tracebacks)(batch)) for level in ("=critical", "error", "=info")}
    assert kept == {"=critical": [0], "error": [0, 1], "=info": []}
    assert list(Filter(level="=warning", tracebacks=tracebacks)(batch)) == [2]
