"""Find level, message and fields of JSON lines as spans, without a Python object per line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.archive.bytefind import any_matches
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import fields as rules
from cortex_jupyter.parsing import level as level_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    #: Level's index, `message_at`, `message_len` and `fields_at` of each line.
    _Places = tuple[pa.Int8Array, pa.Int32Array, pa.Int32Array, pa.Int32Array]

_KEYS: Final = tuple(dict.fromkeys((*level_rules.KEYS, *rules.MESSAGE)))
#: Lines that Arrow's reader may read differently from orjson: a level of null, no object, a second object, NUL.
_DOUBTFUL: Final = (
    r'"(?:level|severity|lvl|levelname|log\.level|loglevel|level_name|msg|message|event|log|text)"\s*:\s*(?:null|[^\s"])'
    r"|\\u|[\x00-\x1f]|\s$|[^}]$|[-+.][^\d]?\}|[Nn]a[Nn]|Inf"
)
#: An object with more bytes may be nested deeper than orjson reads.
_LONG_OBJECT: Final = 1024
#: Number of bytes at the beginning of the file that are searched for keys.
_SAMPLE_BYTES: Final = 1 << 16


def find_json_spans(text: pa.LargeStringArray) -> _Places:
    """Return the level's index, `message_at`, `message_len` and `fields_at` of lines that begin like a JSON object.

    Parameters
    ----------
    text : pyarrow.LargeStringArray

    Returns
    -------
    tuple of pyarrow.Array
        As `spans.find_spans` describes them.
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    data = text.cast(pa.large_binary())
    doubtful = pc.or_(pc.match_substring_regex(data, _DOUBTFUL), pc.greater(pc.binary_length(data), _LONG_OBJECT))
    sure = pc.invert(doubtful)
    rows = pc.filter(text, sure)
    parsed = _by_arrow(rows) if len(rows) else None
    if parsed is None:
        return _by_python(text)
    if len(rows) == len(text):
        return parsed
    slow = _by_python(pc.filter(text, doubtful))
    order = pc.sort_indices(pa.concat_arrays([pc.indices_nonzero(sure), pc.indices_nonzero(doubtful)]))
    level, at, length, fields = (pa.concat_arrays(pair).take(order) for pair in zip(parsed, slow, strict=True))
    return level, at, length, fields


def _by_arrow(text: pa.LargeStringArray) -> _Places | None:
    """Parse all lines at once; None if Arrow and orjson would disagree about one of them."""
    pa, pc, pj = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("pyarrow.json")
    nothing, end = (pa.scalar(word, pa.large_string()) for word in ("", "\n"))
    joined = pc.binary_join_element_wise(text, nothing, end)  # a line break after each
    lines = joined.buffers()[2].slice(0, pc.sum(pc.binary_length(joined)).as_py())
    # A column that is null in every line costs as much as any other.
    keys = _present(text, lines) or [_KEYS[0]]
    kind = pa.schema([(key, pa.string()) for key in keys])
    try:
        table = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(use_threads=False, block_size=lines.size + 1),
            parse_options=pj.ParseOptions(explicit_schema=kind, unexpected_field_behavior="ignore"),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    if len(table) != len(text):
        return None
    none = pa.nulls(len(text), pa.string())
    columns_by_key = {key: table[key].combine_chunks() if key in keys else none for key in _KEYS}
    level_text = pc.coalesce(*(columns_by_key[key] for key in level_rules.KEYS))
    level = _levels(level_text, pc.coalesce(columns_by_key["msg"], columns_by_key["message"]))
    at, length = pa.nulls(len(text), pa.int32()), pa.nulls(len(text), pa.int32())
    unset = pa.array([True] * len(text))
    for key in rules.MESSAGE:
        value = columns_by_key[key]
        in_key = pc.and_(unset, pc.is_valid(value))
        unset = pc.and_(unset, pc.is_null(value))
        if pc.any(in_key).as_py():
            where, size = _value(pc.filter(text, in_key), key, pc.filter(value, in_key))
            at, length = pc.replace_with_mask(at, in_key, where), pc.replace_with_mask(length, in_key, size)
    # No such key: the message is the whole line.
    at = pc.if_else(unset, pa.scalar(0, pa.int32()), at)
    return level, at, length, pa.array([0] * len(text), pa.int32())


def _present(text: pa.LargeStringArray, lines: pa.Buffer) -> list[str]:
    """Return the keys that occur. Keys missing in the first lines rarely occur later, so they are searched together."""
    sample = lines.slice(0, min(lines.size, _SAMPLE_BYTES)).to_pybytes()
    absent = [key for key in _KEYS if f'"{key}"'.encode() not in sample]
    if absent and any_matches(text, f'"(?:{"|".join(map(re.escape, absent))})"'):
        content = lines.to_pybytes()
        absent = [key for key in absent if f'"{key}"'.encode() not in content]
    return [key for key in _KEYS if key not in absent]


