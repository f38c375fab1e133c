"""A trigram index: which three bytes in a row occur in the texts of each row group, in a few kilobytes.

A log has few distinct trigrams, whatever its length: 7 000 in a million lines of five programs, which take 2 kB. So
the footer alone shows that no line contains a word (an error's name, a typing mistake), and for a rare word only a
few row groups are read. Digits and random letters occur in all of them. Case is ignored, so that the index also
serves patterns that ignore it. Without it, a word that no line has takes four times as long to look for in 1 000 tasks.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import zstandard

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveDamaged

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Version of what `pack` writes. An index of another version is ignored.
_VERSION: Final = 1
#: Bit 5, which distinguishes small from capital ASCII letters, is always set. This also joins some signs, which only
#: makes the index less exact.
_FOLD: Final = 0x20
#: A row group with more trigrams is marked as containing anything. No trigram has the code 0, since all have bit 5.
_MAX_TRIGRAMS: Final = 65_536
_ANYTHING: Final = 0
#: Maximum bytes per row group; without the index the footer has about 2 kB for each.
_MAX_BYTES_PER_GROUP: Final = 8192
#: Bytes processed at once: they and the intermediate results stay in the processor's cache.
_STEP: Final = 1 << 16


class TrigramIndexBuilder:
    """Collects the trigrams of row groups, one after the other."""

    def __init__(self) -> None:
        self._occurs = import_optional("numpy").zeros(1 << 24, bool)
        self._groups: list[Any] = []

    def add(self, text: Any) -> None:
        """Add the trigrams of a row group's texts, a LargeStringArray; also those across the border of two texts."""
        np = import_optional("numpy")
        _, offsets, values = text.buffers()
        low, high = np.frombuffer(offsets, np.int64)[[text.offset, text.offset + len(text)]].tolist()
        data = np.frombuffer(values, np.uint8)[low:high] if high > low else np.zeros(0, np.uint8)
        codes = np.empty(_STEP // 4 + 1, np.intp)
        for start in range(0, len(data), _STEP):
            # Read four bytes at each position and keep three of them. Pieces overlap by two bytes.
            part = np.zeros(min(_STEP + 2, len(data) - start) + 1, np.uint8)
            np.bitwise_or(data[start : start + _STEP + 2], _FOLD, out=part[:-1])
            for shift in range(min(4, len(part) - 3)):
                four = np.frombuffer(part, "<u4", (len(part) - shift) // 4, shift)
                self._occurs[np.bitwise_and(four, 0xFFFFFF, out=codes[: len(four)], casting="unsafe")] = True
        trigrams = np.flatnonzero(self._occurs)
        self._occurs[trigrams] = False
        self._groups.append(trigrams if len(trigrams) <= _MAX_TRIGRAMS else np.array([_ANYTHING]))

    def pack(self) -> bytes | None:
        """Return the index as text, as Parquet's metadata requires; None if it would dominate the metadata."""
        np = import_optional("numpy")
        all_trigrams = np.unique(np.concatenate(self._groups)) if self._groups else np.zeros(0, np.int64)
        bitmaps = [np.packbits(np.isin(all_trigrams, group, assume_unique=True)) for group in self._groups]
        head = np.array([_VERSION, len(self._groups), len(all_trigrams)], "<u4").tobytes()
        body = np.diff(all_trigrams, prepend=0).astype("<u4").tobytes() + b"".join(bits.tobytes() for bits in bitmaps)
        packed = base64.b64encode(zstandard.ZstdCompressor(level=6).compress(head + body))
        return packed if len(packed) <= _MAX_BYTES_PER_GROUP * (len(self._groups) + 1) else None


def may_contain(packed: bytes, groups: int, words: Sequence[str]) -> list[bool]:
    """Return which row groups may contain one of some words, ignoring case.

    Parameters
    ----------
    packed : bytes
        Result of `TrigramIndexBuilder.pack`.
    groups : int
        The file's number of row groups.
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
        version, indexed, n = np.frombuffer(data, "<u4", 3).tolist()
        if (version, indexed) != (_VERSION, groups):
            return [True] * groups
        all_trigrams, row = np.cumsum(np.frombuffer(data[12:], "<u4", n).astype(np.int64)), -(-n // 8)
        bits = np.frombuffer(data[12 + 4 * n :], np.uint8, groups * row).reshape(groups, row)
    except (ValueError, zstandard.ZstdError) as error:
        raise ArchiveDamaged(f"the metadata of an archived file is damaged: {error}") from error
    occurs = np.unpackbits(bits, axis=1, count=n).astype(bool)
    result = occurs[:, all_trigrams == _ANYTHING].any(axis=1)
    for word in words:
        codes = _codes(word)
        positions = np.minimum(np.searchsorted(all_trigrams, codes), max(n - 1, 0))
        is_known = bool(n) and bool((all_trigrams[positions] == codes).all())
        result = result | (occurs[:, positions].all(axis=1) if is_known or not len(codes) else False)
    return list(result.tolist())


def _codes(word: str) -> Any:
    np = import_optional("numpy")
    data = np.frombuffer(word.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) | _FOLD
    return data[:-2] | data[1:-1] << 8 | data[2:] << 16 if len(data) > 2 else np.zeros(0, np.int64)
