"""Which texts hold something: looked for in bytes, where RE2 is ten times faster than in characters.

A pattern is Python's, whatever finds it: `find` here and there has the same answer (`query.re2` says where RE2 has).
"""

from __future__ import annotations

import re
from functools import cache, lru_cache, reduce
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.query.pattern import REACH, Finder
from cortex_jupyter.query.re2 import bytewise
from cortex_jupyter.query.required_literals import needed
from cortex_jupyter.tables.bytefind import buffers, rows_with, wide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cortex_jupyter.query.re2 import Bytewise

#: Lines for which a pattern has its time: as many as a batch.
_PIECE: Final = 4096
_bytewise: Final = lru_cache(64)(bytewise)


def found(text: Any, pattern: str, find: Callable[[str], object]) -> Any:
    r"""Tell which texts a pattern is found in.

    Parameters
    ----------
    text : pyarrow.LargeStringArray
    pattern : str
        One that `query.pattern.finder` takes; nothing where only `find` knows.
    find : callable
        Truthy for the texts that are meant.

    Examples
    --------
    >>> import pyarrow as pa
    >>> found(pa.array(["a1", "b2", "A٣"], pa.large_string()), r"(?i)a\d", re.compile(r"(?i)a\d").search).to_pylist()
    [True, False, True]
    """
    np = import_optional("numpy")
    if not pattern:
        return _asked(text, None, find)
    held, rule = needed(pattern), _bytewise(pattern)
    rows = None if held.fold else _rows(text, held.texts)
    if rows is None and held.whole:
        return matching(text, re.escape(held.texts[0]))
    if rows is None and held.texts and not held.fold:
        rows = np.flatnonzero(matching(text, "|".join(map(re.escape, held.texts))))
    if rows is None:
        return _asked(text, rule, find)
    if not held.whole:
        some = _asked(text.take(import_optional("pyarrow").array(rows)), rule, find)
        rows = rows[some.to_numpy(zero_copy_only=False)]
    return _mask(len(text), rows)


def _rows(text: Any, words: Sequence[str]) -> Any:
    """Give the rows that hold one of some words, None where that is not quickly said."""
    np, found = import_optional("numpy"), []
    for word in words:
        rows = rows_with(text, word.encode("utf-8", "surrogatepass"))
        if rows is None:
            return None
        found.append(rows)
    return np.unique(np.concatenate(found)) if found else None


def _mask(length: int, rows: Any) -> Any:
    np = import_optional("numpy")
    mask = np.zeros(length, bool)
    mask[rows] = True
    return import_optional("pyarrow").array(mask)


def _asked(text: Any, rule: Bytewise | None, find: Callable[[str], object]) -> Any:
    """Ask RE2 where it has a rule, and Python of those lines for which that does not hold."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if rule is not None:
        try:
            mask = matching(text, rule.pattern)
        except pa.ArrowInvalid:  # too large for RE2's memory
            rule = None
    if rule is None:
        return pa.array(_asked_python(find, text.to_pylist()), pa.bool_())
    odd = _odd(text, rule)
    if odd is None or not pc.any(odd, min_count=0).as_py():
        return mask
    return pc.replace_with_mask(mask, odd, _asked(pc.filter(text, odd), None, find))


def _asked_python(find: Callable[[str], object], texts: list[str]) -> list[bool]:
    if not isinstance(find, Finder):
        return [bool(find(text)) for text in texts]
    pieces = (texts[at : at + _PIECE] for at in range(0, len(texts), _PIECE))
    good = [set(find.among(piece, range(len(piece)))) for piece in pieces]
    return [i % _PIECE in good[i // _PIECE] for i in range(len(texts))]


def _odd(text: Any, rule: Bytewise) -> Any:
    """Tell for which lines a rule may not hold; None for none."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    masks = []
    if (np.diff(buffers(text)[0]) > REACH).any():
        masks.append(pc.greater(pc.binary_length(text), REACH))
    if not rule.breaks:
        masks.append(holding(text, "\n"))
    if not rule.letters and len(rows := wide(text)):
        masks.append(
            _mask(len(text), rows[matching(text.take(pa.array(rows)), _letters()).to_numpy(zero_copy_only=False)])
        )
    return reduce(pc.or_, masks) if masks else None


@cache
def _letters() -> str:
    """Give a pattern for bytes of characters beyond ASCII that may be letters, digits or spaces: all but symbols from U+2000 to U+2FFF."""
    last: dict[int, list[str]] = {}
    for code in range(0x2000, 0x3000):
        if chr(code).isalnum() or chr(code).isspace():
            _, second, third = chr(code).encode()
            last.setdefault(second, []).append(rf"\x{third:02x}")
    symbols = [rf"\xe2\x{second:02x}[{''.join(thirds)}]" for second, thirds in last.items()]
    return rf"[\xc0-\xe1\xe3-\xff]|{'|'.join(symbols)}"


def matching(text: Any, pattern: str) -> Any:
    """Tell which texts match.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.ChunkedArray
    pattern : str
        In RE2's syntax (https://github.com/google/re2/wiki/Syntax); `.` and classes are of bytes.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    return pc.match_substring_regex(text.cast(pa.large_binary()), pattern)


def holding(text: Any, word: str) -> Any:
    """Tell which texts hold a word.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.LargeBinaryArray
    word : str
        Not empty.

    Examples
    --------
    >>> import pyarrow as pa
    >>> holding(pa.array(["a+b", "aab"], pa.large_string()), "a+").to_pylist()
    [True, False]
    """
    rows = rows_with(text, word.encode("utf-8", "surrogatepass"))
    return matching(text, re.escape(word)) if rows is None else _mask(len(text), rows)


def any_matches(text: Any, pattern: str) -> bool:
    """Tell whether one of them matches."""
    return bool(import_optional("pyarrow.compute").any(matching(text, pattern), min_count=0).as_py())
