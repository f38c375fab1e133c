"""All sources of one task: which are known, which are being read, which were missed."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cluster.pods import containers, startup
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.backfill import ROTATION_NS, Backfill
from cortex_jupyter.recorder.source.source import SourceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

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
        Runs a coroutine in the background; what it raises ends the task's recording.
    """

    def __init__(self, context: Context, pods: Pods, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._context, self._channel, self._pods, self._spawn = context, context.channel, pods, spawn
        self._readers: dict[Source, SourceReader | None] = {}  # None: read to its end
        self._ids: dict[Source, int] = {}
        self._backfills = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._readers)

    @property
    def working(self) -> bool:
        """Whether something is still being read."""
        return self._backfills > 0 or any(self._readers.values())

    @property
    def reading(self) -> set[str]:
        """UIDs of the pods of which something is still being read."""
        return {source.pod_uid for source, reader in self._readers.items() if reader}

    @property
    def known(self) -> dict[str, set[str]]:
        """The containers that have been seen to run, by the names of their pods."""
        found: dict[str, set[str]] = {}
        for source in self._readers:
            found.setdefault(source.pod, set()).add(source.container)
        return found

    def forget(self) -> None:
        """Forget those that are read to their end and whose pods are forgotten."""
        for source in [s for s, reader in self._readers.items() if reader is None]:
            if source.pod_uid not in self._pods.present and source.pod_uid not in self._pods.deleted:
                del self._readers[source], self._ids[source]

    @property
    def caught_up(self) -> bool:
        """Whether what had been written when reading began has been read; older lines apart."""
        return all(r.caught_up for r in self._readers.values() if r)

    @property
    def failure(self) -> str:
        """What readers are told of a source that cannot be read at present, empty where all can."""
        return next((told for r in self._readers.values() if r and (told := r.complaint)), "")

    @property
    def refusal(self) -> NotAllowed | None:
        """What the cluster answers where it lets us read none of those that are being read; None where it lets us read one."""
        refusals = [r.refusal for r in self._readers.values() if r]
        return refusals[0] if refusals and all(refusals) else None

    async def load(self) -> None:
        """Take up those that a recorder before us has begun."""
        stored = await asyncio.to_thread(self._context.store.sources, self._context.lease.recording)
        parts = {sid: (source, anchor) for sid, (source, anchor) in stored.items() if source.part}
        for sid, (source, anchor) in stored.items():
            self._channel.track(sid, source, anchor)
            if source.part:
                continue
            self._ids[source] = sid
            over = anchor.ended and not anchor.unaudited
            reader = self._readers[source] = None if over else self._read(sid, source, anchor)
            part, end = next(
                ((p, a) for p, (s, a) in parts.items() if s.part == 1 and s.is_same_run(source)), (0, None)
            )
            # Its older lines were being read, or nobody had got to them yet.
            if (end and not end.ended) or (part == 0 and reader):
                self._fill(sid, source, reader, part)

    async def take(self, pod: dict[str, Any]) -> None:
        """Take in the present state of a pod: new containers, new runs."""
        for container in containers(pod):
            # The run before the present one comes first: it is read as long as the node keeps it.
            runs: list[tuple[Source, int, End | None]] = []
            if container.previous:
                before, crash = container.previous
                runs.append((before, crash.started, crash))
            runs += [(container.source, container.started, container.end)] if container.source else []
            new = [run for run in runs if run[0] not in self._readers]
            if new:
                self._missed(*new[0][:2], parse_rfc3339(pod["metadata"]["creationTimestamp"]))
            for source, started, end in new:
                await self._add(source, started, end, startup(pod))

    def _missed(self, source: Source, started: int, created: int) -> None:
        """Add a gap for the runs between the last known one and this one; the node keeps no log of them.

        They wrote after the last line of the run before, or after their pod was created, and before this run started. Both
        times are in ns.
        """
        known = {s.run: s for s in self._readers if (s.pod_uid, s.container) == (source.pod_uid, source.container)}
        first, last = max(known, default=-1) + 1, source.run - 1
        if first > last:
            return
        runs = f"run {first}" if first == last else f"runs {first} to {last}"
        since = self._channel.anchor(self._ids[known[first - 1]]).last if first - 1 in known else 0
        until = started + _SECOND if started else time.time_ns()  # the API cuts it to a second
        missed = replace(source, run=first, container_id="")
        since = min(since or created, until)
        self._channel.note(notices.gap(missed, 0, since, until, f"{runs} came and went before they could be read"))

    async def _add(self, source: Source, started: int, end: End | None, before: dict[str, Any]) -> None:
        sid = await self._context.add(source)
        if end is None or end.has_run:
            self._channel.note(notices.started(source, sid, started, before))
        else:
            self._channel.note(notices.created(source, sid, end, before))
        reader = self._readers[source] = self._read(sid, source, None)
        if not started or time.time_ns() - started > ROTATION_NS:
            self._fill(sid, source, reader, 0)

    def _read(self, sid: int, source: Source, anchor: Anchor | None) -> SourceReader:
        """Read a source on from where a recorder before us left it, None where it is new; then audit it."""
        self._ids[source] = sid
        reader = SourceReader(self._context, self._pods, source, sid)
        audit = Audit(self._context, source, sid, reader, taken=anchor is not None)
        ended = anchor is not None and anchor.ended
        if ended:
            reader.has_ended()

        async def run() -> None:
            if not ended:
                await _follow(reader, audit)
            await audit.last()
            self._channel.note(notices.audited(sid))
            self._readers[source] = None

        self._spawn(run())
        return reader

    def _fill(self, sid: int, source: Source, reader: SourceReader | None, part: int) -> None:
        backfill = Backfill(self._context, source, sid)

        async def run() -> None:
            if reader:
                await reader.first_lines()
            try:
                await backfill.run(part)
            finally:
                self._backfills -= 1

        self._backfills += 1
        self._spawn(run())


async def _follow(reader: SourceReader, audit: Audit) -> None:
    """Read to the end, and audit meanwhile."""
    looking = asyncio.create_task(audit.run())
    try:
        await reader.run()
    finally:
        looking.cancel()
        (error,) = await asyncio.gather(looking, return_exceptions=True)
        if isinstance(error, Exception):
            _log.error("The looks at its rotated files ended", exc_info=error)
