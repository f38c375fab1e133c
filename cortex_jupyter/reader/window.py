"""The events that one reader of one task gets: where its stream begins, the first state, the records, the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.errors import BadQuery, NotAllowed, RecorderError
from cortex_jupyter.model import EVERY_SEQ, Entry, epoch_at, notice
from cortex_jupyter.reader.events import Burst, StreamEvent
from cortex_jupyter.reader.filtering import in_thread, run_filter
from cortex_jupyter.reader.pages import begins_before, tail_of
from cortex_jupyter.reader.state import completeness_of, gone_task, present
from cortex_jupyter.store.scan import Scan, last_number

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from cortex_jupyter.model import Cursor, IndexEntry, Place
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import Readable, RecordingInfo

#: Time limit (seconds) for `tail` to wait until everything that was written is recorded.
_SETTLE_S: Final = 10.0


@dataclass(slots=True, kw_only=True)
class Window:
    """The part of one recording that one reader wants, and where it begins.

    Parameters
    ----------
    recording : Recording
    query : LogQuery
    info : RecordingInfo
        The recording's state when the reader came.
    resumed : bool
        The reader has been here before: it gets everything after its cursor, whatever the window.
    after : int
        The last number that is not sent.
    since : int or None
        Start of the window, ns since the Unix epoch.
    low : tuple of (int, int) or None
        With `tail`: (time, seq) of the oldest record that is sent.
    snapshot : int
        With `tail`: the last number that `low` considers; later records are sent as they come.
    """

    recording: Recording
    query: LogQuery
    info: RecordingInfo
    resumed: bool
    after: int
    since: int | None
    low: Place | None = None
    snapshot: int = 0

    @classmethod
    async def open(
        cls,
        recording: Recording,
        query: LogQuery,
        resume: Cursor | None,
        max_records: int | None = None,
        info: RecordingInfo | None = None,
    ) -> Window:
        """Find where the stream begins.

        Parameters
        ----------
        recording : Recording
        query : LogQuery
        resume : Cursor or None
        max_records : int, optional
            Begin with about this many of the window's newest records; a page loads older ones when the user scrolls to
            them. Unlike `tail`, it waits for nothing.
        info : RecordingInfo, optional
            The recording's present state, if known.

        Raises
        ------
        CursorNotHeld
            The cursor belongs to another recording, or is beyond the end of this one.
        """
        # In one call in a thread: with a hundred viewers at once, switching threads is most of the cost.
        return await asyncio.to_thread(cls._open_in_thread, recording, query, resume, max_records, info)

    @classmethod
    def _open_in_thread(
        cls,
        recording: Recording,
        query: LogQuery,
        resume: Cursor | None,
        max_records: int | None,
        info: RecordingInfo | None,
    ) -> Window:
        store, id_ = recording.store, recording.id
        info = info or recording.read_info()
        query = query.among(store, id_)
        if resume is not None:
            after = info.check(resume).seq
            return cls(recording=recording, query=query, info=info, resumed=True, after=after, since=None)
        clock_ahead = recording.clock_ahead(info)
        query = query.ahead(clock_ahead).with_default_since("all" if info.done else "1m", time.time_ns() + clock_ahead)
        since = query.since
        if max_records is not None and query.tail is None:
            since = _newest_since(store.index(id_), since, max_records)
        after = _number_before(store, id_, since)
        return cls(recording=recording, query=query, info=info, resumed=False, after=after, since=since)

    async def settle(self) -> None:
        """With `tail`: wait until everything written is recorded, then find the oldest wanted record."""
        query, recording = self.query, self.recording
        if self.resumed or query.tail is None:
            return
        try:
            self.info = await wait_caught_up(recording, _SETTLE_S)
        except NotAllowed:
            self.info = await recording.info()  # the status event has the reason; the stream goes on once it is allowed
        self.low, self.snapshot, _ = await run_filter(query.keep(), tail_of, recording.store, recording.id, query)
        if self.low:
            self.since = self.low[0]

    async def status(self, task_name: str) -> bytes:
        """Return the first event of a stream: the task's state, and a cursor to what lies before the window.

        Parameters
        ----------
        task_name : str
            The task as the reader wrote it, so that the reader can match the answer with its request.
        """
        recording, info = self.recording, self.info
        doc: dict[str, Any] = await present(recording, info)
        now = time.time_ns()
        doc |= {
            "ref": task_name,
            "time": str(now),
            "now": str(now + recording.clock_ahead(info)),
            "hidden": recording.hidden,
        }
        return b"event: status\ndata: " + orjson.dumps(doc | await asyncio.to_thread(self._around)) + b"\n\n"

    def _around(self) -> dict[str, Any]:
        """Return what is recorded in all, and the cursor to what lies before the window."""
        recording = self.recording
        doc: dict[str, Any] = {
            "recorded": completeness_of(recording.store.complete(recording.id)) | {"complete": self.info.done}
        }
        if not self.resumed:
            older = self._older()
            doc["older"] = None if older is None else str(older)
            doc["from"] = None if older is None or self.since is None else str(self.since)
        return doc

    def _older(self) -> Cursor | None:
        recording, info = self.recording, self.info
        low = self.low or (None if self.since is None else (self.since, 0))
        if low is None:
            return None
        filling = not (info.done or info.caught_up)
        if filling or begins_before(recording.store.index(recording.id), low):
            # While a recording is being filled, older lines may come at any time.
            return info.cursor(EVERY_SEQ if filling else max(info.last_seq, self.snapshot), low)
        return None

    async def bursts(self) -> AsyncGenerator[Burst]:
        """Yield the events that follow, to the end of the task."""
        recording, query, info = self.recording, self.query, self.info
        keep = query.keep()
        if recording.is_gone and not info.done:
            self.info = info = await wait_caught_up(recording, _SETTLE_S)  # a recorder will end the recording
        if query.tail is not None and not self.resumed:
            async with aclosing(self._tail()) as tail:
                async for event in tail:
                    yield Burst([event])
            self.after = self.snapshot
        if info.done and self.after >= info.last_seq:
            # The reader has everything, or the tail was everything: it still gets the end.
            entry = await asyncio.to_thread(find_end, recording.store, info)
            if entry is not None:
                yield Burst([StreamEvent.of(recording.id, entry)])
            return
        # Without an answer from the cluster the task may still exist, and more may come.
        known_gone = recording.workload is None and recording.problem is None
        if known_gone and not info.done and not info.caught_up:
            async with aclosing(self._rest()) as rest:
                async for event in rest:
                    yield Burst([event])
            return
        epoch = epoch_at(info.epochs, self.after)
        live = recording.feed.bursts(self.after, since=self.since, until=query.until, keep=keep, epoch=epoch)
        async with aclosing(live) as bursts:
            async for burst in bursts:
                if "events" not in recording.hidden:
                    yield burst
                elif visible := [event for event in burst.events if not event.entry.is_kubernetes_event]:
                    yield burst if len(visible) == len(burst.events) else Burst(visible)

    async def _tail(self) -> AsyncGenerator[StreamEvent]:
        if self.low is None:
            return
        after = await asyncio.to_thread(_number_before, self.recording.store, self.recording.id, self.low[0])
        async for event in self._stored_events(after, self.snapshot):
            if event.event in ("log", "gap"):
                yield event

    async def _rest(self) -> AsyncGenerator[StreamEvent]:
        """Yield the rest of a task that no recorder records any more, and an end event."""
        upto, key = self.info.last_seq, self.recording.ref.key
        async for event in self._stored_events(self.after, upto):
            if "events" not in self.recording.hidden or not event.entry.is_kubernetes_event:
                yield event
        message = gone_task(self.info)["message"]
        end = notice(key, upto, time.time_ns(), "end", message, state="gone", reason="Deleted")
        end.epochs = self.info.epochs
        yield StreamEvent.of(self.recording.id, end)

    def _stored_events(self, after: int, upto: int) -> AsyncGenerator[StreamEvent]:
        store, id_, keep = self.recording.store, self.recording.id, self.query.keep()
        scan = Scan(store, id_, after=after, upto=upto, keep=keep).within(self.since, self.query.until)
        return in_thread(_events(scan if self.low is None else replace(scan, low=max(scan.low, self.low))), keep)


def _events(scan: Scan) -> Iterator[StreamEvent]:
    for part in scan.parts():
        entry = part.entry
        if entry.event != "log":
            yield StreamEvent.of(scan.recording, entry)
        elif (batch := scan.batch(part)) is not None:
            n = batch.seqs[-1] - batch.seqs[0] + 1
            cut = Entry(batch.seqs[0], n, "log", entry.t_min, entry.t_max, batch.encode(), entry.epochs)
            yield StreamEvent.of(scan.recording, cut)


def _number_before(store: Readable, recording: int, since: int | None) -> int:
    """Return the number before a window's first one; earlier entries need not even be unpacked."""
    if since is None:
        return 0
    index = store.index(recording)
    return next((row.seq - 1 for row in index if row.event == "log" and row.t_max >= since), last_number(index))


