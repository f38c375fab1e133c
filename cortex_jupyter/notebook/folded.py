"""Which lines are one row to a reader: a traceback, also when several pods say it, and the states of a progress bar.

The viewer folds them as they come (js/src/store/folds.ts); here they are known.
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
    """Lines that are shown as one.

    Parameters
    ----------
    head : Record
        Where it stands.
    lines : list of Record
        All of it; of a progress bar its states, the last of which is shown.
    block : Block or None
        What a traceback says.
    also : list of str
        Other pods that say it.
    hidden : int
        Lines of the same that those pods wrote.
    """

    head: Record
    lines: list[Record]
    block: Block | None = None
    also: list[str] = field(default_factory=list)
    hidden: int = 0

    @property
    def count(self) -> int:
        """How many lines it stands for."""
        return len(self.lines) + self.hidden


def folded(records: Sequence[Record]) -> list[Row]:
    r"""Put together what belongs together, each row where its first line stands.

    Examples
    --------
    >>> from cortex_jupyter.notebook.record import Record
    >>> texts = ["a", " 10%|█    | 1/10", " 20%|██   | 2/10", "Traceback (most recent call last):", "  x", "E: no"]
    >>> made = [Record(i, i, "p", "main", "main", 0, "", "stderr", text) for i, text in enumerate(texts)]
    >>> [(row.lines[-1].text, row.count) for row in folded(made)]
    [('a', 1), (' 20%|██   | 2/10', 2), ('E: no', 3)]
    """
    found: dict[int, Row] = {}
    said: dict[str, Row] = {}
    within: set[int] = set()
    for block in blocks((_stream(record), record.text) for record in records):
        within |= set(block.rows)
        lines = [records[i] for i in block.rows]
        first, pod = said.get(block.signature), lines[0].pod
        if first is None or not block.frames or pod in (first.head.pod, *first.also):
            found[block.first] = said[block.signature] = Row(lines[0], lines, block)
        else:
            first.also.append(pod)
            first.hidden += len(lines)
    bars: dict[tuple[object, ...], dict[tuple[str, float | None], tuple[Row, float]]] = {}
    for i, record in enumerate(records):
        if i in within:
            continue
        known = bars.setdefault(_stream(record), {})
        bar = progress(record.text)
        if bar is None:
            if plain(record.text).strip():
                known.clear()  # a bar that goes on below other lines is drawn anew
            found[i] = Row(record, [record])
            continue
        row, reached = known.get((bar.label, bar.total), (None, 0.0))
        now = bar.step or bar.fraction or 0.0
        if row is None or now < reached:
            row = found[i] = Row(record, [record])
        else:
            row.lines.append(record)
        known[bar.label, bar.total] = (row, now)
    return [found[i] for i in sorted(found)]


def _stream(record: Record) -> tuple[object, ...]:
    return record.pod, record.container, record.run, record.stream
