"""Search a text column as bytes, because RE2 is ten times faster on bytes than on characters.

A rare word is searched in the one buffer that holds all texts: a call per text would cost more than the search itself.
With RE2 in place of `memmem`, the worst grep of an archive takes 3.2 times the CPU of polars' scan instead of 2.5.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import TYPE_CHECKING, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.archive.optional import Bytes, Ints, Mask, TextArray, Texts

#: If more than one line in this many holds a word, RE2 on each line is faster than a call for each match.
_RARE: Final = 64
#: After this many matches, their density tells whether there will be too many.
_SAMPLED_MATCHES: Final = 64


def buffers(text: TextArray) -> tuple[Ints, Bytes]:
    """Return the offsets of an array's texts (and the end of the last), and the bytes, as numpy arrays.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.LargeBinaryArray
    """
    np = import_optional("numpy")
    _, offsets, values = text.buffers()
    value_bytes = np.frombuffer(values, np.uint8) if values is not None else np.zeros(0, np.uint8)
    return np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1], value_bytes


def rows_with(text: TextArray, word: bytes) -> Ints | None:
    """Return the rows that hold a word; None if there are many, or if the platform has no `memmem`.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.LargeBinaryArray
    word : bytes
        Not empty.

    Returns
    -------
    numpy.ndarray or None

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows_with(pa.array(["xab", "", "ab", "a", "b"] + [""] * 199, pa.large_string()), b"ab").tolist()
    [0, 2]
    """
    np, find = import_optional("numpy"), _memmem()
    offsets, values = buffers(text)
    if find is None or not len(text):
        return None
    addresses: list[int] = []
    base, begin, limit = values.ctypes.data, int(offsets[0]), len(text) // _RARE
    at, end = base + begin, base + int(offsets[-1])
    while address := find(at, end - at, word, len(word)):
        addresses.append(address - base)
        if len(addresses) > limit or (
            len(addresses) == _SAMPLED_MATCHES
            and _SAMPLED_MATCHES * (end - base - begin) > limit * (address - base - begin)
        ):
            return None
        at = address + 1
    matches = np.array(addresses, np.int64)
    rows = np.searchsorted(offsets, matches, "right") - 1
    return np.unique(rows[matches + len(word) <= offsets[rows + 1]])  # a match across two texts does not count


@cache
def _memmem() -> Callable[[int, int, bytes, int], int | None] | None:
    """Return the C library's search, or None.

    See https://man7.org/linux/man-pages/man3/memmem.3.html; ctypes releases the interpreter lock.
    """
    try:
        memmem = ctypes.CDLL(None).memmem
    except (AttributeError, TypeError, OSError):  # Windows has none
        return None
    memmem.restype = ctypes.c_void_p
    memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    search: Callable[[int, int, bytes, int], int | None] = memmem
    return search


def rows_beyond_ascii(text: TextArray) -> Ints:
    """Return the rows that hold bytes beyond ASCII; neighbours of such a row may be among them.

    Examples
    --------
    >>> import pyarrow as pa
    >>> rows_beyond_ascii(pa.array(["a" * 30, "é", "b" * 30, "c" * 30], pa.large_string())).tolist()
    [0, 1]
    """
    np = import_optional("numpy")
    offsets, values = buffers(text)
    if values[offsets[0] : offsets[-1]].max(initial=0) < 128:  # ASCII
        return np.zeros(0, np.int64)
    words = np.append(values[len(values) // 8 * 8 :], np.zeros(8, np.uint8))[:8].view(np.uint64)  # the last bytes
    words = np.append(values[: len(values) // 8 * 8].view(np.uint64), words)
    begin, last = offsets[:-1] // 8, np.maximum(offsets[1:] - 1, 0) // 8
    combined = np.bitwise_or.reduceat(words, begin) | words[last]
    return np.flatnonzero(combined & 0x8080808080808080)


def regex_mask(text: TextArray | Texts, pattern: str) -> Mask:
    """Return which texts match.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.ChunkedArray
    pattern : str
        In RE2's syntax (https://github.com/google/re2/wiki/Syntax); `.` and classes match bytes.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    return pc.match_substring_regex(text.cast(pa.large_binary()), pattern)


def contains_mask(text: TextArray, word: str) -> Mask:
    """Return which texts hold a word.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.LargeBinaryArray
    word : str
        Not empty.

    Examples
    --------
    >>> import pyarrow as pa
    >>> contains_mask(pa.array(["a+b", "aab"], pa.large_string()), "a+").to_pylist()
    [True, False]
    """
    rows = rows_with(text, word.encode("utf-8", "surrogatepass"))
    return regex_mask(text, re.escape(word)) if rows is None else mask_of_rows(len(text), rows)


def any_matches(text: TextArray | Texts, pattern: str) -> bool:
    """Return whether any text matches."""
    return bool(import_optional("pyarrow.compute").any(regex_mask(text, pattern), min_count=0).as_py())


def mask_of_rows(length: int, rows: Ints) -> Mask:
    """Return a boolean mask of `length` rows that is true at `rows`."""
    np = import_optional("numpy")
    mask = np.zeros(length, bool)
    mask[rows] = True
    return import_optional("pyarrow").array(mask)
