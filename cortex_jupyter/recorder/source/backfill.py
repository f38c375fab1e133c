"""First contact with a container that has run for a while: its older lines, out of the rotated files.

They are recorded as a part of their own, since they come after newer lines of the same run: within a part the order
is that of the file, and what people see is ordered by time.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import HINT, older
from cortex_jupyter.recorder.text.resume import first_lines, recorded_lines
from cortex_jupyter.recorder.writing.batch import Note

if TYPE_CHECKING:
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.text.lines import Lines

#: No log is rotated sooner after its start, ns: the least that the kubelet's containerLogMonitorInterval may be.
ROTATION_NS: Final = 3_000_000_000
#: The first recorded lines that are looked for in the files; enough to be sure of the place.
_FIRST: Final = 200


class Backfill:
    """Records the older lines of one source, once, at low priority.

    Parameters
    ----------
    context : Context
    source : Source
        The part that is followed.
    sid : int
        Its id.
    """

    def __init__(self, context: Context, source: Source, sid: int) -> None:
        self._context, self._channel, self._files = context, context.channel, context.files(source)
        self._source, self._sid = source, sid

    async def run(self, part: int = 0) -> None:
        """Record them; to be called when the open file has been read.

        Parameters
        ----------
        part : int, optional
            The id of the part, where a recorder before us has begun it.
        """
        if await self._context.left():
            # What is older has left, or would be the first to leave.
            if part:
                self._channel.note(Note(sid=part, ended=True))
            return
        await self._channel.flush()
        parser = self._context.parser
        first = await asyncio.to_thread(first_lines, self._context.store, self._context.lease.recording, self._sid)
        first = await asyncio.to_thread(parser.rows, first[:_FIRST])
        begun, done = part, await asyncio.to_thread(self._done, part) if part else []
        oldest = 0
        try:
            async for lines in older(self._files, first, parser):
                new = _after(lines, done)
                done = [] if len(new) else done
                if not len(new):
                    continue
                if not begun:
                    begun = await self._context.add(replace(self._source, part=1))
                oldest = oldest or new.times[0]
                await self._channel.ready(begun, new)
        except NotAllowed:
            self._say("its older lines cannot be read if they were rotated away", HINT)
        except (ClusterError, NotFound) as error:
            self._say(f"its older lines cannot be read: {error.message}")
        if begun:
            back = f"its older lines were read from rotated files, back to {rfc3339(oldest)}" if oldest else ""
            if back:
                self._say(back)
            self._channel.note(Note(sid=begun, ended=True))

    def _say(self, what: str, hint: str = "") -> None:
        self._channel.note(notices.said(self._source, self._sid, "backfill", what, hint))

    def _done(self, part: int) -> list[Line]:
        _, anchor = self._context.store.sources(self._context.lease.recording)[part]
        lines = recorded_lines(self._context.store, self._context.lease.recording, part, anchor)
        return self._context.parser.rows(lines[-_FIRST:])


def _after(lines: Lines, done: list[Line]) -> Lines:
    """Give the lines after those that are recorded; all where none of those is among them."""
    if not done:
        return lines
    rows = lines.rows()
    for end in range(len(rows), 0, -1):
        tail = done[-end:]
        if rows[end - len(tail) : end] == tail:
            return lines.part(end)
    # Files from before are whole in the recording, files from after are new.
    return lines.part(len(rows)) if rows and rows[-1][0] <= done[-1][0] else lines
