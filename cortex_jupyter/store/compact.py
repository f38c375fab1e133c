"""Merge the small batches of a live log into large ones once they are no longer read as news.

A log of 100 lines a second is committed a few lines at a time, which compresses badly (architecture.md, "Storing").
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import Batch, Entry, encode_batch

if TYPE_CHECKING:
    from cortex_jupyter.store import Lease, Store

#: Maximum number of records in a merged batch. A notice also ends it.
_MAX_RECORDS: Final = 2000
#: Batches whose last line is younger than this (ns) are left to the readers that follow.
_MIN_AGE_NS: Final = 10_000_000_000
#: Shorter runs are not worth a transaction yet.
_MIN_RUN: Final = 8


def compact(store: Store, lease: Lease, after: int = 0, *, done: bool = False) -> int:
    """Merge the batches that can be merged.

    Parameters
    ----------
    store : Store
    lease : Lease
        The recorder's right to write.
    after : int, optional
        Result of the last pass. A pass then costs only what is new, however long the recording is.
    done : bool, optional
        The recording is complete: merge also short and recent runs.

    Returns
    -------
    int
        The last number of the part that is fully merged: later passes skip it while the recording continues.

    Raises
    ------
    LeaseLost, StoreError
    """
    newest_mergeable = time.time_ns() - (0 if done else _MIN_AGE_NS)
    runs: list[list[int]] = [[]]
    size, last = 0, after
    settled = None
    for row in store.index(lease.recording, after):
        last = row.last
        small = row.event == "log" and row.n < _MAX_RECORDS // 2
        merges = small and row.t_max <= newest_mergeable
        if small and not merges and settled is None:
            # It will be merged later, perhaps together with those before it.
            settled = (runs[-1] or [row.seq])[0] - 1
        # An entry that is not merged ends the run: only neighbours can be merged.
        if not merges or size + row.n > _MAX_RECORDS:
            runs.append([])
            size = 0
        if merges:
            runs[-1].append(row.seq)
            size += row.n
    for run in runs:
        # The last run may still grow. Merging it each time would write the same lines again and again.
        if len(run) >= (2 if done else _MIN_RUN) and (done or run is not runs[-1]):
            _merge(store, lease, run)
    return (runs[-1] or [last + 1])[0] - 1 if settled is None else settled


def _merge(store: Store, lease: Lease, run: list[int]) -> None:
    batches = []
    for seq in run:
        entry = store.entry(lease.recording, seq)
        if entry is None or entry.seq != seq or entry.event != "log":
            return
        batches.append(Batch.decode(entry.data))
    first = batches[0]
    times = [t for b in batches for t in b.times]
    data = encode_batch(
        first.task,
        first.seqs[0],
        times,
        [s for b in batches for s in b.sids],
        [o for b in batches for o in b.streams],
        [m for b in batches for m in b.texts],
        {k: v for b in batches for k, v in b.sources.items()},
    )
    store.merge(lease, run, Entry(first.seqs[0], len(times), "log", min(times), max(times), data))
