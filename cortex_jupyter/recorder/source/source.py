"""Read one run of one container from its anchor to its end, losing nothing and doubling nothing.

The rule is DESIGN section 5: resume at a whole second, align by content; after any end of the stream ask for the
container's state, since a clean end proves nothing; a container that has ended is read once more unless its last
lines are seen to be recorded; what cannot be had is said in a gap notice.
"""

from __future__ import annotations

import logging
import math
import random
import time
from typing import TYPE_CHECKING, Final

import aiohttp

from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import bridge
from cortex_jupyter.recorder.source.ending import Evidence, Look, Verdict
from cortex_jupyter.recorder.source.last import LastLines
from cortex_jupyter.recorder.source.stream import AnotherRunError, Stream
from cortex_jupyter.recorder.text.lines import Lines, is_removed
from cortex_jupyter.store.ids import time_of
from cortex_jupyter.telemetry import logs, recorder_metrics, tracing

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.watching.pods import Pods

_log = logging.getLogger(__name__)

#: How often a container that has ended is read without anything new before its last lines are given up: with the
#: waits between, for about six seconds.
_LAST_READS: Final = 6
#: A container that has ended, on a node that does not answer for this long, is given up, seconds.
_NODE_LOST_S: Final = 600.0
#: A container's state follows the end of its stream by up to about this, seconds.
_STATE_LAG_S: Final = 1.0
#: Waits between attempts, seconds.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
#: A log that was being read, and cannot be for this long, in seconds, is one that readers are told of. A shorter break is
#: mended by the next attempt, and they would only be alarmed.
_INTERRUPTED_S: Final = 10.0
_NS: Final = 1_000_000_000


