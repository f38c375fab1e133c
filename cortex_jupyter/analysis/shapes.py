"""Find the shapes of a million lines at once: what stays the same in a line when its numbers and ids change.

`epoch 3 loss=0.25` and `epoch 4 loss=0.21` have one shape, `epoch · loss=·`. A log of a million lines has some tens or
hundreds of shapes. So readable Python can parse each shape once, and only numbers are read per line. Regular
expressions with groups over whole columns would take six seconds; numpy on the bytes takes half a second.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.metrics import MARK

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Bytes, Flags, Hashes, Ints, Texts

#: Bytes that one step processes, so that its intermediate arrays stay in the processor's cache.
_BLOCK: Final = 1 << 17
_WORD: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_."
#: A word with more digits before ` = ` is an id, and no name: `job_1445 = 3`.
_FEW: Final = 2
_PRIME: Final = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


@dataclass(slots=True)
class Shapes:
    """The lines of a column, by shape.

    Parameters
    ----------
    shape : numpy.ndarray
        For each line, the index of its shape in `texts`.
    texts : list of str
        The shapes, with each token that has a digit replaced by `MARK`.
    first, count : numpy.ndarray
        For each shape, its first line, and its number of lines.
    at : numpy.ndarray
        For each line, the index of its first token in `start` and `end`; it has one element more than there are lines.
    start, end : numpy.ndarray
        For each token, the offset in `data` of its first byte, and of the byte after its last.
    data : pyarrow.Buffer
    """

    shape: Ints
    texts: list[str]
    first: Ints
    count: Ints
    at: Ints
    start: Ints
    end: Ints
    data: pa.Buffer

    def tokens(self, indexes: Ints, lasts: Ints | None = None) -> pa.LargeStringArray:
        """Return the texts of tokens, without a copy of the lines.

        Parameters
        ----------
        indexes : numpy.ndarray
            Indexes in `start` and `end`, ascending.
        lasts : numpy.ndarray, optional
            Indexes of other tokens in the same lines: each text ends with this token.

        Returns
        -------
        pyarrow.LargeStringArray
        """
        pa, np = import_optional("pyarrow"), import_optional("numpy")
        # An array of tokens and the gaps between them; every second element is a token.
        bounds = np.empty(2 * len(indexes), np.int64)
        bounds[0::2], bounds[1::2] = self.start[indexes], self.end[indexes if lasts is None else lasts]
        kind = pa.large_binary()
        both = pa.Array.from_buffers(kind, max(0, len(bounds) - 1), [None, pa.py_buffer(bounds), self.data])
        return both.take(pa.array(np.arange(0, len(bounds), 2))).cast(pa.large_string(), safe=False)


def shapes(text: Texts | pa.LargeStringArray, *, stems: bool = False) -> Shapes:
    """Find the shapes of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string
        Has no nulls.
    stems : bool, optional
        Of words such as `eth0` and `GPU12`, replace only the number by `MARK`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ["epoch 1 loss=0.5", "epoch 2 loss=-1e-05", "f1=0.9 took 3s id x7k2p"]
    >>> found = shapes(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [shape.replace(MARK, "·") for shape in found.texts], found.shape.tolist()
    (['epoch · loss=·', 'f1=· took · id ·'], [0, 0, 1])
    >>> found.tokens(found.at[:-1]).to_pylist()
    ['1', '2', '0.9']
    """
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    whole = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    if len(whole) == 0:
        none = np.zeros(0, np.int64)
        return Shapes(none, [], none, none, np.zeros(1, np.int64), none, none, pa.py_buffer(b""))
    _, offsets, data = whole.buffers()
    bounds = np.frombuffer(offsets, np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = data if data is not None else pa.py_buffer(b"")
    data_bytes = np.frombuffer(data, np.uint8)
    blocks = np.searchsorted(bounds, np.arange(bounds[0], bounds[-1] + _BLOCK, _BLOCK), "left")
    cuts = sorted({0, len(whole), *np.minimum(blocks, len(whole)).tolist()})
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-shapes") as pool:  # numpy releases the interpreter
        parts = list(pool.map(lambda a, b: _block(data_bytes, bounds[a : b + 1], stems=stems), cuts[:-1], cuts[1:]))
    hashes, counts, starts, ends = (np.concatenate(column) for column in zip(*parts, strict=True))
    at = np.concatenate(([0], np.cumsum(counts)))
    _, first, shape, count = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first, kind="stable")  # shapes ordered by their first occurrence
    new_index = np.empty_like(order)
    new_index[order] = np.arange(len(order))
    first, count, shape = first[order], count[order], new_index[shape]
    texts = [_shape_text(data_bytes, bounds, at, starts, ends, int(row)) for row in first]
    return Shapes(shape, texts, first, count, at, starts, ends, data)


@cache
def _tables() -> tuple[Flags, Hashes]:
    """Return which bytes belong to a word, and a random number per byte value for hashing."""
    np = import_optional("numpy")
    word = np.zeros(256, np.bool_)
    word[list(_WORD)] = True
    return word, np.random.default_rng(7).integers(1, 1 << 63, 256, np.uint64)


def _block(data_bytes: Bytes, bounds: Ints, *, stems: bool) -> tuple[Hashes, Ints, Ints, Ints]:
    """Return, for a block of lines, the hash and the token count of each, and where the tokens begin and end."""
    np = import_optional("numpy")
    word, numbers = _tables()
    base, rows = int(bounds[0]), bounds - bounds[0]
    size = int(rows[-1])
    if size == 0:
        none = np.zeros(0, np.int64)
        return np.zeros(len(rows) - 1, np.uint64), np.zeros(len(rows) - 1, np.int64), none, none
    # Two spaces before and three after, so that each byte has the neighbours that are read.
    text = np.full(size + 5, 32, np.uint8)
    text[2:-3] = data_bytes[base : base + size]
    text[text == 0] = 32  # a line may hold MARK itself
    digit = (text >= 48) & (text <= 57)  # ASCII
    inside = word[text]
    dots = np.flatnonzero(text == 46)
    pairs = dots[:-1][np.diff(dots) == 1]
    inside[pairs] = inside[pairs + 1] = False  # two and more fill a gap, as in `size......4`
    _exponents(np, text, digit, inside, rows)
    starts, ends = _runs(np, inside[1:-2], rows)
    ends -= text[ends + 1] == 46  # a full stop ends a sentence, not a token
    digits = np.zeros(size + 1, np.int32)
    np.cumsum(digit[2:-3], dtype=np.int32, out=digits[1:])
    has_digit = digits[ends] > digits[starts]
    starts, ends = starts[has_digit], ends[has_digit]
    is_short = digits[ends] - digits[starts] <= _FEW
    first = np.zeros(size + 1, np.bool_)  # where a line begins
    first[rows] = True
    named = _names(text, digit, starts, ends, is_short) & ~first[ends]
    starts, ends = starts[~named], ends[~named]
    if stems:
        starts = starts + _stem_lengths(np, text, digits, starts, ends)
    before, signed = text[starts + 1], word[text[starts]] & ~first[np.maximum(starts - 1, 0)]
    sign = ((before == 45) | (before == 43)) & ~signed & digit[starts + 2]  # minus, plus
    sign &= ~first[starts]  # a sign at the end of the line before does not count
    starts = starts - sign
    tokens_before = np.searchsorted(starts, rows)
    # Keep one byte of each token, as MARK, and drop the rest.
    edges = np.zeros(size + 1, np.int8)
    edges[starts + 1] += 1
    edges[ends] -= 1
    keep = np.cumsum(edges[:-1], dtype=np.int8) == 0
    marked = text[2:-3].copy()
    marked[starts] = 0
    left_out = np.concatenate(([0], np.cumsum(ends - starts - 1)))
    return (
        _hash(np, numbers[marked[keep]], rows - left_out[tokens_before]),
        np.diff(tokens_before),
        *_absolute(base, starts, ends),
    )


def _absolute(base: int, *offsets: Ints) -> list[Ints]:
    """Make offsets absolute in the buffer, as four-byte integers while they fit."""
    np = import_optional("numpy")
    kind = np.int32 if base < (1 << 31) - 2 * _BLOCK else np.int64
    return [(array + base).astype(kind) for array in offsets]


def _exponents(np: Any, text: Bytes, digit: Flags, inside: Flags, rows: Ints) -> None:
    """Make the sign in `1e-05` a part of its word, if all of it is in one line."""
    signs = np.flatnonzero((text == 45) | (text == 43))
    signs = signs[(signs > 1) & (signs < len(text) - 1)]
    # Between the digit before `e` and the digit after the sign no line may begin.
    signs = signs[rows[np.minimum(np.searchsorted(rows, signs - 4, "right"), len(rows) - 1)] > signs - 2]
    low = text[signs - 1] | 32
    inside[signs[(low == 101) & digit[signs - 2] & digit[signs + 1]]] = True  # e


def _runs(np: Any, inside: Flags, rows: Ints) -> tuple[Ints, Ints]:
    """Return where runs of word bytes begin and end, none across lines. `inside` has one more byte at each end."""
    begins = inside[1:-1] & ~inside[:-2]
    ends = inside[1:-1] & ~inside[2:]
    edges = rows[1:-1][(rows[1:-1] > 0) & (rows[1:-1] < len(begins))]
    begins[edges] = inside[edges + 1]
    ends[edges - 1] = inside[edges]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _names(text: Bytes, digit: Flags, starts: Ints, ends: Ints, is_short: Flags) -> Flags:
    """Return which words with a digit are names, like `f1` in `f1=0.9`: they belong to the shape. `is_short`: of `_FEW` digits."""
    after, second = text[ends + 2], text[ends + 3]
    follows = (after == 61) | (after == 58)  # = and :
    spaced = is_short & (after == 32) & ((second == 61) | (second == 58))  # f1 = 0.9
    quoted = ((after == 34) | (after == 39)) & ((second == 58) | (second == 115))  # "f1": and valid_1's
    # validation_0-rmse
    joined = ((after == 45) | (after == 47) | (after == 64)) & ((second | 32) >= 97) & ((second | 32) <= 122)
    letter = ~digit[starts + 2] & (text[starts + 2] != 46)
    top = text[starts + 1] == 64  # acc@5
    return (letter & (follows | spaced | quoted | joined)) | top


def _stem_lengths(np: Any, text: Bytes, digits: Ints, starts: Ints, ends: Ints) -> Ints:
    """Return the number of letters of each word that has two or more, then one or two digits; 0 for the other words."""
    count = digits[ends] - digits[starts]  # numbers of digits
    size = ends - starts - count
    is_stem = (count <= 2) & (size >= 2) & (digits[ends - count] == digits[starts])
    low, second = text[starts + 2] | 32, text[starts + 3] | 32
    is_stem &= (low >= 97) & (low <= 122) & (second >= 97) & (second <= 122)
    is_stem &= text[starts + 1] != 45  # the last part of a name, such as `web-x7`, is random
    return np.where(is_stem, size, 0)


def _hash(np: Any, values: Hashes, bounds: Ints) -> Hashes:
    """Return for each line the sum of value times PRIME**position, with positions from the line's start, modulo 2**64."""
    powers, inverse = _powers(1 << max(16, len(values).bit_length()))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values * powers[: len(values)])))
    lengths = (bounds[1:] - bounds[:-1]).astype(np.uint64)
    return (sums[bounds[1:]] - sums[bounds[:-1]]) * inverse[bounds[:-1]] + lengths


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    np = import_optional("numpy")
    inverse = pow(_PRIME, -1, 1 << 64)
    return tuple(
        np.cumprod(np.concatenate((np.ones(1, np.uint64), np.full(size, base, np.uint64))))
        for base in (_PRIME, inverse)
    )


def _shape_text(data_bytes: Bytes, bounds: Ints, at: Ints, starts: Ints, ends: Ints, row: int) -> str:
    """Return the shape of one line as text."""
    parts, offset = [], int(bounds[row])
    for token in range(int(at[row]), int(at[row + 1])):
        parts.append(data_bytes[offset : int(starts[token])].tobytes())
        offset = int(ends[token])
    parts.append(data_bytes[offset : int(bounds[row + 1])].tobytes())
    return MARK.join(part.replace(b"\0", b" ").decode("utf-8", "replace") for part in parts)
