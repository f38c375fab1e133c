"""Headers: what a logger writes before each message, learned from the lines of a log.

A position of a line is a part of the header if it holds a time or a level in most lines that have one there. Columns
beside it (process numbers, threads in brackets, names between bars or wide gaps) and the component that follows
(`sshd[4021]:`, `storage.BlockManager:`, `trainer -`) are parts of it too, if most lines have them. No format is named
here: a log may have several, and each is learned by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.level import ALIASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Share of the lines of one form that must have a column.
_MOST: Final = 0.9
#: A form is learned from at least this many lines.
_ENOUGH: Final = 10
#: Number of lines of a form that are examined, the most frequent ones.
_EXAMINED: Final = 1000
#: A column of names is known as one by at least this many different lines.
_VARIED: Final = 5
#: Number of tokens of a line that are examined, the first positions where a time or a level may stand, and the
#: distance from one column to the next.
_TOKENS, _FIRST, _REACH = 16, 8, 5
#: Longest group in brackets that is one token (characters).
_BRACKETS: Final = 400
_CLOSING: Final = {"[": "]", "(": ")"}

# Kinds of tokens. `Error` alone may be a word of the message.
_TIME, _LEVEL, _MAYBE_LEVEL, _INTEGER, _BOX, _MARK, _NAME, _WORD, _OTHER = _KIND_CODES = "TLlIBMNW-"
_KINDS: Final = frozenset(_KIND_CODES)
_DATES: Final = frozenset(
    [
        "jan",
        "feb",
        "mar",
        "apr",
        "may",
        "jun",
        "jul",
        "aug",
        "sep",
        "oct",
        "nov",
        "dec",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ]
)
_CLOCK: Final = re.compile(r"\d{1,2}:\d\d:\d\d|\d{1,2}\.\d\d\.\d\d\.\d{3}")
_DATE: Final = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?!\d)|\d{1,2}[-/]\d\d(?!\d)"
    r"|\d{1,2}/[A-Z][a-z]{2}/\d{4}|[12]\d{7}-\d|1\d{9}(?:[.,]?\d{3,9})?\Z"
)
_LETTERS: Final = frozenset("VDIWEF")
_SIGNS: Final = "[](){}<>,:;|"
_HAS_LETTER: Final = re.compile(r"[^\W_]")
_COUNTED: Final = re.compile(r"(?i)\[?(?:epoch|step|iter|batch|round|trial)")


class _Head:
    """The first tokens of a line: where each begins and the next one begins, and its kind."""

    __slots__ = ("count", "ends", "kinds", "line", "starts")

    def __init__(self, line: str, count: int) -> None:
        self.line, self.count = line, count
        self.starts, self.ends = _spans(line)
        self.kinds = "".join(_kind(self.token(at)) for at in range(len(self.starts)))

    def token(self, at: int) -> str:
        """Return a token's text."""
        return self.line[self.starts[at] : self.ends[at]]

    def gap(self, at: int) -> str:
        """Return what stands between a token and the next one."""
        return self.line[self.ends[at] : self.starts[at + 1]] if at + 1 < len(self.starts) else ""


def header_sizes(
    lines: Sequence[str], counts: Sequence[int], cut: Sequence[bool], tick: Callable[[], object] = int
) -> list[int]:
    """Return how many tokens of each line are its header; `without_tokens` removes them.

    Parameters
    ----------
    lines : sequence of str
        One line of each shape.
    counts : sequence of int
        For each, the number of lines of that shape.
    cut : sequence of bool
        For each, whether a time or a level before it was removed already.
    tick : callable, optional
        Called for each line, to report progress.

    Examples
    --------
    >>> lines = [f"Jul {day} 10:00:00 web-1 sshd[{day}]: {text}" for day, text in enumerate(["bye", "session closed"], 1)]
    >>> [without_tokens(line, size) for line, size in zip(lines, header_sizes(lines, [9, 9], [False, False]))]
    ['bye', 'session closed']
    """
    heads = []
    for line, count in zip(lines, counts, strict=True):
        tick()
        heads.append(_Head(line, count))
    sizes = [0] * len(heads)
    unassigned = {index for index, is_cut in enumerate(cut) if not is_cut}
    forms = [(-1, [index for index, is_cut in enumerate(cut) if is_cut])]
    total = sum(heads[index].count for index in unassigned)
    while unassigned:  # the most frequent form first
        members = [heads[index] for index in unassigned]
        anchor, count = _most_frequent(members, _positions)
        if (
            count < _MOST * total
            or len({head.line[: head.starts[anchor]] for head in members if _has(head, anchor)}) < _VARIED
        ):
            anchor, count = _most_frequent(members, _anchors)
        if count < _ENOUGH:
            break
        form = sorted(index for index in unassigned if _has(heads[index], anchor))
        forms.append((anchor, form))
        unassigned.difference_update(form)
    for anchor, form in forms:
        members = [heads[index] for index in form]
        if sum(head.count for head in members) >= _ENOUGH:
            for index, size in zip(form, _Form(anchor, members).sizes(members), strict=True):
                sizes[index] = size
    return sizes


