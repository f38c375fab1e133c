"""Bytes in the one long piece of memory that a column's texts are, where a call for each text would cost more than the search."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where more than one line in so many holds a word, a call for each place is dearer than RE2 on each line. After so many
#: places it is judged whether the rest will.
_SELDOM: Final = 64
_JUDGED: Final = 64


def buffers(text: Any) -> tuple[Any, Any]:
    """Give where each text of an array begins and the last ends, and the bytes, as numpy arrays.

    Parameters
    ----------
    text : pyarrow.LargeStringArray or pyarrow.LargeBinaryArray
    """
    np = import_optional("numpy")
    _, offsets, values = text.buffers()
    held = np.frombuffer(values, np.uint8) if values is not None else np.zeros(0, np.uint8)
    return np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1], held


def rows_with(text: Any, word: bytes) -> Any:
    """Give the rows that hold a word, where that is quickly said: None where they are many, or there is no `memmem`.

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
    places: list[int] = []
    base, begin, most = values.ctypes.data, int(offsets[0]), len(text) // _SELDOM
    at, end = base + begin, base + int(offsets[-1])
    while place := find(at, end - at, word, len(word)):
        places.append(place - base)
        if len(places) > most or (
            len(places) == _JUDGED and _JUDGED * (end - base - begin) > most * (place - base - begin)
        ):
            return None
        at = place + 1
    found = np.array(places, np.int64)
    rows = np.searchsorted(offsets, found, "right") - 1
    return np.unique(rows[found + len(word) <= offsets[rows + 1]])  # what goes over a text's end is in none


@cache
def _memmem() -> Callable[[int, int, bytes, int], int | None] | None:
    """Give the C library's search (https://man7.org/linux/man-pages/man3/memmem.3.html); ctypes releases the interpreter."""
    try:
        found = ctypes.CDLL(None).memmem
    except (AttributeError, TypeError, OSError):  # Windows has none
        return None
    found.restype = ctypes.c_void_p
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    search: Callable[[int, int, bytes, int], int | None] = found
    return search


def wide(text: Any) -> Any:
    """Give the rows that hold bytes beyond ASCII; neighbours of such a row may be among them.

    Examples
    --------
    >>> import pyarrow as pa
    >>> wide(pa.array(["a" * 30, "é", "b" * 30, "c" * 30], pa.large_string())).tolist()
    [0, 1]
    """
    np = import_optional("numpy")
    offsets, values = buffers(text)
    if values[offsets[0] : offsets[-1]].max(initial=0) < 128:  # noqa: PLR2004 - ASCII
        return np.zeros(0, np.int64)
    eights = np.append(values[len(values) // 8 * 8 :], np.zeros(8, np.uint8))[:8].view(np.uint64)  # the rest
    eights = np.append(values[: len(values) // 8 * 8].view(np.uint64), eights)
    begin, last = offsets[:-1] // 8, np.maximum(offsets[1:] - 1, 0) // 8
    held = np.bitwise_or.reduceat(eights, begin) | eights[last]
    return np.flatnonzero(held & 0x8080808080808080)
