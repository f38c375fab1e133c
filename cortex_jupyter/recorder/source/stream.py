"""Read one stream of a container's log into the channel, from the anchor to wherever it ends."""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.logs import open_log
from cortex_jupyter.errors import ClusterError
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import bridge
from cortex_jupyter.recorder.text.lines import NOT_FOUND, Splitter, parse, reaches
from cortex_jupyter.recorder.text.resume import ResumeFilter
from cortex_jupyter.store import Anchor
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import aiohttp

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.source.last_lines import LastLines
    from cortex_jupyter.recorder.source.stream_limiter import StreamSlot
    from cortex_jupyter.recorder.watching.pods import Pods

#: A stream that is silent for this long (seconds) has delivered all lines that existed.
_QUIET_S: Final = 0.25
#: If the stream of a running container is silent for this long (seconds), the container's last line is requested; then
#: ever more rarely.
_SILENT_S = 2.0
#: While the silence lasts, the last line is requested at least this often (seconds).
_LONGEST_SILENT_S = 90.0
#: An open stream checks this often (seconds) whether its container still runs.
_LOOK_S: Final = 5.0
#: A read of a finished log that is silent for this long (seconds) is broken: nothing of that log has to be waited for.
_DEAD_S: Final = 30.0
#: A log that has grown by less than this (bytes) has not been rotated for its size.
_GROWN: Final = 64 << 10
#: The API server knows of a restart at most this long after the first line of the new run (seconds).
_RESTART_LAG_S: Final = 30
#: A stream is reopened after this long (seconds).
_OLD_S: Final = 3.75 * 3600


class RunState(Enum):
    """What the API server knows of a run. The values name the kind of read in traces."""

    RUNNING = "follow"  # its log can be followed
    ENDED = "ended"  # it is the newest run, and has ended
    REPLACED = "replaced"  # the next run has started: the node serves it as the previous run
    PASSED = "passed"  # more than one run has started since: the node keeps only one
    GONE = "gone"  # its pod was deleted
    RESET = "reset"  # the pod's status was reset: the node no longer knows any of its containers
    UNKNOWN = "unknown"  # the cluster does not answer, and never has


#: If the node cannot say which run it serves, wait this long for the API server to show a newer one (s).
_SETTLE_S: Final = 5.0


class AnotherRunError(Exception):
    """The node serves another run of the container than the API server knows of."""


class UnknownRunError(AnotherRunError):
    """The node may serve another run: it has no previous one, and the API server may be behind."""


class StallThreshold:
    """Decides how long a log must be silent before its stream is checked for a stall.

    A log that is often silent for some seconds says nothing by another such silence. If each of them were checked, ten
    thousand such logs would send some thousand requests a second. So the threshold is twice the longest recent silence.
    It is the shortest one again if the log has grown much since the last check: a rotation may have left the stream
    behind.

    Examples
    --------
    >>> threshold = StallThreshold()
    >>> threshold.end_silence(20.0, 100)
    >>> threshold.threshold_s
    40.0
    >>> threshold.end_silence(0.0, 100_000)
    >>> threshold.threshold_s
    2.0
    """

    def __init__(self) -> None:
        self._longest_recent_s = 0.0
        self._grown_bytes = 0

    def end_silence(self, seconds: float, size: int) -> None:
        """Note that a silence of some seconds ended with new bytes."""
        self._grown_bytes += size
        if seconds > _SILENT_S:
            self._longest_recent_s = max(seconds, 0.75 * self._longest_recent_s)

    def reset_growth(self) -> None:
        """Note that a check found nothing missing in the stream."""
        self._grown_bytes = 0

    @property
    def threshold_s(self) -> float:
        """The length of a silence before the stream is checked (seconds)."""
        usual = 0.0 if self._grown_bytes >= _GROWN else 2 * self._longest_recent_s
        return min(max(_SILENT_S, usual), _LONGEST_SILENT_S)


