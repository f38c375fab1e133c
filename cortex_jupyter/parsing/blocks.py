"""Find tracebacks in the lines of several sources, and return each as a block with type, message and frames."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.grammars import APART, MAYBE, NO, YES, Frame, TracebackState, begin, begin_above, step

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["Block", "Blocks", "Frame", "blocks"]

#: Only this many characters of a line are parsed. Lines of tracebacks are not longer.
_REACH: Final = 2000
#: PyTorch and torchrun put the rank before each line of a process: `[rank0]: `, `[default0]:`. Ranks write at the same time.
_RANK: Final = re.compile(r"\[(?:rank|default)\d+\]:")
_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")


@dataclass(slots=True)
class Block:
    """A traceback.

    Parameters
    ----------
    kind : str
        `python`, `java` (and JavaScript), `go`, `rust`, `native` (C++ of PyTorch, `faulthandler`), `nccl` or `cuda`.
    source : hashable
        The source of its lines.
    type, message : str
        Type and message of the exception. In a chain: Python's last exception, Java's first.
    frames : list of Frame
        In the order of the text. If there are several goroutines, the frames of the first.
    chain : list of str
        The other exceptions, each as `type: message`: earlier ones, causes, members of a group.
    rows : list of int
        The numbers of its lines, counted from 0 over all sources.
    """

    kind: str
    source: Hashable
    type: str
    message: str
    frames: list[Frame]
    chain: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    @property
    def first(self) -> int:
        """Number of its first line."""
        return self.rows[0]

    @property
    def last(self) -> int:
        """Number of its last line."""
        return self.rows[-1]

    @property
    def title(self) -> str:
        """Type and message, as in the exception's own line."""
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def signature(self) -> str:
        """A text that is equal for tracebacks which differ only in numbers of their messages: one failure in many pods."""
        frames = [f"{frame.file}:{frame.line}:{frame.function}" for frame in self.frames]
        return "\n".join(
            [self.kind, self.type, *(_VARYING.sub("#", text) for text in [self.message, *self.chain]), *frames]
        )


@dataclass(slots=True)
class _Open:
    state: TracebackState
    rows: list[int]
    #: Lines that belong to the traceback if a later line does.
    pending: list[int] = field(default_factory=list)


class Blocks:
    r"""Finds tracebacks in a sequence of lines; lines of different sources may alternate.

    Examples
    --------
    >>> lines = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    1 / 0", "E: no", "on"]
    >>> parser = Blocks()
    >>> [parser.feed("pod", line) for line in lines]
    [None, None, None, None, None]
    >>> [(block.title, block.frames[0].line, block.rows) for block in parser.close()]
    [('E: no', 1, [0, 1, 2, 3])]
    """

    def __init__(self) -> None:
        #: By source and rank.
        self._open: dict[tuple[Hashable, str], _Open] = {}
        self._before: dict[tuple[Hashable, str], tuple[int, str]] = {}
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether a traceback may go on."""
        return bool(self._open)

    @property
    def count(self) -> int:
        """The number of lines that were processed."""
        return self._count

    def open_rows(self) -> list[tuple[str, list[int]]]:
        """Return kind and rows of the tracebacks that may go on. A single row may be the first line of one."""
        return [(open_.state.kind, open_.rows) for open_ in self._open.values()]

    def skip(self) -> None:
        """Note that lines are left out here. Call it only if no traceback is open."""
        self._before.clear()

    def feed(self, source: Hashable, text: str) -> Block | None:
        """Process the next line.

        Parameters
        ----------
        source : hashable
            The source of the line: a container's run, with its stream if that is known.
        text : str

        Returns
        -------
        Block or None
            The block of this source that ended before this line, if one did. A block ends a few lines late, because more of
            its message, or a chained traceback, may follow.
        """
        row, line = self._count, plain(text[:_REACH]).rstrip("\r")
        self._count += 1
        key = (source, match[0] if (match := _RANK.match(line)) else "")
        before = self._before.get(key)
        self._before[key] = (row, line)
        open_ = self._open.get(key)
        if open_ is not None:
            verdict = step(open_.state, line)
            if verdict == YES:
                open_.rows += [*open_.pending, row]
                open_.pending = []
                return None
            if verdict == MAYBE:
                open_.pending.append(row)
                return None
            if verdict == APART:
                return None
            assert verdict == NO
            del self._open[key]
        if state := begin(line):
            self._open[key] = _Open(state, [row])
        elif before and (state := begin_above(line, before[1])):
            step(state, line)
            self._open[key] = _Open(state, [before[0], row])
        return None if open_ is None else _block(source, open_)

    def close(self) -> list[Block]:
        """Return the blocks that are still open, in the order of their first lines."""
        unfinished = [block for (source, _), open_ in self._open.items() if (block := _block(source, open_))]
        self._open.clear()
        return sorted(unfinished, key=lambda block: block.first)


def blocks(lines: Iterable[tuple[Hashable, str]]) -> list[Block]:
    """Return all tracebacks of some lines.

    Parameters
    ----------
    lines : iterable of (source, text)

    Returns
    -------
    list of Block
        In the order of their first lines.

    Examples
    --------
    >>> [block.title for block in blocks([(1, "panic: no"), (2, "ok"), (1, ""), (1, "goroutine 1 [running]:")])]
    ['panic: no']
    """
    parser = Blocks()
    finished = [block for source, text in lines if (block := parser.feed(source, text))]
    return sorted([*finished, *parser.close()], key=lambda block: block.first)


def _block(source: Hashable, open_: _Open) -> Block | None:
    """Return the block of an open traceback; None for a single line. A traceback that broke off has no type yet."""
    state = open_.state
    if len(open_.rows) == 1:
        return None
    name = state.type or "Traceback"
    return Block(state.kind, source, name, state.message, state.frames, state.chain, open_.rows)
