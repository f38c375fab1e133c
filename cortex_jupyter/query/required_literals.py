"""What a line must hold for a pattern to match, so that most lines need not be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.query.pattern import REPEATS, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Different texts that are looked for one by one; and letters that are, where case does not count, also signs beyond ASCII.
_SEVERAL: Final = 8
_KIN: Final = frozenset("kKsSiI")


@dataclass(frozen=True, slots=True)
class Needed:
    """Texts of which each line that matches holds one.

    Parameters
    ----------
    texts : tuple of str
        None where nothing is known: an empty tuple.
    whole : bool
        Holding one is a match.
    fold : bool
        In small or capital letters, each as it likes.
    """

    texts: tuple[str, ...] = ()
    whole: bool = False
    fold: bool = False


def needed(pattern: str) -> Needed:
    r"""Tell what a line with a match holds.

    Parameters
    ----------
    pattern : str
        One that `finder` takes; of an empty one, which every line matches, nothing is known.

    Examples
    --------
    >>> needed("step 99"), needed("error|(low|high) loss")
    (Needed(texts=('step 99',), whole=True, fold=False), Needed(texts=('error', ' loss'), whole=False, fold=False))
    >>> needed(r"(?:a|b) loss=\d+ \(best\)").texts, needed("(a|b)(?P<x>step )+c?").texts, needed(r"\d+").texts
    ((' (best)',), ('step ',), ())
    >>> needed("(?i)Traceback")  # a sign of several bytes is a k too
    Needed(texts=('Tracebac',), whole=False, fold=True)
    """
    several = tuple(dict.fromkeys(pattern.split("|")))
    if all(text and plain(text) for text in several) and len(several) <= _SEVERAL:
        return Needed(several, whole=len(several) == 1)  # of several `re` looks no further than `REACH`
    parsed = sre.parse(pattern)
    fold = bool(parsed.state.flags & re.IGNORECASE)
    return Needed(_texts(parsed, fold=fold), fold=fold)


def of_each(patterns: Iterable[str]) -> list[tuple[str, ...]]:
    """Give the texts of those patterns of which some are known: a line that all match holds one of each."""
    return [texts for pattern in patterns if (texts := needed(pattern).texts)]


def _texts(items: Iterable[Any], *, fold: bool) -> tuple[str, ...]:
    """Give the longest texts of which every match of a sequence holds one."""
    best: tuple[str, ...] = ()
    run = ""
    for op, value in [*items, (None, None)]:
        if op is sre.LITERAL and not 0xD800 <= value < 0xE000:  # noqa: PLR2004 - surrogates are in no text
            char = chr(value)
            if not fold or (char.isascii() and char not in _KIN):
                run += char
                continue
        found: tuple[str, ...] = (run,) if run else ()
        best, run = _better(best, found), ""
        inner: tuple[str, ...] = ()
        if (op is sre.SUBPATTERN and not value[1] & re.IGNORECASE) or (op in REPEATS and value[0]):
            inner = _texts(value[-1], fold=fold)
        elif op is sre.BRANCH:
            branches = [_texts(branch, fold=fold) for branch in value[1]]
            inner = tuple(dict.fromkeys(text for branch in branches for text in branch)) if all(branches) else ()
        best = _better(best, inner if len(inner) <= _SEVERAL else ())
    return best


def _better(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return max(one, other, key=lambda texts: (min(map(len, texts), default=0), -len(texts)))
