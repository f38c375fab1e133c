"""Backfill: record the older lines of a container that has run for a while, from its rotated files.

They are a part of their own in the recording, since they come after newer lines of the same run. Within a part the
order is that of the file. Readers order all lines by time.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import NODES_PROXY_HINT, older_lines
from cortex_jupyter.recorder.text.resume import first_lines, recorded_lines
from cortex_jupyter.recorder.writing.batch import PendingNotice

if TYPE_CHECKING:
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.text.lines import Lines
    from cortex_jupyter.recorder.text.masking import Masking

#: No log is rotated sooner after its start than this (ns): the least value of the kubelet's
#: containerLogMonitorInterval.
ROTATION_NS: Final = 3_000_000_000
#: This many of the first recorded lines are searched in the files; enough to identify the place.
_FIRST: Final = 200


class Backfill:
    """Records the older lines of one source, once.

    Parameters
    ----------
    context : Context
    source : Source
        The part of the source that is followed.
    sid : int
        Its id.
    """

    def __init__(self, context: Context, source: Source, sid: int) -> None:
        self._context, self._channel, self._files = context, context.channel, context.rotated_files(source)
        self._source, self._sid = source, sid

    async def run(self, part: int = 0) -> None:
        """Record the older lines. Call it when the open file has been read.

        Parameters
        ----------
        part : int, optional
            The id of the part for older lines, if an earlier recorder has begun one.
        """
        if await self._context.trimmed():
            # Older lines were trimmed, or would be trimmed first.
            if part:
                self._channel.put_notice(PendingNotice(sid=part, ended=True))
            return
        await self._channel.flush()
        masking = self._context.masking
        first = await asyncio.to_thread(first_lines, self._context.store, self._context.lease.recording, self._sid)
        first = await asyncio.to_thread(masking.rows, first[:_FIRST])
        recorded = await asyncio.to_thread(self._recorded_end, part) if part else []
        oldest = 0
        try:
            async for lines in older_lines(self._files, first, masking):
                new = await asyncio.to_thread(_after, lines, recorded, masking)
                recorded = [] if len(new) else recorded
                if not len(new):
                    continue
                if not part:
                    part = await self._context.add_source(replace(self._source, part=1))
                oldest = oldest or new.times[0]
                await self._channel.put_parsed(part, new)
        except NotAllowed:
            self._report("its older lines cannot be read if they were rotated away", NODES_PROXY_HINT)
        except (ClusterError, NotFound) as error:
            self._report(f"its older lines cannot be read: {error.message}")
        if part:
            message = f"its older lines were read from rotated files, back to {rfc3339(oldest)}" if oldest else ""
            if message:
                self._report(message)
            self._channel.put_notice(PendingNotice(sid=part, ended=True))

    def _report(self, text: str, hint: str = "") -> None:
        self._channel.put_notice(notices.status(self._source, self._sid, "backfill", text, hint))

    def _recorded_end(self, part: int) -> list[Line]:
        _, anchor = self._context.store.sources(self._context.lease.recording)[part]
        lines = recorded_lines(self._context.store, self._context.lease.recording, part, anchor)
        return self._context.masking.rows(lines[-_FIRST:])


def _after(lines: Lines, recorded: list[Line], masking: Masking) -> Lines:
    """Return the lines after the recorded ones; all lines if none of them is recorded."""
    if not recorded:
        return lines
    rows = masking.rows(lines.rows())
    for end in range(len(rows), 0, -1):
        tail = recorded[-end:]
        if rows[end - len(tail) : end] == tail:
            return lines.part(end)
    # Earlier files are recorded whole, later files are new.
    return lines.part(len(rows)) if rows and rows[-1][0] <= recorded[-1][0] else lines
