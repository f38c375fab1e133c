"""Which row groups cannot hold a word: every three bytes in a row that occur in the texts of each, in a few kilobytes.

A log has few of them, whatever its length: 7 000 in a million lines of five programs, which are 2 kB in all. So words
that no line has (an error's name, a typing mistake) are answered from the footer, and a rare one from a few row groups;
digits and random letters are in all of them. Case is left out, so that patterns that ignore it are served too.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import zstandard

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveDamaged

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The form of what `pack` writes; of another one nothing is known here.
_FORM: Final = 1
#: Sets bit 5: small and capital letters of ASCII are one then (and some signs too, which only makes it less exact).
_FOLD: Final = 0x20
#: More than that is too much to say of one row group, and then nothing is said; no gram has this code, for all have bit 5.
_MOST: Final = 65_536
_ANYTHING: Final = 0
#: Bytes for a row group, of which the footer has about 2 kB without it.
_LARGEST: Final = 8192
#: Bytes that are looked at in one go: they and what is made of them stay in the processor's cache.
_STEP: Final = 1 << 16


class TrigramIndexBuilder:
    """Collects the grams of row groups, one after the other."""

    def __init__(self) -> None:
        self._seen = import_optional("numpy").zeros(1 << 24, bool)
        self._groups: list[Any] = []

    def add(self, text: Any) -> None:
        """Note those of a row group's texts, a LargeStringArray; also those that go from one text into the next."""
        np = import_optional("numpy")
        _, offsets, values = text.buffers()
        low, high = np.frombuffer(offsets, np.int64)[[text.offset, text.offset + len(text)]].tolist()
        data = np.frombuffer(values, np.uint8)[low:high] if high > low else np.zeros(0, np.uint8)
        places = np.empty(_STEP // 4 + 1, np.intp)
        for start in range(0, len(data), _STEP):
            # Four bytes at each place, of which three count: the last of a piece are the first of the next.
            part = np.zeros(min(_STEP + 2, len(data) - start) + 1, np.uint8)
            np.bitwise_or(data[start : start + _STEP + 2], _FOLD, out=part[:-1])
            for shift in range(min(4, len(part) - 3)):
                four = np.frombuffer(part, "<u4", (len(part) - shift) // 4, shift)
                self._seen[np.bitwise_and(four, 0xFFFFFF, out=places[: len(four)], casting="unsafe")] = True
        found = np.flatnonzero(self._seen)
        self._seen[found] = False
        self._groups.append(found if len(found) <= _MOST else np.array([_ANYTHING]))

    def pack(self) -> bytes | None:
        """Give all as text, because Parquet's metadata is text; None where that would not be small beside the rest of it."""
        np = import_optional("numpy")
        known = np.unique(np.concatenate(self._groups)) if self._groups else np.zeros(0, np.int64)
        held = [np.packbits(np.isin(known, group, assume_unique=True)) for group in self._groups]
        head = np.array([_FORM, len(self._groups), len(known)], "<u4").tobytes()
        body = np.diff(known, prepend=0).astype("<u4").tobytes() + b"".join(bits.tobytes() for bits in held)
        packed = base64.b64encode(zstandard.ZstdCompressor(level=6).compress(head + body))
        return packed if len(packed) <= _LARGEST * (len(self._groups) + 1) else None


def may_contain(packed: bytes, groups: int, words: Sequence[str]) -> list[bool]:
    """Tell which row groups may hold one of some words, in any case.

    Parameters
    ----------
    packed : bytes
        What `TrigramIndexBuilder.pack` gave.
    groups : int
        How many row groups there are.
    words : sequence of str

    Raises
    ------
    ArchiveDamaged

    Examples
    --------
    >>> import pyarrow as pa
    >>> grams = TrigramIndexBuilder()
    >>> for lines in (["loss=0.5", "Step 7"], ["ERROR: hot", "x"]):
    ...     grams.add(pa.array(lines, pa.large_string()))
    >>> [may_contain(grams.pack(), 2, words) for words in (["error", "step 8"], ["errors"], ["xy"])]
    [[False, True], [False, False], [True, True]]
    """
    np = import_optional("numpy")
    try:
        data = zstandard.ZstdDecompressor().decompress(base64.b64decode(packed))
        form, noted, n = np.frombuffer(data, "<u4", 3).tolist()
        if (form, noted) != (_FORM, groups):
            return [True] * groups
        known, row = np.cumsum(np.frombuffer(data[12:], "<u4", n).astype(np.int64)), -(-n // 8)
        bits = np.frombuffer(data[12 + 4 * n :], np.uint8, groups * row).reshape(groups, row)
    except (ValueError, zstandard.ZstdError) as error:
        raise ArchiveDamaged(f"the metadata of an archive is damaged: {error}") from error
    held = np.unpackbits(bits, axis=1, count=n).astype(bool)
    found = held[:, known == _ANYTHING].any(axis=1)
    for word in words:
        wanted = _codes(word)
        place = np.minimum(np.searchsorted(known, wanted), max(n - 1, 0))
        there = bool(n) and bool((known[place] == wanted).all())
        found = found | (held[:, place].all(axis=1) if there or not len(wanted) else False)
    return list(found.tolist())


def _codes(word: str) -> Any:
    np = import_optional("numpy")
    data = np.frombuffer(word.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) | _FOLD
    return data[:-2] | data[1:-1] << 8 | data[2:] << 16 if len(data) > 2 else np.zeros(0, np.int64)  # noqa: PLR2004
