"""Tracebacks as one thing: lines of several sources, as they come, to blocks with type, message and frames."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.grammars import MAYBE, NO, YES, Frame, Said, begin, begin_above, step

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["Block", "Blocks", "Frame", "blocks"]

#: A line of a traceback is no longer than this; of longer ones only the beginning is looked at.
_REACH: Final = 2000
_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")


@dataclass(slots=True)
class Block:
    """A traceback.

    Parameters
    ----------
    kind : str
        `python`, `java` (and JavaScript), `go`, `native` (C++ of PyTorch, `faulthandler`), `nccl` or `cuda`.
    source : hashable
        Whose lines they are.
    type, message : str
        Of the exception: of a chained Python one the last, of a Java one the first.
    frames : list of Frame
        As written; of several goroutines those of the first.
    chain : list of str
        The other exceptions, `type: message` each: those before, causes, members of a group.
    rows : list of int
        Numbers of its lines, counted from 0 over all sources.
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
        """Type and message, as the line of the exception says them."""
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def signature(self) -> str:
        """The same for tracebacks that differ in nothing but numbers of their messages: one failure in many pods."""
        frames = [f"{frame.file}:{frame.line}:{frame.function}" for frame in self.frames]
        return "\n".join(
            [self.kind, self.type, *(_VARYING.sub("#", text) for text in [self.message, *self.chain]), *frames]
        )


@dataclass(slots=True)
class _Open:
    said: Said
    rows: list[int]
    #: Lines that belong if one after them does.
    pending: list[int] = field(default_factory=list)


class Blocks:
    r"""Find tracebacks in lines as they come; lines of different sources may lie between each other.

    Examples
    --------
    >>> lines = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    1 / 0", "E: no", "on"]
    >>> found = Blocks()
    >>> [found.feed("pod", line) for line in lines]
    [None, None, None, None, None]
    >>> [(block.title, block.frames[0].line, block.rows) for block in found.close()]
    [('E: no', 1, [0, 1, 2, 3])]
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, _Open] = {}
        self._before: dict[Hashable, tuple[int, str]] = {}
        self._count = 0

    def feed(self, source: Hashable, text: str) -> Block | None:
        """Take the next line.

        Parameters
        ----------
        source : hashable
            Whose line it is: a container's run, with its stream where that is known.
        text : str

        Returns
        -------
        Block or None
            The block of this source that ended before this line, if one did. A few lines are waited for: more of the
            message and a second traceback may follow.
        """
        row, line = self._count, plain(text[:_REACH]).rstrip("\r")
        self._count += 1
        before = self._before.get(source)
        self._before[source] = (row, line)
        open_ = self._open.get(source)
        if open_ is not None:
            verdict = step(open_.said, line)
            if verdict == YES:
                open_.rows += [*open_.pending, row]
                open_.pending = []
                return None
            if verdict == MAYBE:
                open_.pending.append(row)
                return None
            assert verdict == NO
            del self._open[source]
        if said := begin(line):
            self._open[source] = _Open(said, [row])
        elif before and (said := begin_above(line, before[1])):
            step(said, line)
            self._open[source] = _Open(said, [before[0], row])
        return None if open_ is None else _block(source, open_)

    def close(self) -> list[Block]:
        """Give the blocks that no line has ended, in the order of their first lines."""
        found = [block for source, open_ in self._open.items() if (block := _block(source, open_))]
        self._open.clear()
        return sorted(found, key=lambda block: block.first)


def blocks(lines: Iterable[tuple[Hashable, str]]) -> list[Block]:
    """Give all tracebacks of some lines.

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
    found = Blocks()
    done = [block for source, text in lines if (block := found.feed(source, text))]
    return sorted([*done, *found.close()], key=lambda block: block.first)


def _block(source: Hashable, open_: _Open) -> Block | None:
    """Give what was found; a single line is none, and neither is one that broke off before it said its type."""
    said = open_.said
    if len(open_.rows) == 1:
        return None
    name = said.type or "Traceback"
    return Block(said.kind, source, name, said.message, said.frames, said.chain, open_.rows)
