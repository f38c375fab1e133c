"""The background thread: an interrupt, and the exit of the program, during a read."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.notebook import follow, runtime
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.notebook.runtime import Runtime


class Reading:
    """A stream without events that is slow to end."""

    def __init__(self) -> None:
        self.begun, self.ending, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.may_end = threading.Event()

    async def events(self, *_: Any) -> AsyncIterator[Any]:
        try:
            self.begun.set()
            await asyncio.Event().wait()
            yield
        finally:
            self.ending.set()
            await asyncio.to_thread(self.may_end.wait, 20)
            self.ended.set()


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading = Reading()
    monkeypatch.setattr(follow, "events", reading.events)
    return reading


def interrupted(engine: Runtime, reading: Reading, moment: str) -> None:
    """Read until an interrupt, then close the stream as a reader does."""
    loop = engine.loop
    hand_over = loop.call_soon_threadsafe

    def interrupt() -> None:
        if reading.begun.wait(120):
            raise KeyboardInterrupt

    def handed_over(*arguments: Any) -> None:
        del loop.call_soon_threadsafe
        hand_over(*arguments)
        interrupt()

    events = follow.TaskEvents(engine, None, LogQuery())  # type: ignore[arg-type] - nothing of it is read
    if moment == "handed over":
        loop.call_soon_threadsafe = handed_over  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        events.next(tick=interrupt)
    events.close()


@pytest.mark.parametrize("moment", ["handed over", "waiting"])
def test_an_interrupt_ends_a_read_that_is_slow_to_end(
    engine: Runtime, reading: Reading, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    interrupted(engine, reading, moment)
    assert reading.ending.wait(120)
    reading.may_end.set()
    assert reading.ended.wait(120)
    engine.close()
    assert not caplog.records


def test_an_interrupt_that_comes_just_before_the_wait_ends_it(engine: Runtime) -> None:
    """The handler has run by then, so no system call is interrupted."""
    begun, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(120)
        ended.set()

    def interrupt() -> None:
        begun.wait(120)
        _thread.interrupt_main()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupter = threading.Thread(target=interrupt)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            engine.run(wait())
        assert not ended.is_set(), "the interrupt came through only when the wait had ended by itself"
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, before)


def test_program_exit_waits_for_a_read_or_abandons_it(
    engine: Runtime, reading: Reading, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_END_S", 0.1)
    interrupted(engine, reading, "waiting")
    assert reading.ending.wait(120)
    engine.close()
    assert not reading.ended.is_set() and not caplog.records
    reading.may_end.set()


def test_closing_ends_a_waiting_read(engine: Runtime, reading: Reading, caplog: pytest.LogCaptureFixture) -> None:
    reading.may_end.set()
    events = follow.TaskEvents(engine, None, LogQuery())  # type: ignore[arg-type]

    def read() -> None:
        with contextlib.suppress(BaseException):  # the cancellations of concurrent.futures and of asyncio
            events.next()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.begun.wait(120)
    events.close()
    reader.join(120)
    assert reading.ended.is_set() and not caplog.records
