"""All sources of one task: the known ones, the ones being read, and the missed ones."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.kinds import membership
from cortex_jupyter.cluster.pods import containers, startup
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.backfill import ROTATION_NS, Backfill
from cortex_jupyter.recorder.source.source import SourceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.pods import End
    from cortex_jupyter.errors import NotAllowed
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.watching.pods import Pods
    from cortex_jupyter.store import Anchor

_log = logging.getLogger(__name__)

_SECOND: Final = 1_000_000_000


class Sources:
    """The sources of one task.

    Parameters
    ----------
    context : Context
    pods : Pods
    spawn : callable
        Runs a coroutine in the background. An exception from it ends the recording of the task.
    """

    def __init__(self, context: Context, pods: Pods, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._context, self._channel, self._pods, self._spawn = context, context.channel, pods, spawn
        self._readers: dict[Source, SourceReader | None] = {}  # None if read to its end
        self._ids: dict[Source, int] = {}
        self._backfills = 0

    @property
    def count(self) -> int:
        """How many sources are known."""
        return len(self._readers)

    @property
    def is_reading(self) -> bool:
        """Whether something is still being read."""
        return self._backfills > 0 or any(self._readers.values())

    @property
    def pods_being_read(self) -> set[str]:
        """UIDs of the pods with sources that are still being read."""
        return {source.pod_uid for source, reader in self._readers.items() if reader}

    @property
    def seen_containers(self) -> dict[str, set[str]]:
        """The containers that have been seen to run, by the names of their pods."""
        by_pod: dict[str, set[str]] = {}
        for source in self._readers:
            by_pod.setdefault(source.pod, set()).add(source.container)
        return by_pod

    def forget(self) -> None:
        """Forget the sources that are read to their end and whose pods are forgotten."""
        for source in [s for s, reader in self._readers.items() if reader is None]:
            if source.pod_uid not in self._pods.present and source.pod_uid not in self._pods.deleted:
                del self._readers[source], self._ids[source]

    @property
    def caught_up(self) -> bool:
        """Whether everything that was written before reading began has been read; backfills do not count."""
        return all(r.caught_up for r in self._readers.values() if r)

    @property
    def failure_message(self) -> str:
        """The message for readers about a source that cannot be read at present; empty if all can."""
        return next((message for r in self._readers.values() if r and (message := r.failure_message)), "")

    @property
    def refusal(self) -> NotAllowed | None:
        """The cluster's error if it lets us read none of the sources being read; else None."""
        refusals = [r.refusal for r in self._readers.values() if r]
        return refusals[0] if refusals and all(refusals) else None

    async def load(self) -> None:
        """Continue the sources that an earlier recorder has begun."""
        stored = await asyncio.to_thread(self._context.store.sources, self._context.lease.recording)
        parts = {sid: (source, anchor) for sid, (source, anchor) in stored.items() if source.part}
        for sid, (source, anchor) in stored.items():
            self._channel.add_source(sid, source, anchor)
            if source.part:
                continue
            self._ids[source] = sid
            is_over = anchor.ended and not anchor.unaudited
            reader = self._readers[source] = None if is_over else self._start_reading(sid, source, anchor)
            part, part_anchor = next(
                ((p, a) for p, (s, a) in parts.items() if s.part == 1 and s.is_same_run(source)), (0, None)
            )
            # The backfill was interrupted, or had not begun.
            if (part_anchor and not part_anchor.ended) or (part == 0 and reader):
                self._start_backfill(sid, source, reader, part)

    async def update(self, pod: KubeObject) -> None:
        """Take in the present state of a pod: new containers, new runs."""
        for container in containers(pod):
            # The previous run comes first: it is read while the node keeps it.
            runs: list[tuple[Source, int, End | None]] = []
            if container.previous:
                previous, previous_end = container.previous
                runs.append((previous, previous_end.started, previous_end))
            runs += [(container.source, container.started, container.end)] if container.source else []
            new = [run for run in runs if run[0] not in self._readers]
            if not new:
                continue
            membership_fields = membership(self._context.kind, pod)._asdict()
            new = [(replace(source, **membership_fields), started, end) for source, started, end in new]
            self._add_missed_runs(*new[0][:2], parse_rfc3339(pod["metadata"]["creationTimestamp"]))
            for source, started, end in new:
                await self._add_run(source, started, end, startup(pod))

    def _add_missed_runs(self, source: Source, started: int, created: int) -> None:
        """Add a gap for the runs between the last known run and this one; the node keeps no log of them.

        They wrote after the last line of the run before, or after their pod was created, and before this run started.
        Both times are in ns.
        """
        known_runs = {s.run: s for s in self._readers if (s.pod_uid, s.container) == (source.pod_uid, source.container)}
        first, last = max(known_runs, default=-1) + 1, source.run - 1
        if first > last:
            return
        runs = f"run {first}" if first == last else f"runs {first} to {last}"
        since = self._channel.anchor(self._ids[known_runs[first - 1]]).last if first - 1 in known_runs else 0
        until = started + _SECOND if started else time.time_ns()  # the API cuts times to seconds
        missed = replace(source, run=first, container_id="")
        since = min(since or created, until)
        reason = f"{runs} came and went before they could be read"
        self._channel.put_notice(notices.gap(missed, 0, since, until, reason, loss="run_unseen"))

    async def _add_run(self, source: Source, started: int, end: End | None, before: dict[str, Any]) -> None:
        sid = await self._context.add_source(source)
        if end is None or end.has_run:
            self._channel.put_notice(notices.started(source, sid, started, before))
        else:
            self._channel.put_notice(notices.created(source, sid, end, before))
        reader = self._readers[source] = self._start_reading(sid, source, None)
        if not started or time.time_ns() - started > ROTATION_NS:
            self._start_backfill(sid, source, reader, 0)

    def _start_reading(self, sid: int, source: Source, anchor: Anchor | None) -> SourceReader:
        """Read a source, then audit it; `anchor` is where an earlier recorder left it, None for a new source."""
        self._ids[source] = sid
        reader = SourceReader(self._context, self._pods, source, sid)
        audit = Audit(self._context, source, sid, reader, is_takeover=anchor is not None)
        has_ended = anchor is not None and anchor.ended
        if has_ended:
            reader.set_ended()

        async def run() -> None:
            if not has_ended:
                await _read_and_audit(reader, audit)
            await audit.check_rest()
            self._channel.put_notice(notices.audited(sid))
            self._readers[source] = None

        self._spawn(run())
        return reader

    def _start_backfill(self, sid: int, source: Source, reader: SourceReader | None, part: int) -> None:
        backfill = Backfill(self._context, source, sid)

        async def run() -> None:
            if reader:
                await reader.wait_until_caught_up()
            try:
                await backfill.run(part)
            finally:
                self._backfills -= 1

        self._backfills += 1
        self._spawn(run())


async def _read_and_audit(reader: SourceReader, audit: Audit) -> None:
    """Read a source to its end, and audit it meanwhile."""
    auditing = asyncio.create_task(audit.run())
    try:
        await reader.run()
    finally:
        auditing.cancel()
        (error,) = await asyncio.gather(auditing, return_exceptions=True)
        if isinstance(error, Exception):
            _log.error("the audit of rotated files failed", exc_info=error)
