"""A stream's heartbeat continues when permission checks fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.errors import ClusterUnreachable
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader import permissions
from cortex_jupyter.reader.event_stream import EventStream, Slot

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Reader:
    """A reader that stores what is sent. The first checks of its permissions fail with `failures`."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.body = b""

    async def send(self, events: bytes) -> None:
        self.body += events

    async def check(self, *_: Any) -> None:
        if self._failures:
            raise self._failures.pop()

    async def hidden(self, *_: Any) -> dict[str, str]:
        return {}

    async def renew(self) -> bool:
        return False


class SilentWindow:
    """The window of a task that writes nothing."""

    info = SimpleNamespace(last_seq=0)

    def __init__(self) -> None:
        self.recording = SimpleNamespace(
            keep_wanted=self._wanted,
            clock_ahead=lambda _: 0,
            ref=TaskRef("default", "job", "train-1"),
            problem=None,
            hidden={},
        )

    @asynccontextmanager
    async def _wanted(self) -> AsyncIterator[None]:
        yield

    async def settle(self) -> None:
        pass

    async def status(self, *_: Any) -> bytes:
        return b"event: status\ndata: {}\n\n"

    async def bursts(self) -> AsyncGenerator[Any]:
        await asyncio.Event().wait()
        yield


async def test_a_failing_permission_check_does_not_end_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    window: Any = SilentWindow()
    reader = Reader(KeyError("a"), ValueError("b"))
    run = asyncio.create_task(EventStream([Slot("train-1", window)], reader, reader, heartbeat_s=0.01).run())
    while reader.body.count(b": hb ") < 3:
        assert not run.done()
        await asyncio.sleep(0.01)
    assert reader._failures == [] and caplog.text.count("the next check tries again") == 2
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_stream_ends_when_its_permission_stays_unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    window: Any = SilentWindow()
    away = [ClusterUnreachable("the cluster does not answer") for _ in range(1000)]
    reader = Reader(*away)
    run = asyncio.create_task(EventStream([Slot("train-1", window)], reader, reader, heartbeat_s=0.01).run())
    while reader.body.count(b": hb ") < 3:
        assert not run.done(), "the stream ended although permissions could not be checked for a short time only"
        await asyncio.sleep(0.01)
    monkeypatch.setattr(permissions, "_UNCONFIRMED_S", 0)
    async with asyncio.timeout(120):
        await run
    assert reader.body.rpartition(b"event: ")[2].startswith(b'error\ndata: {"code":"ClusterUnreachable"')
