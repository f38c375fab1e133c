"""Read one stream of a container's log into the channel, from the anchor to wherever it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.cluster.logs import open_log
from cortex_jupyter.errors import ClusterError
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import bridge
from cortex_jupyter.recorder.text.lines import NOT_FOUND, Splitter, parse, reaches
from cortex_jupyter.recorder.text.resume import Resume
from cortex_jupyter.store import Anchor
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import aiohttp

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.source.last import LastLines
    from cortex_jupyter.recorder.source.stream_limiter import Turn
    from cortex_jupyter.recorder.watching.pods import Pods

#: A stream that is silent for this long, seconds, has delivered what there was.
_QUIET_S: Final = 0.25
#: A running container whose stream is silent for this long is asked for its last line; then ever more rarely.
_SILENT_S, _LONGEST_SILENT_S = 2.0, 90.0
#: An open stream is looked at this often, seconds, to see whether its container still runs.
_LOOK_S: Final = 5.0
#: A read of a log that has ended, and falls silent for this long, seconds, is broken: nothing of it has to be waited for.
_DEAD_S: Final = 30.0
#: A log that has not grown by this much, bytes, has not been rotated for its size.
_GROWN: Final = 64 << 10
#: The API server knows that a container was restarted at most this long after its first line, in seconds.
_RESTART_LAG_S: Final = 30
#: A stream is opened anew after this long, seconds.
_OLD_S: Final = 3.75 * 3600


class AnotherRunError(Exception):
    """The node answers for another run of the container than the API server knows of."""


class Silence:
    """How long a log has to be silent until it is asked whether its stream has stalled.

    Of one that is often silent for some seconds and then writes a line, a silence like that says nothing: asked in each of
    them, ten thousand such logs are some thousand requests a second. So it is twice the longest of late, but not where the
    log has grown since it was last asked: a rotation may have left the stream behind.

    Examples
    --------
    >>> silence = Silence()
    >>> silence.heard(20.0, 100)
    >>> silence.suspicious
    40.0
    >>> silence.heard(0.0, 100_000)
    >>> silence.suspicious
    2.0
    """

    def __init__(self) -> None:
        self._usual = 0.0
        self._grown = 0

    def heard(self, seconds: float, size: int) -> None:
        """Take in that a silence has ended, with so many bytes."""
        self._grown += size
        if seconds > _SILENT_S:
            self._usual = max(seconds, 0.75 * self._usual)

    def asked(self) -> None:
        """Take in that the stream has been seen to have all there is."""
        self._grown = 0

    @property
    def suspicious(self) -> float:
        """Seconds."""
        usual = 0.0 if self._grown >= _GROWN else 2 * self._usual
        return min(max(_SILENT_S, usual), _LONGEST_SILENT_S)


class Stream:
    """Reads the streams of one source, one after the other.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        Its id.
    last : LastLines
    pods : Pods
        Woken when it has caught up.

    Attributes
    ----------
    caught_up : bool
        What had been written before it began has been read.
    size : int
        Bytes of new lines so far.
    skipping : bool
        A stream that was asked to begin at a time has brought new lines: between them the node left out lines that say
        they are older, be they new or not.
    opened, new, again, whole : bool
        Of the last stream: the node answered; it brought new lines; we ended it, to open another at once; it gave
        what is recorded, or nothing is.
    removed : bool
        The kubelet ended the last stream with the word that the container is removed.
    heard, closed : float
        When the last new line came, and when the last stream came to its end, monotonic.
    """

    def __init__(self, context: Context, source: Source, sid: int, last: LastLines, pods: Pods) -> None:
        self._context, self._source, self._sid, self._last, self._pods = context, source, sid, last, pods
        self.caught_up = self.skipping = self.opened = self.new = self.again = self.whole = self.removed = False
        self.size = 0
        self.heard = self.closed = 0.0
        self._reads = 0
        self._silence = Silence()
        self._begun = 0.0  # since when it is open, monotonic

    async def read(self, mode: str, now: Callable[[], Awaitable[str]], seen: Callable[[], str]) -> bool:
        """Read one; True when it came to a clean end.

        Parameters
        ----------
        mode : str
            As `SourceReader` has it: `follow`, `ended` or `replaced`.
        now : callable
            Gives the mode of this moment.
        seen : callable
            Gives the mode as the watch last saw it, which asks nothing.

        Raises
        ------
        NotFound, ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        AnotherRunError
            What the node gives are not this run's lines; none of them is recorded.
        """
        self.opened = self.new = self.again = self.whole = self.removed = False
        self._reads += 1
        channel = self._context.channel
        anchor = channel.anchor(self._sid)
        if self._last.set_back:
            anchor = Anchor(last=anchor.last)  # all of the file, against all that is recorded of it
        recorded = await self._context.recorded(self._sid, anchor)
        channel.recall(self._sid, recorded)
        # From where a clock was set back to, the node may give lines again that have left the recording.
        left = await self._context.left(anchor) if recorded else None
        self.skipping |= bool(recorded) and self._reads == 1  # what a recorder before us has passed over is not known
        resume = Resume(recorded, self._context.parser, left)
        splitter, begun_lines, complaint = Splitter(), False, ""
        previous = mode == "replaced"
        request = open_log(
            self._context.cluster, self._context.namespace, self._source, follow=mode == "follow", previous=previous,
            since=anchor.second or None,
        )  # fmt: skip
        begun = time.monotonic()
        turn_ = self._context.turns.turn(channel.task, self._source.node, yields=mode == "follow")
        async with turn_ as turn, request as content:
            # The node answers for whichever run is newest, so it must still be this one now that the stream is open.
            if await now() != mode:
                return False
            self.opened = True
            tracing.record_span(
                "cortex.log.open", time.monotonic() - begun, {"cortex.read.mode": mode}, tracing.current_context()
            )
            self._begun = time.monotonic()
            async for chunk in self._chunks(content, turn, seen if mode == "follow" else None):
                if not (piece := splitter.feed(chunk)):
                    continue
                if not begun_lines:
                    if not piece[:1].isdigit() and not (parsed := parse(piece)).times:
                        complaint = parsed.errors[-1] if parsed.errors else complaint
                        continue
                    begun_lines = True
                    if not recorded and mode != "replaced":
                        first = next(iter(parse(piece).times), 0)
                        if mode == "ended" or self._reads > 1 or self._may_be_restarted(first):
                            await self._check_run(first)
                await self._deliver(resume, anchor, await resume.feed(piece), mode)
        rest = splitter.rest()
        if rest and not rest[:1].isdigit():
            complaint, rest = rest.decode("utf-8", "backslashreplace"), b""
        if mode != "follow":
            # A last line without newline is a line, but only if it is the whole line.
            if rest and await self._last.whole(rest, previous=previous):
                await self._deliver(resume, anchor, await resume.feed(rest + b"\n"), mode)
            await self._deliver(resume, anchor, resume.end(), mode)
        self.whole = resume.decided
        self.removed = complaint.startswith(NOT_FOUND)
        if complaint:
            raise ClusterError(complaint)
        return not self.again

    def _may_be_restarted(self, first: int) -> bool:
        """Tell whether a first stream, which begins at a time, may be of a run that the API server does not know yet."""
        now = time.time() + self._context.cluster.clock.offset
        return first > (now - _RESTART_LAG_S) * 1e9 and self._pods.may_restart(self._source)

    async def _check_run(self, first: int = 0) -> None:
        """Raise where the lines that come, the first of them at a time, are not this run's."""
        known = self._pods.container(self._source)
        before = known.previous[1].finished if known and known.previous else 0
        started = known.started if known and 0 < before < known.started else 0
        if await self._last.is_previous(first, started):
            raise AnotherRunError

    async def _chunks(
        self, content: aiohttp.StreamReader, turn: Turn, seen: Callable[[], str] | None
    ) -> AsyncIterator[bytes]:
        """Give what arrives; end a follow that has stalled, grown old or had its turn, with `again` set.

        Raises
        ------
        TimeoutError
            What is no follow has fallen silent.
        """
        opened, quiet = time.monotonic(), _QUIET_S if not self.caught_up else self._silence.suspicious
        begun, heard, asked = time.time_ns(), opened, opened
        while True:
            try:
                async with turn.timeout(min(max(asked + quiet - time.monotonic(), 0), _LOOK_S)):
                    chunk = await content.readany()
            except TimeoutError:
                if turn.over:
                    self.again = True
                    return
                silent = time.monotonic() - heard
                if seen is None and silent > _DEAD_S:
                    raise TimeoutError(f"the node sent nothing for {_DEAD_S:g} s") from None
                if seen is not None and silent > _SILENT_S and seen() != "follow":
                    # The container has ended, and the stream does not: its connection is dead.
                    self.again = True
                    return
                if time.monotonic() < asked + quiet:
                    continue
                caught, self.caught_up = self.caught_up, True
                if not caught:
                    self._pods.touch()
                    quiet = self._silence.suspicious
                elif seen is not None and await self._last.stalled():
                    self.again = True
                    return
                else:
                    self._silence.asked()
                    quiet = min(quiet * 2, _LONGEST_SILENT_S)
                asked = time.monotonic()
                continue
            if not chunk:
                self.closed = time.monotonic()
                return
            now = time.monotonic()
            self._silence.heard(now - heard, len(chunk))
            heard = now
            yield chunk
            quiet, asked = self._silence.suspicious if self.caught_up else _QUIET_S, time.monotonic()
            if not self.caught_up and reaches(chunk, begun):
                self.caught_up = True
                self._pods.touch()
            # The kubelet ends a stream after 4 h (WriteTimeout of its server); ours ends before, at no line in particular.
            if turn.over or (seen is not None and time.monotonic() - opened > _OLD_S):
                self.again = True
                return

    def _trace(self) -> None:
        """Tell of the first new line of a stream, and have its commit told of."""
        if (context := tracing.current_context()) is not None:
            tracing.record_span("cortex.log.first_line", time.monotonic() - self._begun, {}, context)
            self._context.channel.traced[self._sid] = context

    async def _deliver(self, resume: Resume, anchor: Anchor, data: bytes, mode: str) -> None:
        channel = self._context.channel
        if resume.apart:
            if mode != "replaced":
                await self._check_run()
            found = await bridge(
                self._context.files(self._source), resume.recorded, anchor.second, resume.apart, self._context.parser,
                resume.left,
            )  # fmt: skip
            resume.apart = []
            if found.missed:
                channel.note(notices.gap(self._source, self._sid, *found.missed, found.reason, found.hint))
            await channel.ready(self._sid, found.lines)
            self.new |= len(found.lines) > 0
        if data:
            if not self.new:
                self._trace()
            self.new, self.heard = True, time.monotonic()
            self.skipping |= bool(resume.recorded)
            self.size += len(data)
            await channel.lines(self._sid, data)
