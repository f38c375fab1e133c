"""An upper bound for the work of a regular expression: the longest line that it may search in this process.

Python's `re` backtracks and has no time limit. For a line of n characters, its number of steps is at most
ways * n ** (stretches + 1): each repetition of a single character may stretch over the line, starting at each position, and
each alternative may be tried. A repetition of anything else can take exponential time, so there is no bound for it.
"""

from __future__ import annotations

from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Maximum number of steps. They take ten milliseconds, and no other thread can use the interpreter meanwhile.
_MAX_STEPS: Final = 10_000_000
#: A repetition with at most this many possible lengths counts as that many ways, not as a stretch.
_FEW: Final = 16
_REPEATS: Final = frozenset({sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT})
_SINGLE: Final = frozenset({sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN})
_FIXED: Final = _SINGLE | {sre.AT}


def max_safe_length(pattern: str, longest: int) -> int:
    """Return the length of the longest line (characters) that a pattern can search quickly; 0 if there is no bound.

    Parameters
    ----------
    pattern : str
        A valid pattern of `re`.
    longest : int
        Upper limit of the result.

    Examples
    --------
    >>> [max_safe_length(p, 65_536) for p in ("error|warn", "loss=.*", "a.*b.*c", "(?:ab|a[b])*c")]
    [65536, 3162, 215, 0]
    """
    try:
        ways, stretches = _effort(sre.parse(pattern))
    except _UnknownError:
        return 0
    return min(longest, int((_MAX_STEPS / ways) ** (1 / (stretches + 1))))


class _UnknownError(Exception):
    """The pattern has no bound."""


def _effort(items: Iterable[Any]) -> tuple[int, int]:
    """Return the number of ways through a sequence, and the number of its stretches."""
    ways, stretches = 1, 0
    for op, value in items:
        item_ways, item_stretches = _item_effort(op, value)
        ways, stretches = ways * item_ways, stretches + item_stretches
    return ways, stretches


def _item_effort(op: Any, value: Any) -> tuple[int, int]:
    if op in _FIXED:
        return 1, 0
    if op in _REPEATS:
        return _repeat_effort(*value)
    if op is sre.BRANCH:
        each = [_effort(branch) for branch in value[1]]
        return sum(ways for ways, _ in each), max(stretches for _, stretches in each)
    if op in (sre.SUBPATTERN, sre.ASSERT, sre.ASSERT_NOT):
        return _effort(value[-1])
    if op is sre.ATOMIC_GROUP:
        return _effort(value)
    raise _UnknownError


def _repeat_effort(minimum: int, maximum: int, body: Any) -> tuple[int, int]:
    if len(body) == 1 and body[0][0] in _SINGLE:
        return (maximum - minimum + 1, 0) if maximum <= _FEW else (1, 1)
    if maximum > 1:
        raise _UnknownError
    ways, stretches = _effort(body)
    return ways + 1 - minimum, stretches
