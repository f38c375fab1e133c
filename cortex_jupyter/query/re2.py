r"""Translation of a pattern of Python's `re` to RE2's syntax over UTF-8 bytes, if both match the same lines.

RE2 takes linear time, releases the interpreter lock, and searches a column of lines twenty times faster than a loop in Python.
But its classes are ASCII only (https://github.com/google/re2/wiki/Syntax) and it has no look-around. So a pattern is translated
only if RE2 matches the same lines with it. Where that is true only of some lines, the translation says so, and Python searches
the others. Only whether a line matches counts here, not where, so greediness makes no difference. A grep without it takes three
to four times the CPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import _parser as sre  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: RE2's maximum repeat count. RE2 copies the repeated part that often, so a long pattern would exceed its memory.
_MAX_REPEAT: Final = 1000
_MAX_LENGTH: Final = 4000
_ASCII: Final = frozenset(range(128))
_DIGITS: Final = frozenset(range(48, 58))
_SPACES: Final = frozenset({*range(9, 14), *range(28, 33)})
_WORDS: Final = frozenset({*_DIGITS, *range(65, 91), *range(97, 123), 95})
#: The ASCII characters of a class, and whether the class also includes all other characters.
_CLASSES: Final = {
    sre.CATEGORY_DIGIT: (_DIGITS, False),
    sre.CATEGORY_NOT_DIGIT: (_ASCII - _DIGITS, True),
    sre.CATEGORY_SPACE: (_SPACES, False),
    sre.CATEGORY_NOT_SPACE: (_ASCII - _SPACES, True),
    sre.CATEGORY_WORD: (_WORDS, False),
    sre.CATEGORY_NOT_WORD: (_ASCII - _WORDS, True),
}
#: A character of several bytes.
_WIDE: Final = r"[\xc0-\xff][\x80-\xbf]+"
#: Characters that equal an ASCII letter if case is ignored (U+212A, U+017F, U+0130, U+0131).
_CASE_VARIANTS: Final = {"k": "\u212a", "s": "\u017f", "i": "\u0130\u0131"}


@dataclass(slots=True)
class Bytewise:
    """A pattern for RE2 in its Latin-1 mode. On some lines it may not agree with `re`.

    Parameters
    ----------
    pattern : str
    letters : bool
        It agrees also on lines with letters, digits and spaces beyond ASCII. (It always does on other symbols.)
    breaks : bool
        It agrees also on lines that contain a line break.
    """

    pattern: str = ""
    letters: bool = True
    breaks: bool = True


class _UntranslatableError(Exception):
    """RE2 does not support a part of the pattern, or it means something else in RE2."""


def bytewise(pattern: str) -> Bytewise | None:
    r"""Translate a pattern; return None if RE2 cannot match the same lines.

    Examples
    --------
    >>> bytewise(r"loss=\d"), bytewise("é$"), bytewise(r"a(?=b)")
    (Bytewise(pattern='loss\\x3d[0-9]', letters=False, breaks=True), Bytewise(pattern='\\xc3\\xa9\\z', letters=True, breaks=False), None)
    """
    result = Bytewise()
    parsed = sre.parse(pattern)
    try:
        result.pattern = _sequence(parsed, parsed.state.flags, result)
    except (_UntranslatableError, UnicodeEncodeError):
        return None
    return result if len(result.pattern) <= _MAX_LENGTH else None


def _sequence(items: Iterable[Any], flags: int, result: Bytewise) -> str:
    if flags & re.ASCII:  # its classes differ from both forms translated here, and it is rarely used
        raise _UntranslatableError
    return "".join(_item(op, value, flags, result) for op, value in items)


def _item(op: Any, value: Any, flags: int, result: Bytewise) -> str:  # noqa: PLR0911 - one for each kind of item
    if op is sre.LITERAL:
        return _set([(op, value)], flags, result) if flags & re.IGNORECASE else _char(value)
    if op is sre.NOT_LITERAL:
        return _set([(sre.NEGATE, None), (sre.LITERAL, value)], flags, result)
    if op is sre.IN:
        return _set(value, flags, result)
    if op is sre.ANY:
        return _either(_ASCII if flags & re.DOTALL else _ASCII - {10}, [_WIDE])
    if op is sre.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, flags, result) for branch in value[1])})"
    if op is sre.SUBPATTERN:
        _, added, removed, body = value
        return f"(?:{_sequence(body, (flags | added) & ~removed, result)})"
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        minimum, maximum, body = value
        if minimum > _MAX_REPEAT or (maximum is not sre.MAXREPEAT and maximum > _MAX_REPEAT):
            raise _UntranslatableError
        return f"(?:{_sequence(body, flags, result)}){{{minimum},{'' if maximum is sre.MAXREPEAT else maximum}}}"
    if op is sre.AT:
        return _at(value, result)
    raise _UntranslatableError


def _at(value: Any, result: Bytewise) -> str:
    if value is sre.AT_NON_BOUNDARY:  # the two differ on an empty line
        raise _UntranslatableError
    if value is sre.AT_BOUNDARY:
        result.letters = False
        return r"\b"
    if value in (sre.AT_BEGINNING, sre.AT_END):  # these mean something else next to a line break
        result.breaks = False
    return r"\A" if value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING) else r"\z"


def _set(items: Iterable[Any], flags: int, result: Bytewise) -> str:
    """Return a character class: ASCII characters, single characters beyond ASCII, and perhaps all other characters."""
    codes: set[int] = set()
    beyond: list[str] = []
    negated = has_wide = False
    for op, value in items:
        if op is sre.NEGATE:
            negated = True
        elif op is sre.CATEGORY:
            members, is_wide = _CLASSES[value]
            codes, has_wide = codes | members, has_wide or is_wide
            result.letters = False
        else:
            low, high = (value, value) if op is sre.LITERAL else value
            codes |= {*range(low, min(high, 127) + 1)}
            if high > 127:  # beyond ASCII
                if low != high or negated or flags & re.IGNORECASE:
                    raise _UntranslatableError
                beyond.append(_char(high))
    if flags & re.IGNORECASE:
        codes = {ord(char) for code in codes for char in (chr(code).lower(), chr(code).upper())}
        beyond += [
            _char(ord(v)) for letter, variants in _CASE_VARIANTS.items() if ord(letter) in codes for v in variants
        ]
        if beyond and (negated or has_wide):
            raise _UntranslatableError
    if negated:
        codes, has_wide = set(_ASCII - codes), not has_wide
    return _either(codes, [_WIDE] if has_wide else beyond)


def _either(codes: Iterable[int], beyond: list[str]) -> str:
    """Return a pattern for one of some ASCII characters, or one of the characters beyond."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    parts = [_byte(low) if low == high else f"{_byte(low)}-{_byte(high)}" for low, high in runs]
    ascii_class = [f"[{''.join(parts)}]"] if parts else []
    if not ascii_class + beyond:
        raise _UntranslatableError
    return f"(?:{'|'.join(ascii_class + beyond)})" if beyond else ascii_class[0]


def _char(code: int) -> str:
    return "".join(map(_byte, chr(code).encode()))


def _byte(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else rf"\x{code:02x}"
