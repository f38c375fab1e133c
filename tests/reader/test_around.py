"""From any moment, pages lead to the whole recording, each record once; the outline counts each record once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from reader.test_pages import filled, recordings, write
from support.hand import Hand, NewStore

from cortex_jupyter.model import Cursor
from cortex_jupyter.reader.outline import outline
from cortex_jupyter.reader.pages import around, newest, onward
from cortex_jupyter.store.compact import compact

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def walk(store: Store, hand: Hand, at: int, limit: int) -> tuple[list[int], list[int], list[int]]:
    """Return the numbers before, in and after the page around a moment."""
    page = around(store, hand.id, at=at, limit=limit)
    before: list[int] = []
    after: list[int] = []
    older, newer = page.older, page.newer
    while older is not None:
        one = newest(store, hand.id, limit=limit, before=Cursor.parse(str(older)))
        before, older = [r.seq for r in one.records] + before, one.older
    while newer is not None:
        compact(store, hand.lease, done=True)  # idle entries are merged at any time
        one = onward(store, hand.id, after=Cursor.parse(str(newer)), limit=limit)
        after, newer = after + [r.seq for r in one.records], one.newer
    return before, [r.seq for r in page.records], after


@given(recordings, st.integers(-1, 14), st.integers(1, 5))
def test_pages_from_a_moment_on_return_everything_once(
    new_store: NewStore, parts: list[list[tuple[int, int]] | None], at: int, limit: int
) -> None:
    with new_store() as store:
        hand = filled(store, parts)
        before, here, after = walk(store, hand, at, limit)
        assert sorted(before + here + after) == [q for q, *_ in hand.written]
        times = {q: t for q, t, *_ in hand.written}
        low, high = [times[q] for q in here], [times[q] for q in after]
        assert not low or not high or max(low) <= min(high)
        assert not before or not low or max(times[q] for q in before) <= min(low)


@given(recordings, recordings, st.integers(1, 6))
def test_pages_around_a_moment_do_not_change_while_lines_arrive(
    new_store: NewStore, parts: list[list[tuple[int, int]] | None], more: list[list[tuple[int, int]] | None], limit: int
) -> None:
    with new_store() as store:
        hand = filled(store, parts)
        first = around(store, hand.id, at=5, limit=limit)
        known = [q for q, *_ in hand.written]
        write(hand, more)
        seen, newer = [r.seq for r in first.records], first.newer
        while newer is not None:
            one = onward(store, hand.id, after=newer, limit=limit)
            seen, newer = seen + [r.seq for r in one.records], one.newer
        assert len(set(seen)) == len(seen) and set(seen) <= set(known)


@given(recordings, st.integers(1, 8))
def test_the_outline_counts_each_line_once_and_in_its_time(
    new_store: NewStore, parts: list[list[tuple[int, int]] | None], bins: int
) -> None:
    with new_store() as store:
        hand = Hand(store)
        second = 1_000_000_000
        write(hand, [part and [(t * second, s) for t, s in part] for part in parts])
        found = outline(store, hand.id, bins)
        times = [t for _, t, _, _ in hand.written]
        assert found.records == sum(found.lines) == len(times) and len(found.lines) <= max(bins, 1)
        assert len(found.notices) == parts.count(None)
        if times:
            assert (found.first, found.last) == (min(times), max(times))
            assert found.start <= min(times) and max(times) < found.start + found.width * len(found.lines)
            # A batch of one line says exactly when it was.
            if all(part is None or len(part) == 1 for part in parts):
                counts = [0] * len(found.lines)
                for time in times:
                    counts[(time - found.start) // found.width] += 1
                assert found.lines == counts
