"""Ids of recordings."""

from __future__ import annotations

import secrets
import time


def new_id() -> int:
    """Give an id that no other store gives: those of several may share an archive, where a recording keeps its own.

    Milliseconds since 2025 and 12 random bits; JavaScript's numbers hold it until 2059.
    """
    return (time.time_ns() // 1_000_000 - 1_735_689_600_000) << 12 | secrets.randbits(12)
