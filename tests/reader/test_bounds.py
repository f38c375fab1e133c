"""A page that ends early, by size or by time, leads on: all pages together return everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from reader.test_pages import back, bounds, filled, in_file_order, inside, odd, recordings
from support.hand import NewStore, on_sqlite

from cortex_jupyter.model import Batch, Cursor
from cortex_jupyter.query.bounds import NO_DEADLINE, Bound, Bounds
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.pages import Page, around, following, newest, onward, tail_start
from cortex_jupyter.reader.searcher import search

if TYPE_CHECKING:
    Parts = list[list[tuple[int, int]] | None]

#: Size limits (characters; a record has three or more), and whether the time is over from the beginning.
limits = st.builds(Bound, st.sampled_from([1, 4, 7, 1000]), st.sampled_from([0.0, float("inf")]))


def numbers(pages: list[Page]) -> list[int]:
    return sorted(record.seq for page in pages for record in page.records)


@on_sqlite
@settings(max_examples=30)
@given(recordings, st.integers(1, 7), limits, bounds, bounds, st.booleans())
def test_limited_pages_backwards_return_everything(
    new_store: NewStore, parts: Parts, limit: int, bound: Bound, since: int | None, until: int | None, filtered: bool
) -> None:
    keep = odd if filtered else None
    with new_store() as store:
        hand = filled(store, parts)

        def page(before: Cursor | None) -> Page:
            return newest(store, hand.id, limit=limit, before=before, since=since, until=until, keep=keep, bound=bound)

        pages = []
        for one in back(lambda: None, page):
            pages.append(one)
            assert len(one.records) <= limit and in_file_order(one)
            assert len(one.records) <= 1 or sum(len(r.text) for r in one.records) <= bound.size
            assert bool(one.older) or not one.stopped
        assert numbers(pages) == sorted(q for q in inside(hand, since, until) if q % 2 or not filtered)


@on_sqlite
@settings(max_examples=30)
@given(recordings, st.integers(1, 7), limits, st.integers(-1, 13), st.booleans())
def test_limited_pages_around_a_moment_return_everything(
    new_store: NewStore, parts: Parts, limit: int, bound: Bound, at: int, filtered: bool
) -> None:
    keep = odd if filtered else None
    with new_store() as store:
        hand = filled(store, parts)
        pages = [around(store, hand.id, at=at, limit=limit, keep=keep, bound=bound)]
        older, newer = pages[0].older, pages[0].newer
        while older:
            pages.append(newest(store, hand.id, limit=limit, before=older, keep=keep, bound=bound))
            older = pages[-1].older
        while newer:
            pages.append(onward(store, hand.id, limit=limit, after=newer, keep=keep, bound=bound))
            newer = pages[-1].newer
        assert numbers(pages) == sorted(q for q in inside(hand, None, None) if q % 2 or not filtered)


@on_sqlite
@settings(max_examples=30)
@given(recordings, st.integers(1, 7), limits)
def test_limited_pages_forwards_return_everything(new_store: NewStore, parts: Parts, limit: int, bound: Bound) -> None:
    with new_store() as store:
        hand = filled(store, parts)
        pages, at = [], -1
        after = Cursor(0, 0)
        while after.seq > at:  # a running task always has a `newer`
            at = after.seq
            pages.append(following(store, hand.id, after=after, limit=limit, bound=bound))
            assert pages[-1].newer is not None
            after = pages[-1].newer
        assert numbers(pages) == sorted(inside(hand, None, None))
        assert not pages[-1].stopped


@on_sqlite
@settings(max_examples=30)
@given(recordings, st.integers(0, 9), bounds, bounds, st.booleans())
def test_tail_start_finds_the_oldest_record_of_a_tail(
    new_store: NewStore, parts: Parts, count: int, since: int | None, until: int | None, filtered: bool
) -> None:
    keep = odd if filtered else None
    with new_store() as store:
        hand = filled(store, parts)
        window = {"since": since, "until": until, "keep": keep}
        low, _, stopped = tail_start(store, hand.id, count, bound=NO_DEADLINE, **window)  # type: ignore[arg-type]
        expected = newest(store, hand.id, limit=count, **window).records  # type: ignore[arg-type]
        assert low == min(((r.time, r.seq) for r in expected), default=None) and not stopped
        late, _, _ = tail_start(store, hand.id, count, bound=Bound(end=0.0), **window)  # type: ignore[arg-type]
        assert late is None or low is None or late >= low


def found(events: list[bytes]) -> tuple[list[int], dict[str, object]]:
    docs = [(e.split(b"\n")[0], orjson.loads(e.split(b"data: ")[1])) for e in events]
    seqs = [seq for kind, doc in docs if kind == b"event: log" for seq in Batch.decode(orjson.dumps(doc)).seqs]
    return seqs, docs[-1][1]


@on_sqlite
@settings(max_examples=30)
@given(recordings, st.sampled_from([0.0, 1000.0]), st.sampled_from([1, 3, 1000]))
def test_a_stopped_search_continues_without_losing_or_repeating_matches(
    new_store: NewStore, parts: Parts, query_s: float, most: int
) -> None:
    with new_store() as store:
        hand = filled(store, parts)
        seqs: list[int] = []
        older: object = None
        for _ in range(100):
            query = LogQuery(
                grep=(r"\d[13579]?\.",),
                before=Cursor.parse(str(older)) if older else None,
                bounds=Bounds(query_s=query_s),
            )
            more, done = found(list(search(store, hand.id, query, most)))
            seqs += more
            assert done["matches"] == len(more) and done["all"] == (done["older"] is None)
            older = done["older"]
            if older is None:
                break
        assert sorted(seqs) == sorted(q for q, _, _, text in hand.written if re.search(r"\d[13579]?\.", text))
