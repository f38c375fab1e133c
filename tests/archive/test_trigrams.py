"""Row groups that cannot contain a word are not read, and no line with it is ever missed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pytest
from archive.made import archived, lively

import cortex_jupyter as cortex
from cortex_jupyter.archive import layout, trigrams
from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.archive.trigrams import TrigramIndexBuilder, may_contain
from cortex_jupyter.model import Batch
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.searcher import search
from cortex_jupyter.tables.read import count, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.filled import Filled


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the row groups whose texts are read, of many in a few thousand lines."""
    monkeypatch.setattr(layout, "_MIN_GROUP_ROWS", 1000)
    read_group, seen = ParquetFile._group, []

    def counted(file: ParquetFile, group: int, names: Sequence[str] | None, parts: Any) -> Any:
        if names is None or "text" in names:
            seen.append(group)
        return read_group(file, group, names, parts)

    monkeypatch.setattr(ParquetFile, "_group", counted)
    return seen


@pytest.mark.parametrize("step", [1 << 16, 16, 5])
def test_no_row_group_with_a_word_is_skipped(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(trigrams, "_STEP", step)
    rng, left_out = random.Random(step), 0
    for _ in range(60):
        noted, groups = TrigramIndexBuilder(), []
        for _ in range(rng.randrange(4)):
            groups.append(["".join(rng.choices("abXYé█ 0", k=rng.randrange(9))) for _ in range(rng.randrange(1, 30))])
            noted.add(pa.array(groups[-1], pa.large_string()))
        for _ in range(30):
            words = ["".join(rng.choices("abXYé█ 0", k=rng.randrange(1, 6))) for _ in range(rng.randrange(1, 3))]
            may = may_contain(noted.pack(), len(groups), words)
            holds = [any(word.lower() in line.lower() for word in words for line in lines) for lines in groups]
            assert len(may) == len(groups) and all(one or not held for one, held in zip(may, holds, strict=True))
            left_out += may.count(False)
    assert left_out > 100


def test_the_footer_answers_for_a_word_that_no_line_has(filled: Filled, tmp_path: Path, looked: list[int]) -> None:
    store, held = archived(lively(filled), str(tmp_path / "archive"))
    file = held.file
    every = range(file.metadata.num_row_groups)
    old = [i for i in every if any(line.startswith("old 7") for line in file.read([i], ["text"])["text"].to_pylist())]
    assert 0 < len(old) < len(every) / 2
    for pattern, groups in (
        ("OutOfMemory", []),
        ("(?i)NOWHERE", []),
        ("Traceback|Out of memory", []),
        (r"out of \d+ bytes", []),
        ("old 7", old),
        ("(?i)OLD 7", old),
        ("nowhere|old 7", old),
        ("é", every),
        (r"ol\w 7", every),
    ):
        looked.clear()
        query = LogQuery.parse({"grep": pattern})
        found = read(store, held.info.id, query)
        assert sorted(set(looked)) == list(groups), pattern
        assert found.equals(read(filled.store, filled.id, query)) and count(store, held.info.id, query) == len(found)
    looked.clear()
    assert len(read(store, held.info.id, LogQuery.parse({"grep": ["step", "old"], "exclude": "no"}))) == 0
    assert len(set(looked)) < len(every)
    assert len(read(store, held.info.id, LogQuery.parse({"exclude": "nowhere"}))) == held.complete.records


@pytest.mark.parametrize("pattern", ["nowhere", "old 7", "(?i)STEP 12|no 12", "é"])
def test_a_search_reads_no_batch_without_the_word(
    filled: Filled, tmp_path: Path, looked: list[int], pattern: str
) -> None:
    store, held = archived(lively(filled), str(tmp_path / "archive"))
    query = LogQuery.parse({"grep": pattern})
    found, told = (
        [event for event in search(one, held.info.id, query, 1 << 30) if b"event: progress" not in event]
        for one in (store, filled.store)
    )
    assert _seqs(found) == _seqs(told) and orjson.loads(found[-1].split(b"data: ")[1]) == orjson.loads(
        told[-1].split(b"data: ")[1]
    )
    assert looked or pattern == "nowhere"
    assert len(set(looked)) < held.file.metadata.num_row_groups or pattern == "é"


def _seqs(events: list[bytes]) -> list[int]:
    batches = [Batch.decode(event.split(b"data: ")[1]) for event in events if event.startswith(b"event: log")]
    return sorted(seq for batch in batches for seq in batch.seqs)


@pytest.mark.parametrize("file", ["of an earlier version", "with more grams than are worth it"])
def test_without_an_index_every_group_is_read(
    filled: Filled, tmp_path: Path, looked: list[int], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    if file == "of an earlier version":
        monkeypatch.setattr(TrigramIndexBuilder, "pack", lambda _: None)
    if file == "with more grams than are worth it":
        monkeypatch.setattr(trigrams, "_MAX_TRIGRAMS", 10)
    _, held = archived(lively(filled), str(tmp_path / "archive"))
    path, groups = held.file.path, held.file.metadata.num_row_groups
    assert (layout.TRIGRAMS in held.metadata) is (file != "of an earlier version")
    looked.clear()
    assert len(cortex.open(path).filter(grep="old 7").to_arrow()) == 1
    assert sorted(set(looked)) == list(range(groups))
