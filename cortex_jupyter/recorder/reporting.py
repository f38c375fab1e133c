"""Write into a recording why it is not recorded at present: its readers see nothing else of the recorder."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cortex_jupyter.model import notice
from cortex_jupyter.store import Commit

if TYPE_CHECKING:
    from cortex_jupyter.errors import CortexError
    from cortex_jupyter.store import Lease, RecordingInfo, Store


def report_rollback(store: Store, lease: Lease, info: RecordingInfo, last_committed: int) -> RecordingInfo:
    """Write that the store was rolled back: a server failed over, or lost power.

    Readers may have seen the lost numbers, so they are not used again; the notice takes them. The lost lines are read
    again from the anchor that the store has.

    Parameters
    ----------
    store : Store
    lease : Lease
    info : RecordingInfo
    last_committed : int
        The last number that was committed.

    Returns
    -------
    RecordingInfo
        The recording as it stands now.
    """
    lost_count = last_committed - info.last_seq
    entry = notice(
        info.ref.key,
        last_committed + 1,
        time.time_ns(),
        "status",
        f"The store has lost its last {lost_count} records: what the cluster still has of them follows once more",
        notice="store",
        hint="see what a Valkey server promises with which settings: docs/reference/valkey.md",
    )
    entry.seq, entry.n = info.last_seq + 1, lost_count + 1
    store.commit(lease, Commit([entry]))
    return replace(info, last_seq=entry.last)


def report_failure(
    store: Store, owner: str, recording: int, error: CortexError, *, is_repeat: bool = False
) -> Lease | None:
    """Write why a recording cannot go on, unless another recorder records it.

    Parameters
    ----------
    store : Store
    owner : str
    recording : int
    error : CortexError
    is_repeat : bool, optional
        Whether it was reported before. Several sources that are refused have different messages, and one of them is
        enough.

    Returns
    -------
    Lease or None
        The lease under which it was written.

    Raises
    ------
    StoreError
    """
    # Take a new lease: what the attempt still had to write must not come after this.
    lease, info = store.lease(recording, owner), store.info(recording)
    text = f"Log not available yet: {error.message}"
    if lease is None or info is None or info.done or info.message == text or (is_repeat and info.reason == error.code):
        return lease
    entry = notice(
        info.ref.key,
        info.last_seq + 1,
        time.time_ns(),
        "status",
        text,
        state=info.state,
        reason=error.code,
        notice="state",
    )
    store.commit(lease, Commit([entry], update={"message": text, "reason": error.code}))
    return lease
