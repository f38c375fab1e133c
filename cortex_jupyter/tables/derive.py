"""The columns `message` and `fields`, cut out of the text where `places` says; Python sees only odd lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing import fields as rules
from cortex_jupyter.tables.spans import places
from cortex_jupyter.tables.views import Views, only, viewed

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


def cut(text: Any, message_at: Any, message_len: Any, fields_at: Any, *, shared: bool = False) -> dict[str, Any]:
    """Give `message` and `fields` of a column of lines whose places are known.

    Parameters
    ----------
    text, message_at, message_len, fields_at : pyarrow.ChunkedArray
        See `places`.
    shared : bool, optional
        Give `string_view` instead of `large_string`, and `text` as well: 16 bytes a line, and the bytes of the text
        itself.
    """
    pa = import_optional("pyarrow")
    rows = pa.table([text, message_at, message_len, fields_at], names=["0", "1", "2", "3"])
    # In pieces, for all processors: what was read from a file may be one chunk.
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


def _cut(text: Any, at: Any, length: Any, fields_at: Any, *, shared: bool) -> dict[str, Any]:
    whole = viewed(text) if shared else text
    odd = _odd(text, at, fields_at)
    found = {"message": _message(text, whole, at, length, odd), "fields": _fields(text, whole, fields_at, odd)}
    # A view first and then the copy: its size is known, where gathering would double a buffer until it fits.
    return found | {"text": whole} if shared else {name: part.cast(text.type) for name, part in found.items()}


def _odd(text: Any, at: Any, fields_at: Any) -> tuple[Any, Any, Any] | None:
    """Give which lines have to be read by Python, where there are any, and their messages and fields."""
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    if not at.null_count and not pc.equal(pc.min(fields_at), -1).as_py():
        return None
    odd = pc.or_(at.is_null(), pc.fill_null(pc.equal(fields_at, -1), fill_value=False))
    lines = [(rules.message(line), rules.fields_text(line)) for line in pc.filter(text, odd).to_pylist()]
    said, read = (pa.array(column, pa.large_string()) for column in zip(*lines, strict=True))
    return np.flatnonzero(odd.to_numpy(zero_copy_only=False)), said, read


def _message(text: Any, whole: Any, at: Any, length: Any, odd: tuple[Any, Any, Any] | None) -> Any:
    pc = import_optional("pyarrow.compute")
    if odd is None and length.null_count == len(length) and pc.equal(pc.max(at), 0).as_py():
        return whole  # no line has a head
    views = Views(len(text), prefixes=whole is not text)
    views.set(None, text, at, length)
    if odd is not None:
        where, said, _ = odd
        views.set(where, said)
    return views.array()


def _fields(text: Any, whole: Any, fields_at: Any, odd: tuple[Any, Any, Any] | None) -> Any:
    pa, pc, np = import_optional("pyarrow"), import_optional("pyarrow.compute"), import_optional("numpy")
    held, shared = fields_at.is_valid().to_numpy(zero_copy_only=False), whole is not text
    if not held.any():
        return pa.nulls(len(text), whole.type)
    if odd is None and pc.max(fields_at).as_py() == 0:  # an object is its whole line
        return only(whole, held)
    views, rows = Views(len(text), prefixes=shared), np.flatnonzero(held)
    views.set(rows, text, fields_at.drop_null(), rows=rows)
    if odd is not None:
        where, _, read = odd
        views.set(where, read)
        held = held.copy()
        held[where] = read.is_valid().to_numpy(zero_copy_only=False)
    return only(views.array(), held)
