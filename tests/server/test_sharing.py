from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from server.fake_recorder import T0, FakeRecorder

from cortex_jupyter.model import Batch, Entry
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.event_stream import EventStream, Slot
from cortex_jupyter.reader.events import StreamEvent
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.reader.window import Window
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Viewer:
    """A reader that stores what is sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    async def send(self, events: bytes) -> None:
        self.received.append(events)
        await asyncio.sleep(0)


async def test_a_hundred_viewers_share_one_event_per_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    of = StreamEvent.of.__func__  # type: ignore[attr-defined]

    def counted(cls: type[StreamEvent], recording: int, entry: Entry) -> StreamEvent:
        made.append(entry.seq)
        event: StreamEvent = of(cls, recording, entry)
        return event

    store = open_store(f"sqlite:///{tmp_path / 'a.sqlite'}")
    fake_recorder = FakeRecorder(store, "shared")
    sid = fake_recorder.source()
    fake_recorder.running()
    fake_recorder.write([(T0, sid, "first")])
    recording = Recording(Session(store, None), fake_recorder.id, fake_recorder.ref, None)
    viewers = [Viewer() for _ in range(100)]

    async def follow(viewer: Viewer) -> None:
        window = await Window.open(recording, LogQuery.parse({"since": "all"}), None)
        permissions: Any = None  # the test ends before the first heartbeat
        await EventStream([Slot("shared", window)], viewer, permissions, heartbeat_s=60).run()

    tasks = [asyncio.create_task(follow(viewer)) for viewer in viewers]
    while not all(b'"first"' in b"".join(v.received) for v in viewers):  # noqa: ASYNC110 - fakes have no event
        await asyncio.sleep(0.01)
    for viewer in viewers:
        viewer.received.clear()
    monkeypatch.setattr(StreamEvent, "of", classmethod(counted))
    decoded: list[Any] = []
    monkeypatch.setattr(Batch, "decode", decoded.append)
    for batch in range(20):
        await asyncio.to_thread(
            fake_recorder.write, [(T0 + batch * 10 + i, sid, f"line {batch}-{i}") for i in range(10)]
        )
    await asyncio.to_thread(fake_recorder.end)
    await asyncio.gather(*tasks)
    assert len(made) == 21, "more than one event was made per batch and for the end"
    assert not decoded, "batches were decoded for the readers"
    assert len({b"".join(v.received) for v in viewers}) == 1 and viewers[0].received
    parts = [part for v in viewers for part in v.received]
    assert len({id(part) for part in parts}) == len({*parts}), "equal events are not the same object"
    fake_recorder.close()
    store.close()
