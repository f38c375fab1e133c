"""Cut pieces of texts without a copy: Arrow's string views, 16 bytes each.

A view holds a length, and either up to 12 bytes, or the first 4 bytes, a buffer's number and the offset in it
(https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.archive.optional import import_optional

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.archive.optional import Ints, TextArray

#: Bytes that a view can hold itself.
_SHORT: Final = 12
#: Offsets reach 2 GiB. A larger buffer is passed as several overlapping ones, so that each piece is whole in one.
_STEP: Final = 1 << 30
#: Arrow makes no views of more bytes at once.
_MOST: Final = (1 << 31) - 1
#: Views set at once: intermediate arrays stay in the processor's cache and are reused.
_BLOCK: Final = 16_384


class Views:
    """Views into the values of arrays.

    Parameters
    ----------
    n : int
        Number of views.
    prefixes : bool, optional
        Fill in the first bytes of long texts: needed to compare views, not to copy them.
    """

    def __init__(self, n: int, *, prefixes: bool = True) -> None:
        # Length and prefix are one number, buffer and offset another: half as many strided writes.
        np, room = import_optional("numpy"), import_optional("pyarrow").allocate_buffer(16 * n)
        self._rows = np.frombuffer(room, "<i8").reshape(n, 2)
        self._rows[:] = 0
        self._prefixes = prefixes
        self._buffers: list[pa.Buffer] = []

    def set(
        self,
        where: Ints | None,
        data: TextArray,
        start: pa.Int32Array | None = None,
        size: pa.Int32Array | None = None,
        rows: Ints | None = None,
    ) -> None:
        """Set views to a piece of each value: `size` bytes from `start`, or fewer if the value ends before.

        Parameters
        ----------
        where : numpy.ndarray of int or None
            Indexes of the views; None for all.
        data : pyarrow.LargeBinaryArray or pyarrow.LargeStringArray
        start, size : pyarrow.Int32Array, optional
            Default: the whole value, as for a null. A piece never reaches beyond its value.
        rows : numpy.ndarray of int, optional
            Indexes of the values; default: all. `start` and `size` refer to these.
        """
        np = import_optional("numpy")
        values = data.buffers()[2]
        if values is None or not values.size:
            self._rows[slice(None) if where is None else where] = 0
            return
        offsets = np.frombuffer(data.buffers()[1], np.int64, len(data) + 1 + data.offset)[data.offset :]
        n = len(data) if rows is None else len(rows)
        starts = None if start is None else start.fill_null(0).to_numpy()
        # Null means to the end. No value is longer than `_MOST`.
        max_sizes = None if size is None or size.null_count == n else size.fill_null(_MOST).to_numpy()
        views = self._rows if where is None else np.empty((n, 2), np.int64)
        for at in range(0, n, _BLOCK):
            end = min(at + _BLOCK, n)
            if rows is None:
                begin, high = offsets[at:end], offsets[at + 1 : end + 1]
            else:
                begin, high = offsets[rows[at:end]], offsets[rows[at:end] + 1]
            sizes = high - begin
            if starts is not None:
                head = starts[at:end]
                rest = sizes - head
                if head.min() < 0 or rest.min() < 0:
                    head = np.minimum(np.maximum(head, 0), sizes)
                    rest = sizes - head
                begin, sizes = begin + head, rest
            if max_sizes is not None:
                sizes = np.minimum(sizes, np.maximum(max_sizes[at:end], 0))
            self._fill(views[at:end], values, begin, sizes)
        if where is not None:
            self._rows[where] = views
        self._buffers += [values.slice(i, min(2 * _STEP - 1, values.size - i)) for i in range(0, values.size, _STEP)]

    def _fill(self, views: Ints, values: pa.Buffer, begin: Ints, sizes: Ints) -> None:
        np = import_optional("numpy")
        value_bytes = np.frombuffer(values, np.uint8)
        views[:, 0] = sizes
        parts = views.view(np.int32)
        if self._prefixes and len(value_bytes) > _SHORT:
            # The four bytes at each offset. The last three offsets have fewer; a text that begins there is short.
            four = np.ndarray(len(value_bytes) - 3, np.int32, buffer=values, strides=(1,))
            parts[:, 1] = four[np.minimum(begin, len(four) - 1)]
        np.left_shift(begin if len(value_bytes) <= _STEP else begin % _STEP, 32, out=views[:, 1])
        if self._buffers or len(value_bytes) > _STEP:
            parts[:, 2] = begin // _STEP + len(self._buffers)
        short = np.flatnonzero(sizes <= _SHORT)
        if len(short):
            at = np.arange(_SHORT)
            prefix = value_bytes[np.minimum(begin[short, None] + at, len(value_bytes) - 1)]
            prefix[at >= sizes[short, None]] = 0
            parts[short, 1:] = prefix.view(np.int32)

    def array(self) -> pa.StringViewArray:
        """Return the views as a `pyarrow.StringViewArray`."""
        pa = import_optional("pyarrow")
        buffers = [None, pa.py_buffer(self._rows), *self._buffers]
        return pa.Array.from_buffers(pa.string_view(), len(self._rows), buffers)


def as_views(texts: pa.LargeStringArray) -> pa.StringViewArray:
    """Return whole texts as views.

    Parameters
    ----------
    texts : pyarrow.LargeStringArray

    Returns
    -------
    pyarrow.StringViewArray
    """
    pa, values = import_optional("pyarrow"), texts.buffers()[2]
    if values is None or values.size <= _MOST:
        return texts.cast(pa.string_view())
    views = Views(len(texts))
    views.set(None, texts)
    return views.array()


def with_nulls(texts: Any, is_valid: Any) -> Any:
    """Return the same texts with null where they are not valid.

    The result shares the memory of `texts`. In Arrow, a null may have bytes
    (https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-layout).

    Parameters
    ----------
    texts : pyarrow.StringViewArray or pyarrow.LargeStringArray
    is_valid : numpy.ndarray of bool

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> with_nulls(as_views(pa.array(["a", "b"], pa.large_string())), np.array([False, True])).to_pylist()
    [None, 'b']
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    valid = np.packbits(np.pad(is_valid, (texts.offset, 0)), bitorder="little")
    buffers = [pa.py_buffer(valid), *texts.buffers()[1:]]
    return pa.Array.from_buffers(texts.type, len(texts), buffers, offset=texts.offset)
