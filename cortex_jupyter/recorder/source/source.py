"""Record one run of one container, from its anchor to its end.

The rules are in `docs/explanation/architecture.md`, "The rules" and "When a log is complete". In short: resume at a
whole second and align by content. After any end of a stream ask for the container's state, since a clean end proves
nothing. Read a container that has ended once more, unless its last lines prove to be recorded. Write a gap for what
cannot be read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from typing import TYPE_CHECKING, Final

import aiohttp

from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.backoff import Backoff
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import bridge
from cortex_jupyter.recorder.source.ending import EndCheck, Evidence, NodeClock, Verdict
from cortex_jupyter.recorder.source.last_lines import LastLines
from cortex_jupyter.recorder.source.stream import AnotherRunError, RunState, Stream, UnknownRunError
from cortex_jupyter.recorder.text.lines import Lines, is_removed
from cortex_jupyter.store.ids import time_of
from cortex_jupyter.telemetry import logs, recorder_metrics, tracing

if TYPE_CHECKING:
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.watching.pods import Pods

_log = logging.getLogger(__name__)

#: Number of reads of an ended container without a new line before its last lines are given up. With the waits between,
#: that takes about 6 s.
_LAST_READS: Final = 6
#: Time without an answer of its node before an ended container is given up (seconds).
_NODE_LOST_S: Final = 600.0
#: The API server shows a container's end at most about this long after the end of its stream (seconds).
_STATE_LAG_S: Final = 1.0
#: Waits between attempts (seconds).
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
#: Length of a break before readers see that the log is interrupted (seconds). The next attempt ends a shorter break, and
#: would only alarm them.
_INTERRUPTED_S: Final = 10.0
_NS: Final = 1_000_000_000
_POD_DELETED: Final = "its pod was deleted before the end of its log could be read"


class SourceReader:
    """Records one source.

    Parameters
    ----------
    context : Context
    pods : Pods
    source : Source
    sid : int
        The source's id; the channel knows it already.

    Attributes
    ----------
    failure : str
        Why the last attempt failed; empty if it succeeded.
    refusal : NotAllowed or None
        The error of the last attempt if the cluster does not let us read the log.
    """

    def __init__(self, context: Context, pods: Pods, source: Source, sid: int) -> None:
        self._context, self._channel, self._pods = context, context.channel, pods
        self._source, self._sid = source, sid
        self._last = LastLines(context, source, sid, self._failed)
        self._stream = Stream(context, source, sid, self._last, pods)
        self._backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        self._clean = False  # whether the last stream ended without an error
        self._is_replaced = False  # whether the node has said that all lines are recorded, and another run was started
        self._evidence = Evidence()
        self._node_clock = NodeClock()
        self._end_seen: End | None = None
        self._marked = False
        self._read_error = ""  # why the last read failed
        self._answered_at = 0.0  # when the node last answered (monotonic)
        self._failing_since = 0.0  # if the last attempt failed: since when nothing has come (monotonic)
        self._attempts = 0
        self._unknown_size = False
        self.failure = ""
        self.refusal: NotAllowed | None = None

    @property
    def caught_up(self) -> bool:
        """Whether everything that was written before this reader began has been read."""
        return self._stream.caught_up

    @property
    def size(self) -> float:
        """Bytes of new lines; infinite if the number is unknown."""
        return math.inf if self._unknown_size else self._stream.size

    @property
    def failure_message(self) -> str:
        """What readers are told while the log cannot be read; else empty."""
        if not self.failure:
            return ""
        if not self.caught_up:
            return f"Log not available yet: {self.failure}"
        return f"Log interrupted: {self.failure}" if time.monotonic() - self._failing_since > _INTERRUPTED_S else ""

    def set_ended(self) -> None:
        """Note that an earlier recorder has read this source to its end; how it ended is not known."""
        self._stream.caught_up = self._stream.may_have_skipped = True
        self._unknown_size = True

    async def skipped_lines(self) -> Lines | None:
        """Return all lines of a finished log if its streams may have skipped some; else no lines.

        None if they may have, and the log cannot be read.

        With `sinceTime` the node drops every line whose time is older, also a new line that was written while a clock
        was set back. Once the clock is right again, nothing at the end of the log shows this.
        """
        if not self._stream.may_have_skipped or (state := await self._ask_state()) not in (
            RunState.ENDED,
            RunState.REPLACED,
        ):
            return Lines()
        lines = await self._last.whole_log(previous=state is RunState.REPLACED)
        # The node answers for its newest run, so it must still be the same one.
        return lines if await self._ask_state() is state else None

    async def first_line(self) -> Lines:
        """Return the first line of the open file; no line if it cannot be read."""
        line = await self._last.first_line()
        return line if await self._ask_state() is RunState.RUNNING else Lines()

    async def run(self) -> None:
        """Read to the end of the run.

        Raises
        ------
        StoreError
            Nothing can be recorded; LeaseLost is one of these.
        """
        with (
            recorder_metrics.SOURCES.track_inprogress(),
            logs.about(source=f"{self._source.pod}/{self._source.container}"),
        ):
            await self._run()

    async def _run(self) -> None:
        last_reads = 0
        self._answered_at = time.monotonic()
        container = self._pods.container(self._source)
        if known_time := max(container.started if container else 0, self._channel.anchor(self._sid).last):
            self._node_clock.note_time(known_time, self._answered_at)
        while True:
            state = await self._ask_state()
            if state is RunState.UNKNOWN or (state is RunState.RUNNING and self._is_replaced):
                await self._pause(state)  # until the API server answers, or shows what the node has shown
                continue
            if await self._end_if_over(state, last_reads):
                return
            answered, loss = await self._attempt(state)
            if loss:
                is_gone = await self._ask_state() is RunState.GONE
                await self._give_up(_POD_DELETED if is_gone else loss)
                return
            await self._channel.flush()
            follows = state is RunState.RUNNING
            await self._collect_evidence(follows=follows)
            # An outage is no evidence about the log, so it does not count as a last read.
            last_reads = 0 if self._stream.has_new_lines else last_reads + (answered and not follows)
            if (follows or not self._clean or last_reads > 1) and not self._stream.reopen:
                await self._pause(state)

    async def _end_if_over(self, state: RunState, last_reads: int) -> bool:
        """End the log if it is complete, or can no longer be read; return whether it has ended.

        Parameters
        ----------
        state : RunState
            Anything but UNKNOWN.
        last_reads : int
            How often the log was read to its end without new lines.
        """
        match state:
            case RunState.RUNNING:
                return False
            case _ if self._is_replaced:
                self._end()
            case RunState.RESET:
                await self._give_up("the node no longer knows its container")
            case RunState.GONE:
                await self._give_up(_POD_DELETED)
            case RunState.PASSED:
                await self._give_up("its container was started again before the end of its log could be read")
            case _:
                previous = state is RunState.REPLACED
                compared = await self._last.compare_end(previous=previous) if self._clean else None
                if compared is not None and compared.is_recorded:
                    self._end()
                    return True
                if compared is not None:
                    self._evidence = self._evidence.after_unread(compared.unread_from, previous=previous)
                if last_reads < _LAST_READS:
                    return False
                await self._end_unverified()
        return True

    async def _collect_evidence(self, *, follows: bool) -> None:
        """Take in what the last stream shows about the end of the log (`ending`); check a clean end of a follow."""
        stream, clock = self._stream, self._node_clock
        if stream.has_new_lines:
            clock.note_line(self._channel.anchor(self._sid).last, stream.last_line_at)
        is_proof = stream.is_aligned and (stream.is_removed or (self._clean and not follows))
        self._evidence = self._evidence.after_stream(has_new_lines=stream.has_new_lines, is_proof=is_proof)
        if not self._clean or stream.reopen or not follows:
            return
        now = time.monotonic()
        ended_at = time.time() - (now - stream.closed_at) + self._context.cluster.clock.offset
        check, unread_from = await self._last.check_end()
        if check in (EndCheck.RUNNING, EndCheck.FAILED) and self._pods.may_restart(self._source):
            # A node keeps few runs: soon this one may be gone, and nothing else shows that it is complete.
            self._is_replaced = await self._last.has_been_replaced()
        if check is EndCheck.RUNNING:
            # Something between the node and us ended the stream. Reopen it soon: without a stream, a pod that is
            # deleted takes its last lines along.
            stream.reopen = stream.has_new_lines
        self._evidence = self._evidence.after_check(
            check,
            unread_from=unread_from,
            open_until=clock.by_last_line(stream.closed_at),
            checked_at=clock.earliest(now),
            ended_about=int(ended_at * _NS),
        )

    async def _attempt(self, state: RunState) -> tuple[bool, str]:
        """Read once; return whether the node answered, and why the log is lost, if it is."""
        follows = state is RunState.RUNNING
        if self._attempts and follows:
            recorder_metrics.RECONNECTS.inc()
        self._attempts += 1
        started_at = time.monotonic()
        try:
            with tracing.span("cortex.source.read", self._span_attributes(state)) as span:
                self._clean = await self._stream.read(state, self._ask_state, self._watched_state)
                span.set({"cortex.read.clean_end": self._clean, "cortex.read.new_lines": self._stream.has_new_lines})
        except AnotherRunError as error:
            _log.debug("the node serves, or may serve, another run of the container than the API server shows")
            self._clean = False
            await self._channel.flush()
            self._is_replaced = await self._last.has_been_replaced()
            return not isinstance(error, UnknownRunError), ""
        except NotFound as error:
            self._failed(error)
            # If the pod exists, the node has forgotten this run.
            return True, "" if follows else f"the node no longer has it: {error.message}"
        except NotAllowed as error:
            self._failed(error)
            self.refusal = error
            return False, ""  # the node still has it, for a recorder that may read it
        except (ClusterError, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(error)
            if isinstance(error, ClusterError) and is_removed(error.message):
                # The kubelet gives the same text while a runtime restarts. If lines may be missing, ask again.
                is_over = not follows and self._verdict() is not Verdict.GAP
                return True, f"the node no longer has it: {error.message}" if is_over else ""
            is_lost = not follows and time.monotonic() - self._answered_at > _NODE_LOST_S
            why = f"the node did not answer for {_NODE_LOST_S / 60:g} minutes: {self.failure}"
            return False, why if is_lost else ""
        finally:
            if self._stream.has_new_lines:
                self._backoff.reset()
                self._failing_since = time.monotonic()
            elif self._stream.is_answered:
                self._backoff.shorten(_STATE_LAG_S)  # the node answers again
        self.failure = self._read_error = ""
        self.refusal = None
        self._answered_at = time.monotonic()
        _log.debug("its log was read (%s)", state.value, extra={"seconds": self._answered_at - started_at})
        return True, ""

    def _verdict(self) -> Verdict:
        end = self._how_it_ended()
        return self._evidence.judge(
            end, may_restart=self._pods.may_restart(self._source, end.exit_code if end else None)
        )

    def _span_attributes(self, state: RunState) -> dict[str, str | int]:
        source = self._source
        return {
            "k8s.namespace.name": self._context.namespace,
            "k8s.pod.name": source.pod,
            "k8s.pod.uid": source.pod_uid,
            "k8s.container.name": source.container,
            "k8s.container.restart_count": source.run,
            "k8s.node.name": source.node,
            "cortex.task": self._channel.task,
            "cortex.read.mode": state.value,
            "cortex.read.attempt": self._attempts,
        }

    async def wait_until_caught_up(self) -> None:
        """Wait until the lines of the open file have been read."""
        while not self.caught_up:
            await self._pods.wait_for_change(1)

    async def _ask_state(self) -> RunState:
        """Return the state of the run by the API server; if it does not answer, by what the watch last saw."""
        path = f"/api/v1/namespaces/{segment(self._context.namespace)}/pods/{segment(self._source.pod)}"
        try:
            pod = await self._context.cluster.json(path)
        except NotFound:
            self._pods.note_missing(self._source.pod_uid)
            return RunState.GONE
        except (ClusterError, NotAllowed) as error:
            if self._pods.last_known(self._source) is None:
                self._failed(error)
                return RunState.UNKNOWN
            pod = None
        if pod is not None:
            if pod["metadata"]["uid"] != self._source.pod_uid:
                return RunState.GONE
            self._pods.update(pod)
        return self._watched_state()

    def _watched_state(self) -> RunState:
        """Return the state of the run by what the watch last saw."""
        container = self._pods.container(self._source)
        if container is None:
            return RunState.GONE
        if container.source is None:
            return RunState.RESET
        if container.source.container_id != self._source.container_id:
            # The node serves only the last of the runs that have ended. While the next start is backed off, that is the
            # newest run itself.
            previous_id = container.previous[0].container_id if container.previous else ""
            return RunState.REPLACED if previous_id == self._source.container_id else RunState.PASSED
        self._end_seen = container.end or self._end_seen
        return RunState.ENDED if container.end else RunState.RUNNING

    def _failed(self, error: Exception | str) -> None:
        self._clean = self._stream.reopen = False
        self.refusal = None
        self._read_error = str(error).partition("\n")[0] or type(error).__name__
        if not self.failure:
            self._failing_since = time.monotonic()
        self.failure = "" if is_removed(self._read_error) else self._read_error  # a removed log does not come back
        self._pods.wake()

    async def _pause(self, state: RunState) -> None:
        """Wait before the next attempt; stop early if the run's state changes or the API server is back."""
        # After a clean end the container has most likely ended; the API server shows it within a second.
        wait = self._backoff.next()
        if self._clean and state is RunState.RUNNING:
            wait = max(wait, _STATE_LAG_S)
        until = time.monotonic() + wait * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        full_lists = self._pods.full_lists
        while (remaining := until - time.monotonic()) > 0 and (
            state is RunState.UNKNOWN or (self._watched_state() is state and self._pods.full_lists == full_lists)
        ):
            await self._pods.wait_for_change(remaining)

    async def _give_up(self, reason: str) -> None:
        """End a log that can no longer be read. The evidence of its end decides whether lines may be missing."""
        await self._channel.flush()
        match self._verdict():
            case Verdict.GAP:
                return await self._end_with_gap(reason)
            case Verdict.UNCHECKED:
                self.mark_unchecked()
        return self._end()

    def mark_unchecked(self) -> None:
        """Add a mark, once, that it could not be checked whether all lines are recorded.

        Nothing suggests that lines are missing.
        """
        if not self._marked:
            self._marked = True
            self._channel.put_notice(notices.unchecked(self._source, self._sid))

    async def _end_unverified(self) -> None:
        """End a log whose last lines are not the recorded ones; after a rotation they may be in an older file."""
        anchor = self._channel.anchor(self._sid)
        recorded = await self._context.recorded_lines(self._sid, anchor)
        self._stream.may_have_skipped = True
        log = await self.skipped_lines()
        if log is not None and len(log):
            last = await asyncio.to_thread(self._context.masking.rows, log.part(-1).rows())
            if last == recorded[-1:]:
                return self._end()  # lines are missing only further up; the audit finds them
        if not self._read_error and recorded:
            files, trimmed = self._context.rotated_files(self._source), await self._context.trimmed(anchor)
            bridged = await bridge(files, recorded, anchor.second, [], self._context.masking, trimmed)
            await self._channel.put_parsed(self._sid, bridged.lines)
            if not bridged.missing:
                return self._end()
        return await self._give_up(
            f"its last lines could not be read: {self._read_error or 'the node gives other ones'}"
        )

    async def _end_with_gap(self, reason: str) -> None:
        now = time.time_ns()
        since = self._channel.anchor(self._sid).last or min(await self._earliest_start(), now)
        limit = self._channel.limit
        self._channel.put_notice(
            notices.gap(self._source, self._sid, since, now, reason, loss="end_unread", limit=limit)
        )
        self._end()

    def _end(self) -> None:
        self._stream.caught_up = True
        self._channel.put_notice(notices.ended(self._source, self._sid, self._how_it_ended()))

    async def _earliest_start(self) -> int:
        """Return when the run may have begun (ns).

        This is the start that the node reports, else its pod's creation, also as an earlier recorder saw it, else when the
        recording was requested.
        """
        container = self._pods.last_known(self._source)
        if (
            container
            and container.started
            and container.source
            and container.source.container_id == self._source.container_id
        ):
            return container.started
        end = self._how_it_ended()
        if end and end.started:
            return end.started
        return (
            self._pods.creation_time(self._source)
            or await self._context.recorded_start(self._source)
            or time_of(self._context.lease.recording)
        )

    def _how_it_ended(self) -> End | None:
        container = self._pods.last_known(self._source)
        if container is None:
            return self._end_seen
        if container.source and container.source.container_id == self._source.container_id:
            return container.end
        if container.previous and container.previous[0].container_id == self._source.container_id:
            return container.previous[1]
        return self._end_seen
