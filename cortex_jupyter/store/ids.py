"""Ids of recordings."""

from __future__ import annotations

import secrets
import time
from typing import Final

#: The beginning of 2025, ms since the epoch.
_EPOCH_MS: Final = 1_735_689_600_000


def new_id() -> int:
    """Give an id that no other store gives: those of several may share an archive, where a recording keeps its own.

    Milliseconds since 2025 and 12 random bits; JavaScript's numbers hold it until 2059.
    """
    return (time.time_ns() // 1_000_000 - _EPOCH_MS) << 12 | secrets.randbits(12)


def time_of(id_: int) -> int:
    """Give when an id was given, ns since the epoch.

    Examples
    --------
    >>> 0 <= time.time_ns() - time_of(new_id()) < 1_000_000_000
    True
    """
    return ((id_ >> 12) + _EPOCH_MS) * 1_000_000


def first_at(seconds: float) -> int:
    """Give the least id that may be given at a time, seconds since the epoch.

    Examples
    --------
    >>> now = time.time()
    >>> first_at(now) <= new_id() < first_at(now + 1)
    True
    """
    return (int(seconds * 1000) - _EPOCH_MS) << 12
