"""Pieces of texts without a copy of them: Arrow's string views, 16 bytes each.

https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout: a length, and either up to 12 bytes
or the first 4, the number of a buffer and where in it the piece begins.
"""

from __future__ import annotations

from typing import Any, Final

from cortex_jupyter.archive.extra import library

#: A view holds so many bytes itself.
_SHORT: Final = 12
#: Places count to 2 GiB: a larger buffer is given as several that overlap, so that each piece lies whole in one.
_STEP: Final = 1 << 30


class Views:
    """Views into the values of arrays.

    Parameters
    ----------
    n : int
        How many; empty until they are set.
    """

    def __init__(self, n: int) -> None:
        self._rows = library("numpy").zeros((n, 4), "<i4")
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
            Which values; else all.
        """
        np = library("numpy")
        offsets = np.frombuffer(data.buffers()[1], np.int64, len(data) + 1 + data.offset)[data.offset :]
        low, high = offsets[:-1], offsets[1:]
        if start is not None:
            low = np.clip(low + start.fill_null(0).to_numpy(), low, high)
        if size is not None and size.null_count < len(size):
            some = np.flatnonzero(size.is_valid().to_numpy(zero_copy_only=False))
            high, begin = high.copy(), low[some]
            high[some] = np.clip(begin + size.drop_null().to_numpy(), begin, high[some])
        if rows is not None:
            low, high = low[rows], high[rows]
        values = data.buffers()[2]
        if values is None or not values.size:
            self._rows[slice(None) if where is None else where] = 0
            return
        sizes = (high - low).astype(np.int32)
        found = self._rows if where is None else np.empty((len(sizes), 4), np.int32)
        found[:, 0] = sizes
        held = np.frombuffer(values, np.uint8)
        # The four bytes from each place on; the last three places have not so many, and what begins there is short.
        four = np.ndarray(max(len(held) - 3, 0), np.int32, buffer=values, strides=(1,))
        found[:, 1] = four[np.minimum(low, len(four) - 1)] if len(four) else 0
        found[:, 2], found[:, 3] = len(self._buffers), low % _STEP if len(held) > _STEP else low
        if len(held) > _STEP:
            found[:, 2] += (low // _STEP).astype(np.int32)
        short = np.flatnonzero(sizes <= _SHORT)
        if len(short):
            at = np.arange(_SHORT)
            few = held[np.minimum(low[short, None] + at, len(held) - 1)]
            few[at >= sizes[short, None]] = 0
            found[short, 1:] = few.view(np.int32)
        if where is not None:
            self._rows[where] = found
        self._buffers += [values.slice(i, min(2 * _STEP - 1, values.size - i)) for i in range(0, values.size, _STEP)]

    def array(self, valid: Any = None) -> Any:
        """Give them as a `pyarrow.StringViewArray`.

        Parameters
        ----------
        valid : pyarrow.Buffer, optional
            A bit for each that is not null.
        """
        pa = library("pyarrow")
        buffers = [valid, pa.py_buffer(self._rows), *self._buffers]
        return pa.Array.from_buffers(pa.string_view(), len(self._rows), buffers)
