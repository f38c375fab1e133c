r"""A pattern of Python's `re` in RE2's syntax over UTF-8 bytes, where both find the same lines.

RE2 is linear, releases the interpreter's lock, and goes through a column of lines twenty times faster than a loop in
Python. But its classes are of ASCII (https://github.com/google/re2/wiki/Syntax) and it has no look-around, so it is
given only what means the same, and each pattern says for which lines that holds: all others are asked in Python.
Whether there is a match is all that counts here, not where; so greed makes no difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: RE2 counts no further; and what is repeated is copied as often, so that a long pattern would not fit its memory.
_MOST: Final = 1000
_LONGEST: Final = 4000
_ASCII: Final = frozenset(range(128))
_DIGITS: Final = frozenset(range(48, 58))
_SPACES: Final = frozenset({*range(9, 14), *range(28, 33)})
_WORDS: Final = frozenset({*_DIGITS, *range(65, 91), *range(97, 123), 95})
#: The characters of ASCII of a class, and whether it is one of all the others too.
_CLASSES: Final = {
    sre.CATEGORY_DIGIT: (_DIGITS, False), sre.CATEGORY_NOT_DIGIT: (_ASCII - _DIGITS, True),
    sre.CATEGORY_SPACE: (_SPACES, False), sre.CATEGORY_NOT_SPACE: (_ASCII - _SPACES, True),
    sre.CATEGORY_WORD: (_WORDS, False), sre.CATEGORY_NOT_WORD: (_ASCII - _WORDS, True),
}  # fmt: skip
#: A character of several bytes. And letters for which, where case does not count, such a one is taken (U+212A, U+017F, U+0130, U+0131).
_WIDE: Final = r"[\xc0-\xff][\x80-\xbf]+"
_KIN: Final = {"k": "\u212a", "s": "\u017f", "i": "\u0130\u0131"}


@dataclass(slots=True)
class Bytewise:
    """A pattern for RE2 in its Latin-1 mode, and for which lines it finds what `re` finds.

    Parameters
    ----------
    pattern : str
    letters : bool
        Also for lines with letters, digits and spaces beyond ASCII, and not of symbols only.
    breaks : bool
        Also for lines with a line break in them.
    """

    pattern: str = ""
    letters: bool = True
    breaks: bool = True


class _OtherwiseError(Exception):
    """RE2 has no such thing, or another one."""


def bytewise(pattern: str) -> Bytewise | None:
    r"""Translate a pattern; None where RE2 cannot have it.

    Examples
    --------
    >>> bytewise(r"loss=\d"), bytewise("é$"), bytewise(r"a(?=b)")
    (Bytewise(pattern='loss\\x3d[0-9]', letters=False, breaks=True), Bytewise(pattern='\\xc3\\xa9\\z', letters=True, breaks=False), None)
    """
    found = Bytewise()
    parsed = sre.parse(pattern)
    try:
        found.pattern = _sequence(parsed, parsed.state.flags, found)
    except (_OtherwiseError, UnicodeEncodeError):
        return None
    return found if len(found.pattern) <= _LONGEST else None


def _sequence(items: Iterable[Any], flags: int, found: Bytewise) -> str:
    if flags & re.ASCII:  # other spaces than those of ASCII text; seldom asked for
        raise _OtherwiseError
    return "".join(_one(op, value, flags, found) for op, value in items)


def _one(op: Any, value: Any, flags: int, found: Bytewise) -> str:  # noqa: PLR0911 - one for each
    if op is sre.LITERAL:
        return _set([(op, value)], flags, found) if flags & re.IGNORECASE else _char(value)
    if op is sre.NOT_LITERAL:
        return _set([(sre.NEGATE, None), (sre.LITERAL, value)], flags, found)
    if op is sre.IN:
        return _set(value, flags, found)
    if op is sre.ANY:
        return _either(_ASCII if flags & re.DOTALL else _ASCII - {10}, [_WIDE])
    if op is sre.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, flags, found) for branch in value[1])})"
    if op is sre.SUBPATTERN:
        _, more, fewer, body = value
        return f"(?:{_sequence(body, (flags | more) & ~fewer, found)})"
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, body = value
        if least > _MOST or (most is not sre.MAXREPEAT and most > _MOST):
            raise _OtherwiseError
        return f"(?:{_sequence(body, flags, found)}){{{least},{'' if most is sre.MAXREPEAT else most}}}"
    if op is sre.AT:
        return _at(value, found)
    raise _OtherwiseError


def _at(value: Any, found: Bytewise) -> str:
    if value is sre.AT_NON_BOUNDARY:  # of an empty line they differ
        raise _OtherwiseError
    if value is sre.AT_BOUNDARY:
        found.letters = False
        return r"\b"
    if value in (sre.AT_BEGINNING, sre.AT_END):  # beside a line break they mean something else
        found.breaks = False
    return r"\A" if value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING) else r"\z"


def _set(items: Iterable[Any], flags: int, found: Bytewise) -> str:
    """Give a class: its characters of ASCII, single ones beyond, and whether it is one of all others."""
    codes: set[int] = set()
    beyond: list[str] = []
    negated = others = False
    for op, value in items:
        if op is sre.NEGATE:
            negated = True
        elif op is sre.CATEGORY:
            held, wide = _CLASSES[value]
            codes, others = codes | held, others or wide
            found.letters = False
        else:
            low, high = (value, value) if op is sre.LITERAL else value
            codes |= {*range(low, min(high, 127) + 1)}
            if high > 127:  # noqa: PLR2004 - beyond ASCII
                if low != high or negated or flags & re.IGNORECASE:
                    raise _OtherwiseError
                beyond.append(_char(high))
    if flags & re.IGNORECASE:
        codes = {ord(other) for code in codes for other in (chr(code).lower(), chr(code).upper())}
        beyond += [_char(ord(kin)) for letter, kins in _KIN.items() if ord(letter) in codes for kin in kins]
        if beyond and (negated or others):
            raise _OtherwiseError
    if negated:
        codes, others = set(_ASCII - codes), not others
    return _either(codes, [_WIDE] if others else beyond)


def _either(codes: Iterable[int], beyond: list[str]) -> str:
    """Give one of some characters of ASCII, or one of several bytes."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    parts = [_byte(low) if low == high else f"{_byte(low)}-{_byte(high)}" for low, high in runs]
    some = [f"[{''.join(parts)}]"] if parts else []
    if not some + beyond:
        raise _OtherwiseError
    return f"(?:{'|'.join(some + beyond)})" if beyond else some[0]


def _char(code: int) -> str:
    return "".join(map(_byte, chr(code).encode()))


def _byte(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else rf"\x{code:02x}"
