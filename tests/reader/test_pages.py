"""Pages return each record once, whatever their size and whatever happens between them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st
from support.hand import Hand, NewStore

from cortex_jupyter.model import Batch, Cursor
from cortex_jupyter.reader.pages import Page, following, newest
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.scan import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.store import Store

#: A recording: batches of (time, source), and notices (None) between them.
line = st.tuples(st.integers(0, 12), st.integers(1, 3))
recordings = st.lists(st.none() | st.lists(line, min_size=1, max_size=6), max_size=10)
bounds = st.none() | st.integers(-1, 13)


def filled(store: Store, parts: list[list[tuple[int, int]] | None]) -> Hand:
    hand = Hand(store)
    write(hand, parts)
    return hand


def write(hand: Hand, parts: list[list[tuple[int, int]] | None]) -> None:
    for number, part in enumerate(parts):
        if part is None:
            hand.notice("status", number % 13, f"notice {hand.next}")
        else:
            hand.lines([(t, s, f"{hand.next}.{i}") for i, (t, s) in enumerate(part)])


def inside(hand: Hand, since: int | None, until: int | None) -> set[int]:
    return {q for q, t, _, _ in hand.written if (since is None or t >= since) and (until is None or t <= until)}


def back(between: Callable[[], object], page: Callable[[Cursor | None], Page]) -> Iterator[Page]:
    """Yield all pages from the newest to the oldest."""
    one = page(None)
    for _ in range(200):
        yield one
        if one.older is None:
            return
        between()
        one = page(Cursor.parse(str(one.older)))
    raise AssertionError("there is no oldest page")


def odd(batch: Batch) -> list[int]:
    return [i for i, q in enumerate(batch.seqs) if q % 2]


def in_file_order(page: Page) -> bool:
    last: dict[int, int] = {}
    for record in page.records:
        if last.get(record.sid, 0) > record.seq:
            return False
        last[record.sid] = record.seq
    return True


@given(recordings, st.integers(1, 7), bounds, bounds, st.booleans(), st.booleans())
@example([[(1, 1)] * 6, [(1, 1)] * 6], 5, None, None, False, True)
@example([[(1, 1), (2, 1), (3, 1)]], 2, 2, None, False, False)
def test_pages_backwards_return_each_record_once(
    new_store: NewStore,
    parts: list[list[tuple[int, int]] | None],
    limit: int,
    since: int | None,
    until: int | None,
    filtered: bool,
    compacting: bool,
) -> None:
    keep = odd if filtered else None
    with new_store() as store:
        hand = filled(store, parts)
        expected = {q for q in inside(hand, since, until) if q % 2 or not filtered}

        def happens() -> None:
            # Between any two pages, more is written and batches are merged.
            hand.lines([(5, 1, "later"), (0, 2, "later")])
            if compacting:
                compact(store, hand.lease, done=True)

        def page(before: Cursor | None) -> Page:
            return newest(store, hand.id, limit=limit, before=before, since=since, until=until, keep=keep)

        pages = list(back(happens, page))
        seen = Counter(r.seq for p in pages for r in p.records)
        assert seen == Counter(expected)
        assert all(len(p.records) <= limit and in_file_order(p) for p in pages)
        # Backwards in time: no page holds a line older than one of the next page.
        edges = [(min(r.time for r in p.records), max(r.time for r in p.records)) for p in pages if p.records]
        assert all(newer[0] >= older[1] for newer, older in pairwise(edges))
        notices = Counter(n["seq"] for p in pages for n in p.notices)
        assert all(n == 1 for n in notices.values())


@given(recordings, recordings, st.integers(1, 7), bounds, bounds, st.booleans(), st.booleans())
def test_pages_forwards_return_each_record_once(
    new_store: NewStore,
    parts: list[list[tuple[int, int]] | None],
    more: list[list[tuple[int, int]] | None],
    limit: int,
    since: int | None,
    until: int | None,
    filtered: bool,
    compacting: bool,
) -> None:
    keep = odd if filtered else None
    with new_store() as store:
        hand = filled(store, parts)
        seen, notices, cursor = Counter[int](), Counter[int](), Cursor.parse("0")
        rest = list(more)
        for _ in range(300):
            page = following(store, hand.id, after=cursor, limit=limit, since=since, until=until, keep=keep)
            assert len(page.records) <= limit and in_file_order(page)
            seen.update(r.seq for r in page.records)
            notices.update(n["seq"] for n in page.notices)
            if page.newer is None:
                break
            cursor = Cursor.parse(str(page.newer))
            if rest:
                write(hand, [rest.pop(0)])
            elif not store.info(hand.id).done:  # type: ignore[union-attr]
                hand.end()
            if compacting:
                compact(store, hand.lease, done=True)
        else:
            raise AssertionError("there is no newest page")
        assert seen == Counter(q for q in inside(hand, since, until) if q % 2 or not filtered)
        assert sorted(notices) == [i for i in range(1, hand.next - 1) if i not in {w[0] for w in hand.written}]


@given(recordings, st.integers(1, 7), st.integers(0, 40))
def test_pages_forwards_and_backwards_from_any_place_return_everything_once(
    new_store: NewStore, parts: list[list[tuple[int, int]] | None], limit: int, at: int
) -> None:
    """A page forwards from a place and the older pages before it together return everything once."""
    with new_store() as store:
        hand = filled(store, parts)
        at = min(at, hand.next - 1)
        page = following(store, hand.id, after=Cursor(hand.id, at), limit=1000)
        seen = [r.seq for r in page.records]
        if page.older is not None:
            first = page.older
            older = back(lambda: None, lambda c: newest(store, hand.id, limit=limit, before=c or first))
            seen += [r.seq for p in older for r in p.records]
        assert sorted(seen) == [w[0] for w in hand.written]


def test_lines_of_one_source_stay_in_file_order(store: Store, hand: Hand) -> None:
    hand.lines([(30, 1, "a"), (10, 1, "b"), (20, 2, "x"), (40, 1, "c"), (25, 2, "y")])
    assert [r.text for r in newest(store, hand.id, limit=10).records] == ["x", "y", "a", "b", "c"]
    assert in_order([]) == []


def test_an_empty_recording_has_an_empty_page(store: Store, hand: Hand) -> None:
    page = newest(store, hand.id, limit=10, since=0)
    assert (page.records, page.older, page.newer) == ([], None, Cursor(hand.id, 0))


def test_the_page_at_the_edge_of_the_window_says_that_there_is_more(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "a"), (2, 1, "b")])
    page = newest(store, hand.id, limit=10, since=2)
    assert [r.text for r in page.records] == ["b"]
    assert page.older is not None
    assert [r.text for r in newest(store, hand.id, limit=10, before=page.older).records] == ["a"]
