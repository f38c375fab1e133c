"""A server keeps little or nothing in memory of recordings without readers, however many there were."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

from server.fake_recorder import T0, FakeRecorder

from cortex_jupyter.reader import levels
from cortex_jupyter.reader.events import StreamEvent
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from cortex_jupyter.reader.feed import Feed


def events_in_memory(name: bytes) -> list[StreamEvent]:
    """Return all events of tasks whose names contain `name`, wherever they are held."""
    return [thing for thing in gc.get_objects() if isinstance(thing, StreamEvent) and name in thing.written]


async def test_a_feed_keeps_no_lines_after_its_last_reader(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.sqlite'}")
    fake_recorders = [FakeRecorder(store, f"forgotten-{i}") for i in range(5)]
    before = set(threading.enumerate())
    recordings = Session(store, None)
    feeds: set[Feed] = set()

    async def read(fake_recorder: FakeRecorder) -> str:
        recording = Recording(recordings, fake_recorder.id, fake_recorder.ref, None)
        feeds.add(recording.feed)
        last = ""
        async with aclosing(recording.feed.events()) as events:
            # Only the feed may hold an event, so this keeps no list of them.
            async for event in events:
                last = event.event
        return last

    reading = []
    for fake_recorder in fake_recorders:
        fake_recorder.running()
        fake_recorder.write([(T0, fake_recorder.source(), "a line")])
        reading += [asyncio.create_task(read(fake_recorder)) for _ in range(3)]
    while len({event.recording for event in events_in_memory(b"forgotten-")}) < len(fake_recorders):  # noqa: ASYNC110 - they begin
        await asyncio.sleep(0.01)
    for fake_recorder in fake_recorders:
        await asyncio.to_thread(fake_recorder.end)
    assert await asyncio.gather(*reading) == ["end"] * 15, "not every reader got the end"
    assert len(feeds) == 5
    async with asyncio.timeout(120):
        # Other threads may hold the last ones for a moment.
        while events_in_memory(b"forgotten-"):
            gc.collect()
            await asyncio.sleep(0.01)
        # The store's watcher thread ends with its last subscriber.
        while {t for t in threading.enumerate() if t.name == "cortex-changes"} - before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for fake_recorder in fake_recorders:
        fake_recorder.close()
    store.close()


async def test_a_reader_that_starts_while_another_stops_gets_everything(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.sqlite'}")
    fake_recorder = FakeRecorder(store, "train")
    fake_recorder.running()
    fake_recorder.write([(T0, fake_recorder.source(), "a line")])
    recordings = Session(store, None)
    first, second = (Recording(recordings, fake_recorder.id, fake_recorder.ref, None).feed for _ in range(2))
    assert first is second
    early, late = first.events(), second.events()
    events: list[StreamEvent] = [await anext(early), await anext(late)]
    await early.aclose()
    del first, early
    assert Recording(recordings, fake_recorder.id, fake_recorder.ref, None).feed is second, (
        "the feed was replaced although it has a reader"
    )
    await asyncio.to_thread(fake_recorder.end)
    events += [event async for event in late]
    assert [event.event for event in events] == ["status", "status", "log", "end"]
    fake_recorder.close()
    store.close()


def test_level_counts_are_cached_for_the_last_used_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_cache", {})
    store = open_store(f"sqlite:///{tmp_path / 'a.sqlite'}")
    first = levels.level_counts(store, 1)
    second = levels.level_counts(store, 2)
    for recording in range(3, 200):
        levels.level_counts(store, recording)
        assert levels.level_counts(store, 1) is first
    assert len(levels._cache) == 64
    assert levels.level_counts(store, 2) is not second, (
        "the counts of a recording that was not used last are still cached"
    )
    store.close()
