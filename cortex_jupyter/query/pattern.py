"""A user's regular expression, compiled once, and stopped where it would hold up everyone else.

Python's `re` holds the interpreter's lock while it matches and has no time limit, so a pattern that takes exponential
time would stop the whole server, from whatever thread. What could is looked for by a process of its own
(`query.regex_worker`), which ends after `SECONDS` of computing for one batch; the usual cause (a repetition of what itself can
repeat, `(a+)+`) is refused at once. A pattern is bounded, and looks at the head of very long lines only.
"""

from __future__ import annotations

import re
import sys
import time
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery, TooSlow
from cortex_jupyter.query.effort import bounded
from cortex_jupyter.query.regex_worker import found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Longest pattern, characters.
LONGEST: Final = 1000
#: How far into a line a pattern looks, characters.
REACH: Final = 65_536
#: Seconds of computing for the lines of one batch, after which a pattern is stopped.
SECONDS: Final = 2.0
#: Lines between two looks at the clock.
_PIECE: Final = 200


class Finder:
    """Finds a pattern in lines; made by `finder`.

    Parameters
    ----------
    pattern : str
    find : callable
        Truthy for a text that holds it.
    short : int
        The longest line in which `find` may look; longer ones are for a process of its own.
    seconds : float
        Of computing, for the lines of one batch.
    """

    def __init__(self, pattern: str, find: Callable[[str], object], short: int, seconds: float) -> None:
        self._pattern, self._find, self._short, self._seconds = pattern, find, short, seconds

    def __call__(self, text: str) -> bool:
        """Tell whether a line holds the pattern.

        Raises
        ------
        TooSlow
        """
        return bool(self.among([text], [0]))

    def among(self, texts: Sequence[str], places: Sequence[int]) -> list[int]:
        """Give those of some places whose texts hold the pattern.

        Parameters
        ----------
        texts : sequence of str
        places : sequence of int
            Ascending.

        Raises
        ------
        TooSlow
        """
        find, short, seconds = self._find, self._short, self._seconds
        end = time.thread_time() + seconds
        good: list[int] = []
        for at in range(0, len(places), _PIECE):
            good += [i for i in places[at : at + _PIECE] if len(texts[i]) <= short and find(texts[i])]
            if time.thread_time() > end:
                raise TooSlow.of(self._pattern, seconds)
        if long := [i for i in places if len(texts[i]) > short]:
            answers = found(self._pattern, [texts[i] for i in long], REACH, seconds)
            good = sorted([*good, *(i for i, is_good in zip(long, answers, strict=True) if is_good)])
        return good


def finder(name: str, pattern: str, seconds: float = SECONDS) -> Finder:
    """Compile a pattern to what is true for the lines that contain it.

    Parameters
    ----------
    name : str
        The parameter, for the error.
    pattern : str
        Python's `re` syntax; case-sensitive unless it begins with `(?i)`.
    seconds : float, optional
        What it may compute for the lines of one batch.

    Raises
    ------
    BadQuery
        It is no pattern (with the position), too long, or could take exponential time.

    Examples
    --------
    >>> find = finder("grep", "loss=[0-9.]+")
    >>> find("step 3 loss=0.25"), find("loss=")
    (True, False)
    """
    if len(pattern) > LONGEST:
        raise BadQuery(f"{name} is longer than {LONGEST} characters", "search for less")
    try:
        compiled = re.compile(pattern)
        risky = _risky(sre.parse(pattern))
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        hint = rf"put a backslash before characters meant as themselves: {re.escape(pattern)[:80]}"
        raise BadQuery(f"{name}={pattern[:60]!r} is no regular expression: {error.msg}{where}", hint) from error
    except (RecursionError, OverflowError) as error:
        raise BadQuery(f"{name}={pattern[:60]!r} is too deep a regular expression", "search for less") from error
    if risky:
        raise BadQuery(
            f"{name}={pattern[:60]!r} repeats what itself repeats, which can take for ever",
            "leave one of the repetitions out: (a+)+ finds what a+ finds",
        )
    if plain(pattern):
        return Finder(pattern, lambda text: pattern in text, sys.maxsize, seconds)  # three times faster
    return Finder(pattern, compiled.search, bounded(pattern, REACH), seconds)


def plain(pattern: str) -> bool:
    """Tell whether a pattern means just the text that it is."""
    return not re.search(r"[\\.^$*+?{}\[\]|()]", pattern)


#: From so many repetitions on, two to the power of them is for ever.
_MANY: Final = 16
REPEATS: Final = frozenset({sre.MAX_REPEAT, sre.MIN_REPEAT})


def _risky(items: Iterable[Any]) -> bool:
    """Tell whether a long repetition holds a sequence in which nothing has a fixed length."""
    for op, value in items:
        if op in REPEATS:
            _, most, body = value
            if most > _MANY and any(_elastic(branch) for branch in _branches(body)):
                return True
        if any(_risky(child) for child in _children(value)):
            return True
    return False


def _branches(body: Iterable[Any]) -> list[list[Any]]:
    """Give the alternatives of a group, groups around them taken off."""
    items = list(body)
    if len(items) == 1:
        op, value = items[0]
        if op is sre.SUBPATTERN:
            return _branches(value[-1])
        if op is sre.BRANCH:
            return [branch for one in value[1] for branch in _branches(one)]
    return [items]


def _elastic(items: list[Any]) -> bool:
    """Tell whether a sequence can stretch and holds nothing of a fixed length that would mark where it ends."""
    stretches = False
    for op, value in items:
        if op in REPEATS:
            least, most, _ = value
            stretches = stretches or most > least
            if least and least == most:
                return False
        elif op is sre.SUBPATTERN and any(_elastic(b) for b in _branches(value[-1])):
            stretches = True
        elif op is not sre.AT:
            return False
    return stretches


def _children(value: Any) -> list[Any]:
    """Give the sequences below a node, wherever its kind keeps them."""
    if isinstance(value, sre.SubPattern):
        return [value]
    if isinstance(value, tuple | list):
        return [child for one in value for child in _children(one)]
    return []
