"""What is read out of a line, as places in its text: its level, where its message begins, where its fields do.

A million lines have few different beginnings once their digits are taken for one another: those few go to `parsing`,
and the answers to all lines that begin so. JSON lines are read by Arrow. Lines with colours, logfmt and JSON behind a
text are left to whoever asks for their message or fields: `message_at` is null then.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import fields as rules
from cortex_jupyter.parsing import level as level_rules
from cortex_jupyter.tables.bytefind import buffers, wide
from cortex_jupyter.tables.jsonlines import json_places
from cortex_jupyter.tables.search import holding

if TYPE_CHECKING:
    from collections.abc import Collection

#: The columns, their types, and their order.
PLACES: Final = ("level", "message_at", "message_len", "fields_at")
#: So many bytes of a line are its beginning: what `level` looks at where all are ASCII; where not, it may be four times as many.
_HEAD: Final = 96
_LONG: Final = 12 * _HEAD
#: A head that comes so near to where it is cut off may be longer.
_NEAR: Final = 40
#: Bytes that are looked at in one go, so that they stay in the processor's cache.
_CACHED: Final = 1 << 18
#: Begins as an object does. And what needs Python: colours, an object behind something, pairs.
_OBJECT: Final = r'^\{\s*"'
_BLANK: Final = r"[\s\x0b\x1c-\x1f\x80-\xff]"  # bytes that may be, or be part of, what Python takes for a space
_ENDED: Final = rf"(?s)\{{.*\}}{_BLANK}*$"
_PAIR: Final = r"^[A-Za-z_](?:[\w.@/-]|[\x80-\xff])*="
_BRACED: Final = rf"^{_BLANK}*\{{"
#: By a line's first and last byte: those that a blank, a brace, or a name may begin or end with.
_BLANKS: Final = frozenset({*range(9, 14), *range(28, 33), *range(128, 256)})
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
#: A head of klog's, however long. And a level written as a number is the only thing about digits that counts.
_KLOG: Final = re.compile(r"[IWEF]\d{4} \d")
_NUMBERED: Final = r"(?i)(?:level|lvl|severity|loglevel|levelname)[\"']?\s*[=:]\s*[\"']?0"


def places(text: Any) -> dict[str, Any]:
    """Give the places of each line.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        `level`: a dictionary of `parsing.level.LEVELS`. `message_at`, `message_len`: the message is so many bytes of
        the text from there on, to its end where the length is null; null where the text holds it in no one piece, or
        nobody has looked. `fields_at`: where a JSON object begins that goes to the end; null where there are no
        fields, -1 where nobody has looked.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ['{"level":"warn","msg":"hot"}', "2026-01-31 12:00:00 INFO on", "a=1 b=2"]
    >>> found = places(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [found[name].to_pylist() for name in PLACES]
    [['warning', 'info', None], [23, 25, None], [3, None, None], [0, None, -1]]
    """
    pa = import_optional("pyarrow")
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-places") as pool:  # Arrow releases the interpreter
        parts = list(pool.map(_chunk, text.chunks))
    kinds = (pa.dictionary(pa.int8(), pa.string()), pa.int32(), pa.int32(), pa.int32())
    return {
        name: pa.chunked_array([part[i] for part in parts], kind)
        for i, (name, kind) in enumerate(zip(PLACES, kinds, strict=True))
    }


def _chunk(text: Any) -> tuple[Any, ...]:
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    data = text.cast(pa.large_binary())  # in bytes RE2 is ten times quicker
    first, last = _edges(data)
    objects = _matching(data, _among(first, {123}), _OBJECT)
    levels, at = _begun(text, data)
    length = pa.nulls(len(text), pa.int32())
    fields = pa.nulls(len(text), pa.int32())
    braced = pc.and_not(_matching(data, _among(first, {123, *_BLANKS}), _BRACED), objects)
    ended = _matching(data, pc.and_not(_among(last, {125, *_BLANKS}), objects), _ENDED)
    odd = pc.or_(pc.or_(braced, ended), _matching(data, _among(first, _LETTERS), _PAIR))
    odd = pc.or_(odd, holding(data, "\x1b"))
    objects = pc.and_not(objects, odd)
    if pc.any(odd).as_py():
        at = pc.if_else(odd, None, at)
        fields = pc.if_else(odd, pa.scalar(-1, pa.int32()), fields)
        braced = _matching(data, odd, _BRACED)
        levels = _by_line(text, braced, levels)
    if pc.any(objects).as_py():
        found = json_places(pc.filter(text, objects))
        levels, at, length, fields = (
            pc.replace_with_mask(column, objects, new)
            for column, new in zip((levels, at, length, fields), found, strict=True)
        )
    dictionary = pa.array(level_rules.LEVELS, pa.string())
    return pa.DictionaryArray.from_arrays(levels, dictionary), at, length, fields


def _edges(data: Any) -> tuple[Any, Any]:
    """Give the first and the last byte of each line, as numpy arrays; of an empty one another's."""
    np = import_optional("numpy")
    offsets, values = buffers(data)
    if not len(values):
        return np.zeros(len(data), np.uint8), np.zeros(len(data), np.uint8)
    most = len(values) - 1
    return values[np.minimum(offsets[:-1], most)], values[np.maximum(offsets[1:] - 1, 0)]


def _among(codes: Any, wanted: Collection[int]) -> Any:
    """Tell which bytes are among some."""
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    table = np.zeros(256, bool)
    table[list(wanted)] = True
    return pa.array(table[codes])


def _matching(data: Any, mask: Any, pattern: str) -> Any:
    """Narrow a mask to the lines that match."""
    pc = import_optional("pyarrow.compute")
    if not pc.any(mask).as_py():
        return mask
    return pc.replace_with_mask(mask, mask, pc.match_substring_regex(pc.filter(data, mask), pattern))


def _begun(text: Any, data: Any) -> tuple[Any, Any]:
    """Give level and `message_at` of lines by how they begin."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    head = pc.binary_slice(data, 0, _HEAD)
    wide = _wide(head)
    if pc.any(wide).as_py():
        head = pc.if_else(wide, pc.binary_slice(data, 0, _LONG), head)
    distinct = _masked(head).dictionary_encode()
    codes, heads = distinct.indices, distinct.dictionary.to_pylist()
    words = [head.decode("utf-8", "ignore") for head in heads]
    said = [level_rules.level(word) for word in words]
    levels = pa.array([None if one is None else level_rules.LEVELS.index(one) for one in said], pa.int8()).take(codes)
    starts = np.fromiter((_start(word, raw) for word, raw in zip(words, heads, strict=True)), np.int32, len(words))
    at = pa.array(starts).take(codes)
    # A message of nothing is the whole line; where the head does not end within what was looked at nobody knows.
    lengths = pc.binary_length(data)
    at = pc.if_else(pc.equal(at, lengths.cast(pa.int32())), pa.scalar(0, pa.int32()), at)
    near = pc.greater_equal(at, pc.subtract(pc.binary_length(head), _NEAR).cast(pa.int32()))
    unsure = pc.and_(near, pc.greater(lengths, _HEAD))
    places_ = pc.if_else(unsure, None, at)
    if pc.any(unsure).as_py():
        places_ = pc.replace_with_mask(places_, unsure, _starts(pc.filter(text, unsure)))
    numbered = distinct.dictionary.cast(pa.large_binary())
    numbered = pc.match_substring_regex(numbered, _NUMBERED).take(codes)
    return _by_line(text, numbered, levels), places_


def _wide(head: Any) -> Any:
    """Tell which beginnings have characters of several bytes, or colours."""
    pa, np, pc = import_optional("pyarrow"), import_optional("numpy"), import_optional("pyarrow.compute")
    mask = np.zeros(len(head), bool)
    near = wide(head)
    mask[near] = pc.match_substring_regex(head.take(pa.array(near)), r"[\x80-\xff]")
    return pc.or_(pa.array(mask), holding(head, "\x1b"))


def _masked(head: Any) -> Any:
    """Give the beginnings with each digit as 0."""
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    offsets, values = buffers(head)
    masked = values[offsets[0] : offsets[-1]].copy()
    for start in range(0, len(masked), _CACHED):
        part = masked[start : start + _CACHED]
        digit = part - np.uint8(48)  # what is below "0" wraps around
        digit *= digit < 10  # noqa: PLR2004 - the digits of ASCII
        part -= digit
    return pa.Array.from_buffers(head.type, len(head), [None, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(masked)])


def _start(word: str, raw: bytes) -> int:
    """Give where the message of a beginning begins, bytes; the end where nothing is left, or more has to be seen."""
    if not word or word[0] == "{" or "\x1b" in word:
        return 0
    rest = rules.without_head(word)
    cut = len(raw) >= _HEAD
    if not rest or (cut and ((rest[0] == "[" and "]" not in rest) or (rest is word and _KLOG.match(word)))):
        return len(raw)
    return len(word.encode()) - len(rest.encode())


def _starts(text: Any) -> Any:
    pa = import_optional("pyarrow")
    lines = text.to_pylist()
    return pa.array([len(x.encode()) - len((rules.without_head(x) or x).encode()) for x in lines], pa.int32())


def _by_line(text: Any, mask: Any, levels: Any) -> Any:
    """Ask `level` for each line of a mask."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    if not pc.any(mask).as_py():
        return levels
    said = [level_rules.level(line) for line in pc.filter(text, mask).to_pylist()]
    own = pa.array([None if one is None else level_rules.LEVELS.index(one) for one in said], pa.int8())
    return pc.replace_with_mask(levels, mask, own)
