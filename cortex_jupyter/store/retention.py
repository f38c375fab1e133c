"""Remove completed recordings that are too old or exceed the store's budget, beginning with the one that ended first.

Recordings that are being read or still run do not leave; `store.trimming` cuts running recordings that are too large.
A reader of a removed recording gets `CursorNotHeld`. Empty recordings, such as of a label selector without pods,
leave after minutes: they would never be complete, and each reader may create as many as it likes.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.telemetry.logs import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store import RetentionStore
    from cortex_jupyter.store.budget import Budget

#: Unwanted empty recordings leave after this many seconds.
EMPTY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """Result of a pass.

    Parameters
    ----------
    removed : dict of str to int
        Number of removed recordings by reason: `age`, `size` (the store was over its budget) or `memory` (that of the
        store's server is nearly full).
    over : int
        Bytes over the budget that cannot be freed.
    budget : Budget
    """

    removed: dict[str, int]
    over: int
    budget: Budget

    def in_words(self) -> list[str]:
        """Return what was removed and why, as sentences.

        Examples
        --------
        >>> from cortex_jupyter.store.budget import Budget
        >>> RetentionResult({"age": 1, "size": 2}, 0, Budget(5_000_000, 60.0)).in_words()
        ['1 recording has left: its task ended more than 1 min ago', '2 recordings have left: the store was over its budget of 5 MB']
        """
        budget = self.budget
        whys = {
            "age": (
                f"its task ended more than {duration_text(budget.max_age_s or 0)} ago",
                f"their tasks ended more than {duration_text(budget.max_age_s or 0)} ago",
            ),
            "size": (f"the store was over its budget of {(budget.max_bytes or 0) / 1e6:.0f} MB",) * 2,
            "memory": ("the memory of the store's server was nearly full",) * 2,
        }
        return [
            f"{n} {'recording has' if n == 1 else 'recordings have'} left: {whys[reason][n > 1]}"
            for reason, n in self.removed.items()
        ]


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
    budget, removed = store.budget(), Counter[str]()
    assert budget.max_bytes is not None
    assert budget.max_age_s is not None
    before = (time.time() if now is None else now) - budget.max_age_s
    store.forget_empty(EMPTY_S)
    _sweep(store, stop)
    while not stop() and (oldest := store.oldest_removable()) is not None:
        recording, ended = oldest
        if ended < before:
            reason = "age"
        elif store.used_bytes() > budget.max_bytes:
            reason = "size"
        elif store.bytes_to_free():
            reason = "memory"
        else:
            break
        if store.forget(recording):
            removed[reason] += 1
        _sweep(store, stop)
    return RetentionResult(dict(removed), max(store.used_bytes() - budget.max_bytes, 0), budget)


def _sweep(store: RetentionStore, stop: Callable[[], object]) -> None:
    while not stop() and store.sweep():
        time.sleep(0.002)  # let the recorder's writer begin a transaction
