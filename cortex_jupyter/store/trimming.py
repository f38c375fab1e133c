"""Remove the oldest lines of a running recording that is too large, and leave a gap notice in their place.

This happens in three cases only: a limit is set (`store_max_task_bytes`), the running recordings of a namespace are
larger than its quota, or the memory of a Valkey server is nearly full. A full server would refuse every new line, and
the cluster does not keep lines for long.

The largest recordings are trimmed, whichever recorder records them: each recorder computes one size for all recordings of
the namespace or the store, and trims its own that are larger. A small task loses no lines to the flood of another one.

Completed recordings of a namespace do not count here, nor those under a legal hold. Some of them cannot leave: those that
readers read, or that wait for the archive. No running task loses lines for them.

The notice takes the numbers of all removed entries, in one transaction with their removal and the check of the lease.
So a recording has one such notice, which grows, and a reader at any of those numbers gets it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import LeaseLost
from cortex_jupyter.model import Entry, notice
from cortex_jupyter.store.quotas import read_quotas
from cortex_jupyter.store.trimmed import collect_resume_lines, trim_notice
from cortex_jupyter.telemetry.logs import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cortex_jupyter.model import IndexEntry
    from cortex_jupyter.store import Lease, RecordingUsage, Store
    from cortex_jupyter.store.quotas import Quotas

#: Entries removed in one transaction. The server answers no other request meanwhile.
_ENTRIES: Final = 64
#: If memory is short, recordings smaller than this (bytes) are left alone: they are not what fills it.
_MIN_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limit:
    """How large a running recording may be.

    Parameters
    ----------
    size : float
        In bytes.
    reason : str
        Why, as one of `recorder_metrics.LOSS_REASONS`.
    why, hint : str
        The same for readers, and what to do about it.
    """

    size: float
    reason: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class TrimResult:
    """The part that was trimmed from one recording.

    Parameters
    ----------
    limit : Limit
    lines : int
        Number of lines that were removed.
    """

    limit: Limit
    lines: int


def trim(
    store: Store, leases: dict[int, tuple[Lease, str]], stop: Callable[[], object] = lambda: False
) -> dict[int, TrimResult]:
    """Trim recordings over their limit or, if memory is short, the largest ones.

    Parameters
    ----------
    store : Store
    leases : dict
        The lease and the task's key of each recording that may be trimmed.
    stop : callable, optional
        Called between transactions; if it returns true, the rest is left to another pass.

    Returns
    -------
    dict
        The result for each trimmed recording.

    Raises
    ------
    StoreError
    """
    bound, excess, quotas = store.budget().max_task_bytes, store.bytes_to_free(), read_quotas(store)
    if bound is None and not excess and not quotas:
        return {}
    growing = _growing_recordings(store, leases)
    limits = [] if bound is None else [_bound_limit(bound)]
    if excess:
        limits.append(_memory_limit(max(_MIN_BYTES, _level([row.bytes for row in growing], excess))))
    by_namespace = _namespace_limits(growing, quotas)
    trimmed: dict[int, TrimResult] = {}
    for row in growing:
        namespace_limit = [by_namespace[row.namespace]] if row.namespace in by_namespace else []
        limit = min(limits + namespace_limit, key=lambda limit: limit.size, default=None)
        if row.id not in leases or limit is None or row.bytes <= limit.size:
            continue
        with contextlib.suppress(LeaseLost):  # we still hold the other leases
            lines = _trim(store, *leases[row.id], limit, stop)
            if lines is not None:
                trimmed[row.id] = TrimResult(limit, lines)
    return trimmed


def _growing_recordings(store: Store, ours: Collection[int]) -> list[RecordingUsage]:
    """Return all recordings that a living recorder can trim.

    A recording without a recorder is not among them. It would stay as large as it is, and no other would be trimmed.
    """
    held = store.holds()
    running = [row for row in store.usage() if row.ended is None and row.id not in held]
    holders = store.holders(row.id for row in running)
    # A late heartbeat hides our own recordings from `holders`.
    return [row for row in running if row.id in ours or holders.get(row.id)]


def _bound_limit(size: int) -> Limit:
    return Limit(
        size,
        "task_limit",
        "the oldest leave a running recording that has reached store_max_task_bytes",
        "raise store_max_task_bytes (CORTEX_STORE_MAX_TASK_BYTES), or make the task write less",
    )


def _memory_limit(size: float) -> Limit:
    return Limit(
        size,
        "store_memory",
        "the oldest left when the memory of the store's server was nearly full",
        "raise the server's `maxmemory`, or lower store_max_bytes (CORTEX_STORE_MAX_BYTES) so that completed recordings leave earlier",
    )


def _namespace_limits(growing: list[RecordingUsage], quotas: Quotas) -> dict[str, Limit]:
    """Return the limit of each recording in the namespaces that are over their quota."""
    sizes: dict[str, list[int]] = {}
    for row in growing:
        sizes.setdefault(row.namespace, []).append(row.bytes)
    limits: dict[str, Limit] = {}
    for namespace, recordings in sizes.items():
        max_bytes = quotas.of(namespace).max_bytes
        if max_bytes is None or sum(recordings) <= max_bytes:
            continue
        limits[namespace] = Limit(
            _level(recordings, sum(recordings) - max_bytes),
            "namespace_limit",
            f"the oldest leave the running recordings of namespace {namespace}, which has reached its limit of {size_text(max_bytes)}",
            f"raise the limit (`cortex-jupyter store set --namespace {namespace} max-bytes=...`), or make its tasks write less",
        )
    return limits


def _level(sizes: list[int], excess: float) -> float:
    """Return the maximum size that saves `excess` in total, if all larger ones shrink to it.

    Examples
    --------
    >>> _level([10, 4, 1], 4), _level([10, 4, 1], 8), _level([10, 4], 20), _level([], 4)
    (6.0, 3.0, 0.0, 0.0)
    """
    sizes = sorted(sizes, reverse=True)
    for i, size in enumerate(sizes, 1):
        following = sizes[i] if i < len(sizes) else 0
        if excess <= (size - following) * i:
            return size - excess / i
        excess -= (size - following) * i
    return 0.0


def _trim(store: Store, lease: Lease, task: str, limit: Limit, stop: Callable[[], object]) -> int | None:
    """Remove entries until a recording is small enough. Return the number of removed lines; None if nothing was removed."""
    index = store.index(lease.recording)
    remaining = index[1:] if trim_notice(store, lease.recording) else index
    numbers = sum(row.n for row in remaining)
    at, removed_lines = 0, None
    while not stop() and (size := store.recording_bytes(lease.recording)) > limit.size:
        # The index does not hold sizes. Estimate them from the number of records, then measure again.
        over = (1 - limit.size / size) * numbers
        first = at
        while over > 0 and at - first < _ENTRIES and at < len(remaining) - 1:
            over, numbers, at = over - remaining[at].n, numbers - remaining[at].n, at + 1
        rows = remaining[first:at]
        if not rows:
            break
        gap = _gap(store, lease.recording, task, rows, limit)
        if not store.trim(lease, gap, collect_resume_lines(store, lease.recording, rows)):
            break  # they were merged meanwhile: the next pass sees the new entries
        removed_lines = (removed_lines or 0) + sum(row.n for row in rows if row.event == "log")
    return removed_lines


def _gap(store: Store, recording: int, task: str, rows: list[IndexEntry], limit: Limit) -> Entry:
    """Return the notice for these entries and all that were removed before."""
    before = trim_notice(store, recording)
    lines, gaps = sum(row.n for row in rows if row.event == "log"), 0
    first, last = min(row.t_min for row in rows), max(row.t_max for row in rows)
    # The new notice includes earlier gaps.
    for seq in [row.seq for row in rows if row.event == "gap"] + [1] * bool(before):
        entry = store.entry(recording, seq)
        if entry is None or entry.event != "gap":
            continue
        doc = orjson.loads(entry.data)
        first, last = min(first, _ns(doc, "from", first)), max(last, _ns(doc, "to", last))
        lines, gaps = lines + doc.get("lines", 0), gaps + doc.get("gaps", 1)
    upto = rows[-1].last
    reason = limit.why + (f" (gaps that were there before: {gaps})" if gaps else "")
    entry = notice(
        task,
        1,
        first,
        "gap",
        f"Lines are missing ({lines}): {reason}",
        **{"from": str(first), "to": str(last)},
        reason=reason,
        hint=limit.hint,
        lines=lines,
        gaps=gaps,
        upto=upto,
        notice="trimmed",
    )
    entry.n, entry.t_max = upto, last
    return entry


def _ns(doc: dict[str, Any], name: str, otherwise: int) -> int:
    text = str(doc.get(name))
    return int(text) if text.isdecimal() else otherwise
