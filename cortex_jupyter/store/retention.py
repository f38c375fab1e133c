"""Completed recordings leave the store, the longest ended first, when it is over its budget or they over their age.

What is being read and what still runs does not leave; of what runs too long for its bound, see `store.trimming`. A
reader of what has left gets `CursorNotHeld`. What was begun and is empty, as of a label selector that no pod has, leaves
after minutes: it would never be complete, and anybody who may read begins as many as they can name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store import Store

#: What is empty and wanted by nobody leaves after so long, seconds.
EMPTY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """How a pass ended.

    Parameters
    ----------
    left : int
        Recordings that have left.
    over : int
        Bytes over the budget that cannot leave.
    budget : int
        Bytes.
    """

    left: int
    over: int
    budget: int


def enforce_retention(
    store: Store, stop: Callable[[], object] = lambda: False, now: float | None = None
) -> RetentionResult:
    """Let go what is over the budget.

    Parameters
    ----------
    store : Store
    stop : callable, optional
        Asked between transactions; true to leave the rest to another pass.
    now : float, optional
        Seconds since the epoch.

    Returns
    -------
    RetentionResult

    Raises
    ------
    StoreError
    """
    budget, left = store.budget(), 0
    assert budget.max_bytes is not None
    assert budget.max_age_s is not None
    before = (time.time() if now is None else now) - budget.max_age_s
    store.forget_empty(EMPTY_S)
    _sweep(store, stop)
    while not stop() and (oldest := store.oldest_removable()) is not None:
        recording, ended = oldest
        if ended >= before and store.used_bytes() <= budget.max_bytes and not store.bytes_to_free():
            break
        left += store.forget(recording)
        _sweep(store, stop)
    return RetentionResult(left, max(store.used_bytes() - budget.max_bytes, 0), budget.max_bytes)


def _sweep(store: Store, stop: Callable[[], object]) -> None:
    while not stop() and store.sweep():
        time.sleep(0.002)  # the writer waits for our transactions, let it have its turn
