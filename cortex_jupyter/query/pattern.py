"""A user's regular expression, compiled once, and stopped before it can block the process.

Python's `re` holds the interpreter lock while it matches and has no time limit. A pattern that takes exponential time would
block the whole server, from any thread. So a pattern that may do so runs in a separate process (`query.regex_worker`), which
ends after `SECONDS` of CPU time for one batch. The usual cause, nested repetitions such as `(a+)+`, is refused at once. The
length of a pattern is limited, and it searches only the first part of very long lines.
"""

from __future__ import annotations

import re
import sys
import time
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery, TooSlow
from cortex_jupyter.query.effort import max_safe_length
from cortex_jupyter.query.regex_worker import search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Maximum length of a pattern (characters).
LONGEST: Final = 1000
#: A pattern searches this many characters of a line.
REACH: Final = 65_536
#: A pattern is stopped after this CPU time for the lines of one batch (seconds).
SECONDS: Final = 2.0
#: Lines between two checks of the time.
_PIECE: Final = 200


class Finder:
    """Finds the lines that contain a pattern. `finder` makes it.

    Parameters
    ----------
    pattern : str
    find : callable
        Truthy for a text that contains the pattern.
    short : int
        The longest line that `find` may search; a separate process searches longer ones.
    seconds : float
        Maximum CPU time for the lines of one batch.
    """

    def __init__(self, pattern: str, find: Callable[[str], object], short: int, seconds: float) -> None:
        self._pattern, self._find, self._short, self._seconds = pattern, find, short, seconds

    def __call__(self, text: str) -> bool:
        """Return whether a line contains the pattern.

        Raises
        ------
        TooSlow
        """
        return bool(self.among([text], [0]))

    def among(self, texts: Sequence[str], rows: Sequence[int]) -> list[int]:
        """Return the rows whose texts contain the pattern.

        Parameters
        ----------
        texts : sequence of str
        rows : sequence of int
            Indices in `texts`, ascending.

        Raises
        ------
        TooSlow
        """
        find, short, seconds = self._find, self._short, self._seconds
        end = time.thread_time() + seconds
        matches: list[int] = []
        for at in range(0, len(rows), _PIECE):
            matches += [i for i in rows[at : at + _PIECE] if len(texts[i]) <= short and find(texts[i])]
            if time.thread_time() > end:
                raise TooSlow.of(self._pattern, seconds)
        if long := [i for i in rows if len(texts[i]) > short]:
            answers = search(self._pattern, [texts[i] for i in long], REACH, seconds)
            matches = sorted([*matches, *(i for i, is_match in zip(long, answers, strict=True) if is_match)])
        return matches


def finder(name: str, pattern: str, seconds: float = SECONDS) -> Finder:
    """Compile a pattern to a finder of the lines that contain it.

    Parameters
    ----------
    name : str
        The parameter's name, for the error.
    pattern : str
        Python's `re` syntax; case-sensitive unless it begins with `(?i)`.
    seconds : float, optional
        Maximum CPU time for the lines of one batch.

    Raises
    ------
    BadQuery
        The pattern is invalid (the message names the position), too long, or could take exponential time.

    Examples
    --------
    >>> find = finder("grep", "loss=[0-9.]+")
    >>> find("step 3 loss=0.25"), find("loss=")
    (True, False)
    """
    if len(pattern) > LONGEST:
        raise BadQuery(f"{name} is longer than {LONGEST} characters", "write a shorter pattern")
    try:
        compiled = re.compile(pattern)
        risky = _risky(sre.parse(pattern))
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        hint = (
            rf"to search for these characters as plain text, write a backslash before them: {re.escape(pattern)[:80]}"
        )
        raise BadQuery(f"{name}={pattern[:60]!r} is no regular expression: {error.msg}{where}", hint) from error
    except (RecursionError, OverflowError) as error:
        raise BadQuery(
            f"{name}={pattern[:60]!r} is a regular expression with too many nested groups", "write a simpler pattern"
        ) from error
    if risky:
        raise BadQuery(
            f"{name}={pattern[:60]!r} has nested repetitions, which can take exponential time",
            "leave one of the repetitions out: (a+)+ matches the same lines as a+",
        )
    if plain(pattern):
        return Finder(pattern, lambda text: pattern in text, sys.maxsize, seconds)  # three times faster
    return Finder(pattern, compiled.search, max_safe_length(pattern, REACH), seconds)


def plain(pattern: str) -> bool:
    """Return whether a pattern has no special characters, so that it means its own text."""
    return not re.search(r"[\\.^$*+?{}\[\]|()]", pattern)


#: More repetitions than this count as unlimited: two to their power takes too long.
_MANY: Final = 16
REPEATS: Final = frozenset({sre.MAX_REPEAT, sre.MIN_REPEAT})


def _risky(items: Iterable[Any]) -> bool:
    """Return whether a long repetition contains a sequence without any part of fixed length."""
    for op, value in items:
        if op in REPEATS:
            _, maximum, body = value
            if maximum > _MANY and any(_elastic(branch) for branch in _branches(body)):
                return True
        if any(_risky(child) for child in _children(value)):
            return True
    return False


def _branches(body: Iterable[Any]) -> list[list[Any]]:
    """Return the alternatives of a group, without the groups around them."""
    items = list(body)
    if len(items) == 1:
        op, value = items[0]
        if op is sre.SUBPATTERN:
            return _branches(value[-1])
        if op is sre.BRANCH:
            return [branch for alternative in value[1] for branch in _branches(alternative)]
    return [items]


def _elastic(items: list[Any]) -> bool:
    """Return whether a sequence can stretch and contains nothing of a fixed length that would mark its end."""
    stretches = False
    for op, value in items:
        if op in REPEATS:
            minimum, maximum, _ = value
            stretches = stretches or maximum > minimum
            if minimum and minimum == maximum:
                return False
        elif op is sre.SUBPATTERN and any(_elastic(b) for b in _branches(value[-1])):
            stretches = True
        elif op is not sre.AT:
            return False
    return stretches


def _children(value: Any) -> list[Any]:
    """Return the sequences below a node of any kind."""
    if isinstance(value, sre.SubPattern):
        return [value]
    if isinstance(value, tuple | list):
        return [child for item in value for child in _children(item)]
    return []
