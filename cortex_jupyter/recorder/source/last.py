"""Whether the last recorded lines are the last ones there are: what the end of a stream does not prove."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import aiohttp

from cortex_jupyter.cluster.logs import open_log
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.source.ending import Look
from cortex_jupyter.recorder.text.lines import Splitter, is_removed
from cortex_jupyter.recorder.text.resume import complete, ends_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.text.lines import Lines

#: How many of a container's last lines are compared before its end is believed.
_PROBE: Final = 8
#: A follow that is open for this long, seconds, is one of a container that runs.
_LOOK_S: Final = 1.0
#: That a log is gone, said within this long after its stream ended, seconds, means that nothing was written between.
_SOON_S: Final = 0.5
#: How often a whole log is asked for, where the answer is not whole.
_ATTEMPTS: Final = 3


class LastLines:
    """Compares the end of a source's log with the end of what is recorded of it.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        Its id.
    failed : callable
        Told why the log's last lines cannot be had: an error, or the text of the kubelet.

    Attributes
    ----------
    set_back : bool
        The newest lines are older than the anchor: the node would not send them again.
    """

    def __init__(self, context: Context, source: Source, sid: int, failed: Callable[[Exception | str], None]) -> None:
        self._context, self._source, self._sid, self._failed = context, source, sid, failed
        self.set_back = False
        self._missing = False  # the last answer was that there is no such pod

    async def verified(self, *, previous: bool) -> bool | None:
        """Tell whether all lines of a container that has ended are recorded, None where nobody answers.

        Exact after `flush`.

        A break between node and API server looks like a clean end from here
        (`StreamObject` ignores the error: kubernetes staging/src/k8s.io/apiserver/.../writers.go).
        """
        before = await self._recorded()
        probe = await self._probe(previous=previous, tail=len(before))
        if probe is None:
            return None
        self._clock(probe)
        return complete(before, probe)

    async def look(self) -> Look:  # noqa: PLR0911 - a case each
        """Look whether the container has ended, right after a follow has come to a clean end.

        The last lines are followed once more. A kubelet ends a follow at once where the container does not run, and holds it open where it does
        (`isContainerRunning` in staging/src/k8s.io/cri-client/pkg/logs/logs.go). Exact after `flush`.
        """
        before, begun = await self._recorded(), time.monotonic()
        tail = max(len(before) + 1, _PROBE)
        request = open_log(
            self._context.cluster, self._context.namespace, self._source, follow=True, tail=tail, read_timeout=_LOOK_S
        )
        splitter, data, opened = Splitter(), b"", False
        try:
            async with asyncio.timeout(2 * _LOOK_S), request as content:
                opened = True
                while chunk := await content.readany():
                    data += splitter.feed(chunk)
                    if data.count(b"\n") > tail:
                        return Look.RUNNING  # it has written more
        except NotFound:
            return Look.GONE if time.monotonic() - begun < _SOON_S else Look.FAILED
        except TimeoutError:
            return Look.RUNNING if opened else Look.FAILED
        except (ClusterError, NotAllowed, aiohttp.ClientError, OSError):
            return Look.FAILED
        lines = await asyncio.to_thread(self._context.parser.lines, data + splitter.rest())
        if lines.errors:
            soon = time.monotonic() - begun < _SOON_S
            return Look.REMOVED if soon and is_removed(lines.errors[-1]) else Look.FAILED
        if not lines.times and before:
            return Look.FAILED
        return Look.OVER if complete(before, lines.rows()) else Look.RUNNING

    async def is_previous(self, first: int = 0, started: int = 0) -> bool:
        """Tell whether the node takes this run for the one before the newest, whatever the API server says yet.

        The kubelet starts a container again before the API server knows that it has ended, and answers for the newest run. As
        the previous one it then gives this run.

        Parameters
        ----------
        first : int, optional
            When the first line of the newest run was written, in ns; 0 where it is not known.
        started : int, optional
            When this run started, in ns, where the run before it had certainly ended by then; else 0.

        Raises
        ------
        ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError
        """
        before = await self._recorded()
        request = open_log(
            self._context.cluster, self._context.namespace, self._source, follow=False, previous=True,
            tail=max(len(before) + 1, _PROBE), read_timeout=30,
        )  # fmt: skip
        try:
            async with request as content:
                splitter = Splitter()
                data = splitter.feed(await content.read())
                lines = await asyncio.to_thread(self._context.parser.lines, data + splitter.rest())
        except NotFound:
            return False
        rows = lines.rows()
        if first and rows and rows[-1][0] >= first:
            return False  # the newest run itself: its next start is backed off, or a virtual kubelet ignores `previous`
        if not self._source.run:
            return True  # before a first run there is none
        if not before and rows and started:
            return rows[-1][0] >= started
        return not set(before).isdisjoint(rows)

    async def stalled(self) -> bool:
        """Tell whether there are lines that the open stream does not bring, or its pod is gone.

        After a rotation a follow may stay on the old file (kubernetes#126564), and a dead connection looks idle.
        """
        channel = self._context.channel
        await channel.flush()
        recent = channel.recent(self._sid)
        before = await self._recorded()
        probe = await self._probe(previous=False, tail=len(before))
        if probe is None:
            return self._missing
        if complete(before, probe) or recent != channel.recent(self._sid):
            return False
        self._clock(probe)
        return True

    async def whole(self, rest: bytes, *, previous: bool) -> bool:
        """Tell whether the end of a stream is the end of the log, or a text of the kubelet."""
        line = await asyncio.to_thread(self._context.parser.lines, rest)
        if not line.times:
            return True
        probe = await self._probe(previous=previous)
        return bool(probe) and ends_with([(line.times[-1], line.texts[-1])], probe or [])

    def _clock(self, probe: list[Line]) -> None:
        """Notice that the node's clock was set back: a follow drops every line before its `sinceTime`, new or not."""
        self.set_back = bool(probe) and probe[-1][0] < self._context.channel.anchor(self._sid).second

    async def _recorded(self) -> list[Line]:
        """Give the last recorded lines, enough of them to know their place by; exact after `flush`.

        Where a clock is coarse many lines have one time, and may say the same: then all of those, and one before.
        """
        channel = self._context.channel
        recent = channel.recent(self._sid)
        if not recent or recent[0][0] != recent[-1][0]:
            return recent
        lines = await self._context.recorded(self._sid, channel.anchor(self._sid))
        other = (i for i in range(len(lines) - 1, -1, -1) if lines[i][0] != recent[-1][0])
        return lines[next(other, 0) :] or recent

    async def log(self, *, previous: bool) -> Lines | None:
        """Give all lines of the open file of a container that has ended, None where they cannot be had.

        An answer that was broken off, most likely in the middle of a line, looks like a whole one. A whole one ends with
        the log's last line.
        """
        for _ in range(_ATTEMPTS):
            found = await self._read(previous=previous, tail=None)
            probe = None if found is None else await self._probe(previous=previous)
            if found is None or probe is None:
                return None
            if ends_with(found.rows()[-1:], probe):
                return found
        return None

    async def _probe(self, *, previous: bool, tail: int = 0) -> list[Line] | None:
        """Give the container's last lines, None where they cannot be had."""
        # One more than are compared: the first may be a part of a line.
        found = await self._read(previous=previous, tail=max(tail + 1, _PROBE))
        return None if found is None else found.rows()

    async def _read(self, *, previous: bool, tail: int | None) -> Lines | None:
        request = open_log(
            self._context.cluster, self._context.namespace, self._source, follow=False, previous=previous,
            tail=tail, read_timeout=30,
        )  # fmt: skip
        try:
            async with request as content:
                splitter = Splitter()  # cuts as the reading did
                data = splitter.feed(await content.read())
                probe = await asyncio.to_thread(self._context.parser.lines, data + splitter.rest())
        except (ClusterError, NotFound, NotAllowed, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._missing = isinstance(error, NotFound)
            self._failed(error)
            return None
        self._missing = False
        if probe.errors and not probe.times:
            self._failed(probe.errors[0])  # "unable to retrieve container logs for containerd://..."
            return None
        return probe
