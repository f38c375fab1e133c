"""Patterns: lines that are equal except for their values, found by Drain on the shapes of lines.

He, Zhu, Zheng, Lyu: Drain: An Online Log Parsing Approach with Fixed Depth Tree, ICWS 2017. It is 80 lines, and runs once per
shape (a line with its numbers masked), not once per line. The library of that name has had no release since 2022 and depends
on three more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cortex_jupyter.parsing.metrics import MARK

#: The placeholder in a pattern for words that vary.
ANY: Final = "<*>"
#: Lines belong to one pattern if at least this share of their words is the same.
_SAME: Final = 0.5
#: Number of words of a line that are compared.
_WORDS: Final = 60
#: Maximum number of branches of a node of the tree.
_BRANCHES: Final = 100
_RUN: Final = re.compile(r"<\*>(?:[-:./,+]?<\*>)+")
#: The drawn part of a progress bar.
_DRAWN: Final = re.compile(r"\|[#█▏▎▍▌▋▊▉ =>.\0]{3,}\||(?<=\[)[=>.]{5,}(?=\])|[━╸╺─╾]{5,}")
_SIGNED: Final = re.compile(r"(?<=[\s=:([,])[-+]<\*>")


@dataclass(slots=True)
class LinePattern:
    """A pattern as a list of words; a word that varies is `ANY`.

    Parameters
    ----------
    words : list of str
    count : int
        The number of lines.
    """

    words: list[str]
    count: int = 0

    @property
    def text(self) -> str:
        """The pattern as text."""
        return _SIGNED.sub(ANY, _RUN.sub(ANY, " ".join(self.words)))


@dataclass(slots=True)
class LinePatterns:
    r"""The patterns of the lines that were added.

    Examples
    --------
    >>> line_patterns = LinePatterns()
    >>> [line_patterns.add(line) for line in ("user alice logged in", "user bob logged in", "disk \0 full", "user carol logged in")]
    [0, 0, 1, 0]
    >>> [(t.text, t.count) for t in line_patterns.all]
    [('user <*> logged in', 3), ('disk <*> full', 1)]
    """

    all: list[LinePattern] = field(default_factory=list)
    #: From the number of words and the first word (`ANY` if it contains a value) to the indices of such patterns.
    _tree: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    _firsts: dict[int, set[str]] = field(default_factory=dict)

    def add(self, shape: str, count: int = 1) -> int:
        """Add lines of a shape, and return the index of their pattern: the most similar one, or a new one.

        Parameters
        ----------
        shape : str
            A line with `MARK` for each value.
        count : int
            The number of lines that have this shape.
        """
        if "|" in shape or "━" in shape or "[" in shape:
            shape = _DRAWN.sub(lambda bar: f"|{MARK}|" if bar[0][0] == "|" else MARK, shape)
        words = shape.replace(MARK, ANY).split(maxsplit=_WORDS)
        key = (len(words), self._first(words))
        candidates = self._tree.setdefault(key, [])
        best, number = 0.0, -1
        for candidate in candidates:
            share = _similarity(self.all[candidate].words, words)
            if share > best:
                best, number = share, candidate
        if number < 0 or best < _SAME:
            number = len(self.all)
            self.all.append(LinePattern(words))
            candidates.append(number)
        pattern = self.all[number]
        pattern.count += count
        pattern.words = [a if a == b else _common(a, b) for a, b in zip(pattern.words, words, strict=True)]
        return number

    def _first(self, words: list[str]) -> str:
        if not words or ANY in words[0]:
            return ANY
        firsts = self._firsts.setdefault(len(words), set())
        if words[0] in firsts or len(firsts) < _BRANCHES:
            firsts.add(words[0])
            return words[0]
        return ANY


def _similarity(pattern: list[str], words: list[str]) -> float:
    """Return the share of equal words. A value counts half, so that a pattern of values does not attract every line."""
    if not words:
        return 1.0
    same = sum(
        (0.5 if a == ANY else 1.0) if a == b else 0.5 if a == ANY else 0.0 for a, b in zip(pattern, words, strict=True)
    )
    values = sum(0.5 for a in pattern if a == ANY)
    return same / (len(words) - values) if len(words) > values else 1.0


def _common(a: str, b: str) -> str:
    """Return a word for two that differ. The part before `=` or `:` stays if it is the same."""
    for sign in ("=", ":"):
        head, separator, _ = a.partition(sign)
        if separator and b.startswith(head + sign):
            return f"{head}{sign}{ANY}"
    return ANY
