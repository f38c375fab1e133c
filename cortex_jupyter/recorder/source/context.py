"""What all that reads for one task shares: where from, where to, and by which right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.cluster.rotated import RotatedFiles
from cortex_jupyter.recorder.source.stream_limiter import Turns
from cortex_jupyter.recorder.text.parser import PLAIN, Parser
from cortex_jupyter.recorder.text.resume import recorded_lines
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
    """The means of one task's recording.

    Parameters
    ----------
    cluster : Cluster
    namespace : str
        The task's.
    store : Store
    lease : Lease
    channel : Channel
    parser : Parser, optional
        What reads lines, to be stored and to be compared.
    turns : Turns, optional
        Of all logs that the recorder reads.
    large : asyncio.Lock, optional
        Held by whoever has a whole log in memory: a hundred pods may end at once.
    """

    cluster: Cluster
    namespace: str
    store: Store
    lease: Lease
    channel: Channel
    parser: Parser = PLAIN
    turns: Turns = field(default_factory=Turns)
    large: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def add(self, source: Source) -> int:
        """Make a source known, giving its id."""
        sid = await asyncio.to_thread(self.store.add_source, self.lease, source)
        self.channel.track(sid, source, Anchor())
        return sid

    async def recorded(self, sid: int, anchor: Anchor) -> list[Line]:
        """Give a source's recorded lines from its anchor on."""
        return await asyncio.to_thread(
            lambda: self.parser.rows(recorded_lines(self.store, self.lease.recording, sid, anchor))
        )

    async def left(self, anchor: Anchor = Anchor()) -> tuple[int, int, int] | None:  # noqa: B008 - it is frozen
        """Give what `trimmed.missing` does, where such lines may be read once more from an anchor on: it knows no place."""
        return None if anchor.seq else await asyncio.to_thread(trimmed_span, self.store, self.lease.recording)

    def files(self, source: Source) -> RotatedFiles:
        """Give the rotated files of a source."""
        return RotatedFiles(self.cluster, self.namespace, source)
