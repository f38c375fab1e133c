"""Cut the columns `message` and `fields` out of the text by the spans of `archive.spans`; Python parses only odd lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.parsing import fields as rules
from cortex_jupyter.tables.views import Views, as_views, with_nulls

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints, Texts

    Offsets: TypeAlias = "pa.ChunkedArray[pa.Int32Scalar]"
    TextOrViews: TypeAlias = "pa.LargeStringArray | pa.StringViewArray"
    #: Which lines, and the message and the fields of each.
    OddLines: TypeAlias = "tuple[Ints, pa.LargeStringArray, pa.LargeStringArray]"

#: Rows that one thread cuts at once.
_PIECE: Final = 131_072


def derived(text: Texts) -> dict[str, Any]:
    """Return the columns `level`, `message` and `fields` of a column of lines.

    Parameters
    ----------
    text : pyarrow.ChunkedArray of large_string

    Returns
    -------
    dict
        The same as `parsing.level.level`, `parsing.fields.message` and `parsing.fields.fields`, the last as JSON text.

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
    columns = find_spans(text)
    return {"level": columns["level"], **cut(text, columns["message_at"], columns["message_len"], columns["fields_at"])}


def cut(
    text: Texts, message_at: Offsets, message_len: Offsets, fields_at: Offsets, *, shared: bool = False
) -> dict[str, Any]:
    """Return `message` and `fields` of a column of lines whose spans are known.

    Parameters
    ----------
    text, message_at, message_len, fields_at : pyarrow.ChunkedArray
        See `find_spans`.
    shared : bool, optional
        Return `string_view` instead of `large_string`, and `text` as well: they share the bytes of the text, and add
        only 16 bytes per line.
    """
    pa = import_optional("pyarrow")
    rows = pa.table([text, message_at, message_len, fields_at], names=["0", "1", "2", "3"])
    # In pieces, for all processors: a column that was read from a file may be one chunk.
    pieces = [piece.columns for piece in rows.to_batches(max_chunksize=_PIECE)]
    if len(pieces) <= 1:
        parts = [_cut(*columns, shared=shared) for columns in pieces]
    else:
        with ThreadPoolExecutor(pa.cpu_count(), "cortex-derive") as pool:  # Arrow and numpy release the interpreter
            parts = list(pool.map(lambda columns: _cut(*columns, shared=shared), pieces))
    kind = pa.string_view() if shared else pa.large_string()
    return {
        name: pa.chunked_array([part[name] for part in parts], kind)
        for name in ("message", "fields", *(["text"] if shared else []))
    }


def _cut(
    text: pa.LargeStringArray, at: pa.Int32Array, length: pa.Int32Array, fields_at: pa.Int32Array, *, shared: bool
) -> dict[str, Any]:
    whole = as_views(text) if shared else text
    odd = _odd(text, at, fields_at)
    columns = {"message": _message(text, whole, at, length, odd), "fields": _fields(text, whole, fields_at, odd)}
    # Views first, then a copy: its size is known then; gathering would double a buffer until it fits.
    return columns | {"text": whole} if shared else {name: part.cast(text.type) for name, part in columns.items()}


def _odd(text: pa.LargeStringArray, at: pa.Int32Array, fields_at: pa.Int32Array) -> OddLines | None:
    """Return the lines that Python must parse, with their messages and fields; None if there is none."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    if not at.null_count and not pc.equal(pc.min(fields_at), -1).as_py():
        return None
    odd = pc.or_(at.is_null(), pc.fill_null(pc.equal(fields_at, -1), fill_value=False))
    lines = [(rules.message(line), rules.fields_text(line)) for line in pc.filter(text, odd).to_pylist()]
    messages, fields = (pa.array(column, pa.large_string()) for column in zip(*lines, strict=True))
    return np.flatnonzero(odd.to_numpy(zero_copy_only=False)), messages, fields


def _message(
    text: pa.LargeStringArray, whole: TextOrViews, at: pa.Int32Array, length: pa.Int32Array, odd: OddLines | None
) -> TextOrViews:
    pc = import_optional("pyarrow.compute")
    if odd is None and length.null_count == len(length) and pc.equal(pc.max(at), 0).as_py():
        return whole  # no line has a head
    views = Views(len(text), prefixes=whole is not text)
    views.set(None, text, at, length)
    if odd is not None:
        where, messages, _ = odd
        views.set(where, messages)
    return views.array()


def _fields(
    text: pa.LargeStringArray, whole: TextOrViews, fields_at: pa.Int32Array, odd: OddLines | None
) -> TextOrViews:
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    has_fields, shared = fields_at.is_valid().to_numpy(zero_copy_only=False), whole is not text
    if not has_fields.any():
        return pa.nulls(len(text), whole.type)
    if odd is None and pc.max(fields_at).as_py() == 0:  # an object is its whole line
        return with_nulls(whole, has_fields)
    views, rows = Views(len(text), prefixes=shared), np.flatnonzero(has_fields)
    views.set(rows, text, fields_at.drop_null(), rows=rows)
    if odd is not None:
        where, _, fields = odd
        views.set(where, fields)
        has_fields = has_fields.copy()
        has_fields[where] = fields.is_valid().to_numpy(zero_copy_only=False)
    return with_nulls(views.array(), has_fields)
