"""Compress an entry's data with zstd level 1, which costs no more time than writing the bytes it saves."""

from __future__ import annotations

import threading

import zstandard

from cortex_jupyter.errors import StoreError
from cortex_jupyter.model import Entry

_local = threading.local()


def pack(data: bytes) -> bytes:
    """Return an entry's data compressed."""
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=1)
    return compressor.compress(data)


def unpack(hint: str, seq: int, n: int, event: str, t_min: int, t_max: int, data: bytes) -> Entry:
    """Return the entry that its stored columns describe.

    Parameters
    ----------
    hint : str
        What to do if it is damaged.
    seq, n, event, t_min, t_max
        As in `Entry`.
    data : bytes
        Result of `pack`.

    Raises
    ------
    StoreError
        The data are damaged.
    """
    try:
        return Entry(seq, n, event, t_min, t_max, zstandard.decompress(data))
    except zstandard.ZstdError as error:
        raise StoreError(f"entry {seq} of a recording is damaged: {error}", hint) from error
