"""What all readers of one task share: cluster, store, channel, masking, limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.cluster.rotated import RotatedFiles
from cortex_jupyter.recorder.source.stream_limiter import StreamLimiter
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking
from cortex_jupyter.recorder.text.resume import recorded_lines, recorded_start
from cortex_jupyter.store import Anchor
from cortex_jupyter.store.trimmed import trimmed_span

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.writing.writer import Channel
    from cortex_jupyter.store import Lease, Store


@dataclass(frozen=True, slots=True)
class Context:
    """What all readers of one task share.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
        The task's namespace.
    store : Store
    lease : Lease
    channel : Channel
    masking : Masking, optional
        The same as the channel's: lines are compared in their stored form.
    limiter : StreamLimiter, optional
        Limits the streams of all tasks of the recorder.
    whole_log_lock : asyncio.Lock, optional
        Held while a whole log is in memory: a hundred pods may end at once.
    kind : str, optional
        The task's kind; it tells where the sources stand in the task.
    """

    cluster: Cluster
    namespace: str
    store: Store
    lease: Lease
    channel: Channel
    masking: Masking = UNMASKED
    limiter: StreamLimiter = field(default_factory=StreamLimiter)
    whole_log_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    kind: str = ""

    async def add_source(self, source: Source) -> int:
        """Add a source to the recording; return its id."""
        sid = await asyncio.to_thread(self.store.add_source, self.lease, source)
        self.channel.add_source(sid, source, Anchor())
        return sid

    async def recorded_lines(self, sid: int, anchor: Anchor) -> list[Line]:
        """Return a source's recorded lines from its anchor on."""
        return await asyncio.to_thread(
            lambda: self.masking.rows(recorded_lines(self.store, self.lease.recording, sid, anchor))
        )

    async def recorded_start(self, source: Source) -> int:
        """Return when a run may have begun according to the notice of its start (ns); 0 if there is none."""
        return await asyncio.to_thread(recorded_start, self.store, self.lease.recording, source)

    async def trimmed(self, anchor: Anchor = Anchor()) -> tuple[int, int, int] | None:  # noqa: B008 - Anchor is frozen
        """Return `trimmed.missing` if a read from this anchor may bring trimmed lines again; else None.

        It may if the anchor has no record number.
        """
        return None if anchor.seq else await asyncio.to_thread(trimmed_span, self.store, self.lease.recording)

    def rotated_files(self, source: Source) -> RotatedFiles:
        """Return a source's rotated files."""
        return RotatedFiles(self.cluster, self.namespace, source)
