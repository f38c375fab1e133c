"""Remove completed recordings that are too old or exceed the store's budget, beginning with the one that ended first.

Recordings that are being read or still run do not leave; `store.trimming` cuts running recordings that are too large.
A reader of a removed recording gets `CursorNotHeld`. Empty recordings, such as of a label selector without pods,
leave after minutes: they would never be complete, and each reader may create as many as it likes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store import RetentionStore

#: Unwanted empty recordings leave after this many seconds.
EMPTY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """Result of a pass.

    Parameters
    ----------
    removed : int
        Number of removed recordings.
    over : int
        Bytes over the budget that cannot be freed.
    budget : int
        Bytes.
    """

    removed: int
    over: int
    budget: int


def enforce_retention(
    store: RetentionStore, stop: Callable[[], object] = lambda: False, now: float | None = None
) -> RetentionResult:
    """Remove what is over the budget.

    Parameters
    ----------
    store : RetentionStore
    stop : callable, optional
        Called between transactions; if it returns true, the rest is left to another pass.
    now : float, optional
        Seconds since the Unix epoch.

    Returns
    -------
    RetentionResult

    Raises
    ------
    StoreError
    """
    budget, removed = store.budget(), 0
    assert budget.max_bytes is not None
    assert budget.max_age_s is not None
    before = (time.time() if now is None else now) - budget.max_age_s
    store.forget_empty(EMPTY_S)
    _sweep(store, stop)
    while not stop() and (oldest := store.oldest_removable()) is not None:
        recording, ended = oldest
        if ended >= before and store.used_bytes() <= budget.max_bytes and not store.bytes_to_free():
            break
        removed += store.forget(recording)
        _sweep(store, stop)
    return RetentionResult(removed, max(store.used_bytes() - budget.max_bytes, 0), budget.max_bytes)


def _sweep(store: RetentionStore, stop: Callable[[], object]) -> None:
    while not stop() and store.sweep():
        time.sleep(0.002)  # let the recorder's writer begin a transaction
