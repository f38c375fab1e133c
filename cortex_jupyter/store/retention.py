"""Remove completed recordings that are too old or too many, beginning with the one that ended first.

First each namespace is brought within its own quota (`store.quotas`), then the whole store within its budget. If the
store is over its budget, a recording of the namespace that uses most of its quota leaves, so that a namespace is not
evicted by another one that takes more of its share. Namespaces without a quota in bytes come before all others.

Recordings that are being read or still run do not leave; `store.trimming` cuts running recordings that are too large.
A reader of a removed recording gets `CursorNotHeld`. Empty recordings, such as of a label selector without pods,
leave after minutes: they would never be complete, and each reader may create as many as it likes.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.store.quotas import Quotas, read_quotas
from cortex_jupyter.telemetry.logs import duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store import Store
    from cortex_jupyter.store.budget import Budget

#: Unwanted empty recordings leave after this many seconds.
EMPTY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """Result of a pass.

    Parameters
    ----------
    removed : dict of str to int
        Number of removed recordings by reason: `age`, `size` (the store was over its budget), `memory` (that of the
        store's server is nearly full), `namespace_age` or `namespace_size` (the namespace was over its quota).
    over : int
        Bytes over the budget that cannot be freed.
    budget : Budget
    quotas : Quotas, optional
    by_namespace : dict of (str, str) to int
        Number of recordings that were removed for a quota, by namespace and reason.
    usage : dict of str to int
        Bytes by namespace; empty if there are no quotas.
    """

    removed: dict[str, int]
    over: int
    budget: Budget
    quotas: Quotas = field(default_factory=Quotas)
    by_namespace: dict[tuple[str, str], int] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)

    def in_words(self) -> list[str]:
        """Return what was removed and why, as sentences.

        Examples
        --------
        >>> from cortex_jupyter.store.budget import Budget
        >>> from cortex_jupyter.store.quotas import Quota
        >>> RetentionResult({"age": 1, "size": 2}, 0, Budget(5_000_000, 60.0)).in_words()
        ['1 recording has left: its task ended more than 1 min ago', '2 recordings have left: the store was over its budget of 5 MB']
        >>> quotas = Quotas({"ml": Quota(5_000_000)})
        >>> RetentionResult({"namespace_size": 1}, 0, Budget(), quotas, {("ml", "namespace_size"): 1}).in_words()
        ['1 recording of namespace ml has left: the namespace was over its limit of 5 MB']
        """
        budget = self.budget
        sentences = []
        for reason, n in self.removed.items():
            if reason == "age":
                sentences.append(_sentence(n, "", _age_text(n, budget.max_age_s)))
            elif reason == "size":
                sentences.append(
                    _sentence(n, "", f"the store was over its budget of {size_text(budget.max_bytes or 0)}")
                )
            elif reason == "memory":
                sentences.append(_sentence(n, "", "the memory of the store's server was nearly full"))
        for (namespace, reason), n in self.by_namespace.items():
            quota = self.quotas.of(namespace)
            why = f"the namespace was over its limit of {size_text(quota.max_bytes or 0)}"
            if reason == "namespace_age":
                why = f"{_age_text(n, quota.max_age_s)}, which is the limit of the namespace"
            sentences.append(_sentence(n, f" of namespace {namespace}", why))
        return sentences


def _sentence(n: int, whose: str, why: str) -> str:
    return f"{n} recording{whose} has left: {why}" if n == 1 else f"{n} recordings{whose} have left: {why}"


def _age_text(n: int, age_s: float | None) -> str:
    return f"{'its task' if n == 1 else 'their tasks'} ended more than {duration_text(age_s or 0)} ago"


def enforce_retention(
    store: Store, stop: Callable[[], object] = lambda: False, now: float | None = None
) -> RetentionResult:
    """Remove what is over the quotas of namespaces and the budget of the store.

    Parameters
    ----------
    store : Store
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
    return _Pass(store, stop, time.time() if now is None else now).run()


class _Pass:
    """One pass over a store."""

    def __init__(self, store: Store, stop: Callable[[], object], now: float) -> None:
        self._store, self._stop, self._now = store, stop, now
        self._budget, self._quotas = store.budget(), read_quotas(store)
        self._removed = Counter[str]()
        self._by_namespace = Counter[tuple[str, str]]()
        self._recordings = {row.id: row for row in store.usage()} if self._quotas else {}
        self._used = Counter[str]()  # by namespace
        self._first_end: dict[str, float] = {}  # when the first completed recording of a namespace ended
        for row in self._recordings.values():
            self._used[row.namespace] += row.bytes
            first = self._first_end.get(row.namespace, now)
            self._first_end[row.namespace] = min(first, now if row.ended is None else row.ended)

    def run(self) -> RetentionResult:
        assert self._budget.max_bytes is not None
        self._store.forget_empty(EMPTY_S)
        self._sweep()
        for namespace in sorted(self._used):
            self._enforce_quota(namespace)
        self._enforce_budget(self._budget.max_bytes)
        over = max(self._store.used_bytes() - self._budget.max_bytes, 0)
        return RetentionResult(
            dict(self._removed), over, self._budget, self._quotas, dict(self._by_namespace), dict(self._used)
        )

    def _enforce_quota(self, namespace: str) -> None:
        quota = self._quotas.of(namespace)
        # Most namespaces are within their quota. To look for the oldest recording of each would take a search each.
        is_old = quota.max_age_s is not None and self._first_end[namespace] < self._now - quota.max_age_s
        if not is_old and (quota.max_bytes is None or self._used[namespace] <= quota.max_bytes):
            return
        while not self._stop() and (oldest := self._store.oldest_removable([namespace])) is not None:
            recording, ended = oldest
            if quota.max_age_s is not None and ended < self._now - quota.max_age_s:
                reason = "namespace_age"
            elif quota.max_bytes is not None and self._used[namespace] > quota.max_bytes:
                reason = "namespace_size"
            else:
                break
            if self._forget(recording, reason):
                self._by_namespace[namespace, reason] += 1

    def _enforce_budget(self, max_bytes: int) -> None:
        assert self._budget.max_age_s is not None
        while not self._stop() and (oldest := self._store.oldest_removable()) is not None:
            recording, ended = oldest
            if ended < self._now - self._budget.max_age_s:
                self._forget(recording, "age")
            elif self._store.used_bytes() > max_bytes:
                self._forget(self._next_to_leave(recording), "size")
            elif self._store.bytes_to_free():
                self._forget(self._next_to_leave(recording), "memory")
            else:
                break

    def _next_to_leave(self, oldest: int) -> int:
        """Return the recording that leaves for the whole store, given the oldest one that may leave."""
        limits = {namespace: self._quotas.of(namespace).max_bytes for namespace in self._used}
        unlimited = [namespace for namespace, limit in limits.items() if limit is None]
        shares = {ns: self._used[ns] / max(limit, 1) for ns, limit in limits.items() if limit is not None}
        for namespaces in (unlimited, *([ns] for ns in sorted(shares, key=lambda ns: -shares[ns]))):
            if namespaces and (candidate := self._store.oldest_removable(namespaces)) is not None:
                return candidate[0]
        return oldest

    def _forget(self, recording: int, reason: str) -> bool:
        is_removed = self._store.forget(recording)
        if is_removed:
            self._removed[reason] += 1
            if row := self._recordings.pop(recording, None):
                self._used[row.namespace] -= row.bytes
        self._sweep()
        return is_removed

    def _sweep(self) -> None:
        while not self._stop() and self._store.sweep():
            time.sleep(0.002)  # let the recorder's writer begin a transaction
