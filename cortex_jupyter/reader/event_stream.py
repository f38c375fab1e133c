"""The events of several tasks as one stream, each task resumed at its own cursor.

The stream knows no transport. It writes bytes in the format of server-sent events to a `Sink`: an HTTP response of the
server, or the comm of a kernel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from cortex_jupyter.errors import CortexError
from cortex_jupyter.reader import text
from cortex_jupyter.reader.permissions import PermissionWatch
from cortex_jupyter.telemetry import server_metrics, tracing
from cortex_jupyter.telemetry.logs import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.reader.events import Burst
    from cortex_jupyter.reader.permissions import Permissions
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.reader.window import Window

_log = logging.getLogger(__name__)

#: A stream that has been silent for this long (seconds) sends a comment.
HEARTBEAT_S: Final = 15.0
#: A client reconnects after this many milliseconds. No empty line follows a field or a comment here: it would end an event,
#: and some clients (httpx-sse 0.4) would then return an empty one.
_RETRY: Final = b"retry: 1000\n"
#: A comment with the number of recorded lines that a throttled stream has not sent yet.
_BEHIND: Final = b": behind %d\n"
#: That comment is sent at most this often (seconds), and when the number is 0 again.
_BEHIND_S: Final = 1.0
#: Interval (seconds) of looking whether the reason why a task is not recorded has changed.
_PROBLEM_S: Final = 0.5
#: The heartbeat has the cluster's time (ns); a page corrects its own clock with it.
_HEARTBEAT: Final = b": hb %d\n"
#: A throttled reader may receive this many seconds' worth of bytes at once.
_BURST_S: Final = 1.0


class ReaderGoneError(Exception):
    """The reader has closed its connection."""


class Sink(Protocol):
    """Where a stream's bytes go."""

    async def send(self, events: bytes, /) -> None:
        """Send whole events; wait while the reader does not read. This is all the backpressure there is.

        Raises
        ------
        ReaderGoneError
        """


