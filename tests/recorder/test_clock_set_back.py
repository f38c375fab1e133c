"""A node's clock is set back while recorders come and go.

The tests run `SourceReader` and `Audit` together, with a fake node.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorder.test_takeover import as_bytes, files, lines_of
from support.hand import Hand, source
from support.node import T0, Node, Response, cri, pod

from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.source import source as lib
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.source.stream import RunState
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.sqlite.store import SqliteStore
from cortex_jupyter.store.trimming import trim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Line = tuple[int, str]


class Life:
    """A source that several recorders record one after the other."""

    def __init__(self, store: SqliteStore, lines: list[Line]) -> None:
        self.store, self.lines = store, lines
        self.hand = Hand(store)
        self.sid = self.hand.source()
        self.node: Any = Node(pod("terminated", finished=1_000_000))  # the container ended after all of its lines
        self.rotated = 0  # number of lines that are in the rotated file
        self.seen: dict[int, Line] = {}  # each line that was ever recorded, by `seq`

    async def record(self, upto: int, *, last: bool = False) -> None:
        """Let another recorder read the first `upto` lines; the last recorder reads to the end of the run."""
        self.node.log = as_bytes(self.lines[self.rotated : upto])
        if self.rotated:
            self.node.files = {"0.log.20231114-221400": cri(as_bytes(self.lines[: self.rotated]))}
        lease, info = self.store.lease(self.hand.id, "me"), self.store.info(self.hand.id)
        assert lease is not None and info is not None
        with Writer(self.store) as writer:
            channel = writer.open(lease, "t", info.last_seq)
            for sid, (known, anchor) in self.store.sources(self.hand.id).items():
                channel.add_source(sid, known, anchor)
            context = Context(self.node, "default", self.store, lease, channel)
            reader = SourceReader(context, Pods(), source(), self.sid)
            if not last:
                await reader._stream.read(RunState.ENDED, reader._ask_state, reader._watched_state)
            else:
                await reader.run()
                await Audit(context, source(), self.sid, reader).check_rest()
            await channel.flush()
        for entry in self.store.entries(self.hand.id, 0, 1 << 30):
            if entry.event == "log":
                batch = Batch.decode(entry.data)
                self.seen |= zip(batch.seqs, zip(batch.times, batch.texts, strict=True), strict=True)

    def trim(self) -> None:
        """Trim as many lines as the budget demands."""
        lease = self.store.lease(self.hand.id, "me")
        assert lease is not None
        trim(self.store, {self.hand.id: (lease, "t")})

    def recorded(self) -> dict[int, list[Line]]:
        """Return the recorded lines by source id; each part of the source has an id of its own."""
        lines: dict[int, list[Line]] = {}
        for entry in self.store.entries(self.hand.id, 0, 1 << 30):
            if entry.event == "log":
                batch = Batch.decode(entry.data)
                for sid, at, text in zip(batch.sids, batch.times, batch.texts, strict=True):
                    lines.setdefault(sid, []).append((at, text))
        return lines


def in_order(part: list[Line], all_lines: list[Line]) -> bool:
    rest = iter(all_lines)
    return all(line in rest for line in part)


@contextmanager
def new_life(lines: list[Line]) -> Iterator[Life]:
    """Yield a `Life` with a new store and short waits."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(lib, "_FIRST_WAIT_S", 0.001),
        patch.object(lib, "_LONGEST_WAIT_S", 0.002),
        closing(SqliteStore(Path(folder) / "r.sqlite")) as store,
    ):
        yield Life(store, lines)


