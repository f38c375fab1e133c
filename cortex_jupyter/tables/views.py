"""Pieces of texts without a copy of them: Arrow's string views, 16 bytes each.

https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout: a length, and either up to 12 bytes
or the first 4, the number of a buffer and where in it the piece begins.
"""

from __future__ import annotations

from typing import Any, Final

from cortex_jupyter.archive.optional import import_optional

#: A view holds so many bytes itself.
_SHORT: Final = 12
#: Places count to 2 GiB: a larger buffer is given as several that overlap, so that each piece lies whole in one.
_STEP: Final = 1 << 30
#: Of more bytes at once Arrow makes no views.
_MOST: Final = (1 << 31) - 1
#: Views that are set at once: what is in between stays in the processor's cache, and is no new memory each time.
_BLOCK: Final = 16_384


class Views:
    """Views into the values of arrays.

    Parameters
    ----------
    n : int
        How many.
    prefixes : bool, optional
        With the first bytes of the long ones: whoever compares needs them, whoever copies does not.
    """

    def __init__(self, n: int, *, prefixes: bool = True) -> None:
        # Length and first bytes are one number, buffer and place another: half as many strided writes.
        np, room = import_optional("numpy"), import_optional("pyarrow").allocate_buffer(16 * n)
        self._rows = np.frombuffer(room, "<i8").reshape(n, 2)
        self._rows[:] = 0
        self._prefixes = prefixes
        self._buffers: list[Any] = []

    def set(self, where: Any, data: Any, start: Any = None, size: Any = None, rows: Any = None) -> None:
        """Set views to a piece of each value: `size` bytes from `start`, fewer where the value ends before.

        Parameters
        ----------
        where : numpy.ndarray of int or None
            Which views; None for all.
        data : pyarrow.LargeBinaryArray or pyarrow.LargeStringArray
        start, size : pyarrow.Int32Array, optional
            From the first byte, to the end; so also where they are null. Nothing reaches beyond its value.
        rows : numpy.ndarray of int, optional
            Which values; else all. `start` and `size` are of those.
        """
        np = import_optional("numpy")
        values = data.buffers()[2]
        if values is None or not values.size:
            self._rows[slice(None) if where is None else where] = 0
            return
        offsets = np.frombuffer(data.buffers()[1], np.int64, len(data) + 1 + data.offset)[data.offset :]
        n = len(data) if rows is None else len(rows)
        starts = None if start is None else start.fill_null(0).to_numpy()
        # A null is to the end, which is nearer than this: no value is longer than a view can say.
        most = None if size is None or size.null_count == n else size.fill_null(_MOST).to_numpy()
        found = self._rows if where is None else np.empty((n, 2), np.int64)
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
            if most is not None:
                sizes = np.minimum(sizes, np.maximum(most[at:end], 0))
            self._fill(found[at:end], values, begin, sizes)
        if where is not None:
            self._rows[where] = found
        self._buffers += [values.slice(i, min(2 * _STEP - 1, values.size - i)) for i in range(0, values.size, _STEP)]

    def _fill(self, found: Any, values: Any, begin: Any, sizes: Any) -> None:
        np = import_optional("numpy")
        held = np.frombuffer(values, np.uint8)
        found[:, 0] = sizes
        parts = found.view(np.int32)
        if self._prefixes and len(held) > _SHORT:
            # The four bytes from each place on; the last three places have not so many, and what begins there is short.
            four = np.ndarray(len(held) - 3, np.int32, buffer=values, strides=(1,))
            parts[:, 1] = four[np.minimum(begin, len(four) - 1)]
        np.left_shift(begin if len(held) <= _STEP else begin % _STEP, 32, out=found[:, 1])
        if self._buffers or len(held) > _STEP:
            parts[:, 2] = begin // _STEP + len(self._buffers)
        short = np.flatnonzero(sizes <= _SHORT)
        if len(short):
            at = np.arange(_SHORT)
            few = held[np.minimum(begin[short, None] + at, len(held) - 1)]
            few[at >= sizes[short, None]] = 0
            parts[short, 1:] = few.view(np.int32)

    def array(self) -> Any:
        """Give them as a `pyarrow.StringViewArray`."""
        pa = import_optional("pyarrow")
        buffers = [None, pa.py_buffer(self._rows), *self._buffers]
        return pa.Array.from_buffers(pa.string_view(), len(self._rows), buffers)


def viewed(texts: Any) -> Any:
    """Give whole texts as views.

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


def only(texts: Any, held: Any) -> Any:
    """Give the same texts, null where they are not held: of the same memory, in which a null may stand for bytes.

    https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-layout

    Parameters
    ----------
    texts : pyarrow.StringViewArray or pyarrow.LargeStringArray
    held : numpy.ndarray of bool

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> only(viewed(pa.array(["a", "b"], pa.large_string())), np.array([False, True])).to_pylist()
    [None, 'b']
    """
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    valid = np.packbits(np.pad(held, (texts.offset, 0)), bitorder="little")
    buffers = [pa.py_buffer(valid), *texts.buffers()[1:]]
    return pa.Array.from_buffers(texts.type, len(texts), buffers, offset=texts.offset)
