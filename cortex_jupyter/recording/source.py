"""Read one run of one container from its anchor to its end, losing nothing and doubling nothing.

The rule is DESIGN section 5: resume at a whole second, align by content; after any end of the stream ask for the
container's state, since a clean end proves nothing; a container that has ended is read once more unless its last
lines are seen to be recorded; what cannot be had is said in a gap notice.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp

from cortex_jupyter.cluster.logs import open_log
from cortex_jupyter.cluster.rotated import RotatedFiles
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recording.batch import Note
from cortex_jupyter.recording.bridge import bridge
from cortex_jupyter.recording.lines import Splitter, parse, reaches
from cortex_jupyter.recording.resume import Resume, complete, ends_with, recorded_lines
from cortex_jupyter.recording.store import Anchor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.recording.align import Line
    from cortex_jupyter.recording.pods import Pods
    from cortex_jupyter.recording.store import Lease, Store
    from cortex_jupyter.recording.writer import Channel
    from cortex_jupyter.records import Source

#: A stream that is silent for this long, seconds, has delivered what there was.
_QUIET_S: Final = 0.25
#: A running container whose stream is silent for this long is asked for its last line; then ever more rarely.
_SILENT_S, _LONGEST_SILENT_S = 2.0, 90.0
#: A stream is opened anew after this long, seconds.
_OLD_S: Final = 3.75 * 3600
#: How many of a container's last lines are compared before its end is believed.
_PROBE: Final = 8
#: How often a container that has ended is read without anything new before its last lines are given up: with the
#: waits between, for about six seconds.
_LAST_READS: Final = 6
#: A container that has ended, on a node that does not answer for this long, is given up, seconds.
_NODE_LOST_S: Final = 600.0
#: A container's state follows the end of its stream by up to about this, seconds.
_STATE_LAG_S: Final = 1.0
#: Waits between attempts, seconds.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0


class SourceReader:
    """Records one source.

    Parameters
    ----------
    cluster : Cluster
    store : Store
    lease : Lease
    channel : Channel
        Knows the source by `sid`.
    pods : Pods
    namespace : str
    sid : int
    source : Source

    Attributes
    ----------
    caught_up : bool
        What had been written before it began has been read.
    size : int
        Bytes of new lines so far.
    failure : str
        Why the last attempt brought nothing, empty where it did.
    """

    def __init__(
        self, cluster: Cluster, store: Store, lease: Lease, channel: Channel, pods: Pods, namespace: str, sid: int,
        source: Source,
    ) -> None:  # fmt: skip
        self._cluster, self._store, self._lease, self._channel = cluster, store, lease, channel
        self._pods, self._namespace, self._sid, self._source = pods, namespace, sid, source
        self._wait = _FIRST_WAIT_S
        self._clean = False  # the last stream ended as if all were well
        self._new = False  # it brought new lines
        self._set_back = False  # the newest lines are older than the anchor: the node would drop them
        self._again = False  # we ended it, to open another at once
        self._reached = 0.0  # when the node last answered, monotonic
        self.caught_up = False
        self.size = 0
        self.failure = ""

    async def run(self) -> None:
        """Read to the end of the run.

        Raises
        ------
        StoreError
            Nothing can be recorded; LeaseLost among them.
        """
        last_reads = 0
        self._reached = time.monotonic()
        while True:
            mode = await self._mode()
            match mode:
                case "unknown":
                    await self._pause(mode)
                    continue
                case "gone":
                    return await self._vanished()
                case "passed":
                    return self._lost("its container was started more than once before its log could be read")
                case "ended" | "replaced":
                    if self._clean and await self._verified(previous=mode == "replaced"):
                        return self._end()
                    if last_reads >= _LAST_READS:
                        return await self._unverified()
            self._new = False
            answered, lost = await self._attempt(mode)
            if lost:
                return self._lost(lost)
            await self._channel.flush()
            # An outage is no evidence about the log.
            last_reads = 0 if self._new else last_reads + (answered and mode != "follow")
            if (mode == "follow" or not self._clean or last_reads > 1) and not self._again:
                await self._pause(mode)

    async def _attempt(self, mode: str) -> tuple[bool, str]:
        """Read once; tell whether the node answered, and why the log is lost where it is."""
        try:
            self._clean = await self._read(mode)
        except NotFound as error:
            self._failed(error)
            # The pod exists, or the mode were `gone`: the node has forgotten this run.
            return True, "" if mode == "follow" else f"the node no longer has it: {error.message}"
        except (ClusterError, NotAllowed, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(error)
            lost = mode != "follow" and time.monotonic() - self._reached > _NODE_LOST_S
            why = f"the node did not answer for {_NODE_LOST_S / 60:g} minutes: {self.failure}"
            return False, why if lost else ""
        self.failure = ""
        self._reached = time.monotonic()
        return True, ""

    async def first_lines(self) -> None:
        """Wait until what the open file holds has been read."""
        while not self.caught_up:
            await self._pods.change(1)

    async def _mode(self) -> str:
        """Say what to read.

        Returns
        -------
        str
            `follow`, `ended` (this run), `replaced` (by the next run), `passed` (by more than one: the node keeps one),
            `gone` (with its pod), or `unknown` while the cluster does not say and never has.
        """
        path = f"/api/v1/namespaces/{quote(self._namespace)}/pods/{quote(self._source.pod)}"
        try:
            pod = await self._cluster.json(path)
        except NotFound:
            return "gone"
        except (ClusterError, NotAllowed) as error:
            if self._pods.last_known(self._source) is None:
                self._failed(error)
                return "unknown"
            pod = None  # what the watch last saw has to do
        if pod is not None:
            if pod["metadata"]["uid"] != self._source.pod_uid:
                return "gone"
            self._pods.put(pod)
        return self._seen()

    def _seen(self) -> str:
        """Give the mode by what the watch last saw."""
        now = self._pods.container(self._source)
        if now is None:
            return "gone"
        if now.source is None or now.source.container_id != self._source.container_id:
            before = now.previous[0].container_id if now.previous else self._source.container_id
            return "replaced" if before == self._source.container_id else "passed"
        return "ended" if now.end else "follow"

    async def _read(self, mode: str) -> bool:
        """Read one stream; True when it came to a clean end."""
        anchor = self._channel.anchor(self._sid)
        if self._set_back:
            anchor = Anchor(last=anchor.last)  # all of the file, against all that is recorded of it
        recorded = await asyncio.to_thread(recorded_lines, self._store, self._lease.recording, self._sid, anchor)
        self._channel.recall(self._sid, recorded)
        resume = Resume(recorded)
        splitter = Splitter()
        request = open_log(
            self._cluster, self._namespace, self._source, follow=mode == "follow", previous=mode == "replaced",
            since=anchor.second or None,
        )  # fmt: skip
        async with request as content:
            # The node answers for whichever run is newest, so it must still be this one now that the stream is open.
            if await self._mode() != mode:
                return False
            self._wait = min(self._wait, _STATE_LAG_S)  # the node answers again
            async for chunk in self._chunks(content, watched=mode == "follow"):
                if piece := splitter.feed(chunk):
                    await self._deliver(resume, anchor, await resume.feed(piece))
        rest = splitter.rest()
        if mode != "follow":
            # A last line without newline is a line, but only if it is the whole line.
            if rest and await self._whole(rest, previous=mode == "replaced"):
                await self._deliver(resume, anchor, await resume.feed(rest + b"\n"))
            await self._deliver(resume, anchor, resume.end())
        return not self._again

    async def _chunks(self, content: aiohttp.StreamReader, *, watched: bool) -> AsyncIterator[bytes]:
        """Give what arrives; end a stream that has stalled or grown old, with `_again` set."""
        self._again = False
        opened, quiet = time.monotonic(), _QUIET_S if not self.caught_up else _SILENT_S
        begun = time.time_ns()
        while True:
            try:
                async with asyncio.timeout(quiet):
                    chunk = await content.readany()
            except TimeoutError:
                caught, self.caught_up = self.caught_up, True
                if not caught:
                    self._pods.touch()
                    quiet = _SILENT_S
                elif watched and await self._stalled():
                    self._again = True
                    return
                else:
                    quiet = min(quiet * 2, _LONGEST_SILENT_S)
                continue
            if not chunk:
                return
            yield chunk
            quiet = _SILENT_S if self.caught_up else _QUIET_S
            if not self.caught_up and reaches(chunk, begun):
                self.caught_up = True
                self._pods.touch()
            # The kubelet ends a stream after 4 h (WriteTimeout of its server); ours ends before, at no line in particular.
            if watched and time.monotonic() - opened > _OLD_S:
                self._again = True
                return

    async def _stalled(self) -> bool:
        """Tell whether there are lines that the open stream does not bring.

        After a rotation a follow may stay on the old file (kubernetes#126564), and a dead connection looks idle.
        """
        await self._channel.flush()
        recent = self._channel.recent(self._sid)
        before = await self._last_recorded()
        probe = await self._probe(previous=False, tail=len(before))
        if probe is None or complete(before, probe) or recent != self._channel.recent(self._sid):
            return False
        self._clock(probe)
        return True

    def _clock(self, probe: list[Line]) -> None:
        """Notice that the node's clock was set back: a follow drops every line before its `sinceTime`, new or not."""
        self._set_back = bool(probe) and probe[-1][0] < self._channel.anchor(self._sid).second

    async def _deliver(self, resume: Resume, anchor: Anchor, data: bytes) -> None:
        if resume.apart:
            found = await bridge(self._files(), resume.recorded, anchor.second, resume.apart)
            resume.apart = []
            if found.missed:
                self._gap(*found.missed, found.reason, found.hint)
            await self._channel.ready(self._sid, found.lines)
            self._new |= len(found.lines) > 0
        if data:
            self._new, self._wait = True, _FIRST_WAIT_S
            self.size += len(data)
            await self._channel.lines(self._sid, data)

    async def _verified(self, *, previous: bool) -> bool:
        """Compare the container's last lines with the last recorded ones.

        A break between node and API server looks like a clean end from here
        (`StreamObject` ignores the error: kubernetes staging/src/k8s.io/apiserver/.../writers.go).
        """
        before = await self._last_recorded()
        probe = await self._probe(previous=previous, tail=len(before))
        if probe is None:
            return False
        self._clock(probe)
        return complete(before, probe)

    async def _last_recorded(self) -> list[Line]:
        """Give the last recorded lines, enough of them to know their place by; exact after `flush`.

        Where a clock is coarse many lines have one time, and may say the same: then all of those, and one before.
        """
        recent = self._channel.recent(self._sid)
        if not recent or recent[0][0] != recent[-1][0]:
            return recent
        anchor = self._channel.anchor(self._sid)
        lines = await asyncio.to_thread(recorded_lines, self._store, self._lease.recording, self._sid, anchor)
        other = (i for i in range(len(lines) - 1, -1, -1) if lines[i][0] != recent[-1][0])
        return lines[next(other, 0) :] or recent

    async def _whole(self, rest: bytes, *, previous: bool) -> bool:
        """Tell whether the end of a stream is the end of the log, or a text of the kubelet."""
        line = parse(rest)
        if not line.times:
            return True
        probe = await self._probe(previous=previous)
        return bool(probe) and ends_with([(line.times[-1], line.texts[-1])], probe or [])

    async def _probe(self, *, previous: bool, tail: int = 0) -> list[Line] | None:
        """Give the container's last lines, None where they cannot be had."""
        # One more than are compared: the first may be a part of a line.
        request = open_log(
            self._cluster, self._namespace, self._source, follow=False, previous=previous, tail=max(tail + 1, _PROBE),
            read_timeout=30,
        )  # fmt: skip
        try:
            async with request as content:
                splitter = Splitter()  # cuts as the reading did
                data = splitter.feed(await content.read())
                probe = parse(data + splitter.rest())
        except (ClusterError, NotFound, NotAllowed, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(error)
            return None
        if probe.errors and not probe.times:
            self.failure = probe.errors[0]  # "unable to retrieve container logs for containerd://..."
            return None
        return probe.rows()

    def _failed(self, error: Exception) -> None:
        self._clean = self._again = False
        self.failure = str(error).partition("\n")[0] or type(error).__name__
        self._pods.touch()

    async def _pause(self, mode: str) -> None:
        """Wait before the next attempt, but no longer than until its state is another or the API server is back."""
        # After a clean end the container has most likely ended, and its state follows within a second.
        wait = max(self._wait, _STATE_LAG_S) if self._clean and mode == "follow" else self._wait
        until = time.monotonic() + wait * random.uniform(0.8, 1.2)  # noqa: S311
        lists = self._pods.lists
        while (left := until - time.monotonic()) > 0 and (
            mode == "unknown" or (self._seen() == mode and self._pods.lists == lists)
        ):
            await self._pods.change(left)
        self._wait = min(self._wait * 2, _LONGEST_WAIT_S)

    async def _vanished(self) -> None:
        """End with the pod: complete only if its end was seen before."""
        await self._channel.flush()
        known = self._pods.last_known(self._source)
        if (
            self._clean
            and known
            and known.source
            and known.source.container_id == self._source.container_id
            and known.end
        ):
            return self._end()
        self._lost("its pod was deleted before the end of its log could be read")
        return None

    async def _unverified(self) -> None:
        """End where the log's last lines are not the recorded ones: after a rotation they may be in an older file."""
        anchor = self._channel.anchor(self._sid)
        recorded = await asyncio.to_thread(recorded_lines, self._store, self._lease.recording, self._sid, anchor)
        if not self.failure and recorded:
            found = await bridge(self._files(), recorded, anchor.second, [])
            await self._channel.ready(self._sid, found.lines)
            if not found.missed:
                return self._end()
        return self._lost(f"its last lines could not be read: {self.failure or 'the node gives other ones'}")

    def _files(self) -> RotatedFiles:
        return RotatedFiles(self._cluster, self._namespace, self._source)

    def _lost(self, reason: str) -> None:
        now = time.time_ns()
        self._gap(self._channel.anchor(self._sid).last or now, now, reason)
        self._end()

    def _gap(self, since: int, until: int, reason: str, hint: str = "") -> None:
        fields = {"from": str(since), "to": str(until), "reason": reason, "lines": None, "hint": hint or None}
        message = f"{self._source.pod} · {self._source.container}: lines are missing: {reason}"
        self._channel.note(Note("gap", message, sid=self._sid, fields=fields))

    def _end(self) -> None:
        self.caught_up = True
        end = self._how_it_ended()
        how = f"exit {end.exit_code}, {end.reason}" if end else "its pod was deleted"
        note = Note(
            "status", f"{self._source.pod} · {self._source.container} ended: {how}", end.finished if end else 0,
            self._sid, ended=True, fields={"notice": "ended"},
        )  # fmt: skip
        if end:
            note.fields |= {"exit_code": end.exit_code, "reason": end.reason}
        self._channel.note(note)

    def _how_it_ended(self) -> End | None:
        known = self._pods.last_known(self._source)
        if known is None:
            return None
        if known.source and known.source.container_id == self._source.container_id:
            return known.end
        if known.previous and known.previous[0].container_id == self._source.container_id:
            return known.previous[1]
        return None
