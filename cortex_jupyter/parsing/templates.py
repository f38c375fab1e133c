"""Lines that say the same with other values, as one template: Drain on the shapes of lines.

He, Zhu, Zheng, Lyu: Drain: An Online Log Parsing Approach with Fixed Depth Tree, ICWS 2017. It is 80 lines, and runs here
once per shape (a line with its numbers masked) and not once per line; the library of that name has had no release since
2022 and brings three more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cortex_jupyter.parsing.metrics import MARK

#: What stands in a template for what varies.
ANY: Final = "<*>"
#: Lines are one template where at least this share of their words is the same.
_SAME: Final = 0.5
#: Of a line so many words are compared; a node of the tree has at most so many branches.
_WORDS: Final = 60
_BRANCHES: Final = 100
_RUN: Final = re.compile(r"<\*>(?:[-:./,+]?<\*>)+")
#: What a progress bar has drawn so far.
_DRAWN: Final = re.compile(r"\|[#█▏▎▍▌▋▊▉ =>.\0]{3,}\||(?<=\[)[=>.]{5,}(?=\])|[━╸╺─╾]{5,}")
_SIGNED: Final = re.compile(r"(?<=[\s=:([,])[-+]<\*>")


@dataclass(slots=True)
class Template:
    """Words, of which those that vary are `ANY`.

    Parameters
    ----------
    words : list of str
    count : int
        Lines.
    """

    words: list[str]
    count: int = 0

    @property
    def text(self) -> str:
        """The template as a person reads it."""
        return _SIGNED.sub(ANY, _RUN.sub(ANY, " ".join(self.words)))


@dataclass(slots=True)
class Templates:
    r"""Templates, as they are found.

    Examples
    --------
    >>> found = Templates()
    >>> [found.add(line) for line in ("user alice logged in", "user bob logged in", "disk \0 full", "user carol logged in")]
    [0, 0, 1, 0]
    >>> [(t.text, t.count) for t in found.all]
    [('user <*> logged in', 3), ('disk <*> full', 1)]
    """

    all: list[Template] = field(default_factory=list)
    #: Number of words and the first of them (`ANY` where it has a value) to the templates that begin so.
    _tree: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    _firsts: dict[int, set[str]] = field(default_factory=dict)

    def add(self, shape: str, count: int = 1) -> int:
        """Give the number of the template of a shape, a new one where none is like it.

        Parameters
        ----------
        shape : str
            A line with `MARK` for each value.
        count : int
            Lines that have this shape.
        """
        if "|" in shape or "━" in shape or "[" in shape:
            shape = _DRAWN.sub(lambda bar: f"|{MARK}|" if bar[0][0] == "|" else MARK, shape)
        words = shape.replace(MARK, ANY).split(maxsplit=_WORDS)
        key = (len(words), self._first(words))
        near = self._tree.setdefault(key, [])
        best, number = 0.0, -1
        for at in near:
            share = _alike(self.all[at].words, words)
            if share > best:
                best, number = share, at
        if number < 0 or best < _SAME:
            number = len(self.all)
            self.all.append(Template(words))
            near.append(number)
        template = self.all[number]
        template.count += count
        template.words = [a if a == b else _common(a, b) for a, b in zip(template.words, words, strict=True)]
        return number

    def _first(self, words: list[str]) -> str:
        if not words or ANY in words[0]:
            return ANY
        firsts = self._firsts.setdefault(len(words), set())
        if words[0] in firsts or len(firsts) < _BRANCHES:
            firsts.add(words[0])
            return words[0]
        return ANY


def _alike(template: list[str], words: list[str]) -> float:
    """Give the share of words that are the same; a value counts half, so that a template of values draws nothing in."""
    if not words:
        return 1.0
    same = sum(
        (0.5 if a == ANY else 1.0) if a == b else 0.5 if a == ANY else 0.0 for a, b in zip(template, words, strict=True)
    )
    values = sum(0.5 for a in template if a == ANY)
    return same / (len(words) - values) if len(words) > values else 1.0


def _common(a: str, b: str) -> str:
    """Give a word for two that differ: what precedes `=` or `:` stays."""
    for sign in ("=", ":"):
        head, found, _ = a.partition(sign)
        if found and b.startswith(head + sign):
            return f"{head}{sign}{ANY}"
    return ANY