@settings(max_examples=60)
@given(files, st.lists(st.integers(0, 31), max_size=5))
@example([(0, "a"), (700, "b"), (-50_000, "hidden"), (51_000, "c"), (700, "d")], [2])
@example([(0, "a"), (700, "b"), (-50_000, "hidden"), (51_000, "c"), (700, "d"), (-60_000, "back for good")], [2, 5])
@example([(0, "a"), (-3_600_000, "hidden"), (3_600_000, "at the time of the first"), (-3_600_000, "back")], [1])
@example([(0, "a"), (0, "b"), (-2100, "set back"), (100, "c")], [1])
def test_every_line_is_recorded_once(deltas: list[tuple[int, str]], reads: list[int]) -> None:
    # Every text is unique, because two lines with equal text and time cannot be distinguished.
    lines = [(at, f"{text} {i}") for i, (at, text) in enumerate(lines_of(deltas))]
    with new_life(lines) as life:

        async def run() -> None:
            for upto in sorted(reads):
                await life.record(min(upto, len(lines)))
            await life.record(len(lines), last=True)

        asyncio.run(run())
        found = life.recorded()
        assert Counter(line for part in found.values() for line in part) == Counter(lines)
        assert all(in_order(part, lines) for part in found.values())
        assert not life.store.complete(life.hand.id).gaps


@settings(max_examples=30)
@given(files, st.lists(st.integers(0, 31), max_size=5))
@example(
    [(0, "a"), (700, "b"), (700, "c"), (5000, "d"), (5000, "e"), (-3_600_000, "f"), (700, "g"), (700, "h")],
    [3, 4, 5, 7],
)
def test_trimmed_lines_that_are_still_in_the_file_are_not_recorded_again(
    deltas: list[tuple[int, str]], reads: list[int]
) -> None:
    lines = [(at, f"{text} {i}") for i, (at, text) in enumerate(lines_of(deltas))]
    with new_life(lines) as life:
        life.store.set_budget(Budget(max_task_bytes=1))

        async def run() -> None:
            for upto in sorted(reads):
                await life.record(min(upto, len(lines)))
                life.trim()
            await life.record(len(lines), last=True)

        asyncio.run(run())
        seen = Counter(life.seen.values())
        assert not seen - Counter(lines), "lines were recorded twice"
        gaps = [(int(gap["from"]), int(gap["to"])) for gap in life.store.complete(life.hand.id).gaps]
        lost = Counter(lines) - seen
        assert all(any(low <= at <= high for low, high in gaps) for at, _ in lost)


async def test_trimmed_lines_in_a_rotated_file_are_not_recorded_again(store: SqliteStore) -> None:
    deltas = [0, 700, 700, 5000, 5000, -3_600_000, 700, 700, 700]
    life = Life(store, lines_of([(delta, str(i)) for i, delta in enumerate(deltas)]))
    store.set_budget(Budget(max_task_bytes=1))
    for upto in (3, 4, 5, 6):
        await life.record(upto)
        life.trim()
    life.rotated = 8
    await life.record(9, last=True)
    assert Counter(life.seen.values()) == Counter(life.lines)
    (gap,) = store.complete(life.hand.id).gaps
    assert gap["notice"] == "trimmed"


class TruncatingNode(Node):
    """A node whose first answers with a whole log are cut within a line, without an error."""

    def __init__(self, one: dict[str, Any], times: int) -> None:
        super().__init__(one)
        self.times = times

    @asynccontextmanager
    async def request(self, path: str, query: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Response]:
        if self.times and query is not None and not query.keys() & {"tailLines", "sinceTime", "follow"}:
            self.times -= 1
            yield Response(200, [self.log[: self.log.rfind(b"and") + 5]])
            return
        async with super().request(path, query, **options) as response:
            yield response


@pytest.mark.parametrize(("times", "found"), [(2, ["late"]), (9, [])])
async def test_an_answer_cut_within_a_line_adds_no_line(store: SqliteStore, times: int, found: list[str]) -> None:
    """The cut line must not be recorded as a new, shorter line beside the full one."""
    texts = [(0, "first"), (10_000, "second"), (-60_000, "late"), (61_000, "third, and long"), (62_000, "fourth")]
    life = Life(store, [(T0 + at * 1_000_000, text) for at, text in texts])
    await life.record(2)
    life.node = TruncatingNode(pod("terminated"), times)
    await life.record(5, last=True)
    recorded = life.recorded()
    assert sorted(text for part in recorded.values() for _, text in part) == sorted(
        ["first", "fourth", "second", "third, and long", *found]
    )
