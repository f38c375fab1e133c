"""Find which texts match a pattern, in bytes: RE2 is ten times faster in bytes than in characters.

A pattern has Python's meaning in any case: `match_mask` returns what `find` would (`query.re2` says when RE2 agrees).
"""

from __future__ import annotations

import re
from functools import cache, lru_cache, reduce
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.bytefind import (
    buffers,
    contains_mask,
    mask_of_rows,
    regex_mask,
    rows_beyond_ascii,
    rows_with,
)
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.query.pattern import REACH, Finder
from cortex_jupyter.query.re2 import bytewise
from cortex_jupyter.query.required_literals import required_literals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints, Mask
    from cortex_jupyter.query.re2 import Bytewise

#: Lines that share one time limit of a pattern: as many as a batch.
_PIECE: Final = 4096
_bytewise: Final = lru_cache(64)(bytewise)


def match_mask(text: pa.LargeStringArray, pattern: str, find: Callable[[str], object]) -> Mask:
    r"""Return which texts a pattern is found in.

    Parameters
    ----------
    text : pyarrow.LargeStringArray
    pattern : str
        A pattern that `query.pattern.finder` takes; empty if only `find` can test.
    find : callable
        Returns a true value for the texts that match.

    Examples
    --------
    >>> import pyarrow as pa
    >>> match_mask(pa.array(["a1", "b2", "A٣"], pa.large_string()), r"(?i)a\d", re.compile(r"(?i)a\d").search).to_pylist()
    [True, False, True]
    """
    np = import_optional("numpy")
    if not pattern:
        return _test(text, None, find)
    literals, rule = required_literals(pattern), _bytewise(pattern)
    rows = None if literals.fold else _rows(text, literals.texts)
    if rows is None and literals.whole:
        return regex_mask(text, re.escape(literals.texts[0]))
    if rows is None and literals.texts and not literals.fold:
        rows = np.flatnonzero(regex_mask(text, "|".join(map(re.escape, literals.texts))))
    if rows is None:
        return _test(text, rule, find)
    if not literals.whole:
        some = _test(text.take(import_optional("pyarrow").array(rows)), rule, find)
        rows = rows[some.to_numpy(zero_copy_only=False)]
    return mask_of_rows(len(text), rows)


def _rows(text: pa.LargeStringArray, words: Sequence[str]) -> Ints | None:
    """Return the rows that hold one of some words; None if `bytefind.rows_with` cannot answer quickly."""
    np, rows_by_word = import_optional("numpy"), []
    for word in words:
        rows = rows_with(text, word.encode("utf-8", "surrogatepass"))
        if rows is None:
            return None
        rows_by_word.append(rows)
    return np.unique(np.concatenate(rows_by_word)) if rows_by_word else None


def _test(text: pa.LargeStringArray, rule: Bytewise | None, find: Callable[[str], object]) -> Mask:
    """Test with RE2 if there is a rule, and test with Python the lines that the rule does not cover."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if rule is not None:
        try:
            mask = regex_mask(text, rule.pattern)
        except pa.ArrowInvalid:  # the pattern needs more memory than RE2 allows
            rule = None
    if rule is None:
        return pa.array(_test_in_python(find, text.to_pylist()), pa.bool_())
    odd = _odd(text, rule)
    if odd is None or not pc.any(odd, min_count=0).as_py():
        return mask
    return pc.replace_with_mask(mask, odd, _test(pc.filter(text, odd), None, find))


def _test_in_python(find: Callable[[str], object], texts: list[str]) -> list[bool]:
    if not isinstance(find, Finder):
        return [bool(find(text)) for text in texts]
    pieces = (texts[at : at + _PIECE] for at in range(0, len(texts), _PIECE))
    matches = [set(find.among(piece, range(len(piece)))) for piece in pieces]
    return [i % _PIECE in matches[i // _PIECE] for i in range(len(texts))]


def _odd(text: pa.LargeStringArray, rule: Bytewise) -> Mask | None:
    """Return a mask of the lines that a rule may not cover; None if it covers all."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    masks = []
    if (np.diff(buffers(text)[0]) > REACH).any():
        masks.append(pc.greater(pc.binary_length(text), REACH))
    if not rule.breaks:
        masks.append(contains_mask(text, "\n"))
    if not rule.letters and len(rows := rows_beyond_ascii(text)):
        masks.append(
            mask_of_rows(
                len(text), rows[regex_mask(text.take(pa.array(rows)), _letters()).to_numpy(zero_copy_only=False)]
            )
        )
    return reduce(pc.or_, masks) if masks else None


@cache
def _letters() -> str:
    """Return a pattern for the bytes of characters beyond ASCII that may be letters, digits or spaces.

    It excludes only the symbols from U+2000 to U+2FFF.
    """
    last: dict[int, list[str]] = {}
    for code in range(0x2000, 0x3000):
        if chr(code).isalnum() or chr(code).isspace():
            _, second, third = chr(code).encode()
            last.setdefault(second, []).append(rf"\x{third:02x}")
    symbols = [rf"\xe2\x{second:02x}[{''.join(thirds)}]" for second, thirds in last.items()]
    return rf"[\xc0-\xe1\xe3-\xff]|{'|'.join(symbols)}"
