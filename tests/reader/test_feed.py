"""A feed yields everything after a cursor once, in order, to the end, for any number of readers."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import until

from cortex_jupyter.errors import NotFound, StoreBusy, StoreError
from cortex_jupyter.model import Batch, Cursor, Entry
from cortex_jupyter.reader import feed as lib
from cortex_jupyter.reader import retry_deadline
from cortex_jupyter.reader.events import BURST
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.hand import Hand

    from cortex_jupyter.reader.events import Burst, StreamEvent
    from cortex_jupyter.store import Store


async def seqs(events: AsyncIterator[StreamEvent], slow: float = 0) -> list[int]:
    """Return the numbers of all records and notices, to the end."""
    found: list[int] = []
    async for event in events:
        found += Batch.decode(event.entry.data).seqs if event.event == "log" else [event.entry.seq]
        place = Cursor.parse(event.cursor)
        assert (place.recording, place.seq) == (event.recording, event.last) and place.epoch
        assert event.body == b"event: %s\ndata: %s\n\n" % (event.event.encode(), event.entry.data)
        if slow:
            await asyncio.sleep(slow)
    return found


async def first(events: AsyncIterator[StreamEvent], n: int) -> list[StreamEvent]:
    return [event async for event, _ in _counted(events, n)]


async def _counted(events: AsyncIterator[StreamEvent], n: int) -> AsyncIterator[tuple[StreamEvent, int]]:
    left = n
    async for event in events:
        yield event, left
        left -= 1
        if not left:
            return


def a_while(coroutine: object) -> asyncio.Task[list[int]]:
    """Run a coroutine in the background, and fail if it takes more than two minutes."""
    return asyncio.create_task(asyncio.wait_for(coroutine, 120))  # type: ignore[arg-type]


async def test_readers_at_any_cursor_get_everything_while_batches_are_written_and_merged(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "RECENT", 4000)
    monkeypatch.setattr(lib, "PIECE", 2000)
    monkeypatch.setattr(lib, "BURST", 500)
    chance = random.Random(1)
    feed = Feed(store, hand.id)
    readers: list[tuple[int, asyncio.Task[list[int]]]] = []

    def write() -> None:
        for i in range(4):
            hand.lines([(hand.next, 1 + j % 2, f"{j} " + "x" * chance.randrange(50)) for j in range(1 + i)])
        hand.notice()

    for turn in range(40):
        await asyncio.to_thread(write)
        at = chance.randrange(hand.next)
        readers.append((at, a_while(seqs(feed.events(at), chance.choice([0, 0, 0.002])))))
        if turn % 5 == 0:
            await asyncio.to_thread(compact, store, hand.lease, done=True)
        if turn % 7 == 0:
            await first(feed.events(), 2)  # a reader leaves in mid-stream
    await asyncio.to_thread(hand.end)
    for at, task in readers:
        assert await task == list(range(at + 1, hand.next))


async def test_entries_within_a_short_time_are_sent_together_to_many_readers(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "_DELAY_PER_READER_S", 1e9)
    monkeypatch.setattr(lib, "_MAX_DELAY_S", 1e9)  # only entries that must not wait end the delay
    hand.lines([(1, 1, "a")])
    feed = Feed(store, hand.id)
    got: list[list[Burst]] = [[], []]

    async def read(into: list[Burst]) -> None:
        async for burst in feed.bursts():
            into.append(burst)  # noqa: PERF401 - it is looked at meanwhile

    async def write(*texts: str) -> None:
        last = (await asyncio.to_thread(hand.lines, [(1, 1, text) for text in texts])).last
        await until(lambda: bool(feed._recent) and feed._recent[-1].last == last)

    async def seen(n: int) -> None:
        await until(lambda: all(sum(len(burst.events) for burst in own) == n for own in got))

    tasks = [asyncio.create_task(read(got[0]))]
    await until(lambda: len(got[0]) == 1)
    for n in (2, 3):  # one reader alone waits for nothing
        await write("b")
        await until(lambda n=n: len(got[0]) == n)  # type: ignore[misc]
    tasks.append(asyncio.create_task(read(got[1])))
    await seen(3)
    await write("held back")
    await write("and this")
    assert len(got[0]) == 3
    await asyncio.to_thread(hand.notice)
    await seen(6)
    assert [event.event for event in got[0][-1].events] == ["log", "log", "status"]
    assert got[0][-1] is got[1][-1], "the readers did not receive the same object"
    await write("x" * BURST)
    await seen(7)
    await write("held back")
    await asyncio.to_thread(hand.end)
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    for own in got:
        assert [n for burst in own for event in burst.events for n in range(event.seq, event.last + 1)] == [
            *range(1, 10)
        ]


async def test_delayed_entries_are_sent_when_the_delay_is_over(store: Store, hand: Hand) -> None:
    feed = Feed(store, hand.id)
    readers = [a_while(_lasts(feed, 4)) for _ in range(3)]
    for n in range(1, 5):
        await asyncio.to_thread(hand.lines, [(n, 1, "a")])
        await until(lambda n=n: (bool(feed._recent) and feed._recent[-1].last == n) or readers[0].done())  # type: ignore[misc]
    assert await asyncio.gather(*readers) == [[1, 2, 3, 4]] * 3


async def _lasts(feed: Feed, n: int) -> list[int]:
    return [event.last for event in await first(feed.events(), n)]


async def test_a_complete_recording_of_many_pieces_is_read_to_its_end(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording does not change any more, so no wake-up helps a reader."""
    monkeypatch.setattr(lib, "PIECE", 1000)
    for i in range(50):
        hand.lines([(i, 1, "x" * 300)] * 3)
    hand.end()
    assert await asyncio.wait_for(seqs(Feed(store, hand.id).events()), 20) == list(range(1, 152))


