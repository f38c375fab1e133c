"""The oldest lines of a recording that runs for weeks leave before it ends, and a gap notice says so in their place.

Of its own accord nothing of a running task leaves. It does where a bound is set (`store_max_task_bytes`), and where the
memory of a Valkey server is nearly full: it would refuse every line soon, and the cluster throws away those that wait.
The notice takes the numbers of all that has left, in one transaction with their end and the lease's number. So there
is one, which grows, and whoever reads at any of those numbers gets it.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import LeaseLost
from cortex_jupyter.model import Entry, notice
from cortex_jupyter.store.trimmed import collect_resume_lines, trim_notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store import Lease, Store
    from cortex_jupyter.store.trimmed import Index

#: Entries that leave in one transaction: the server answers nobody else meanwhile.
_ENTRIES: Final = 64
#: Where memory is short, what is smaller is left alone, bytes: it is not what fills it.
_LEAST: Final = 1 << 20
BOUND: Final = "the oldest leave a running recording that has reached store_max_task_bytes"
MEMORY: Final = "the oldest left when the memory of the store's server was nearly full"
_HINTS: Final = {
    BOUND: "raise store_max_task_bytes (CORTEX_STORE_MAX_TASK_BYTES), or make the task write less",
    MEMORY: "raise the server's `maxmemory`, or lower store_max_bytes (CORTEX_STORE_MAX_BYTES) so that completed recordings leave earlier",
}


def trim(
    store: Store, leases: dict[int, tuple[Lease, str]], stop: Callable[[], object] = lambda: False
) -> dict[int, tuple[str, str]]:
    """Let the oldest lines go of what is over its bound or, where memory is short, of what is largest.

    Parameters
    ----------
    store : Store
    leases : dict
        The right to write, and the task's key, of each recording that may be trimmed.
    stop : callable, optional
        Asked between transactions; true to leave the rest to another pass.

    Returns
    -------
    dict
        Why, and what would have avoided it, of each recording that has been trimmed.

    Raises
    ------
    StoreError
    """
    bound = store.budget().max_task_bytes
    short = store.bytes_to_free()
    if bound is None and not short:
        return {}
    sizes = {id_: store.recording_bytes(id_) for id_ in leases}
    level = math.inf
    if short:  # other recorders give their share
        share = short * sum(sizes.values()) / max(store.used_bytes(), 1)
        level = max(_LEAST, _level(list(sizes.values()), share))
    trimmed: dict[int, tuple[str, str]] = {}
    for id_, size in sizes.items():
        why = BOUND if bound is not None and bound <= level else MEMORY
        most = min(level, math.inf if bound is None else bound)
        with contextlib.suppress(LeaseLost):  # the others are still ours
            if size > most and _trim(store, *leases[id_], most, why, stop):
                trimmed[id_] = why, _HINTS[why]
    return trimmed


def _level(sizes: list[int], share: float) -> float:
    """Give the size down to which all that are larger have to go to be smaller by a share together.

    Examples
    --------
    >>> _level([10, 4, 1], 4), _level([10, 4, 1], 8), _level([10, 4], 20)
    (6.0, 3.0, 0.0)
    """
    sizes = sorted(sizes, reverse=True)
    for i, (size, following) in enumerate(zip(sizes, [*sizes[1:], 0], strict=True), 1):
        if share <= (size - following) * i:
            return size - share / i
        share -= (size - following) * i
    return 0.0


def _trim(store: Store, lease: Lease, task: str, most: float, why: str, stop: Callable[[], object]) -> bool:
    """Let entries go until a recording is small enough; True where any went."""
    index = store.index(lease.recording)
    left = index[1:] if trim_notice(store, lease.recording) else index
    numbers = sum(n for _, n, *_ in left)
    at = 0
    while not stop() and (size := store.recording_bytes(lease.recording)) > most:
        # How large each is is not in the index: by their share of the numbers, then it is looked again.
        over = (1 - most / size) * numbers
        first = at
        while over > 0 and at - first < _ENTRIES and at < len(left) - 1:
            over, numbers, at = over - left[at][1], numbers - left[at][1], at + 1
        rows = left[first:at]
        if not rows:
            break
        gap = _gap(store, lease.recording, task, rows, why)
        if not store.trim(lease, gap, collect_resume_lines(store, lease.recording, rows)):
            return first > 0  # merged since it was looked at: the next pass sees what they are now
    return at > 0


def _gap(store: Store, recording: int, task: str, rows: Index, why: str) -> Entry:
    """Make the notice that stands for what has left and for these entries."""
    before = trim_notice(store, recording)
    lines, gaps = sum(n for _, n, event, _, _ in rows if event == "log"), 0
    first, last = min(t for *_, t, _ in rows), max(t for *_, t in rows)
    # What was missing before is now among what is missing.
    for seq in [row[0] for row in rows if row[2] == "gap"] + [1] * bool(before):
        entry = store.entry(recording, seq)
        if entry is None or entry.event != "gap":
            continue
        doc = orjson.loads(entry.data)
        first, last = min(first, _ns(doc, "from", first)), max(last, _ns(doc, "to", last))
        lines, gaps = lines + doc.get("lines", 0), gaps + doc.get("gaps", 1)
    upto = rows[-1][0] + rows[-1][1] - 1
    reason = why + (f" (gaps that were there before: {gaps})" if gaps else "")
    entry = notice(
        task, 1, first, "gap", f"Lines are missing ({lines}): {reason}", **{"from": str(first), "to": str(last)},
        reason=reason, hint=_HINTS[why], lines=lines, gaps=gaps, upto=upto, notice="trimmed",
    )  # fmt: skip
    entry.n, entry.t_max = upto, last
    return entry


def _ns(doc: dict[str, Any], name: str, otherwise: int) -> int:
    text = str(doc.get(name))
    return int(text) if text.isdecimal() else otherwise
