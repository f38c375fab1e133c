"""Check whether the last recorded lines are the log's last lines, which the end of a stream does not prove."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from cortex_jupyter.cluster.logs import open_log
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.source.ending import EndCheck
from cortex_jupyter.recorder.text.lines import Lines, Splitter, is_removed, parse
from cortex_jupyter.recorder.text.resume import complete, ends_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.text.align import Line

#: At least this many of a container's last lines are compared with the recorded ones.
_PROBE: Final = 8
#: A follow that stays open for this long (seconds) belongs to a running container.
_LOOK_S: Final = 1.0
#: If the node says within this time (seconds) after the end of a stream that the log is gone, nothing was written in
#: between.
_SOON_S: Final = 0.5
#: Number of bytes that are read to find the first line of a log.
_HEAD_BYTES: Final = 64 << 10
#: A whole log is requested up to this often while the answer is cut short.
_ATTEMPTS: Final = 3


class EndComparison(NamedTuple):
    """How the end of a log compares with the recorded lines.

    Parameters
    ----------
    is_recorded : bool
        Whether the last lines of the log are recorded.
    unread_from : int
        When the first line that is not recorded was written (ns); 0 if no such line was seen.
    """

    is_recorded: bool
    unread_from: int = 0


class LastLines:
    """Compares the end of a source's log with the end of its recorded lines.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        The source's id.
    on_failure : callable
        Called with the reason why the last lines cannot be read: an error, or a text of the kubelet.

    Attributes
    ----------
    clock_set_back : bool
        Whether the newest lines are older than the anchor. A follow from the anchor would not get them.
    """

    def __init__(
        self, context: Context, source: Source, sid: int, on_failure: Callable[[Exception | str], None]
    ) -> None:
        self._context, self._source, self._sid, self._on_failure = context, source, sid, on_failure
        self.clock_set_back = False
        self._is_missing = False  # whether the last answer was that there is no such pod

    async def compare_end(self, *, previous: bool) -> EndComparison | None:
        """Compare the end of a finished container's log; None if the node does not answer.

        Exact after `flush`. A read is needed, since a break between node and API server looks like a clean end:
        `StreamObject` ignores the error (kubernetes staging/src/k8s.io/apiserver/.../writers.go).
        """
        recorded = await self._recorded()
        probe = await self._probe(previous=previous, tail=len(recorded))
        if probe is None:
            return None
        self._check_clock(probe)
        return _compare(recorded, probe)

    async def check_end(self) -> tuple[EndCheck, int]:
        """Check whether the container has ended, right after a follow has come to a clean end.

        Follows the last lines once more. A kubelet ends a follow at once if the container does not run, and holds it
        open if it does (`isContainerRunning` in staging/src/k8s.io/cri-client/pkg/logs/logs.go). Exact after `flush`.

        Returns
        -------
        EndCheck, int
            The second is `EndComparison.unread_from`.
        """
        recorded, started_at = await self._recorded(), time.monotonic()
        tail = max(len(recorded) + 1, _PROBE)
        request = open_log(
            self._context.cluster, self._context.namespace, self._source, follow=True, tail=tail, read_timeout=_LOOK_S
        )
        splitter, data, is_answered, is_open = Splitter(), b"", False, False
        try:
            async with asyncio.timeout(2 * _LOOK_S), request as content:
                is_answered = True
                while not is_open and (chunk := await content.readany()):
                    data += splitter.feed(chunk)
                    is_open = data.count(b"\n") > tail  # the container has written more
        except NotFound:
            return (EndCheck.GONE if time.monotonic() - started_at < _SOON_S else EndCheck.FAILED), 0
        except TimeoutError:
            if not is_answered:
                return EndCheck.FAILED, 0
            is_open = True
        except (ClusterError, NotAllowed, aiohttp.ClientError, OSError):
            return EndCheck.FAILED, 0
        is_soon = time.monotonic() - started_at < _SOON_S
        lines = await asyncio.to_thread(parse, data + (b"" if is_open else splitter.rest()))
        if lines.errors:
            return (EndCheck.REMOVED if is_soon and is_removed(lines.errors[-1]) else EndCheck.FAILED), 0
        if not lines.times and recorded and not is_open:
            return EndCheck.FAILED, 0
        is_recorded, unread_from = _compare(recorded, await self._rows(lines))
        return EndCheck.RUNNING if is_open or not is_recorded else EndCheck.OVER, unread_from

    async def is_previous_run(self, first: int = 0, started: int = 0) -> bool | None:
        """Return whether the node already serves this run as the one before the newest, whatever the API server says.

        The kubelet restarts a container before the API server knows that it has ended, and serves the newest run. It
        then serves this run as the previous one. None if the node has no log of a previous run.

        Parameters
        ----------
        first : int, optional
            When the first line of the newest run was written (ns); 0 if not known.
        started : int, optional
            When this run started (ns), if the run before it had certainly ended by then; else 0.

        Raises
        ------
        ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        """
        recorded = await self._recorded()
        if (rows := await self._previous_run(tail=len(recorded))) is None:
            return None
        if first and rows and rows[-1][0] >= first:
            # The newest run itself: its next start is backed off, or a virtual kubelet ignores `previous`.
            return False
        if not self._source.run:
            return True  # the first run has no previous one
        if not recorded and rows and started:
            return rows[-1][0] >= started
        return not set(recorded).isdisjoint(rows)

    async def has_been_replaced(self) -> bool:
        """Return whether the node serves another run, and this one, with all of its lines recorded, as the previous run.

        Exact after `flush`. The newest run is read first: a virtual kubelet that ignores `previous` then gives lines that
        are at least as new.
        """
        recorded = await self._recorded()
        newest = await self._probe(previous=False, tail=len(recorded))
        if not recorded or newest is None or not set(recorded).isdisjoint(newest):
            return False
        try:
            previous = await self._previous_run(tail=len(recorded))
        except (ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError):
            return False
        return previous is not None and complete(recorded, previous)

    async def has_stalled(self) -> bool:
        """Return whether the log has lines that the open stream does not bring, or its pod is gone.

        After a rotation a follow may stay on the old file (kubernetes#126564), and a dead connection looks idle.
        """
        channel = self._context.channel
        await channel.flush()
        recent_before = channel.recent(self._sid)
        recorded = await self._recorded()
        probe = await self._probe(previous=False, tail=len(recorded))
        if probe is None:
            return self._is_missing
        if complete(recorded, probe) or recent_before != channel.recent(self._sid):
            return False
        self._check_clock(probe)
        return True

    async def is_whole_line(self, rest: bytes, *, previous: bool) -> bool:
        """Return whether the end of a stream, without a newline, is a whole line or a text of the kubelet."""
        line = await asyncio.to_thread(parse, rest)
        if not line.times:
            return True
        probe = await self._probe(previous=previous)
        return bool(probe) and ends_with(await self._rows(line.part(-1)), probe or [])

    def _check_clock(self, probe: list[Line]) -> None:
        """Note whether the node's clock was set back.

        A follow drops every line before its `sinceTime`, also new ones.
        """
        self.clock_set_back = bool(probe) and probe[-1][0] < self._context.channel.anchor(self._sid).second

    async def _recorded(self) -> list[Line]:
        """Return the last recorded lines, enough of them to identify their place. Exact after `flush`.

        With a coarse clock many lines have the same time and may have the same text. Then all lines of that time are
        returned, and one before them.
        """
        channel = self._context.channel
        recent = channel.recent(self._sid)
        if not recent or recent[0][0] != recent[-1][0]:
            return recent
        lines = await self._context.recorded_lines(self._sid, channel.anchor(self._sid))
        earlier = (i for i in range(len(lines) - 1, -1, -1) if lines[i][0] != recent[-1][0])
        return lines[next(earlier, 0) :] or recent

    async def _previous_run(self, *, tail: int) -> list[Line] | None:
        """Return the last lines of the run before the newest; None if there is none, or if the node has removed it.

        Raises
        ------
        ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        """
        request = open_log(
            self._context.cluster,
            self._context.namespace,
            self._source,
            follow=False,
            previous=True,
            tail=max(tail + 1, _PROBE),
            read_timeout=30,
        )
        try:
            async with request as content:
                splitter = Splitter()
                data = splitter.feed(await content.read())
        except NotFound:
            return None
        lines = await asyncio.to_thread(parse, data + splitter.rest())
        return None if lines.errors and not lines.times else await self._rows(lines)

    async def whole_log(self, *, previous: bool) -> Lines | None:
        """Return all lines of the open file of a finished container; None if they cannot be read.

        An answer that was cut short, most likely within a line, looks like a whole one. Only a whole one ends with the
        log's last line.
        """
        for _ in range(_ATTEMPTS):
            lines = await self._read(previous=previous, tail=None)
            probe = None if lines is None else await self._probe(previous=previous)
            if lines is None or probe is None:
                return None
            if ends_with(await self._rows(lines.part(-1)), probe):
                return lines
        return None

    async def first_line(self) -> Lines:
        """Return the first line of the open file; no line if it cannot be read."""
        request = open_log(
            self._context.cluster,
            self._context.namespace,
            self._source,
            follow=False,
            limit_bytes=_HEAD_BYTES,
            read_timeout=30,
        )
        try:
            async with request as content:
                data, newline, _ = (await content.read()).partition(b"\n")
        except (ClusterError, NotFound, NotAllowed, aiohttp.ClientError, TimeoutError, OSError):
            return Lines()
        return parse(data + newline) if newline else Lines()

    async def _probe(self, *, previous: bool, tail: int = 0) -> list[Line] | None:
        """Return the container's last lines; None if they cannot be read."""
        # Request one more line than is compared: the first may be a part of a line.
        lines = await self._read(previous=previous, tail=max(tail + 1, _PROBE))
        return None if lines is None else await self._rows(lines)

    async def _rows(self, lines: Lines) -> list[Line]:
        """Return lines in the form of recorded ones."""
        return await asyncio.to_thread(lambda: self._context.masking.rows(lines.rows()))

    async def _read(self, *, previous: bool, tail: int | None) -> Lines | None:
        request = open_log(
            self._context.cluster,
            self._context.namespace,
            self._source,
            follow=False,
            previous=previous,
            tail=tail,
            read_timeout=30,
        )
        try:
            async with request as content:
                splitter = Splitter()  # splits long lines as the stream does
                data = splitter.feed(await content.read())
                lines = await asyncio.to_thread(parse, data + splitter.rest())
        except (ClusterError, NotFound, NotAllowed, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._is_missing = isinstance(error, NotFound)
            self._on_failure(error)
            return None
        self._is_missing = False
        if lines.errors and not lines.times:
            self._on_failure(lines.errors[0])  # "unable to retrieve container logs for containerd://..."
            return None
        return lines


def _compare(recorded: list[Line], last: list[Line]) -> EndComparison:
    """Compare the last lines of a log with the last recorded ones."""
    if complete(recorded, last):
        return EndComparison(is_recorded=True)
    if not last:
        return EndComparison(is_recorded=False)
    recorded_lines = set(recorded)
    unread = max((i + 1 for i, line in enumerate(last) if line in recorded_lines), default=0)
    return EndComparison(is_recorded=False, unread_from=last[min(unread, len(last) - 1)][0])
