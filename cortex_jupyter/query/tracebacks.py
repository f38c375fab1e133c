"""Levels of the lines of tracebacks: all lines of a traceback are an error, so that a filter by level does not tear it apart."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from cortex_jupyter.parsing.blocks import Blocks
from cortex_jupyter.parsing.fields import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cortex_jupyter.model import Batch
    from cortex_jupyter.parsing.blocks import Block

#: Part of each text that begins a traceback, or holds a frame after its first line. Most batches have none, so their lines need
#: no parsing.
_MAY_BEGIN: Final = re.compile(
    r"Traceback \(most|panic|fatal error|unexpected fault|SIG[A-Z]|terminate called|Fatal Python|NCCL WARN"
    r"|: block: \[|Exception|Error|Throwable|^goroutine|^_|^[ \t]+at |frame #",
    re.MULTILINE,
)


class Tracebacks(Protocol):
    """Knows which records belong to tracebacks."""

    def levels(self, batch: Batch) -> Mapping[int, str]:
        """Return the levels of the records of a batch that belong to tracebacks, by their positions."""


class KnownTracebacks(NamedTuple):
    """The tracebacks of lines that were searched before.

    Parameters
    ----------
    errors, warnings : sequence of int
        Ascending numbers (`seq`) of the records that belong to tracebacks, by the traceback's level.
    """

    errors: Sequence[int]
    warnings: Sequence[int]

    def levels(self, batch: Batch) -> Mapping[int, str]:
        """Return the levels of the records of a batch that belong to tracebacks, by their positions."""
        if not batch.seqs or not (self.errors or self.warnings):
            return {}
        level_of_seq = {
            seq: level
            for level, numbers in (("warning", self.warnings), ("error", self.errors))
            for seq in numbers[bisect_left(numbers, min(batch.seqs)) : bisect_right(numbers, max(batch.seqs))]
        }
        return {i: level_of_seq[seq] for i, seq in enumerate(batch.seqs) if seq in level_of_seq} if level_of_seq else {}


class TracebackTracker:
    """Finds tracebacks in batches as they arrive, also across batches. A line that is not known to belong yet does not count."""

    def __init__(self) -> None:
        self._parser = Blocks()
        self._last_seq = 0

    def levels(self, batch: Batch) -> Mapping[int, str]:
        """Return the levels of the records of a batch that belong to tracebacks, by their positions.

        A batch that is not newer than the last one starts over.
        """
        if not batch.seqs:
            return {}
        if batch.seqs[0] <= self._last_seq:
            self._parser = Blocks()
        self._last_seq = batch.seqs[-1]
        if not self._parser.is_open and not _may_begin(batch.texts):
            self._parser.skip()
            return {}
        first = self._parser.count
        levels: dict[int, str] = {}
        for sid, stream, text in zip(batch.sids, batch.streams, batch.texts, strict=True):
            if (block := self._parser.feed((sid, stream), text)) is not None:
                levels |= {row - first: _level(block.kind) for row in block.rows if row >= first}
        levels |= {row - first: _level(kind) for kind, rows in self._parser.open_rows() for row in rows if row >= first}
        return levels


def find_tracebacks(batches: Iterable[Batch]) -> KnownTracebacks:
    """Find the tracebacks in batches, which must come in the order of their numbers.

    Examples
    --------
    >>> from cortex_jupyter.model import Batch
    >>> texts = ["on", "Traceback (most recent call last):", '  File "a.py", line 1, in f', "E: no", "off"]
    >>> list(find_tracebacks([Batch("d:job/a", [4, 5, 6, 7, 8], [0] * 5, [1] * 5, [0] * 5, texts, {})]).errors)
    [5, 6, 7]
    """
    parser, seqs = Blocks(), array("q")
    numbers = {"error": array("q"), "warning": array("q")}

    def add(block: Block) -> None:
        numbers[_level(block.kind)].extend(seqs[row] for row in block.rows)

    for batch in batches:
        if not parser.is_open and not _may_begin(batch.texts):
            parser.skip()
            continue
        seqs.extend(batch.seqs)
        for sid, stream, text in zip(batch.sids, batch.streams, batch.texts, strict=True):
            if (block := parser.feed((sid, stream), text)) is not None:
                add(block)
    for block in parser.close():
        add(block)
    return KnownTracebacks(*(array("q", sorted(numbers[name])) for name in ("error", "warning")))


def _may_begin(texts: Sequence[str]) -> bool:
    joined = "\n".join(texts)
    # As the parser does. Line by line, for a title that is not closed would take the lines after it too.
    return bool(_MAY_BEGIN.search("\n".join(map(plain, texts)) if "\x1b" in joined else joined))


def _level(kind: str) -> str:
    return "warning" if kind == "nccl" else "error"