def without_tokens(line: str, number: int) -> str:
    """Return a line without its first tokens.

    Examples
    --------
    >>> without_tokens("[Sun Dec 04 20:32:37] [notice] child [4] is up", 2)
    'child [4] is up'
    """
    if not number:
        return line
    starts, _ = _spans(line, number + 1)
    return line[starts[number] :] if len(starts) > number else ""


def _spans(line: str, limit: int = _TOKENS) -> tuple[list[int], list[int]]:
    """Return where the first tokens begin and end: words, groups in brackets. A bar separates tokens as a blank does."""
    starts: list[int] = []
    ends: list[int] = []
    at, size = 0, len(line)
    while len(starts) < limit:
        while at < size and line[at] in " \t":
            at += 1
        if at == size:
            break
        starts.append(at)
        if line[at] in _CLOSING and (end := _closing(line, at)):
            at = end
            while at < size and line[at] in ":,":
                at += 1
        else:
            at += 1
            while at < size and line[at] not in " \t|":
                at += 1
        ends.append(at)
        if line[starts[-1]] == "|":
            continue
        bar = at
        while bar < size and line[bar] in " \t":
            bar += 1
        if bar < size and line[bar] == "|":
            at = bar + 1
    return starts, ends


def _closing(line: str, at: int) -> int:
    """Return where the group in brackets ends that begins at a position; 0 if it does not end."""
    opening, closing, depth = line[at], _CLOSING[line[at]], 0
    for index in range(at, min(len(line), at + _BRACKETS)):
        if line[index] == opening:
            depth += 1
        elif line[index] == closing:
            depth -= 1
            if depth == 0:
                return index + 1
    return 0


def _kind(token: str) -> str:
    core = token.strip(_SIGNS).strip()
    low = core.lower()
    if not _HAS_LETTER.search(core):
        kind = _MARK
    elif low in ALIASES or core in _LETTERS:
        kind = _LEVEL if core.isupper() or core != token else _MAYBE_LEVEL if core != low else _WORD
    elif low in _DATES or _DATE.match(core) or _CLOCK.search(core):
        kind = _TIME
    elif core.isdecimal():
        kind = _INTEGER
    elif token[0] == "[" and not _COUNTED.match(token):
        kind = _BOX
    elif token[-1] == ":":
        kind = _NAME
    else:
        kind = _WORD if core.isalpha() else _OTHER
    return kind


def _positions(head: _Head) -> list[int]:
    """Return the positions of times and levels."""
    return [at for at, kind in enumerate(head.kinds[:_FIRST]) if kind in (_TIME, _LEVEL)]


def _anchors(head: _Head) -> list[int]:
    """Return the positions of times and levels that no plain word precedes: in `saved at 10:00:00` there is none."""
    words = (head.kinds.find(kind) for kind in (_WORD, _NAME, _MAYBE_LEVEL))
    first = min((at for at in words if at >= 0), default=_TOKENS)
    return [at for at in _positions(head) if at < first]


def _has(head: _Head, anchor: int) -> bool:
    return head.kinds[anchor : anchor + 1] in (_TIME, _LEVEL)


def _most_frequent(heads: Iterable[_Head], positions: Callable[[_Head], list[int]]) -> tuple[int, int]:
    """Return the position that most lines have, the first of equal ones, and the number of these lines."""
    totals: Counter[int] = Counter()
    for head in heads:
        for at in positions(head):
            totals[at] += head.count
    return min(totals.items(), key=lambda item: (-item[1], item[0]), default=(0, 0))


