"""A recording is deleted as a whole, or not at all; a legal hold keeps it; what was deleted is not recorded again."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import CLUSTER, REF, Hand, on_sqlite, recorder, source

from cortex_jupyter.errors import CursorNotHeld, LegalHold, RecordingDeleted, StillRecorded
from cortex_jupyter.model import TaskRef, notice
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.deletion import Deletion, Hold
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.settings import write_quota
from cortex_jupyter.store.trimming import trim

if TYPE_CHECKING:
    from cortex_jupyter.store.sqlite.store import SqliteStore

HOLD = Hold(REF.key, CLUSTER, "ann@host", 1_700_000_000.0, "case 12")


def deletion_of(hand: Hand, **more: Any) -> Deletion:
    ref = hand.ref
    fields = {"by": "root@host", "at": 1_800_000_000.0} | more
    return Deletion(hand.id, CLUSTER, ref.namespace, ref.kind, ref.name, "u1", **fields)


def recorded(store: Any, name: str = "train-1", *, done: bool = True, batches: int = 3) -> Hand:
    hand = Hand(store, TaskRef("default", "job", name))
    hand.source(1)
    for i in range(batches):
        hand.lines([(i, 1, os.urandom(20_000).hex())])
    if done:
        hand.end()
    return hand


def test_a_deleted_recording_is_gone_and_others_stay(store: Any) -> None:
    one, other = recorded(store), recorded(store, "other")
    used = store.used_bytes()
    deletion = deletion_of(one, records=3, objects={"a": 1})
    store.delete(deletion)
    assert [info.id for info in store.recordings()] == [other.id]
    assert store.info(one.id) is None and store.find(one.ref) is None and store.sources(one.id) == {}
    assert store.deletion(one.id) == deletion and store.deletions() == [deletion] and store.deletion(other.id) is None
    assert store.last_deletion("default", "train-1") == deletion and store.last_deletion("default", "other") is None
    store.purge()
    assert store.index(one.id) == [] and store.entries(one.id, 0, 1) == []
    assert store.used_bytes() < used - 50_000 and len(store.index(other.id)) == 4
    store.delete(deletion)  # it may be repeated
    store.close_deletions([deletion])
    closed = store.deletion(one.id)
    assert (closed.is_open, closed.objects, closed.records) == (False, {}, 3)


def test_a_deleted_task_is_not_recorded_again_until_that_is_allowed(store: Any) -> None:
    hand = recorded(store)
    deletion = deletion_of(hand)
    store.delete(deletion)
    for _ in range(2):
        with pytest.raises(
            RecordingDeleted, match=r"default:job/train-1 was deleted 2027-01-15 08:00 UTC by root@host"
        ):
            store.open(CLUSTER, REF, "u1")
    assert store.recordings() == []
    again = store.open(CLUSTER, REF, "u2")  # another run of that name
    assert store.info(again) is not None and store.open("https://other", REF, "u1") not in (hand.id, again)
    store.allow_again(deletion)
    assert store.deletion(hand.id) is None and store.open(CLUSTER, REF, "u1") not in (hand.id, again)


def test_a_task_that_does_not_end_may_be_recorded_again(store: Any) -> None:
    hand = recorded(store, done=False)
    store.leave("me")
    store.delete(deletion_of(hand, blocks=False))
    assert store.open(CLUSTER, REF, "u1") != hand.id
    assert store.deletion(hand.id).by == "root@host"


def test_a_recording_that_is_being_written_is_not_deleted(store: Any) -> None:
    hand = recorded(store, done=False)
    with pytest.raises(StillRecorded, match="still being recorded"):
        store.delete(deletion_of(hand))
    assert store.deletions() == [] and len(store.index(hand.id)) == 3
    hand.lines([(9, 1, "goes on")])
    store.leave("me")
    store.delete(deletion_of(hand))
    assert store.info(hand.id) is None and store.lease(hand.id, "me") is None


def test_a_held_recording_is_not_deleted(store: Any) -> None:
    hand = recorded(store)
    assert store.set_hold(hand.id, HOLD) and store.holds() == {hand.id: HOLD}
    with pytest.raises(LegalHold, match=r"set by ann@host: case 12"):
        store.delete(deletion_of(hand))
    assert store.deletions() == [] and len(store.index(hand.id)) == 4
    assert store.set_hold(hand.id, None) and store.holds() == {}
    store.delete(deletion_of(hand))
    assert not store.set_hold(hand.id, HOLD) and store.holds() == {}, "a deleted recording was held"


def test_a_held_recording_outlives_age_and_size(store: Any) -> None:
    held, other = recorded(store), recorded(store, "other")
    store.set_hold(held.id, HOLD)
    store.set_budget(Budget(max_bytes=1, max_age_s=0.0))
    assert enforce_retention(store, now=time.time() + 1).removed == {"age": 1}
    assert [info.id for info in store.recordings()] == [held.id] and store.info(other.id) is None
    assert store.oldest_removable() is None and not store.forget(held.id)
    store.set_hold(held.id, None)
    assert enforce_retention(store, now=time.time() + 1).removed == {"age": 1} and store.recordings() == []


def test_a_held_recording_outlives_the_quota_of_its_namespace(store: Any) -> None:
    held, other = recorded(store), recorded(store, "other")
    store.set_hold(held.id, HOLD)
    write_quota(store, "default", {"max-bytes": "1", "max-age": "1s"}, "a test")
    assert sum(enforce_retention(store, now=time.time() + 60).removed.values()) == 1
    assert [info.id for info in store.recordings()] == [held.id] and store.info(other.id) is None


def test_no_line_of_a_held_recording_is_trimmed(store: Any) -> None:
    held, other = recorded(store, done=False, batches=8), recorded(store, "other", done=False, batches=8)
    store.set_hold(held.id, HOLD)
    store.set_budget(Budget(max_task_bytes=60_000))
    leases = {hand.id: (hand.lease, hand.ref.key) for hand in (held, other)}
    assert set(trim(store, leases)) == {other.id}
    assert len(store.index(held.id)) == 8 and store.resume_lines(held.id) == b""
    gap = notice(REF.key, 1, 0, "gap", "missing")
    gap.n = 2
    assert not store.trim(held.lease, gap, b""), "the hold came while lines were being chosen"
    store.set_hold(held.id, None)
    assert set(trim(store, leases)) == {held.id}


def test_a_held_recording_without_lines_stays(store: Any) -> None:
    empty = store.open(CLUSTER, TaskRef("default", "selector", "x=1"), "selector:x=1")
    store.set_hold(empty, HOLD)
    store.beat(recorder())
    assert store.forget_empty(-60) == 0 and store.info(empty) is not None
    store.set_hold(empty, None)
    assert store.forget_empty(-60) == 1


async def test_a_reader_learns_that_the_recording_was_deleted(store: Any) -> None:
    hand = recorded(store, done=False)
    store.leave("me")
    events = Feed(store, hand.id).events()
    assert [(await anext(events)).last for _ in range(3)] == [1, 2, 3]
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    store.delete(deletion_of(hand))
    store.purge()
    with pytest.raises(CursorNotHeld, match=r"was deleted .* by root@host"):
        await waiting
    for reading in (Feed(store, hand.id).events(), Feed(store, hand.id).events(after=2)):
        with pytest.raises(CursorNotHeld, match=r"was deleted .* by root@host") as caught:
            async for _ in reading:
                pass
        assert caught.value.code == "RecordingDeleted"


@on_sqlite
def test_a_killed_deletion_leaves_nothing_that_reads_as_whole(store: SqliteStore) -> None:
    hand = recorded(store, batches=120)
    store.delete(deletion_of(hand))
    store.sweep()  # the first of several transactions
    assert store.index(hand.id) and store.info(hand.id) is None
    with pytest.raises(RecordingDeleted):
        store.entries(hand.id, 0, 1)
    assert store.deletion(hand.id).is_open
    store.purge()
    assert store.index(hand.id) == []


@on_sqlite
def test_nothing_of_a_deleted_recording_is_in_the_file(store: SqliteStore) -> None:
    hand, other = recorded(store), recorded(store, "other")
    name = "a-pod-with-a-name-of-its-own"
    store.add_source(hand.lease, source(1).__class__(name, "uid-9", "main", "containerd://9"))
    with store.reading() as db:
        texts = [row[0][-2000:] for row in db.execute("SELECT data FROM entry WHERE recording=?", (hand.id,))]
        kept = [row[0][-2000:] for row in db.execute("SELECT data FROM entry WHERE recording=?", (other.id,))]

    def on_disk() -> bytes:
        paths = (store.path, store.path.with_name(f"{store.path.name}-wal"))
        return b"".join(path.read_bytes() for path in paths if path.exists())

    assert name.encode() in on_disk()
    store.delete(deletion_of(hand))
    assert store.purge() == ""
    content = on_disk()
    assert name.encode() not in content and not any(text[-200:] in content for text in texts if len(text) > 1000)
    assert all(any(text[at : at + 200] in content for at in range(0, 1800, 100)) for text in kept if len(text) > 1000)
