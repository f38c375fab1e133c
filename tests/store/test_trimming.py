"""The oldest lines of a recording over its limit are trimmed. Readers get one notice in their place."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import REF, Hand, recorder, source, until
from support.node import T0, Node, cri, line, pod

from cortex_jupyter.errors import LeaseLost
from cortex_jupyter.model import Batch, Cursor, TaskRef, notice
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.outline import outline
from cortex_jupyter.reader.pages import around, following, newest
from cortex_jupyter.recorder import upkeep as lib
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.backfill import Backfill
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.task import RunningTask
from cortex_jupyter.recorder.text.resume import recorded_lines
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import Anchor, Commit, trimming
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.settings import write_quota
from cortex_jupyter.store.trimming import trim

if TYPE_CHECKING:
    from cortex_jupyter.store import Store

SECOND = 1_000_000_000
GAPS = "cortex_jupyter_gaps_total"


def lost(reason: str) -> float:
    """Return how many lines the recorder's `/metrics` says were lost for a reason."""
    return REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", {"reason": reason}) or 0.0


def fill(hand: Hand, batches: int, size: int = 20_000, sid: int = 1) -> None:
    """Record batches of two incompressible lines, a second each."""
    for _ in range(batches):
        at = T0 + hand.next * SECOND
        hand.lines([(at, sid, os.urandom(size // 4).hex()), (at + 1, sid, "short")])


def cut(store: Store, hand: Hand, most: int) -> bool:
    store.set_budget(Budget(max_task_bytes=most))
    return bool(trim(store, {hand.id: (hand.lease, REF.key)}))


def texts(store: Store, recording: int) -> list[str]:
    entries = store.entries(recording, 0, 1 << 30)
    return [m for e in entries if e.event == "log" for m in Batch.decode(e.data).texts]


def test_one_notice_replaces_all_trimmed_lines(store: Store, hand: Hand) -> None:
    hand.notice("status", T0)
    fill(hand, 30)
    hand.notice("gap", T0, reason="rotated")
    fill(hand, 40)
    whole, held = store.recording_bytes(hand.id), store.used_bytes()
    assert not cut(store, hand, whole)
    for most in (whole * 3 // 4, whole // 4):
        assert cut(store, hand, most)
        assert most // 2 < store.recording_bytes(hand.id) < most * 1.1
    assert held - store.used_bytes() > whole // 2
    index = store.index(hand.id)
    upto = index[0][1]
    assert index[0][::2] == (1, "gap", T0 + (upto - 1) * SECOND + 1) and upto > 60
    assert [row[0] for row in index[1:]] == [row[0] + row[1] for row in index[:-1]]
    left = [row for row in hand.written if row[0] > upto]
    complete = store.complete(hand.id)
    (gap,) = complete.gaps
    assert (complete.records, gap["lines"], gap["upto"]) == (len(left), len(hand.written) - len(left), upto)
    assert (gap["from"], gap["to"], gap["gaps"]) == (str(T0), str(index[0][4]), 1)
    assert "store_max_task_bytes" in gap["reason"] and "CORTEX_STORE_MAX_TASK_BYTES" in gap["hint"]
    # A reader at any of its numbers gets the notice, then the next entry.
    for after in (0, 1, upto // 2, upto - 1):
        first, second, *_ = store.entries(hand.id, after, 1 << 30)
        assert (first.seq, first.last, first.event, second.seq) == (1, upto, "gap", upto + 1)
        assert store.entry(hand.id, after + 1) == first
    assert [e.seq for e in store.entries(hand.id, upto, 1)] == [upto + 1]
    for page in (newest(store, hand.id, limit=1000), following(store, hand.id, after=Cursor(0, 0), limit=1000)):
        assert page.notices == [gap] and [r.seq for r in page.records] == [row[0] for row in left]
    assert not newest(store, hand.id, limit=3).notices
    assert around(store, hand.id, at=T0, limit=10).notices[0] == gap
    found = outline(store, hand.id, 100)
    assert (found.records, found.notices) == (len(left), [gap | {"event": "gap"}])


def test_merged_entries_are_trimmed_too(store: Store, hand: Hand) -> None:
    fill(hand, 40, 200)
    compact(store, hand.lease, done=True)
    fill(hand, 1, 40_000)
    compact(store, hand.lease)
    fill(hand, 10, 40_000)
    assert cut(store, hand, 100_000)
    compact(store, hand.lease, done=True)
    numbers = [row[0] for row in hand.written]
    index = store.index(hand.id)
    assert index[0][2] == "gap" and sum(row[1] for row in index) == numbers[-1]
    assert not cut(store, hand, 200_000)


async def test_a_reader_far_behind_gets_the_notice(store: Store, hand: Hand) -> None:
    """It keeps what it read before; then it gets the notice once, and what is left."""
    fill(hand, 100, 100_000)
    events = Feed(store, hand.id).events()
    assert (await anext(events)).last == 2
    assert cut(store, hand, store.recording_bytes(hand.id) // 4)
    hand.end()
    seen = [event async for event in events]
    (at,) = (i for i, event in enumerate(seen) if event.event == "gap")
    gap = seen[at]
    before, after = ([n for f in part for n in range(f.entry.seq, f.last + 1)] for part in (seen[:at], seen[at + 1 :]))
    assert 2 < len(before) < 60 and before == [*range(3, 3 + len(before))] and after == [*range(gap.last + 1, 202)]
    assert gap.cursor.startswith(f"{hand.id}-{gap.last}-") and 140 < gap.last < 160


def test_only_the_leaseholder_trims_and_only_a_running_task(store: Store, hand: Hand) -> None:
    fill(hand, 20)
    gap = notice(REF.key, 1, 5, "gap", "m")
    gap.n = 8
    store.leave("me")
    store.beat(recorder("other"))
    lease = store.lease(hand.id, "other")
    assert lease is not None
    with pytest.raises(LeaseLost):
        store.trim(hand.lease, gap, b"")
    assert not cut(store, hand, 1000) and len(store.index(hand.id)) == 20  # the recorder's other tasks continue
    gap.n = 7  # within an entry, as after a merge
    assert not store.trim(lease, gap, b"")
    gap.n = 8
    for _ in range(2):  # the same again, after a lost answer
        assert store.trim(lease, gap, b"known")
        assert [row[:2] for row in store.index(hand.id)[:2]] == [(1, 8), (9, 2)] and store.resume_lines(
            hand.id
        ) == b"known"
    used = store.recording_bytes(hand.id)
    assert store.trim(lease, gap, b"known") and store.recording_bytes(hand.id) == used
    hand.lease = lease
    hand.end()
    gap.n = 10
    assert not store.trim(lease, gap, b"")


def test_a_page_whose_lines_are_trimmed_meanwhile_has_the_notice(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hand, 40)
    real = store.index

    def index(recording: int, after: int = 0) -> Any:
        found = real(recording, after)
        monkeypatch.undo()
        assert cut(store, hand, store.recording_bytes(hand.id) // 2)
        return found

    for make in (
        lambda: newest(store, hand.id, limit=1000),
        lambda: around(store, hand.id, at=T0 + 30 * SECOND, limit=1000),
    ):
        monkeypatch.setattr(store, "index", index)
        page = make()
        upto = real(hand.id)[0][1]
        assert [n["upto"] for n in page.notices] == [upto] and [r.seq for r in page.records] == [*range(upto + 1, 81)]


# ------------------------------------------------------------------ several recorders


def set_limit(store: Store, monkeypatch: pytest.MonkeyPatch, kind: str, size: int) -> None:
    """Limit the bytes of all recordings: they are of one namespace."""
    if kind == "quota":
        write_quota(store, "default", {"max-bytes": str(size)}, "the test")
        return
    monkeypatch.setattr(trimming, "_MIN_BYTES", 1000)
    monkeypatch.setattr(store, "bytes_to_free", lambda: max(sum(row.bytes for row in store.usage()) - size, 0))


def trim_all(store: Store, *hands: Hand) -> None:
    """Trim as several recorders do, each its own recording."""
    for each in hands:
        trim(store, {each.id: (each.lease, each.ref.key)})


@pytest.mark.parametrize("kind", ["quota", "memory"])
def test_the_largest_recording_is_cut_whichever_recorder_has_it(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A small task loses nothing to the flood of another one, which another recorder records."""
    small, flood = (Hand(store, TaskRef("default", "job", name), name, name) for name in ("small", "flood"))
    fill(small, 10)
    fill(hand, 20)
    fill(flood, 80)
    sizes = [store.recording_bytes(each.id) for each in (small, hand, flood)]
    limit = sum(sizes) - sizes[2] // 2
    set_limit(store, monkeypatch, kind, limit)
    for _ in range(3):  # whichever comes first, and whatever the others have cut already
        trim_all(store, small, hand, flood)
        assert [store.recording_bytes(each.id) for each in (small, hand)] == sizes[:2]
        assert limit * 0.9 < sum(row.bytes for row in store.usage()) <= limit
    # If the largest one is not enough, the next one is cut to the same size.
    limit = sizes[0] + sizes[1] * 3 // 2
    set_limit(store, monkeypatch, kind, limit)
    trim_all(store, small, hand, flood)
    after = [store.recording_bytes(each.id) for each in (small, hand, flood)]
    assert after[0] == sizes[0] and limit * 0.8 < sum(after) <= limit and after[1] == pytest.approx(after[2], rel=0.25)


def test_a_recording_without_a_recorder_takes_no_lines_from_its_namespace(store: Store, hand: Hand) -> None:
    """Nothing can be cut from it."""
    abandoned = Hand(store, TaskRef("default", "job", "gone"), "u2", "gone")
    fill(abandoned, 40)
    fill(hand, 20)
    store.leave("gone")
    size = store.recording_bytes(hand.id)
    write_quota(store, "default", {"max-bytes": str(size + 1000)}, "the test")
    trim_all(store, hand)
    assert store.recording_bytes(hand.id) == size
    write_quota(store, "default", {"max-bytes": str(size // 2)}, "the test")
    trim_all(store, hand)
    assert store.recording_bytes(hand.id) <= size // 2


def test_memory_is_freed_though_the_largest_recording_has_no_recorder(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full server would refuse every line."""
    abandoned = Hand(store, TaskRef("default", "job", "gone"), "u2", "gone")
    fill(abandoned, 60)
    fill(hand, 20)
    store.leave("gone")
    limit = store.recording_bytes(abandoned.id) + store.recording_bytes(hand.id) // 2
    set_limit(store, monkeypatch, "memory", limit)
    trim_all(store, hand)
    assert not store.bytes_to_free() and not store.complete(abandoned.id).gaps


# ------------------------------------------------------------------ the recorder goes on


def test_a_full_store_in_which_nothing_grows_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "bytes_to_free", lambda: 1 << 30)
    assert trim(store, {}) == {}


def test_the_last_lines_of_a_silent_container_stay_known(store: Store, hand: Hand) -> None:
    """Its last lines are among the oldest, and a resumed stream repeats them."""
    hand.source(1)
    silent = hand.source(2)
    hand.lines([(T0 + i * SECOND, silent, f"before {i}") for i in range(8)])
    anchor = Anchor(T0 + 5 * SECOND, 6, T0 + 7 * SECOND, top=T0 + 7 * SECOND)
    store.commit(hand.lease, Commit(anchors={silent: anchor}))
    known = recorded_lines(store, hand.id, silent, anchor)
    assert [text for _, text in known] == ["before 5", "before 6", "before 7"]
    for part in (2, 4, 8):
        fill(hand, 40)
        assert cut(store, hand, store.recording_bytes(hand.id) // part)
        assert store.index(hand.id)[0][1] > 8
        assert recorded_lines(store, hand.id, silent, anchor) == known
    # It writes again and its anchor moves, so these lines are no longer needed.
    entry = hand.lines([(T0 + 900 * SECOND, silent, "after")])
    anchor = Anchor(T0 + 898 * SECOND, entry.seq, T0 + 900 * SECOND, top=T0 + 900 * SECOND)
    store.commit(hand.lease, Commit(anchors={silent: anchor}))
    fill(hand, 10)
    assert cut(store, hand, store.recording_bytes(hand.id) - 1000) and store.resume_lines(hand.id) == b""
    assert [text for _, text in recorded_lines(store, hand.id, silent, anchor)] == ["after"]


class Rig:
    """A container that writes for a second, with rotated files, and a recorder of it."""

    def __init__(self, store: Store, hand: Hand) -> None:
        self.store, self.hand = store, hand
        self.old = b"".join(line(i / 10, f"old {i} " + os.urandom(400).hex()) for i in range(200))
        self.new = b"".join(line(20 + i / 10, f"new {i} " + os.urandom(400).hex()) for i in range(200))
        self.node = Node(pod("terminated"), self.new)
        self.node.files = {"0.log.20231114-221400": cri(self.old)}
        self.sid = hand.source()

    async def record(self, *, cut_to: int = 0, more: bytes = b"") -> list[str]:
        self.node.log += more
        lease = self.store.lease(self.hand.id, "me")
        info = self.store.info(self.hand.id)
        assert lease is not None and info is not None
        cluster: Any = self.node
        with Writer(self.store) as writer:
            channel = writer.open(lease, REF.key, info.last_seq)
            held, anchor = self.store.sources(self.hand.id)[self.sid]
            channel.add_source(self.sid, held, anchor)
            context = Context(cluster, "default", self.store, lease, channel)
            reader = SourceReader(context, Pods(), source(), self.sid)
            await reader.run()
            if cut_to:
                self.hand.lease = lease
                assert cut(self.store, self.hand, cut_to)
            await Audit(context, source(), self.sid, reader).check_rest()
            await Backfill(context, source(), self.sid).run()
            await channel.flush()
        return [" ".join(text.split()[:2]) for text in texts(self.store, self.hand.id)]


async def test_trimmed_lines_are_not_recorded_again(store: Store, hand: Hand) -> None:
    """Neither as skipped lines of a rotated file, nor as backfill, nor by a recorder that takes over."""
    rig = Rig(store, hand)
    lines = (rig.old + rig.new).splitlines(keepends=True)
    rig.node.scripts = [[b"".join(lines[i : i + 20]) for i in range(0, 400, 20)]]
    found = await rig.record(cut_to=80_000)  # fewer than the 200 new lines, in whatever batches they came
    assert found and found == [f"new {i}" for i in range(200)][-len(found) :]
    (gap,) = store.complete(hand.id).gaps
    assert gap["lines"] == 400 - len(found)
    again = await rig.record()
    assert again == found and len(store.complete(hand.id).gaps) == 1


async def test_a_recorder_trims_and_says_so_once(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts each trimmed line too, so that an alert can fire."""
    before = lost("task_limit")
    monkeypatch.setattr(lib, "_RETAIN_S", 0.01)
    store.set_budget(Budget(max_task_bytes=200_000))
    said: list[tuple[str, dict[str, str]]] = []
    spoken: Any = type("Spoken", (), {"put_status": lambda _, message, **fields: said.append((message, fields))})()
    info = store.info(hand.id)
    assert info is not None
    retaining = asyncio.create_task(lib.Upkeep(store, {hand.id: RunningTask(hand.lease, info, spoken)}).retain())
    for _ in range(3):
        await asyncio.to_thread(fill, hand, 40)
        await until(lambda: store.recording_bytes(hand.id) < 220_000)
    await until(lambda: said and lost("task_limit") - before == store.complete(hand.id).gaps[0]["lines"])
    retaining.cancel()
    await asyncio.wait([retaining])
    ((message, fields),) = said
    assert message.startswith("From now on older lines are missing: ") and fields["notice"] == "retention"
    (gap,) = store.complete(hand.id).gaps
    assert gap["lines"] > 150
    (logged,) = (r for r in caplog.records if "trimmed" in r.getMessage())
    assert vars(logged)["task"] == REF.key and "store_max_task_bytes" in logged.getMessage()


async def test_lines_trimmed_because_memory_is_nearly_full_are_counted(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit was set and no recording is over one: nobody would notice."""
    fill(hand, 100, 100_000)
    info = store.info(hand.id)
    assert info is not None
    spoken: Any = type("Spoken", (), {"put_status": lambda *_, **__: None})()
    upkeep = lib.Upkeep(store, {hand.id: RunningTask(hand.lease, info, spoken)})
    monkeypatch.setattr(store, "bytes_to_free", lambda: store.used_bytes() // 2)
    before, gaps = lost("store_memory"), REGISTRY.get_sample_value(GAPS, {"reason": "store_memory"})
    await upkeep._trim(threading.Event())
    (gap,) = store.complete(hand.id).gaps
    assert lost("store_memory") - before == gap["lines"] > 50
    assert REGISTRY.get_sample_value(GAPS, {"reason": "store_memory"}) == (gaps or 0) + 1