class Stream:
    """Reads the streams of one source, one after another.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        The source's id.
    last : LastLines
    pods : Pods
        Woken when the stream has caught up.

    Attributes
    ----------
    caught_up : bool
        Whether everything that was written before the first stream began has been read.
    size : int
        Number of bytes of new lines.
    may_have_skipped : bool
        Whether a stream that began at a time has brought new lines. The node left out all lines whose time is older,
        and some of them may be new.
    is_answered, has_new_lines, reopen, is_aligned : bool
        Of the last stream: the node answered; it brought new lines; we ended it and another one is to be opened at
        once; it was aligned with the recorded lines, or there are none.
    is_removed : bool
        Whether the kubelet ended the last stream with the message that the container is removed.
    last_line_at, closed_at : float
        When the last new line arrived, and when the last stream came to its end (monotonic).
    """

    def __init__(self, context: Context, source: Source, sid: int, last: LastLines, pods: Pods) -> None:
        self._context, self._source, self._sid, self._last, self._pods = context, source, sid, last, pods
        self.caught_up = self.may_have_skipped = self.is_answered = self.has_new_lines = self.reopen = (
            self.is_aligned
        ) = self.is_removed = False
        self.size = 0
        self.last_line_at = self.closed_at = 0.0
        self._reads = 0
        self._stall_threshold = StallThreshold()
        self._opened_at = 0.0  # when the present stream was opened (monotonic)
        self._unknown_since = 0.0  # since when the node cannot say which run it serves (monotonic); 0 if it can

    async def read(
        self, state: RunState, ask_state: Callable[[], Awaitable[RunState]], watched_state: Callable[[], RunState]
    ) -> bool:
        """Read one stream; return whether it came to a clean end.

        Parameters
        ----------
        state : RunState
            RUNNING, ENDED or REPLACED.
        ask_state : callable
            Returns the state at this moment; asks the API server.
        watched_state : callable
            Returns the state that the watch last saw; asks nothing.

        Raises
        ------
        NotFound, ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        AnotherRunError
            The node sends lines of another run; none of them is recorded.
        UnknownRunError
            It may do so; read again.
        """
        self.is_answered = self.has_new_lines = self.reopen = self.is_aligned = self.is_removed = False
        self._reads += 1
        channel = self._context.channel
        anchor = channel.anchor(self._sid)
        if self._last.clock_set_back:
            anchor = Anchor(last=anchor.last)  # compare the whole file with all of its recorded lines
        recorded = await self._context.recorded_lines(self._sid, anchor)
        channel.set_recent(self._sid, recorded)
        # After a clock was set back, the node may repeat lines that were trimmed from the recording.
        trimmed = await self._context.trimmed(anchor) if recorded else None
        self.may_have_skipped |= bool(recorded) and self._reads == 1  # an earlier recorder may have skipped some
        resume = ResumeFilter(recorded, self._context.masking, trimmed)
        splitter, has_lines, complaint = Splitter(), False, ""
        follows, previous = state is RunState.RUNNING, state is RunState.REPLACED
        request = open_log(
            self._context.cluster,
            self._context.namespace,
            self._source,
            follow=follows,
            previous=previous,
            since=anchor.second or None,
        )
        started_at = time.monotonic()
        slot_request = self._context.limiter.slot(channel.task, self._source.node, yields=follows)
        async with slot_request as slot, request as content:
            # The node serves its newest run, so it must still be this one now that the stream is open.
            if await ask_state() is not state:
                return False
            self.is_answered = True
            tracing.record_span(
                "cortex.log.open",
                time.monotonic() - started_at,
                {"cortex.read.mode": state.value},
                tracing.current_context(),
            )
            self._opened_at = time.monotonic()
            chunks = self._followed(content, slot, watched_state) if follows else _whole(content)
            async for chunk in chunks:
                if not (piece := splitter.feed(chunk)):
                    continue
                if not has_lines:
                    if not piece[:1].isdigit() and not (parsed := parse(piece)).times:
                        complaint = parsed.errors[-1] if parsed.errors else complaint
                        continue
                    has_lines = True
                    if not recorded and not previous:
                        first = next(iter(parse(piece).times), 0)
                        if state is RunState.ENDED or self._reads > 1 or self._may_be_restarted(first):
                            await self._check_run(first, is_start=True)
                await self._deliver(resume, anchor, await resume.feed(piece), check_run=not previous)
        rest = splitter.rest()
        if rest and not rest[:1].isdigit():
            complaint, rest = rest.decode("utf-8", "backslashreplace"), b""
        if not follows:
            # A last line without a newline is a line, but only if it is complete.
            if rest and await self._last.is_whole_line(rest, previous=previous):
                await self._deliver(resume, anchor, await resume.feed(rest + b"\n"), check_run=not previous)
            await self._deliver(resume, anchor, await resume.end(), check_run=not previous)
        self.is_aligned = resume.is_aligned
        self.is_removed = complaint.startswith(NOT_FOUND)
        if complaint:
            raise ClusterError(complaint)
        return not self.reopen

    def _may_be_restarted(self, first: int) -> bool:
        """Return whether a first stream, by the time of its first line, may be of a run unknown to the API server."""
        now = time.time() + self._context.cluster.clock.offset
        return first > (now - _RESTART_LAG_S) * 1e9 and self._pods.may_restart(self._source)

    async def _check_run(self, first: int, *, is_start: bool) -> None:
        """Raise if the lines that arrive are of another run.

        Parameters
        ----------
        first : int
            When the first line that arrived was written (ns).
        is_start : bool
            Whether that is the first line of a log.

        Raises
        ------
        AnotherRunError, ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        """
        container = self._pods.container(self._source)
        previous_end = container.previous[1].finished if container and container.previous else 0
        started = container.started if container and 0 < previous_end < container.started else 0
        is_previous = await self._last.is_previous_run(first if is_start else 0, started)
        if is_previous:
            raise AnotherRunError
        if is_previous is None and self._pods.may_be_of_next_run(self._source, first):
            # A kubelet keeps the newest ended container: if the next run has ended as well, this one may be removed.
            self._unknown_since = self._unknown_since or time.monotonic()
            if time.monotonic() - self._unknown_since < _SETTLE_S:
                raise UnknownRunError
        self._unknown_since = 0.0

    async def _followed(
        self, content: aiohttp.StreamReader, slot: StreamSlot, watched_state: Callable[[], RunState]
    ) -> AsyncIterator[bytes]:
        """Yield what arrives. End a follow that has stalled, is old, or whose slot is over, with `reopen` set."""
        opened_at, quiet_s = time.monotonic(), _QUIET_S if not self.caught_up else self._stall_threshold.threshold_s
        begun_ns, heard_at, checked_at = time.time_ns(), opened_at, opened_at
        while True:
            try:
                async with slot.timeout(min(max(checked_at + quiet_s - time.monotonic(), 0), _LOOK_S)):
                    chunk = await content.readany()
            except TimeoutError:
                if slot.is_over:
                    self.reopen = True
                    return
                silent = time.monotonic() - heard_at
                if silent > _SILENT_S and watched_state() is not RunState.RUNNING:
                    # The container has ended and the stream has not: its connection is dead.
                    self.reopen = True
                    return
                if time.monotonic() < checked_at + quiet_s:
                    continue
                had_caught_up, self.caught_up = self.caught_up, True
                if not had_caught_up:
                    self._pods.wake()
                    quiet_s = self._stall_threshold.threshold_s
                elif await self._last.has_stalled():
                    self.reopen = True
                    return
                else:
                    self._stall_threshold.reset_growth()
                    quiet_s = min(quiet_s * 2, _LONGEST_SILENT_S)
                checked_at = time.monotonic()
                continue
            if not chunk:
                self.closed_at = time.monotonic()
                return
            now = time.monotonic()
            self._stall_threshold.end_silence(now - heard_at, len(chunk))
            yield chunk
            # Recording the chunk may have taken long, and is no silence of the log.
            heard_at = checked_at = time.monotonic()
            quiet_s = self._stall_threshold.threshold_s if self.caught_up else _QUIET_S
            if not self.caught_up and reaches(chunk, begun_ns):
                self.caught_up = True
                self._pods.wake()
            # The kubelet ends a stream after 4 h (its server's WriteTimeout); we end ours before that, between two
            # lines.
            if slot.is_over or time.monotonic() - opened_at > _OLD_S:
                self.reopen = True
                return

    def _trace(self) -> None:
        """Trace the first new line of a stream, and have its commit traced."""
        if (context := tracing.current_context()) is not None:
            tracing.record_span("cortex.log.first_line", time.monotonic() - self._opened_at, {}, context)
            self._context.channel.traced[self._sid] = context

    async def _deliver(self, resume: ResumeFilter, anchor: Anchor, data: bytes, *, check_run: bool) -> None:
        channel = self._context.channel
        if resume.unaligned:
            if check_run:
                await self._check_run(resume.unaligned[0][0], is_start=False)
            bridged = await bridge(
                self._context.rotated_files(self._source),
                resume.recorded,
                anchor.second,
                resume.unaligned,
                self._context.masking,
                resume.trimmed,
            )
            resume.unaligned = []
            if bridged.missing:
                since, until = bridged.missing
                reason, hint = bridged.reason, bridged.hint
                channel.put_notice(
                    notices.gap(
                        self._source, self._sid, since, until, reason, hint, loss="rotated", limit=channel.limit
                    )
                )
            await channel.put_parsed(self._sid, bridged.lines)
            self.has_new_lines |= len(bridged.lines) > 0
        if data:
            if not self.has_new_lines:
                self._trace()
            self.has_new_lines, self.last_line_at = True, time.monotonic()
            self.may_have_skipped |= bool(resume.recorded)
            self.size += len(data)
            await channel.put_lines(self._sid, data)


async def _whole(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield what arrives of the log of a run that has ended.

    Raises
    ------
    TimeoutError
        It has fallen silent.
    """
    while True:
        try:
            async with asyncio.timeout(_DEAD_S):
                chunk = await content.readany()
        except TimeoutError:
            raise TimeoutError(f"the node sent nothing for {_DEAD_S:g} s") from None
        if not chunk:
            return
        yield chunk
