"""The columns `message` and `fields`, cut out of the text where `places` says; Python sees only odd lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from cortex_jupyter.archive.extra import library
from cortex_jupyter.frames.jsonlines import slices
from cortex_jupyter.frames.places import places
from cortex_jupyter.parsing import fields as rules

#: Rows that one thread cuts at once.
_PIECE: Final = 131_072


def derived(text: Any) -> dict[str, Any]:
    """Give the columns `level`, `message` and `fields` of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        As `parsing.level.level`, `parsing.fields.message` and `parsing.fields.fields` give them, the last as JSON text.

    Examples
    --------
    >>> import pyarrow as pa
    >>> lines = ['{"level": "warn", "msg": "hot", "t": 84}', 'level=info msg="step done"', "12:00 plain"]
    >>> found = derived(pa.chunked_array([pa.array(lines, pa.large_string())]))
    >>> [found[name].to_pylist() for name in ("level", "message")]
    [['warning', 'info', None], ['hot', 'step done', '12:00 plain']]
    >>> found["fields"].to_pylist()
    ['{"level": "warn", "msg": "hot", "t": 84}', '{"level":"info","msg":"step done"}', None]
    """
    found = places(text)
    return {"level": found["level"], **cut(text, found["message_at"], found["message_len"], found["fields_at"])}


def cut(text: Any, message_at: Any, message_len: Any, fields_at: Any) -> dict[str, Any]:
    """Give `message` and `fields` of a column of lines whose places are known.

    Parameters
    ----------
    text, message_at, message_len, fields_at : pyarrow.ChunkedArray
        See `places`.
    """
    pa = library("pyarrow")
    rows = pa.table([text, message_at, message_len, fields_at], names=["0", "1", "2", "3"])
    # In pieces, for all processors: what was read from a file may be one chunk.
    pieces = rows.to_batches(max_chunksize=_PIECE)
    with ThreadPoolExecutor(pa.cpu_count(), "cortex-derive") as pool:  # Arrow and numpy release the interpreter
        parts = list(pool.map(lambda piece: _cut(*piece.columns), pieces))
    kind = pa.large_string()
    return {
        "message": pa.chunked_array([message for message, _ in parts], kind),
        "fields": pa.chunked_array([fields for _, fields in parts], kind),
    }


def _cut(text: Any, at: Any, length: Any, fields_at: Any) -> tuple[Any, Any]:
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    kind = pa.large_string()
    data = text.cast(pa.large_binary())
    if not at.null_count and length.null_count == len(length) and pc.max(at).as_py() == 0:
        message = text  # no line has a head
    else:
        message = _string(slices(data, at.fill_null(0), length))
    fields = pa.nulls(len(text), kind)
    if fields_at.null_count < len(fields_at):
        # One pass: nothing is cut out where there are none, and then it is null.
        held = pc.is_valid(fields_at)
        size = pc.if_else(held, pa.scalar(None, pa.int32()), pa.scalar(0, pa.int32()))
        parts = slices(data, pc.max_element_wise(fields_at.fill_null(0), pa.scalar(0, pa.int32())), size)
        valid = pc.invert(pc.is_null(fields_at)).buffers()[1]
        fields = pa.Array.from_buffers(kind, len(parts), [valid, *parts.buffers()[1:]])
    odd = pc.or_(pc.is_null(at), pc.fill_null(pc.equal(fields_at, -1), fill_value=False))
    if pc.any(odd).as_py():
        rows = [_both(line) for line in pc.filter(text, odd).to_pylist()]
        said, read = (pa.array(column, kind) for column in zip(*rows, strict=True))
        message = pc.replace_with_mask(message, odd, said)
        fields = pc.replace_with_mask(fields, odd, read)
    return message, fields


def _string(data: Any) -> Any:
    """Take bytes for text: pieces of a text between characters, which need not be looked through again."""
    pa = library("pyarrow")
    return pa.Array.from_buffers(pa.large_string(), len(data), data.buffers(), offset=data.offset)


def _both(line: str) -> tuple[str, str | None]:
    found = rules.fields(line)
    if found is None:
        return rules.message(line), None
    return rules.message(line), orjson.dumps(found).decode()