def _newest_since(index: list[IndexEntry], since: int | None, max_records: int) -> int | None:
    """Return the time since which there are about `max_records` records, or `since` if that is later."""
    for row in sorted((row for row in index if row.event == "log"), key=attrgetter("t_max", "t_min"), reverse=True):
        max_records -= row.n
        if max_records <= 0:
            return row.t_min if since is None else max(since, row.t_min)
    return since


def find_end(store: Readable, info: RecordingInfo) -> Entry | None:
    """Return the event `end` of a recording. It is the last, unless an earlier release has written something after it."""
    last = store.entry(info.id, info.last_seq)
    if last is None or last.event == "end":
        return last
    row = next((row for row in reversed(store.index(info.id)) if row.event == "end"), None)
    return None if row is None else store.entry(info.id, row.seq)


async def wait_caught_up(recording: Recording, seconds: float) -> RecordingInfo:
    """Wait until everything written is recorded, or the time is over; return the recording's state then."""
    try:
        return await asyncio.wait_for(recording.caught_up(), seconds)
    except TimeoutError:
        return await recording.info()
    except RecorderError:
        if not recording.is_gone:
            raise
        return await recording.info()  # the task is gone, so nothing new can come
    except NotAllowed:
        info = await recording.info()
        if not await asyncio.to_thread(lambda: recording.store.complete(info.id).records):
            raise
        return info  # something was recorded, before the right was lost or by another recorder


def at_most(value: object) -> int | None:
    """Parse `most`.

    Raises
    ------
    BadQuery
        It is no number of records.
    """
    if value is None:
        return None
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= len(text) <= 9:
        raise BadQuery(f"most={text[:60]!r} is no number", "write most=20000")
    return int(text)