class _Form:
    """The columns of lines that have a time or a level at the same position; -1 if it was removed already."""

    def __init__(self, anchor: int, heads: list[_Head]) -> None:
        self.heads = sorted(heads, key=lambda head: -head.count)[:_EXAMINED]
        self.total = sum(head.count for head in self.heads)
        self.anchor = anchor
        #: By position, the kinds of token that a column may have.
        self.columns: dict[int, frozenset[str]] = {}
        at = end = anchor
        while at < min(end + _REACH, _TOKENS - 1):
            at += 1
            if (kinds := self._column(at, end)) is not None:
                self.columns[at], end = kinds, at
        self.end = end
        #: What follows the columns: the kind of token at its end, or "".
        self.tail = next((kind for kind in (_MARK, _NAME) if self._has_tail(kind)), "")

    def sizes(self, heads: Iterable[_Head]) -> list[int]:
        """Return the number of header tokens of each line."""
        return [self._size(head) for head in heads]

    def _size(self, head: _Head) -> int:
        end = self.anchor
        for at, kinds in self.columns.items():
            if at >= len(head.kinds) or head.kinds[at] not in kinds:
                break
            end = at
        if end == self.end and self.tail and (at := self._tail_at(head, self.tail)) >= 0:
            end = at
        while end >= 0 and end + 1 >= len(head.starts):  # a message is left
            end -= 1
        return end + 1

    def _share(self, is_so: Callable[[_Head], bool]) -> float:
        return sum(head.count for head in self.heads if is_so(head)) / self.total

    def _column(self, at: int, end: int) -> frozenset[str] | None:
        """Return the kinds of token of a column of the header, all of them if any will do; None if it is none."""

        def share(*kinds: str) -> float:
            return self._share(lambda head: head.kinds[at : at + 1] in kinds)

        is_next = at == end + 1
        if share(_TIME) >= _MOST and (is_next or self._share(lambda head: _WORD in head.kinds[end + 1 : at]) < 0.5):
            return frozenset({_TIME})
        if share(_LEVEL, _MAYBE_LEVEL) >= _MOST:
            return frozenset({_LEVEL, _MAYBE_LEVEL})
        is_box = at <= end + 2 and share(_BOX, _MARK) >= _MOST
        if is_box and (share(_BOX) or not self._is_before_number(at)):
            return frozenset({_BOX, _MARK})
        if is_next and share(_INTEGER) >= _MOST and self._is_number(at):
            return frozenset({_INTEGER})
        return _KINDS if is_next and self._is_apart(at) else None

    def _is_apart(self, at: int) -> bool:
        """Return whether bars enclose the token of most lines, or a wide gap follows one of few names."""
        texts = {head.token(at) for head in self.heads if at < len(head.starts)}
        if len(self.heads) < _VARIED or self._share(lambda head: at < len(head.starts)) < _MOST:
            return False
        if at > 0 and self._share(lambda head: "|" in head.gap(at - 1) and "|" in head.gap(at)) >= _MOST:
            return True
        is_name = all(text[0].isalpha() for text in texts) and len(texts) <= max(3, len(self.heads) // 10)
        return is_name and self._share(lambda head: len(head.gap(at)) > 1) >= _MOST

    def _is_number(self, at: int) -> bool:
        """Return whether an integer is that of a process: more columns follow, or it is always the same."""
        if self._share(lambda head: head.kinds[at + 1 : at + 2] in (_INTEGER, _LEVEL, _TIME, _NAME)) >= _MOST:
            return True
        return len(self.heads) >= _VARIED and len({head.token(at) for head in self.heads}) == 1

    def _is_before_number(self, at: int) -> bool:
        return self._share(lambda head: head.kinds[at + 1 : at + 2] in (_INTEGER, _TIME)) >= 0.5

    def _tail_at(self, head: _Head, kind: str) -> int:
        """Return the position of the token that ends the header after its columns; -1 if there is none."""
        return head.kinds.find(kind, self.end + 1, self.end + 4)

    def _has_tail(self, kind: str) -> bool:
        """Return whether most lines have a component, `name:` or `name -`, and a message of words after it."""
        count = numbers = words = 0
        for head in self.heads:
            at = self._tail_at(head, kind)
            if 0 <= at < len(head.starts) - 1:
                count += head.count
                numbers += head.count * (head.token(at + 1)[0] in "0123456789+-.")
                words += head.count * (at + 2 < len(head.starts))
        return count >= _MOST * self.total and numbers < 0.5 * count <= words