async def test_a_second_store_sees_what_the_first_commits(store: Store, hand: Hand) -> None:
    other = open_store(store.url)
    reader = a_while(seqs(Feed(other, hand.id).events()))
    for i in range(20):
        await asyncio.to_thread(hand.lines, [(i, 1, "x")])
    await asyncio.to_thread(hand.end)
    assert await reader == list(range(1, 22))
    other.close()


async def test_entries_committed_during_the_first_read_are_not_missed(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "a")])
    feed = Feed(store, hand.id)
    read, written = feed._read, False

    def slow_read(after: int, epoch: int | None) -> list[StreamEvent]:
        nonlocal written
        events = read(after, epoch)
        if not written:
            written = True
            hand.end()
            # The change is signalled before this reader has its result; no other change will follow.
            asyncio.run_coroutine_threadsafe(noticed(), loop).result()
        return events

    async def noticed() -> None:
        feed._wake()
        assert feed._filling is not None
        await feed._filling

    loop = asyncio.get_running_loop()
    feed._read = slow_read  # type: ignore[method-assign]
    feed._signal = lambda: None  # type: ignore[method-assign]
    assert await asyncio.wait_for(seqs(feed.events()), 120) == [1, 2]


async def test_a_cursor_at_the_end_yields_nothing(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "a")])
    end = hand.end()
    feed = Feed(store, hand.id)
    assert await asyncio.wait_for(seqs(feed.events(end.last)), 120) == []
    other = feed.events()
    await first(other, 1)  # the feed holds entries for a reader now
    assert await asyncio.wait_for(seqs(feed.events(end.last)), 120) == []
    await other.aclose()  # type: ignore[attr-defined]


async def test_an_entry_after_the_end_keeps_no_reader_waiting(store: Store, hand: Hand) -> None:
    """A recorder of an earlier release may have written an event of the cluster there."""
    feed = Feed(store, hand.id)
    hand.lines([(1, 1, "a")])
    hand.end()
    hand.notice("status", message="a late event")
    for after, expected in ((0, [1, 2, 3]), (2, [3]), (3, [])):
        async with asyncio.timeout(20):
            assert await seqs(feed.events(after)) == expected


