"""The texts that a line must contain for a pattern to match. Searching for them first rules out most lines.

Without them, the worst grep of an archive takes 4.6 times the CPU of polars' scan instead of 2.2; the budget is 2.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.query.pattern import REPEATS, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Maximum number of alternative texts; a search looks for each of them in turn.
_MAX_TEXTS: Final = 8
#: Letters that equal a character beyond ASCII if case is ignored.
_CASE_VARIANTS: Final = frozenset("kKsSiI")


@dataclass(frozen=True, slots=True)
class RequiredLiterals:
    """Alternative texts: every matching line contains at least one of them.

    Parameters
    ----------
    texts : tuple of str
        Empty if nothing is known.
    whole : bool
        Every line that contains one of the texts matches.
    fold : bool
        The texts count in any case.
    """

    texts: tuple[str, ...] = ()
    whole: bool = False
    fold: bool = False


def required_literals(pattern: str) -> RequiredLiterals:
    r"""Return alternative texts: every line that matches contains at least one of them.

    Parameters
    ----------
    pattern : str
        A pattern that `finder` accepts. For an empty pattern, which every line matches, nothing is known.

    Examples
    --------
    >>> required_literals("step 99"), required_literals("error|(low|high) loss")
    (RequiredLiterals(texts=('step 99',), whole=True, fold=False), RequiredLiterals(texts=('error', ' loss'), whole=False, fold=False))
    >>> required_literals(r"(?:a|b) loss=\d+ \(best\)").texts, required_literals("(a|b)(?P<x>step )+c?").texts, required_literals(r"\d+").texts
    ((' (best)',), ('step ',), ())
    >>> required_literals("(?i)Traceback")  # k also equals a character of several bytes
    RequiredLiterals(texts=('Tracebac',), whole=False, fold=True)
    """
    alternatives = tuple(dict.fromkeys(pattern.split("|")))
    if all(text and plain(text) for text in alternatives) and len(alternatives) <= _MAX_TEXTS:
        # With several, a line may contain one only beyond `REACH`, where `re` does not search.
        return RequiredLiterals(alternatives, whole=len(alternatives) == 1)
    parsed = sre.parse(pattern)
    fold = bool(parsed.state.flags & re.IGNORECASE)
    return RequiredLiterals(_texts(parsed, fold=fold), fold=fold)


def literals_of_each(patterns: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the texts of each pattern that has any. A line that all patterns match contains one text of each."""
    return [texts for pattern in patterns if (texts := required_literals(pattern).texts)]


def _texts(items: Iterable[Any], *, fold: bool) -> tuple[str, ...]:
    """Return the longest alternative texts: every match of a sequence contains one of them."""
    best: tuple[str, ...] = ()
    run = ""
    for op, value in [*items, (None, None)]:
        if op is sre.LITERAL and not 0xD800 <= value < 0xE000:  # no text contains surrogates
            char = chr(value)
            if not fold or (char.isascii() and char not in _CASE_VARIANTS):
                run += char
                continue
        literal: tuple[str, ...] = (run,) if run else ()
        best, run = _better(best, literal), ""
        inner: tuple[str, ...] = ()
        if (op is sre.SUBPATTERN and not value[1] & re.IGNORECASE) or (op in REPEATS and value[0]):
            inner = _texts(value[-1], fold=fold)
        elif op is sre.BRANCH:
            branches = [_texts(branch, fold=fold) for branch in value[1]]
            inner = tuple(dict.fromkeys(text for branch in branches for text in branch)) if all(branches) else ()
        best = _better(best, inner if len(inner) <= _MAX_TEXTS else ())
    return best


def _better(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    return max(a, b, key=lambda texts: (min(map(len, texts), default=0), -len(texts)))
