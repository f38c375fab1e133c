"""Find level, message and fields of lines as spans of their text.

Once all digits count as equal, a million lines begin in only a few ways. Each such beginning is parsed once by
`parsing`, and the result holds for all lines that begin so. Arrow parses JSON lines. Lines with colours, logfmt, and
JSON behind text are left to the caller that needs their message or fields: `message_at` is null then.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.bytefind import buffers, contains_mask, rows_beyond_ascii
from cortex_jupyter.archive.jsonlines import find_json_spans
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import header_forms as forms
from cortex_jupyter.parsing import level as level_rules

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Bytes, Texts

#: The columns that `find_spans` returns, in order.
COLUMNS: Final = ("level", "message_at", "message_len", "fields_at")
#: Bytes of a line's beginning. `level` examines as many if all are ASCII, else up to four times as many.
_HEAD: Final = 96
#: Bytes of the beginning of a line whose header may be longer.
_LONG_HEAD: Final = 224
#: Bytes of the beginning of a line that has characters of several bytes, or colours.
_LONG: Final = 12 * _HEAD
#: Only a line's head, its first bytes, is examined. If the message starts at most this many bytes before the head's
#: end, time or level may have been cut off, and the whole line is parsed.
_NEAR: Final = 40
#: Bytes processed at once, so that they stay in the processor's cache.
_CACHED: Final = 1 << 18
#: A line that begins like a JSON object.
_OBJECT: Final = r'^\{\s*"'
_BLANK: Final = r"[\s\x0b\x1c-\x1f\x80-\xff]"  # bytes of what Python may take for a space
# Lines that only Python parses.
#: A line that may end with a JSON object, because it has an opening brace and ends with a closing one.
_ENDED: Final = rf"(?s)\{{.*\}}{_BLANK}*$"
#: A line in logfmt.
_PAIR: Final = r"^[A-Za-z_](?:[\w.@/-]|[\x80-\xff])*="
#: A line that begins with a brace, but not like `_OBJECT`.
_BRACED: Final = rf"^{_BLANK}*\{{"
#: Bytes that may be a blank of Python, or a part of one, at the beginning or the end of a line.
_BLANKS: Final = frozenset({*range(9, 14), *range(28, 33), *range(128, 256)})
#: First bytes of a line that may begin a name.
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
#: A level given as a number. Only here do the digits of a line decide its level.
_NUMBERED: Final = r"(?i)(?:level|lvl|severity|loglevel|levelname)[\"']?\s*[=:]\s*[\"']?0"


def find_spans(text: Texts) -> dict[str, Any]:
    """Return the spans of each line.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        `level`: a dictionary of `parsing.level.LEVELS`. `message_at`, `message_len`: first byte and number of bytes of
        the message in the text; a null length means to the end; a null `message_at` means that the message is not one
        piece of the text, or was not parsed. `fields_at`: where a JSON object begins that goes to the end; null if
        there are no fields, -1 if they were not parsed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ['{"level":"warn","msg":"hot"}', "2026-01-31 12:00:00 INFO on", "a=1 b=2"]
    >>> found = find_spans(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [found[name].to_pylist() for name in COLUMNS]
    [['warning', 'info', None], [23, 25, None], [3, None, None], [0, None, -1]]
    """
    pa = import_optional("pyarrow")
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-spans") as pool:  # Arrow releases the interpreter
        parts = list(pool.map(_chunk, text.chunks))
    kinds = (pa.dictionary(pa.int8(), pa.string()), pa.int32(), pa.int32(), pa.int32())
    return {
        name: pa.chunked_array([part[i] for part in parts], kind)
        for i, (name, kind) in enumerate(zip(COLUMNS, kinds, strict=True))
    }


def _chunk(
    text: pa.LargeStringArray,
) -> tuple[pa.DictionaryArray[Any, Any], pa.Int32Array, pa.Int32Array, pa.Int32Array]:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    data = text.cast(pa.large_binary())  # RE2 is ten times faster in bytes
    first, last = _edges(data)
    objects = _matching(data, _is_in(first, {123}), _OBJECT)
    levels, at = _by_beginning(text, data)
    length = pa.nulls(len(text), pa.int32())
    fields = pa.nulls(len(text), pa.int32())
    braced = pc.and_not(_matching(data, _is_in(first, {123, *_BLANKS}), _BRACED), objects)
    ended = _matching(data, pc.and_not(_is_in(last, {125, *_BLANKS}), objects), _ENDED)
    odd = pc.or_(pc.or_(braced, ended), _matching(data, _is_in(first, _LETTERS), _PAIR))
    odd = pc.or_(odd, contains_mask(data, "\x1b"))
    objects = pc.and_not(objects, odd)
    if pc.any(odd).as_py():
        at = pc.if_else(odd, None, at)
        fields = pc.if_else(odd, pa.scalar(-1, pa.int32()), fields)
        braced = _matching(data, odd, _BRACED)
        levels = _by_line(text, braced, levels)
    if pc.any(objects).as_py():
        parsed = find_json_spans(pc.filter(text, objects))
        levels, at, length, fields = (
            pc.replace_with_mask(column, objects, new)
            for column, new in zip((levels, at, length, fields), parsed, strict=True)
        )
    dictionary = pa.array(level_rules.LEVELS, pa.string())
    return pa.DictionaryArray.from_arrays(levels, dictionary), at, length, fields


def _edges(data: pa.LargeBinaryArray) -> tuple[Bytes, Bytes]:
    """Return the first and the last byte of each line as numpy arrays; arbitrary bytes for empty lines."""
    np = import_optional("numpy")
    offsets, values = buffers(data)
    if not len(values):
        return np.zeros(len(data), np.uint8), np.zeros(len(data), np.uint8)
    last_index = len(values) - 1
    return values[np.minimum(offsets[:-1], last_index)], values[np.maximum(offsets[1:] - 1, 0)]


def _is_in(codes: Bytes, values: Collection[int]) -> pa.BooleanArray:
    """Return a mask of the codes that are in a set."""
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    table = np.zeros(256, bool)
    table[list(values)] = True
    return pa.array(table[codes])


def _matching(data: pa.LargeBinaryArray, mask: pa.BooleanArray, pattern: str) -> pa.BooleanArray:
    """Narrow a mask to the lines that match."""
    pc = import_optional("pyarrow.compute")
    if not pc.any(mask).as_py():
        return mask
    return pc.replace_with_mask(mask, mask, pc.match_substring_regex(pc.filter(data, mask), pattern))


def _by_beginning(text: pa.LargeStringArray, data: pa.LargeBinaryArray) -> tuple[pa.Int8Array, pa.Int32Array]:
    """Return level and `message_at` of lines by their beginnings."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    head = pc.binary_slice(data, 0, _HEAD)
    wide = _wide(head)
    if pc.any(wide).as_py():
        head = pc.if_else(wide, pc.binary_slice(data, 0, _LONG), head)
    distinct = _without_digits(head).dictionary_encode()
    codes, heads = distinct.indices, distinct.dictionary.to_pylist()
    heads_text = [head.decode("utf-8", "ignore") for head in heads]
    levels_by_head = [level_rules.level(word) for word in heads_text]
    levels = pa.array(
        [None if level is None else level_rules.LEVELS.index(level) for level in levels_by_head], pa.int8()
    ).take(codes)
    message_at = _starts(text, data, head, distinct, _HEAD)
    numbered = distinct.dictionary.cast(pa.large_binary())
    numbered = pc.match_substring_regex(numbered, _NUMBERED).take(codes)
    return _by_line(text, numbered, levels), message_at


def _wide(head: pa.LargeBinaryArray) -> pa.BooleanArray:
    """Return a mask of the beginnings that have characters of several bytes, or colours."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    mask = np.zeros(len(head), bool)
    near = rows_beyond_ascii(head)
    mask[near] = pc.match_substring_regex(head.take(pa.array(near)), r"[\x80-\xff]")
    return pc.or_(pa.array(mask), contains_mask(head, "\x1b"))


def _without_digits(head: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """Return the beginnings with each digit replaced by 0."""
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    offsets, values = buffers(head)
    masked = values[offsets[0] : offsets[-1]].copy()
    for start in range(0, len(masked), _CACHED):
        part = masked[start : start + _CACHED]
        digit = part - np.uint8(48)  # bytes below "0" wrap around
        digit *= digit < 10  # the digits of ASCII
        part -= digit
    return pa.Array.from_buffers(head.type, len(head), [None, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(masked)])


def _starts(
    text: pa.LargeStringArray,
    data: pa.LargeBinaryArray,
    head: pa.LargeBinaryArray,
    distinct: pa.DictionaryArray[Any, Any],
    size: int,
) -> pa.Int32Array:
    """Return `message_at` of lines by their beginnings of at least `size` bytes, or by more of the line if needed."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    heads = distinct.dictionary.to_pylist()
    at = np.fromiter((_start(raw, size) for raw in heads), np.int32, len(heads))
    at = pa.array(at).take(distinct.indices)
    # If nothing is left for the message, it is the whole line.
    lengths = pc.binary_length(data)
    at = pc.if_else(pc.equal(at, lengths.cast(pa.int32())), pa.scalar(0, pa.int32()), at)
    near = pc.greater_equal(at, pc.subtract(pc.binary_length(head), _NEAR).cast(pa.int32()))
    unsure = pc.or_(pc.less(at, 0), pc.and_(near, pc.greater(lengths, size)))
    if not pc.any(unsure).as_py():
        return at
    text, data = pc.filter(text, unsure), pc.filter(data, unsure)
    if size < _LONG_HEAD:
        head = pc.binary_slice(data, 0, _LONG_HEAD)
        longer = _starts(text, data, head, _without_digits(head).dictionary_encode(), _LONG_HEAD)
    else:
        longer = _starts_by_line(text)
    return pc.replace_with_mask(at, unsure, longer)


def _start(raw: bytes, size: int) -> int:
    """Return where the message begins (bytes); the end if nothing is left, -1 if more of the line is needed."""
    word = raw.decode("utf-8", "ignore")
    if not word or word[0] == "{" or "\x1b" in word:
        return 0
    header = forms.parse_header(word)
    end = header[0]
    if len(raw) >= size:
        is_unclosed = word[end : end + 1] == "[" and "]" not in word[end:]
        if is_unclosed or forms.is_open(word, header):
            return -1
    return len(word[:end].encode())


def _starts_by_line(text: pa.LargeStringArray) -> pa.Int32Array:
    pa = import_optional("pyarrow")
    lines = text.to_pylist()
    ends = [forms.header_end(x) for x in lines]
    return pa.array([len(x[: end % len(x)].encode()) for x, end in zip(lines, ends, strict=True)], pa.int32())


def _by_line(text: pa.LargeStringArray, mask: pa.BooleanArray, levels: pa.Int8Array) -> pa.Int8Array:
    """Parse the level of each line of a mask."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if not pc.any(mask).as_py():
        return levels
    line_levels = [level_rules.level(line) for line in pc.filter(text, mask).to_pylist()]
    level_codes = pa.array(
        [None if level is None else level_rules.LEVELS.index(level) for level in line_levels], pa.int8()
    )
    return pc.replace_with_mask(levels, mask, level_codes)