class SourceReader:
    """Records one source.

    Parameters
    ----------
    context : Context
    pods : Pods
    source : Source
    sid : int
        Its id, which the channel knows.

    Attributes
    ----------
    failure : str
        Why the last attempt brought nothing, empty where it did.
    refusal : NotAllowed or None
        The same where the cluster does not let us read it.
    """

    def __init__(self, context: Context, pods: Pods, source: Source, sid: int) -> None:
        self._context, self._channel, self._pods = context, context.channel, pods
        self._source, self._sid = source, sid
        self._last = LastLines(context, source, sid, self._failed)
        self._stream = Stream(context, source, sid, self._last, pods)
        self._wait = _FIRST_WAIT_S
        self._clean = False  # the last stream ended as if all were well
        self._evidence = Evidence()
        # How far the node's clock is ahead of our monotonic one at least, ns, and by the last line; 0 where not known.
        self._clock = self._line_clock = 0
        self._end_seen: End | None = None
        self._marked = False
        self._why = ""  # the last read failed
        self._reached = 0.0  # when the node last answered, monotonic
        self._failing = 0.0  # where the last attempt failed: since when nothing has come, monotonic
        self._attempts = 0
        self._size = 0.0  # what `size` is in place of the stream's
        self.failure = ""
        self.refusal: NotAllowed | None = None

    @property
    def caught_up(self) -> bool:
        """Whether what had been written before it began has been read."""
        return self._stream.caught_up

    @property
    def size(self) -> float:
        """Bytes of new lines so far; infinite where they are not known."""
        return self._size or self._stream.size

    @property
    def complaint(self) -> str:
        """What readers are told where it cannot be read at present, else empty."""
        if not self.failure:
            return ""
        if not self.caught_up:
            return f"Log not available yet: {self.failure}"
        return f"Log interrupted: {self.failure}" if time.monotonic() - self._failing > _INTERRUPTED_S else ""

    def has_ended(self) -> None:
        """Take it that a recorder before us has read to the end; how, is not known."""
        self._stream.caught_up = self._stream.skipping = True
        self._size = math.inf

    async def skipped(self) -> Lines | None:
        """Give what its streams may have passed over: all lines of a log that has ended, where one began at a time.

        None where they may have, and it cannot be had.

        `sinceTime` has the node drop every line that says it is older, also a new one, written while a clock was set
        back; once the clock is right again, nothing at the log's end shows it.
        """
        if not self._stream.skipping or (mode := await self._mode()) not in ("ended", "replaced"):
            return Lines()
        found = await self._last.log(previous=mode == "replaced")
        # The node answers for whichever run is newest.
        return found if await self._mode() == mode else None

    async def run(self) -> None:
        """Read to the end of the run.

        Raises
        ------
        StoreError
            Nothing can be recorded; LeaseLost among them.
        """
        with (
            recorder_metrics.SOURCES.track_inprogress(),
            logs.about(source=f"{self._source.pod}/{self._source.container}"),
        ):
            await self._run()

    async def _run(self) -> None:
        last_reads = 0
        self._reached = time.monotonic()
        container = self._pods.container(self._source)
        if at := max(container.started if container else 0, self._channel.anchor(self._sid).last):
            self._clock = at - int(self._reached * _NS)
        while True:
            mode = await self._mode()
            match mode:
                case "unknown":
                    await self._pause(mode)
                    continue
                case "reset":
                    return await self._give_up("the node no longer knows its container")
                case "gone":
                    return await self._give_up("its pod was deleted before the end of its log could be read")
                case "passed":
                    return await self._give_up(
                        "its container was started again before the end of its log could be read"
                    )
                case "ended" | "replaced":
                    verified = await self._last.verified(previous=mode == "replaced") if self._clean else None
                    if verified:
                        return self._end()
                    if verified is not None:
                        self._evidence = Evidence()  # there are other lines
                    if last_reads >= _LAST_READS:
                        return await self._unverified()
            answered, lost = await self._attempt(mode)
            if lost:
                gone = await self._mode() == "gone"
                return await self._give_up(
                    "its pod was deleted before the end of its log could be read" if gone else lost
                )
            await self._channel.flush()
            await self._weigh(mode)
            # An outage is no evidence about the log.
            last_reads = 0 if self._stream.new else last_reads + (answered and mode != "follow")
            if (mode == "follow" or not self._clean or last_reads > 1) and not self._stream.again:
                await self._pause(mode)

    async def _weigh(self, mode: str) -> None:
        """Keep what the last stream shows about the end of the log (`ending`)."""
        stream = self._stream
        last = self._channel.anchor(self._sid).last
        if stream.new:
            # A line is written before it comes: the clock of its node is at least that far ahead.
            self._line_clock = last - int(stream.heard * _NS)
            self._clock = max(self._clock or self._line_clock, self._line_clock)
            self._evidence = Evidence()
        if stream.whole and (stream.removed or (self._clean and mode != "follow")):
            self._evidence.proven = True
        if not self._clean or stream.again or mode != "follow":
            return
        now = time.monotonic()
        look = await self._last.look()
        if look is Look.RUNNING:
            self._evidence = Evidence()
            # Something on the way has ended it. Each moment without a stream is one in which the pod may go.
            stream.again = stream.new
            return
        self._evidence.look = look
        self._evidence.about = int((time.time() - (now - stream.closed) + self._context.cluster.clock.offset) * _NS)
        if self._line_clock:
            self._evidence.open_until = self._line_clock + int(stream.closed * _NS)
        if self._clock:
            self._evidence.looked_at = self._clock + int(now * _NS)

    async def _attempt(self, mode: str) -> tuple[bool, str]:
        """Read once; tell whether the node answered, and why the log is lost where it is."""
        if self._attempts and mode == "follow":
            recorder_metrics.RECONNECTS.inc()
        self._attempts += 1
        begun = time.monotonic()
        try:
            with tracing.span("cortex.source.read", self._described(mode)) as span:
                self._clean = await self._stream.read(mode, self._mode, self._seen)
                span.set({"cortex.read.clean_end": self._clean, "cortex.read.new_lines": self._stream.new})
        except AnotherRunError:
            _log.debug("the node has a newer run of it than the API server")
            self._clean = False
            return True, ""
        except NotFound as error:
            self._failed(error)
            # Where the pod exists, the node has forgotten this run.
            return True, "" if mode == "follow" else f"the node no longer has it: {error.message}"
        except NotAllowed as error:
            self._failed(error)
            self.refusal = error
            return False, ""  # the node still has it, for somebody who may read it
        except (ClusterError, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(error)
            if isinstance(error, ClusterError) and is_removed(error.message):
                # The kubelet says so too of a runtime that restarts: where lines may be missing, it is asked again.
                over = mode != "follow" and self._evidence.judge(self._how_it_ended()) is not Verdict.GAP
                return True, f"the node no longer has it: {error.message}" if over else ""
            lost = mode != "follow" and time.monotonic() - self._reached > _NODE_LOST_S
            why = f"the node did not answer for {_NODE_LOST_S / 60:g} minutes: {self.failure}"
            return False, why if lost else ""
        finally:
            if self._stream.new:
                self._wait, self._failing = _FIRST_WAIT_S, time.monotonic()
            elif self._stream.opened:
                self._wait = min(self._wait, _STATE_LAG_S)  # the node answers again
        self.failure = self._why = ""
        self.refusal = None
        self._reached = time.monotonic()
        _log.debug("its log was read (%s)", mode, extra={"seconds": self._reached - begun})
        return True, ""

    def _described(self, mode: str) -> dict[str, str | int]:
        source = self._source
        return {
            "k8s.namespace.name": self._context.namespace, "k8s.pod.name": source.pod, "k8s.pod.uid": source.pod_uid,
            "k8s.container.name": source.container, "k8s.container.restart_count": source.run,
            "k8s.node.name": source.node, "cortex.task": self._channel.task, "cortex.read.mode": mode,
            "cortex.read.attempt": self._attempts,
        }  # fmt: skip

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
            `gone` (with its pod), `reset` (with its status: the node knows no container any more), or `unknown` while the cluster does not say and never has.
        """
        path = f"/api/v1/namespaces/{segment(self._context.namespace)}/pods/{segment(self._source.pod)}"
        try:
            pod = await self._context.cluster.json(path)
        except NotFound:
            self._pods.missing(self._source.pod_uid)
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
        if now.source is None:
            return "reset"
        if now.source.container_id != self._source.container_id:
            # Of the runs that have ended the node answers only for the last: while the next start is backed off, that is
            # the newest run itself.
            before = now.previous[0].container_id if now.previous else ""
            return "replaced" if before == self._source.container_id else "passed"
        self._end_seen = now.end or self._end_seen
        return "ended" if now.end else "follow"

    def _failed(self, error: Exception | str) -> None:
        self._clean = self._stream.again = False
        self.refusal = None
        self._why = str(error).partition("\n")[0] or type(error).__name__
        if not self.failure:
            self._failing = time.monotonic()
        self.failure = "" if is_removed(self._why) else self._why  # that is no failure that passes
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

    async def _give_up(self, reason: str) -> None:
        """End a log that can be read no more; whether lines may be missing is judged by what was seen of its end."""
        await self._channel.flush()
        match self._evidence.judge(self._how_it_ended()):
            case Verdict.GAP:
                return self._lost(reason)
            case Verdict.UNCHECKED:
                self.mark()
        return self._end()

    def mark(self) -> None:
        """Mark, once, that it cannot be known whether all lines are recorded, though nothing speaks against it."""
        if not self._marked:
            self._marked = True
            self._channel.note(notices.unchecked(self._source, self._sid))

    async def _unverified(self) -> None:
        """End where the log's last lines are not the recorded ones: after a rotation they may be in an older file."""
        anchor = self._channel.anchor(self._sid)
        recorded = await self._context.recorded(self._sid, anchor)
        self._stream.skipping = True
        log = await self.skipped()
        if log is not None and len(log) and log.rows()[-1:] == recorded[-1:]:
            return self._end()  # what is missing lies further up, and the audit finds it
        if not self._why and recorded:
            files, left = self._context.files(self._source), await self._context.left(anchor)
            found = await bridge(files, recorded, anchor.second, [], self._context.parser, left)
            await self._channel.ready(self._sid, found.lines)
            if not found.missed:
                return self._end()
        return await self._give_up(f"its last lines could not be read: {self._why or 'the node gives other ones'}")

    def _lost(self, reason: str) -> None:
        now = time.time_ns()
        since = self._channel.anchor(self._sid).last or min(self._began(), now)
        self._channel.note(notices.gap(self._source, self._sid, since, now, reason))
        self._end()

    def _end(self) -> None:
        self._stream.caught_up = True
        self._channel.note(notices.ended(self._source, self._sid, self._how_it_ended()))

    def _began(self) -> int:
        """Return when the run may have begun, ns: as the node says, else with its pod, else before it was to be recorded."""
        known = self._pods.last_known(self._source)
        if known and known.started and known.source and known.source.container_id == self._source.container_id:
            return known.started
        end = self._how_it_ended()
        if end and end.started:
            return end.started
        return self._pods.created(self._source) or time_of(self._context.lease.recording)

    def _how_it_ended(self) -> End | None:
        known = self._pods.last_known(self._source)
        if known is None:
            return self._end_seen
        if known.source and known.source.container_id == self._source.container_id:
            return known.end
        if known.previous and known.previous[0].container_id == self._source.container_id:
            return known.previous[1]
        return self._end_seen
