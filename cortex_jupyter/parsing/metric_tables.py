"""The numbers in tables of several lines, as trainers print them.

Three forms are read, line by line:

- names and values in two columns, with a rule above: Stable-Baselines, whose sections (`rollout/`) belong to the names, and
  Lightning's `Test metric | DataLoader 0`;
- a header with a column for the step or epoch, and rows of numbers below, in a frame (Rich, tabulate, Markdown);
- the same without a frame: YOLO, scikit-learn, fastai, spaCy (whose first columns are `E` and `#`).

Any other table is none of a training, and reports nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cortex_jupyter.parsing.metrics import number

_NAN: Final = float("nan")
#: Longer lines are no rows (characters).
_REACH: Final = 1000
#: `+----+`, `|---|---|`, `┏━━┳━━┓`, `──────`.
_RULE: Final = re.compile(r"\s*[-+|:=─-╿]{3,}\s*\Z")
_DRAWN: Final = re.compile("[-=─━═]{3}")
_FRAMED: Final = re.compile(r"\s*[|│┃](.*)[|│┃]\s*\Z")
_SIDE: Final = re.compile(r"[|│┃]")
_NAME: Final = re.compile(r"#\Z|[A-Za-z_][\w./@%+()-]*(?: [\w./@%+()-]+){0,4}\Z")
#: The bar that YOLO draws behind a row.
_BAR: Final = re.compile(r":\s+\d+%.*")
_GAP: Final = re.compile(r"\s{2,}|\t")
_STEPS: Final = frozenset(
    {"step", "steps", "global_step", "total_timesteps", "total_steps", "timesteps", "num_timesteps", "#"}
)
#: These count only where none of the others does.
_ROUNDS: Final = frozenset(
    {"iter", "iters", "iteration", "iterations", "update", "updates", "nupdates", "round", "batch", "episodes"}
)
_EPOCHS: Final = frozenset({"epoch", "epochs", "e"})
_KEYS: Final = frozenset({"metric", "metrics", "test metric", "validate metric", "validation metric"})
#: First columns of headers without a frame; `class` is that of YOLO.
_FIRST: Final = _STEPS | _ROUNDS | _EPOCHS | _KEYS | {"class"}
_LEFT_OUT: Final = frozenset({"remaining time", "remaining", "eta"})


@dataclass(slots=True)
class Row:
    """The numbers of one line.

    Parameters
    ----------
    values : list of (str, float)
    step, epoch : float
        NaN if the row has none. A later row of the same table may set the step.
    """

    values: list[tuple[str, float]]
    step: float = _NAN
    epoch: float = _NAN


@dataclass(slots=True)
class MetricTables:
    """The tables of one stream of lines: it remembers the header that is above.

    Examples
    --------
    >>> tables = MetricTables()
    >>> rows = [tables.read(line) for line in ("-----", "| time/ | |", "|    fps | 9.5 |", "|    total_timesteps | 20 |")]
    >>> rows[2]
    Row(values=[('time/fps', 9.5)], step=20.0, epoch=nan)
    >>> [tables.read(line) for line in ("  Epoch   GPU_mem   box_loss", "    1/3        0G      1.193")][1]
    Row(values=[('epoch', 1.0), ('GPU_mem', 0.0), ('box_loss', 1.193)], step=1.0, epoch=1.0)
    """

    #: The columns of the header; empty for none.
    header: list[str] = field(default_factory=list)
    framed: bool = False
    #: Whether no row has come since the last rule.
    is_fresh: bool = True
    #: A row of words that is a header if a rule follows.
    candidate: list[str] = field(default_factory=list)
    #: Whether a rule has opened a table of names and values.
    is_open: bool = False
    section: str = ""
    step: float = _NAN
    #: Rows of the table that wait for its step.
    waiting: list[Row] = field(default_factory=list)
    #: Whether rows that were taken before wait for the step of their table; whether it came.
    taken: bool = False
    late: bool = False

    def read(self, line: str) -> Row | None:
        """Return the numbers of the next line; None if it is no row of a table, or has none."""
        if len(line) > _REACH:
            return None
        if _RULE.match(line) and _DRAWN.search(line):
            if self.candidate:
                self.header, self.framed, self.candidate = self.candidate, True, []
            elif not self.is_fresh and not self.framed and self.header[:1] and self.header[0].lower() in _KEYS:
                self.header = []
            self.is_open, self.is_fresh = True, True
            self.section, self.step, self.waiting, self.taken = "", _NAN, [], False
            return None
        if frame := _FRAMED.match(line):
            return self._framed(_SIDE.split(frame[1]))
        self.is_open = False
        row = self._open(line)
        self.is_fresh = row is None
        return row

    def take(self) -> bool:
        """Forget the rows that wait. Return whether a step came for rows that were taken earlier."""
        late, self.late = self.late, False
        self.taken, self.waiting = self.taken or bool(self.waiting), []
        return late

    def _framed(self, raw: list[str]) -> Row | None:
        cells = [cell.strip() for cell in raw]
        numbers = [_number(cell) for cell in cells]
        words = [cell for cell, value in zip(cells, numbers, strict=True) if value is None]
        if len(words) == len(cells) and all(_NAME.match(cell) for cell in cells):
            self.candidate = cells if self.is_fresh else []
            self.is_fresh = False
            return None
        self.candidate, self.is_fresh = [], False
        if self.framed and len(cells) == len(self.header) and (row := self._columns(cells)) is not None:
            return row
        if len(cells) != 2 or not self.is_open or not _NAME.match(cells[0]):
            return None
        has_other_header = self.framed and len(self.header) == 2 and self.header[0].lower() not in _KEYS
        value = numbers[1]
        if value is None or has_other_header:
            if not cells[1] and cells[0].endswith("/"):
                self.section = cells[0]
            return None
        return self._pair((self.section if raw[0].startswith("   ") else "") + cells[0], value)

    def _pair(self, name: str, value: float) -> Row | None:
        """Return a row of a table of names and values."""
        last = name.rpartition("/")[2].lower()
        if last in _STEPS or (last in _ROUNDS | _EPOCHS and self.step != self.step):
            for row in self.waiting:
                row.step = value
            self.late |= self.taken
            self.step = value
            if last in _STEPS:
                self.waiting, self.taken = [], False
                return None
        row = Row([(name, value)], self.step, value if last in _EPOCHS else _NAN)
        self.waiting.append(row)
        return row

    def _columns(self, cells: list[str]) -> Row | None:
        """Return a row below a header with a step, or below `Test metric`."""
        low = [name.lower() for name in self.header]
        if low[0] in _KEYS:
            values = [(_number(cell), name) for cell, name in zip(cells[1:], self.header[1:], strict=True)]
            several = len([value for value, _ in values if value is not None]) > 1
            candidates = [
                (f"{cells[0]}/{name}" if several else cells[0], value) for value, name in values if value is not None
            ]
            return Row(candidates) if candidates and _NAME.match(cells[0]) else None
        row = Row([])
        for name, kind, cell in zip(self.header, low, cells, strict=True):
            is_epoch, is_step = kind in _EPOCHS, kind in _STEPS | _ROUNDS
            value = _number(cell.partition("/")[0] if is_epoch or is_step else cell)
            if value is None:
                if is_epoch or is_step:
                    return None
            elif is_epoch:
                row.epoch = value
                row.values.append(("epoch", value))
            elif is_step:
                row.step = value
            elif kind not in _LEFT_OUT:
                row.values.append((name, value))
        if row.step != row.step:
            row.step = row.epoch
        return row if row.step == row.step and row.values else None

    def _open(self, line: str) -> Row | None:
        """Read a line of a table without a frame."""
        text = _BAR.sub("", line).strip()
        columns = _GAP.split(text)
        low = columns[0].lower()
        if len(columns) > 1 and low in _FIRST:
            if all(_NAME.match(column.rstrip(")")) for column in columns):
                self.header, self.framed = columns, False
            return None
        if self.framed or not self.header:
            return None
        first = self.header[0].lower()
        if first in _KEYS:
            return self._columns(columns) if len(columns) == len(self.header) else None
        cells = text.split()
        if len(cells) != len(self.header):
            return None
        if first != "class":
            return self._columns(cells)
        return self._all(cells) if low == "all" else None

    def _all(self, cells: list[str]) -> Row | None:
        """Return the row of YOLO for all classes: `Box(P  R  mAP50  mAP50-95)  Mask(P  R ...)` has groups of columns."""
        row, group, groups = Row([]), "", 0
        for column, cell in zip(self.header[1:], cells[1:], strict=True):
            begin, bracket, rest = column.partition("(")
            if bracket:
                group, groups = begin, groups + 1
            name = (rest if bracket else column).rstrip(")")
            if (value := _number(cell)) is not None:
                row.values.append((f"{group} {name}" if group and groups > 1 else name, value))
            if column.endswith(")"):
                group = ""
        return row if row.values else None


def _number(cell: str) -> float | None:
    """Return the number in a cell; None for anything else."""
    text = cell.removesuffix("%")
    if text.lower() in ("nan", "inf", "-inf", "+inf"):
        return float(text)
    return number(text)
