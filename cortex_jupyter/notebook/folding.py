"""Fold lines into rows: a traceback, also if several pods write the same one, and the states of a progress bar.

The viewer folds live lines (js/src/store/folds.ts). Here all lines are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.parsing.blocks import blocks
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cortex_jupyter.notebook.record import Record
    from cortex_jupyter.parsing.blocks import Block


@dataclass(slots=True)
class Row:
    """Lines that are shown as one row.

    Parameters
    ----------
    head : Record
        The first line, where the row stands.
    lines : list of Record
        All its lines. A progress bar shows only the last one.
    block : Block or None
        The traceback.
    also : list of str
        Other pods that wrote the same traceback.
    hidden : int
        Number of lines of those pods.
    """

    head: Record
    lines: list[Record]
    block: Block | None = None
    also: list[str] = field(default_factory=list)
    hidden: int = 0

    @property
    def count(self) -> int:
        """The number of lines that it stands for."""
        return len(self.lines) + self.hidden


def fold(records: Sequence[Record]) -> list[Row]:
    r"""Return lines folded into rows, each in the place of its first line.

    Examples
    --------
    >>> from cortex_jupyter.notebook.record import Record
    >>> texts = ["a", " 10%|█    | 1/10", " 20%|██   | 2/10", "Traceback (most recent call last):", "  x", "E: no"]
    >>> records = [Record(i, i, "p", "main", "main", 0, "", "stderr", text) for i, text in enumerate(texts)]
    >>> [(row.lines[-1].text, row.count) for row in fold(records)]
    [('a', 1), (' 20%|██   | 2/10', 2), ('E: no', 3)]
    """
    rows: dict[int, Row] = {}
    tracebacks: dict[str, Row] = {}
    in_traceback: set[int] = set()
    for block in blocks((_stream(record), record.text) for record in records):
        in_traceback |= set(block.rows)
        lines = [records[i] for i in block.rows]
        first, pod = tracebacks.get(block.signature), lines[0].pod
        if first is None or not block.frames or pod in (first.head.pod, *first.also):
            rows[block.first] = tracebacks[block.signature] = Row(lines[0], lines, block)
        else:
            first.also.append(pod)
            first.hidden += len(lines)
    bars: dict[tuple[object, ...], dict[tuple[str, float | None], tuple[Row, float]]] = {}
    for i, record in enumerate(records):
        if i in in_traceback:
            continue
        open_bars = bars.setdefault(_stream(record), {})
        bar = progress(record.text)
        if bar is None:
            if plain(record.text).strip():
                open_bars.clear()  # a bar that continues below other lines starts a new row
            rows[i] = Row(record, [record])
            continue
        row, last_step = open_bars.get((bar.label, bar.total), (None, 0.0))
        step = bar.step or bar.fraction or 0.0
        if row is None or step < last_step:
            row = rows[i] = Row(record, [record])
        else:
            row.lines.append(record)
        open_bars[bar.label, bar.total] = (row, step)
    return [rows[i] for i in sorted(rows)]


def _stream(record: Record) -> tuple[object, ...]:
    return record.pod, record.container, record.run, record.stream
