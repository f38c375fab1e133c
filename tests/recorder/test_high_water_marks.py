"""A recorder detects that its store was rolled back, and forgets its high-water marks when they are no longer needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import CLUSTER, Hand

from cortex_jupyter.errors import LeaseLost, StoreUnreachable
from cortex_jupyter.recorder import tasks as lib
from cortex_jupyter.recorder.recorder import Recorder

if TYPE_CHECKING:
    from cortex_jupyter.store import Commit, Lease, Store


class EndedTaskRecorder:
    """A `TaskRecorder` that ends at once, after its eighth record.

    Attributes
    ----------
    error : Exception or None
        The error with which it ends.
    """

    unreachable_s, last_committed, error = 0.0, 8, LeaseLost("the store ends at record 2, not before 9")

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.info = arguments[4]

    async def run(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def recording(store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a recorder that has recorded a task up to a `seq` that the store has lost."""
    hand.lines([(1, 1, "a"), (2, 1, "b")])
    store.leave("me")
    monkeypatch.setattr(lib, "TaskRecorder", EndedTaskRecorder)
    cluster: Any = type("Api", (), {"host": CLUSTER, "id": CLUSTER})()
    return Recorder(store, cluster)


async def record(recording: Any, id_: int) -> None:
    await recording._tasks.start(None, id_, masked=False)
    await asyncio.gather(*(running.task for running in recording._tasks.running.values()))


async def test_a_rollback_is_reported_as_soon_as_the_store_accepts_a_commit(
    store: Store, hand: Hand, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(recording, hand.id)
    real, labels = store.commit, {"reason": "store_rollback"}
    before = REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) or 0

    def unreachable(*_: object) -> None:
        raise StoreUnreachable("it does not answer")

    monkeypatch.setattr(store, "commit", unreachable)
    with pytest.raises(StoreUnreachable):
        await record(recording, hand.id)
    monkeypatch.setattr(store, "commit", real)
    await record(recording, hand.id)
    (notice,) = store.entries(hand.id, 2, 1 << 20)
    assert (notice.seq, notice.last) == (3, 9) and b"lost its last 6 records" in notice.data
    assert REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) == before + 6


async def test_a_task_that_another_recorder_takes_during_the_report_is_left_to_it(
    store: Store, hand: Hand, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(recording, hand.id)
    real = store.commit

    def taken(lease: Lease, commit: Commit) -> None:
        other = store.lease(hand.id, lease.owner)  # a lease with a newer epoch than ours
        assert other is not None
        real(lease, commit)

    monkeypatch.setattr(store, "commit", taken)
    await recording._tasks.start(None, hand.id, masked=False)
    assert not recording._tasks.running and len(store.entries(hand.id, 2, 1 << 20)) == 0


async def test_marks_of_complete_recordings_are_forgotten(
    store: Store, hand: Hand, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector runs for months and must not remember every task of that time."""
    now = [0.0]
    monkeypatch.setattr(recording._tasks.high_water_marks, "_clock", lambda: now[0])
    await record(recording, hand.id)
    now[0] += 3600
    assert len(recording._tasks.high_water_marks) == 1, "the mark of an incomplete recording was forgotten"
    monkeypatch.setattr(EndedTaskRecorder, "error", None)
    await record(recording, hand.id)
    assert recording._tasks.high_water_marks.get(hand.id) == 8, (
        "the mark was forgotten although a failover may still lose the end of the recording"
    )
    now[0] += 3600
    assert len(recording._tasks.high_water_marks) == 0
    # Another recorder may have completed the recording.
    monkeypatch.setattr(EndedTaskRecorder, "error", LeaseLost("another recorder has taken over this task"))
    await record(recording, hand.id)
    hand.lease = store.lease(hand.id, "me")  # type: ignore[assignment]
    hand.next = store.info(hand.id).last_seq + 1  # type: ignore[union-attr]
    hand.end()
    await record(recording, hand.id)
    now[0] += 3600
    assert len(recording._tasks.high_water_marks) == 0