class Throttle:
    """Limits the bytes per second that one reader receives.

    Parameters
    ----------
    rate : int
        Bytes per second; 0 for no limit.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._paid_until = time.monotonic()  # from then on, all bytes that were sent are within the rate

    def pause(self, size: int) -> float:
        """Count sent bytes. Return the seconds to wait before sending more.

        Examples
        --------
        >>> free, slow = Throttle(0), Throttle(1000)
        >>> free.pause(10**9), slow.pause(1000), round(slow.pause(500), 2)
        (0.0, 0.0, 0.5)
        """
        if not self._rate:
            return 0.0
        now = time.monotonic()
        self._paid_until = max(self._paid_until, now) + size / self._rate
        return max(0.0, self._paid_until - now - _BURST_S)


@dataclass(slots=True)
class Slot:
    """One task of a stream.

    Parameters
    ----------
    task_name : str
        The task as the reader named it.
    window : Window or None
    error : CortexError or None
        Why there is no window.
    cursor : str
        The last cursor that was sent, or that the reader came with.
    unsent : int
        Lines that are recorded and not sent yet, while the stream is throttled.
    sent : int
        Number of the last record that the sink has got.
    bytes : int
        Bytes of events of this task that were sent.
    outcome : str
        The code of the error that ended the task's events.
    """

    task_name: str
    window: Window | None = None
    error: CortexError | None = None
    cursor: str = ""
    unsent: int = 0
    sent: int = 0
    bytes: int = 0
    outcome: str = ""


class EventStream:
    """Writes the events of some tasks to a sink, until the last task has ended.

    Parameters
    ----------
    slots : list of Slot
    sink : Sink
    permissions : Permissions
        Checked with each heartbeat.
    heartbeat_s : float, optional
        Send a comment after this many seconds of silence: proxies keep the connection, and a reader that has gone is
        noticed.
    on_heartbeat : callable, optional
        Called every `heartbeat_s` while the stream is open.
    max_bytes_per_s : int, optional
        0 for no limit.
    plain : bool, optional
        Send one event per line, with the text only.
    span : Span, optional
        The trace span of the reader's request.
    """

    def __init__(
        self,
        slots: list[Slot],
        sink: Sink,
        permissions: Permissions,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        on_heartbeat: Callable[[], object] | None = None,
        max_bytes_per_s: int = 0,
        plain: bool = False,
        span: tracing.Span | None = None,
    ) -> None:
        self._slots, self._sink, self._plain, self._span = slots, sink, plain, span
        self._permissions = PermissionWatch(permissions)
        self._throttle = Throttle(max_bytes_per_s)
        self._heartbeat_s, self._on_heartbeat = heartbeat_s, on_heartbeat
        # Events of several tasks must not mix, and a sink takes one call of `send` at a time.
        self._sending = asyncio.Lock()
        self._pumps: list[asyncio.Task[None]] = []
        self._problem_watchers: set[asyncio.Task[None]] = set()
        self._is_quiet = True  # nothing was sent since the last heartbeat
        self._behind_sent = 0.0  # when `_BEHIND` was last sent (monotonic)
        self._ahead = 0  # how far the cluster's clock is ahead of ours (ns)

    async def run(self) -> None:
        """Write until the last task has ended, or the reader has gone."""
        heartbeat = asyncio.create_task(self._beat())
        pumps = self._pumps = [asyncio.create_task(self._pump(slot)) for slot in self._slots]
        try:
            await self._send(_RETRY)
            await asyncio.gather(*pumps)
        except ReaderGoneError:
            pass
        finally:
            running = (heartbeat, *pumps, *self._problem_watchers)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _pump(self, slot: Slot) -> None:
        try:
            await self._send_task(slot)
        except asyncio.CancelledError:
            if slot.error is None:
                raise
            await self._send_error(slot, slot.error.as_dict())  # `_check_permissions` has cancelled this pump
        except ReaderGoneError:
            raise
        except CortexError as error:
            await self._send_error(slot, error.as_dict())
        except Exception:  # noqa: BLE001 - the reader is told
            # After the first byte no status can be sent. Without this event the client would see a clean end.
            _log.exception("A stream of cortex-jupyter failed")
            hint = "this is a bug of cortex-jupyter; the server's log says more"
            await self._send_error(slot, {"code": "InternalError", "message": "the stream failed", "hint": hint})

    async def _send_task(self, slot: Slot) -> None:
        if slot.error is not None:
            raise slot.error
        window = slot.window
        assert window is not None
        async with window.recording.keep_wanted():
            await window.settle()
            self._ahead = window.recording.clock_ahead(window.info)
            await self._send(await window.status(slot.task_name))
            is_first = True
            if window.recording.problem is not None:
                self._problem_watchers.add(asyncio.create_task(self._send_problem_changes(slot, window)))
            async with aclosing(window.bursts()) as bursts:
                async for burst in bursts:
                    if is_first:
                        is_first = False
                        if self._span is not None:
                            self._span.event("first event of a task")
                    plain = await asyncio.to_thread(text.events, burst, window.query) if self._plain else None
                    await self._send_burst(slot, burst, plain)
                    server_metrics.count_sent(len(burst.written), burst.oldest(window.info.last_seq))
                    await self._slow_down(slot, window.recording, burst)

    async def _send_problem_changes(self, slot: Slot, window: Window) -> None:
        """Send the state again when the reason why a task is not recorded changes or goes away.

        `Keeping` tries again and again, and each failure is a new error object. So errors are compared by their texts.
        """
        recording = window.recording
        sent = _as_dict(recording.problem)
        outage = OutageLog(_log, f"{recording.ref.key}: the store answers again")
        while sent is not None:
            await asyncio.sleep(_PROBLEM_S)
            if (current := _as_dict(recording.problem)) != sent:
                try:
                    window.info = await recording.info()
                    status = await window.status(slot.task_name)
                except CortexError as error:
                    outage.failed("status", error, recording.ref.key)  # a passing failure of the store: try again
                    continue
                outage.worked("status")
                sent = current
                await self._send(status)

    async def _slow_down(self, slot: Slot, recording: Recording, burst: Burst) -> None:
        """Wait as long as the limit asks for, and send how far behind the reader is."""
        pause, was_behind = self._throttle.pause(len(burst.written)), slot.unsent
        if not pause and not was_behind:
            return
        slot.unsent = max(0, (await recording.info()).last_seq - burst.events[-1].last) if pause else 0
        is_due = time.monotonic() - self._behind_sent > _BEHIND_S
        if (slot.unsent and is_due) or (was_behind and not slot.unsent):
            self._behind_sent = time.monotonic()
            await self._send(_BEHIND % sum(s.unsent for s in self._slots))
        await asyncio.sleep(pause)

    async def _send_error(self, slot: Slot, error: dict[str, str]) -> None:
        server_metrics.count_refusal(error["code"])
        slot.outcome = error["code"]
        doc = error if len(self._slots) == 1 else {"task": slot.task_name, **error}
        await self._send(b"event: error\ndata: " + orjson.dumps(doc) + b"\n\n")

    async def _send_burst(self, slot: Slot, burst: Burst, plain: bytes | None) -> None:
        """Send events of a task, or their plain text. With several tasks the `id:` of each holds the cursors of all."""
        async with self._sending:
            data = burst.written if plain is None else plain
            if len(self._slots) > 1:
                parts = []
                for event in burst.events:
                    slot.cursor = event.cursor
                    parts += [f"id: {','.join(s.cursor for s in self._slots)}\n".encode(), event.body]
                data = b"".join(parts)
            slot.sent = burst.events[-1].last
            slot.bytes += len(data)
            self._is_quiet = False
            await self._sink.send(data)

    async def _send(self, events: bytes) -> None:
        async with self._sending:
            self._is_quiet = False
            await self._sink.send(events)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            if self._on_heartbeat is not None:
                self._on_heartbeat()
            await self._check_permissions()
            if self._is_quiet and not self._sending.locked():
                try:
                    await self._send(_HEARTBEAT % (time.time_ns() + self._ahead))
                except ReaderGoneError:
                    return  # the pumps notice it too, or the owner of the sink ends the stream
            self._is_quiet = True

    async def _check_permissions(self) -> None:
        """End the tasks that may not be read any more, and send the state again if what is hidden has changed."""
        slots = zip(self._slots, self._pumps, strict=True)
        reading = [(slot, slot.window, pump) for slot, pump in slots if slot.window is not None and not pump.done()]
        errors = await self._permissions.revoked([window.recording.ref for _, window, _ in reading])
        for (slot, window, pump), error in zip(reading, errors, strict=True):
            if error is not None:
                slot.error = error
                pump.cancel()
                continue
            hidden = await self._permissions.hidden(window.recording.ref)
            if hidden is not None and hidden != window.recording.hidden:
                window.recording.hidden = hidden
                try:
                    window.info = await window.recording.info()  # the state as it is now
                    await self._send(await window.status(slot.task_name))
                except ReaderGoneError:
                    return
                except CortexError as error:
                    _log.warning("%s: %s", window.recording.ref.key, error)  # the store; the next events report it


def _as_dict(problem: CortexError | None) -> dict[str, str] | None:
    return None if problem is None else problem.as_dict()
