"""Merging batches changes nothing but their number."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hand import Hand, NewStore, recorder

from cortex_jupyter.errors import LeaseLost
from cortex_jupyter.model import Batch, Entry, TaskRef, encode_batch
from cortex_jupyter.store import compact as lib
from cortex_jupyter.store.compact import compact

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def records(store: Store, recording: int, after: int = 0) -> list[tuple[int, int, int, str]]:
    """Return every record with a number above `after`, checking that no number is missing or doubled."""
    entries = store.entries(recording, after, 1 << 30)
    assert [e.seq for e in entries[1:]] == [e.last + 1 for e in entries[:-1]]
    rows = []
    for entry in entries:
        if entry.event == "log":
            b = Batch.decode(entry.data)
            assert b.seqs == list(range(entry.seq, entry.last + 1))
            assert (entry.t_min, entry.t_max) == (min(b.times), max(b.times))
            assert set(b.sources) == set(b.sids)
            rows += [r for r in zip(b.seqs, b.times, b.sids, b.texts, strict=True) if r[0] > after]
    return rows


#: Sizes of batches, 0 for a notice.
@given(st.lists(st.integers(0, 14), min_size=1, max_size=40), st.booleans())
@example([5, 5, 15, 5, 5, 0], True)
@example([1] * 10 + [12] + [1] * 10 + [0], False)
def test_merging_keeps_every_record_and_cursor(new_store: NewStore, sizes: list[int], done: bool) -> None:
    few, lines = lib._MIN_RUN, lib._MAX_RECORDS
    lib._MIN_RUN, lib._MAX_RECORDS = 3, 20
    try:
        with new_store() as store:
            hand = Hand(store)
            for number, size in enumerate(sizes):
                if size:
                    hand.lines([(number, 1 + i % 2, f"{number}.{i}") for i in range(size)])
                else:
                    hand.notice()
            compact(store, hand.lease, done=done)
            merged = store.index(hand.id)
            for after in range(hand.next):
                assert records(store, hand.id, after) == [r for r in hand.written if r[0] > after]
                entry = store.entry(hand.id, after + 1)
                assert (entry is None) if after + 1 == hand.next else (entry and entry.seq <= after + 1 <= entry.last)
            compact(store, hand.lease, done=done)
            assert store.index(hand.id) == merged
            assert store.complete(hand.id).records == len(hand.written)
    finally:
        lib._MIN_RUN, lib._MAX_RECORDS = few, lines


def test_recent_batches_are_not_merged(store: Store, hand: Hand) -> None:
    now = time.time_ns()
    for i in range(20):
        hand.lines([(now + i, 1, str(i))])
    assert compact(store, hand.lease) == 0
    assert len(store.index(hand.id)) == 20


@given(st.lists(st.tuples(st.integers(0, 14), st.booleans(), st.booleans()), min_size=1, max_size=60))
@example([(1, False, False)] * 12 + [(1, True, True)] + [(1, False, True)] * 12)
def test_passes_that_continue_merge_like_a_full_pass(new_store: NewStore, steps: list[tuple[int, bool, bool]]) -> None:
    """Each step is a batch with its number of lines, whether it is recent, and whether a pass follows it."""
    few, lines = lib._MIN_RUN, lib._MAX_RECORDS
    lib._MIN_RUN, lib._MAX_RECORDS = 3, 20
    try:
        with new_store() as store:
            stepwise, anew = (Hand(store, TaskRef("default", "job", name), name) for name in "ab")
            place = 0
            for size, warm, merges in steps:
                at = time.time_ns() if warm else 1
                for hand in (stepwise, anew):
                    if size:
                        hand.lines([(at, 1, str(i)) for i in range(size)])
                    else:
                        hand.notice()
                if merges:
                    place = compact(store, stepwise.lease, place)
                    compact(store, anew.lease)
            for cold in (False, True):
                if cold:
                    with patch.object(lib, "_MIN_AGE_NS", 0):
                        compact(store, stepwise.lease, place)
                        compact(store, anew.lease)
                assert store.index(stepwise.id) == store.index(anew.id)
    finally:
        lib._MIN_RUN, lib._MAX_RECORDS = few, lines


def test_a_recorder_without_the_lease_merges_nothing(store: Store, hand: Hand) -> None:
    for i in range(20):
        hand.lines([(i, 1, str(i))])
    store.leave("me")
    store.beat(recorder("other"))
    assert store.lease(hand.id, "other")
    with pytest.raises(LeaseLost):
        compact(store, hand.lease, done=True)
    assert records(store, hand.id) == hand.written


def test_two_concurrent_merges_lose_nothing(store: Store, hand: Hand) -> None:
    """A pass over a running recording and the one at its end overlap: one reads before the other writes."""
    for i in range(20):
        hand.lines([(i, 1, str(i))])
    part = [Batch.decode(e.data) for e in store.entries(hand.id, 0, 1 << 20)[:8]]
    compact(store, hand.lease, done=True)
    times, texts = [t for b in part for t in b.times], [m for b in part for m in b.texts]
    data = encode_batch("t", 1, times, [1] * 8, None, texts, {1: {}})
    store.merge(hand.lease, range(1, 9), Entry(1, 8, "log", min(times), max(times), data))
    assert records(store, hand.id) == hand.written
