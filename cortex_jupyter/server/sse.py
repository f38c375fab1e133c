"""One SSE response: several tasks over one connection, each going on from its own cursor."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import CortexError
from cortex_jupyter.reader import text
from cortex_jupyter.server.pace import Pace
from cortex_jupyter.server.rights import Rights
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cortex_jupyter.reader.frame import Burst
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.reader.window import Window
    from cortex_jupyter.server.response import Response

_log = logging.getLogger(__name__)

#: Milliseconds after which a client comes back. No empty line follows, here and below: it would end an event, and
#: some clients (httpx-sse 0.4) then give one that is empty.
_RETRY: Final = b"retry: 1000\n"
#: How many lines wait because this stream is slowed down; told so often at most, seconds, and when there are none.
_BEHIND: Final = b": behind %d\n"
_TELL_S: Final = 1.0
#: Whether what kept a task from being recorded still does is looked at so often, seconds.
_LOOK_S: Final = 0.5
#: With the cluster's time, ns, by which a page can set its own clock.
_BEAT: Final = b": hb %d\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # Proxies must neither keep nor compress it; nginx must not collect it.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True)
class Slot:
    """One task of a stream.

    Parameters
    ----------
    asked : str
        As the reader named it.
    window : Window or None
    error : CortexError or None
        Why there is no window.
    cursor : str
        What the reader has.
    waiting : int
        Lines that are recorded and not sent yet, while the stream is slowed down.
    """

    asked: str
    window: Window | None = None
    error: CortexError | None = None
    cursor: str = ""
    waiting: int = 0


class Stream:
    """Writes the events of some tasks to a response.

    Parameters
    ----------
    handler : Response
    slots : list of Slot
    plain : bool, optional
        One event per line, the text only.
    """

    def __init__(self, handler: Response, slots: list[Slot], *, plain: bool = False) -> None:
        self._handler, self._slots, self._plain = handler, slots, plain
        # Tornado forgets the first of two flushes that wait at one time, so whole events take turns.
        self._turn = asyncio.Lock()
        self._pumps: list[asyncio.Task[None]] = []
        self._problems: set[asyncio.Task[None]] = set()
        self._quiet = True
        self._rights = Rights(handler)
        self._pace = Pace(handler.service.app.max_bytes_per_s)
        self._told = 0.0  # when the reader was last told how far behind it is
        self._ahead = 0  # how far the cluster's clock is ahead of ours, ns

    async def run(self) -> None:
        """Write until the last task has ended; returns early when the reader has gone."""
        for name, value in _HEADERS.items():
            self._handler.set_header(name, value)
        beat = asyncio.create_task(self._beat())
        pumps = self._pumps = [asyncio.create_task(self._pump(slot)) for slot in self._slots]
        try:
            await self._write(_RETRY)
            await asyncio.gather(*pumps)
        except StreamClosedError:
            pass
        finally:
            working = (beat, *pumps, *self._problems)
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _pump(self, slot: Slot) -> None:
        try:
            await self._task(slot)
        except asyncio.CancelledError:
            if slot.error is None:
                raise
            await self._error(slot, slot.error.as_dict())  # `_recheck` has ended it
        except StreamClosedError:
            raise
        except CortexError as error:
            await self._error(slot, error.as_dict())
        except Exception:  # noqa: BLE001
            # After the first byte there is no status to send: the client would see a silent end.
            _log.exception("A stream of cortex-jupyter failed")
            hint = "this is a bug of cortex-jupyter; the server's log says more"
            await self._error(slot, {"code": "InternalError", "message": "the stream failed", "hint": hint})

    async def _task(self, slot: Slot) -> None:
        if slot.error is not None:
            raise slot.error
        window = slot.window
        assert window is not None
        async with window.recording.wanted():
            await window.settle()
            self._ahead = window.recording.ahead(window.info)
            await self._write(await window.status(slot.asked))
            first = True
            if window.recording.problem is not None:
                self._problems.add(asyncio.create_task(self._tell_when_solved(slot, window)))
            async with aclosing(window.bursts()) as bursts:
                async for burst in bursts:
                    if first:
                        first = False
                        self._handler.span.event("first event of a task")
                    if self._plain:
                        await self._write(await asyncio.to_thread(text.events, burst, window.query))
                    elif len(self._slots) == 1:
                        await self._write(burst.events)
                    else:
                        await self._place(slot, burst)
                    server_metrics.count_sent(len(burst.events), burst.oldest(window.info.last_seq))
                    await self._slow_down(slot, window.recording, burst)

    async def _tell_when_solved(self, slot: Slot, window: Window) -> None:
        """Write the state anew whenever what keeps a task from being recorded changes; `Keeping` looks again.

        Each of its looks gives an error of its own: what counts is whether it says something else.
        """
        recording = window.recording
        told = _words(recording.problem)
        while told is not None:
            await asyncio.sleep(_LOOK_S)
            if (now := _words(recording.problem)) != told:
                try:
                    window.info = await recording.info()
                    status = await window.status(slot.asked)
                except CortexError as error:
                    _log.warning("%s: %s", recording.ref.key, error)  # the store, and it passes: it is tried again
                    continue
                told = now
                await self._write(status)

    async def _slow_down(self, slot: Slot, recording: Recording, burst: Burst) -> None:
        """Wait after events where there is a limit to the speed, and tell the reader how far behind it is."""
        pause, waited = self._pace.pause(len(burst.events)), slot.waiting
        if not pause and not waited:
            return
        slot.waiting = max(0, (await recording.info()).last_seq - burst.frames[-1].last) if pause else 0
        if (slot.waiting and time.monotonic() - self._told > _TELL_S) or (waited and not slot.waiting):
            self._told = time.monotonic()
            await self._write(_BEHIND % sum(one.waiting for one in self._slots))
        await asyncio.sleep(pause)

    async def _error(self, slot: Slot, error: dict[str, str]) -> None:
        server_metrics.count_refusal(error["code"])
        doc = error if len(self._slots) == 1 else {"task": slot.asked, **error}
        await self._write(b"event: error\ndata: " + orjson.dumps(doc) + b"\n\n")

    async def _place(self, slot: Slot, burst: Burst) -> None:
        """Write events of one task of several, each with the place in all of them."""
        async with self._turn:
            parts = []
            for frame in burst.frames:
                slot.cursor = frame.cursor
                parts += [f"id: {','.join(s.cursor for s in self._slots)}\n".encode(), frame.body]
            await self._flush(b"".join(parts))

    async def _write(self, body: bytes) -> None:
        async with self._turn:
            await self._flush(body)

    def _flush(self, body: bytes) -> Awaitable[None]:
        """Write whole events; waits while the reader does not read, which is all the backpressure there is."""
        self._handler.write(body)
        self._quiet = False
        return self._handler.flush()

    async def _beat(self) -> None:
        """After each silence send a comment: proxies keep the connection, and a reader that has gone is noticed."""
        service = self._handler.service
        while True:
            await asyncio.sleep(service.app.heartbeat_s)
            service.active()
            await self._recheck()
            if self._quiet and not self._turn.locked():
                try:
                    await self._write(_BEAT % (time.time_ns() + self._ahead))
                except StreamClosedError:
                    return  # the handler has been told too
            self._quiet = True

    async def _recheck(self) -> None:
        """End what may not be read any more; a stream that is open for days must not outlive the right to it."""
        slots = zip(self._slots, self._pumps, strict=True)
        reading = [(slot, slot.window, pump) for slot, pump in slots if slot.window is not None and not pump.done()]
        lost = await self._rights.lost([window.recording.ref for _, window, _ in reading])
        for (slot, window, pump), error in zip(reading, lost, strict=True):
            if error is not None:
                slot.error = error
                pump.cancel()
                continue
            hidden = await self._rights.hidden(window.recording.ref)
            if hidden is not None and hidden != window.recording.hidden:
                window.recording.hidden = hidden
                try:
                    window.info = await window.recording.info()  # the state as it is now
                    await self._write(await window.status(slot.asked))
                except StreamClosedError:
                    return  # the handler has been told too
                except CortexError as error:
                    _log.warning("%s: %s", window.recording.ref.key, error)  # the store; the next lines tell of it


def _words(problem: CortexError | None) -> dict[str, str] | None:
    return None if problem is None else problem.as_dict()