def _value(text: pa.LargeStringArray, key: str, value: pa.StringArray) -> tuple[pa.Int32Array, pa.Int32Array]:
    """Return offset and size of a string value in its line; null if the line holds it only in escaped form."""
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    data = text.cast(pa.large_binary())
    sizes = pc.binary_length(value).cast(pa.int32())
    starts = pa.nulls(len(text), pa.int32())
    for mark in (f'"{key}":"', f'"{key}": "'):
        if not starts.null_count:
            break
        start = pc.add(pc.find_substring(data, mark).cast(pa.int32()), pa.scalar(len(mark), pa.int32()))
        start = pc.if_else(pc.less(start, len(mark)), None, start)
        same = pc.equal(
            slices(data, pc.coalesce(start, pa.scalar(0, pa.int32())), sizes), value.cast(pa.large_binary())
        )
        starts = pc.coalesce(starts, pc.if_else(pc.and_(same, pc.is_valid(start)), start, None))
    return starts, pc.if_else(pc.is_valid(starts), sizes, None)


def slices(data: pa.LargeBinaryArray, start: pa.Int32Array, size: pa.Int32Array) -> pa.LargeBinaryArray:
    """Cut a piece out of each value: `size` bytes from `start`, or fewer if the value ends before.

    Parameters
    ----------
    data : pyarrow.LargeBinaryArray
    start, size : pyarrow.Int32Array
        A null in `size` means to the end.

    Examples
    --------
    >>> import pyarrow as pa
    >>> slices(pa.array([b"abc", b"def"], pa.large_binary()), pa.array([1, 0], pa.int32()), pa.array([1, None], pa.int32())).to_pylist()
    [b'b', b'def']
    """
    pa, np = import_optional("pyarrow"), import_optional("numpy")
    n = len(data)
    if not n:
        return data
    offsets = np.frombuffer(data.buffers()[1], np.int64, n + 1 + data.offset)[data.offset :]
    begin, end = offsets[:-1], offsets[1:]
    low = np.minimum(begin + start.to_numpy(zero_copy_only=False), end)
    long = size.fill_null(2**31 - 1).to_numpy(zero_copy_only=False)
    high = np.minimum(low + long, end)
    # An array of the wanted pieces and the gaps between them, over the same bytes; take every second one.
    both = np.empty(2 * n, np.int64)
    both[0::2], both[1::2] = low, high
    cuts = pa.Array.from_buffers(data.type, 2 * n - 1, [None, pa.py_buffer(both), data.buffers()[2]])
    return cuts.take(pa.array(np.arange(0, 2 * n, 2, dtype=np.int32)))


def _levels(level_text: pa.StringArray, message: pa.StringArray) -> pa.Int8Array:
    """Return the index of the level in a key's value; a line without such a key may name it in its message."""
    pc = import_optional("pyarrow.compute")
    level = _each(level_text, level_rules.of)
    return pc.if_else(pc.is_null(level_text), _each(message, _of_message), level)


def _of_message(text: str) -> str | None:
    return None if text.lstrip()[:1] == "{" else level_rules.level(text)


def _each(words: pa.StringArray, find: Callable[[str], str | None]) -> pa.Int8Array:
    """Call `find` once for each distinct word."""
    pa = import_optional("pyarrow")
    distinct = words.dictionary_encode()
    codes = [_code(find(word)) for word in distinct.dictionary.to_pylist()]
    return pa.array(codes, pa.int8()).take(distinct.indices)


def _by_python(text: pa.LargeStringArray) -> _Places:
    pa = import_optional("pyarrow")
    rows = [_line(line) for line in text.to_pylist()]
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    kinds = (pa.int8(), pa.int32(), pa.int32(), pa.int32())
    level, at, length, fields = (pa.array(list(c), k) for c, k in zip(columns, kinds, strict=True))
    return level, at, length, fields


def _line(line: str) -> tuple[int | None, int | None, int | None, int | None]:
    level = _code(level_rules.level(line))
    if "\x1b" in line:
        return level, None, None, -1
    try:
        doc = orjson.loads(line)
    except orjson.JSONDecodeError:
        doc = None
    if not isinstance(doc, dict) or not doc:
        return level, None, None, -1
    message = next((doc[key] for key in rules.MESSAGE if isinstance(doc.get(key), str)), None)
    if message is None:
        return level, 0, None, 0
    at = line.find(message)
    if at < 0:
        return level, None, None, 0
    return level, len(line[:at].encode()), len(message.encode()), 0


def _code(level: str | None) -> int | None:
    return None if level is None else level_rules.LEVELS.index(level)
