"""How much work a regular expression can be: up to which length of a line it is looked for at once.

Python's `re` backtracks and has no time limit. What it can cost for a line of n characters is bounded here from above by
ways * n ** (stretches + 1): each repetition of a single character may stretch over the line, from each place of it, and
each alternative may be tried. What repeats anything else can take exponential time, and is not bounded at all.
"""

from __future__ import annotations

from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Steps that may be done at once, ten milliseconds of them: so long nobody else has the interpreter.
_WORK: Final = 10_000_000
#: A repetition with so few possible lengths is counted by them.
_FEW: Final = 16
_REPEATS: Final = frozenset({sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT})
_SINGLE: Final = frozenset({sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN})
_STILL: Final = _SINGLE | {sre.AT}


def bounded(pattern: str, longest: int) -> int:
    """Give the length up to which lines are searched at once, 0 where it is not known for any.

    Parameters
    ----------
    pattern : str
        One that `re` takes.
    longest : int
        No more than that.

    Examples
    --------
    >>> [bounded(p, 65_536) for p in ("error|warn", "loss=.*", "a.*b.*c", "(?:ab|a[b])*c")]
    [65536, 3162, 215, 0]
    """
    try:
        ways, stretches = _effort(sre.parse(pattern))
    except _UnknownError:
        return 0
    return min(longest, int((_WORK / ways) ** (1 / (stretches + 1))))


class _UnknownError(Exception):
    """There is no bound."""


def _effort(items: Iterable[Any]) -> tuple[int, int]:
    """Give how many ways there are through a sequence, and how often it stretches."""
    ways, stretches = 1, 0
    for op, value in items:
        more, longer = _one(op, value)
        ways, stretches = ways * more, stretches + longer
    return ways, stretches


def _one(op: Any, value: Any) -> tuple[int, int]:
    if op in _STILL:
        return 1, 0
    if op in _REPEATS:
        return _repeat(*value)
    if op is sre.BRANCH:
        each = [_effort(branch) for branch in value[1]]
        return sum(ways for ways, _ in each), max(stretches for _, stretches in each)
    if op in (sre.SUBPATTERN, sre.ASSERT, sre.ASSERT_NOT):
        return _effort(value[-1])
    if op is sre.ATOMIC_GROUP:
        return _effort(value)
    raise _UnknownError


def _repeat(least: int, most: int, body: Any) -> tuple[int, int]:
    if len(body) == 1 and body[0][0] in _SINGLE:
        return (most - least + 1, 0) if most <= _FEW else (1, 1)
    if most > 1:
        raise _UnknownError
    ways, stretches = _effort(body)
    return ways + 1 - least, stretches
