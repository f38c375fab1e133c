"""What a recorder says in a recording that it does not record just then: its readers see nothing else of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cortex_jupyter.model import notice
from cortex_jupyter.store import Commit

if TYPE_CHECKING:
    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.store import Lease, RecordingInfo, Store


def say_back(store: Store, lease: Lease, info: RecordingInfo, reached: int) -> RecordingInfo:
    """Say that the store has lost what it had: a server that failed over, or lost its power.

    Readers may have seen those numbers, so they are not given again; the notice takes them. What they stood for is
    read again from the anchor that the store has.

    Parameters
    ----------
    store : Store
    lease : Lease
    info : RecordingInfo
    reached : int
        The last number that was committed.

    Returns
    -------
    RecordingInfo
        What holds now.
    """
    lost = reached - info.last_seq
    said = notice(
        info.ref.key, reached + 1, time.time_ns(), "status",
        f"The store has lost its last {lost} records: what the cluster still has of them follows once more",
        notice="store", hint="see what a Valkey server promises with which settings: docs/reference/valkey.md",
    )  # fmt: skip
    said.seq, said.n = info.last_seq + 1, lost + 1
    store.commit(lease, Commit([said]))
    return replace(info, last_seq=said.last)


def tell(store: Store, owner: str, recording: int, error: CortexError, *, again: bool = False) -> Lease | None:
    """Say why it cannot go on, unless another records it.

    Parameters
    ----------
    store : Store
    owner : str
    recording : int
    error : CortexError
    again : bool, optional
        It has been said before: of several that are refused each has its own words, and one of them is enough.

    Returns
    -------
    Lease or None
        The one under which it was said.

    Raises
    ------
    StoreError
    """
    # A lease of its own: what the attempt had still to write must not come after this.
    lease, info = store.lease(recording, owner), store.info(recording)
    text = f"Log not available yet: {error.message}"
    if lease is None or info is None or info.done or info.message == text or (again and info.reason == error.code):
        return lease
    said = notice(
        info.ref.key, info.last_seq + 1, time.time_ns(), "status", text, state=info.state, reason=error.code,
        notice="state",
    )  # fmt: skip
    store.commit(lease, Commit([said], update={"message": text, "reason": error.code}))
    return lease
