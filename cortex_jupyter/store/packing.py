"""An entry's data as a store keeps it: zstd 1, no dearer than writing the bytes it saves."""

from __future__ import annotations

import threading

import zstandard

from cortex_jupyter.errors import StoreError
from cortex_jupyter.model import Entry

_packers = threading.local()


def pack(data: bytes) -> bytes:
    """Compress an entry's data."""
    packer: zstandard.ZstdCompressor | None = getattr(_packers, "one", None)
    if packer is None:
        packer = _packers.one = zstandard.ZstdCompressor(level=1)
    return packer.compress(data)


def unpack(hint: str, seq: int, n: int, event: str, t_min: int, t_max: int, data: bytes) -> Entry:
    """Give an entry from its columns.

    Parameters
    ----------
    hint : str
        What to do where it is damaged.
    seq, n, event, t_min, t_max
        As `Entry` has them.
    data : bytes
        What `pack` gave.

    Raises
    ------
    StoreError
        It is damaged.
    """
    try:
        return Entry(seq, n, event, t_min, t_max, zstandard.decompress(data))
    except zstandard.ZstdError as error:
        raise StoreError(f"entry {seq} of a recording is damaged: {error}", hint) from error
