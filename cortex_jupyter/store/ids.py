"""Ids of recordings."""

from __future__ import annotations

import secrets
import time
from typing import Final

#: The beginning of 2025, in ms since the Unix epoch.
_EPOCH_MS: Final = 1_735_689_600_000


def new_id() -> int:
    """Return an id that is unique across stores.

    Several stores may share an archive, and a recording keeps its id there.

    It holds milliseconds since 2025 and 12 random bits. JavaScript's numbers represent it exactly until 2059.
    """
    return (time.time_ns() // 1_000_000 - _EPOCH_MS) << 12 | secrets.randbits(12)


def time_of(id_: int) -> int:
    """Return when an id was created, in ns since the Unix epoch.

    Examples
    --------
    >>> earliest = time.time_ns() // 1_000_000 * 1_000_000
    >>> earliest <= time_of(new_id()) <= time.time_ns()
    True
    """
    return ((id_ >> 12) + _EPOCH_MS) * 1_000_000


def first_at(seconds: float) -> int:
    """Return the smallest id that can be created at a time, given in seconds since the Unix epoch.

    Examples
    --------
    >>> now = time.time()
    >>> first_at(now) <= new_id() < first_at(time.time() + 1)
    True
    """
    return (int(seconds * 1000) - _EPOCH_MS) << 12