async def test_a_window_cuts_lines_and_keeps_notices(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "a"), (5, 1, "b"), (9, 1, "c")])
    hand.notice()
    hand.lines([(2, 1, "d")])
    hand.lines([(4, 1, "e"), (6, 1, "f")])
    hand.end()
    feed = Feed(store, hand.id)
    assert await seqs(feed.events(since=4, until=6)) == [2, 4, 6, 7, 8]
    assert await seqs(feed.events(until=0)) == [4, 8]
    assert await seqs(feed.events(1, since=5, keep=lambda b: [i for i, m in enumerate(b.texts) if m != "b"])) == [
        3,
        4,
        7,
        8,
    ]
    # A cursor within an entry, and one after a part that was cut out.
    events = await first(feed.events(1, until=5), 1)
    assert (events[0].entry.seq, events[0].last, events[0].cursor) == (1, 3, f"{hand.id}-3-{hand.lease.epoch}")
    assert await seqs(feed.events(2)) == [3, 4, 5, 6, 7, 8]


async def removed(store: Any, recording: int) -> None:
    def run() -> None:
        if not store.url.startswith("sqlite:"):
            store._link.client.flushall()
            store._link.client.publish(f"cortex:changed:{recording}", "")
            return
        db = sqlite3.connect(store.path)
        with db:
            db.execute("DELETE FROM entry")
            db.execute("DELETE FROM recording")
        db.close()

    await asyncio.to_thread(run)


async def test_readers_of_a_recording_that_leaves_the_store_get_an_error(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "a")])
    feed = Feed(store, hand.id)
    reader = feed.events()
    assert (await anext(reader)).last == 1
    rest = a_while(anext(reader))
    await until(lambda: not feed._filling or feed._filling.done())  # it follows by now
    await removed(store, hand.id)
    with pytest.raises(NotFound):
        await rest
    with pytest.raises(NotFound):
        await asyncio.wait_for(seqs(Feed(store, 99).events()), 120)


async def test_a_store_that_breaks_ends_every_reader(store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand.lines([(1, 1, "a")])
    feed = Feed(store, hand.id)
    readers = [feed.events() for _ in range(3)]
    for reader in readers:
        await anext(reader)
    rests = [a_while(anext(reader)) for reader in readers]
    await until(lambda: not feed._filling or feed._filling.done())

    def broken(*_: object) -> None:
        raise StoreError("database disk image is malformed")

    monkeypatch.setattr(store, "entries", broken)
    feed._wake()
    for rest in rests:
        with pytest.raises(StoreError):
            await rest


@pytest.mark.parametrize("times", [3, 1 << 30])
async def test_readers_wait_for_a_busy_store_but_give_up_in_the_end(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(retry_deadline, "_RETRY_S", 0.01)
    monkeypatch.setattr(retry_deadline, "_GIVE_UP_S", 60 if times == 3 else 0.1)
    hand.lines([(1, 1, "a")])
    hand.end()
    left, read = itertools.count(), store.entries

    def entries(*arguments: int) -> list[Entry]:
        if next(left) < times:
            raise StoreBusy("it does not answer")
        return read(*arguments)

    monkeypatch.setattr(store, "entries", entries)
    reading = asyncio.wait_for(seqs(Feed(store, hand.id).events()), 120)
    if times == 3:
        assert await reading == [1, 2]
    else:
        with pytest.raises(StoreBusy):
            await reading


async def test_the_last_reader_to_leave_frees_all_resources(store: Any, hand: Hand) -> None:
    hand.lines([(1, 1, "a")])
    feed = Feed(store, hand.id)
    for _ in range(30):
        reader = feed.events()
        await anext(reader)
        await reader.aclose()  # type: ignore[attr-defined]
    assert not feed._recent and not feed._readers and not store._changes._callbacks
    if isinstance(store, SqliteStore):
        # Each round had a watching thread with a connection, which must not be kept.
        assert len(store._file._connections) < 20
