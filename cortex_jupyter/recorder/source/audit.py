"""Prove after each rotation that nothing slipped by: every line of the rotated file's end must be recorded.

A follow that is at the end of the file when it is rotated goes on with the new file at once; what the program wrote to
the old one between the kubelet's last look and the runtime's switch is skipped without a sign (`ReadLogs` reopens on the
Create event: staging/src/k8s.io/cri-client/pkg/logs/logs.go). Only the rotated file knows. Its last lines are read with a
range request and looked for in the recording; what is missing is recorded as a part of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import HINT
from cortex_jupyter.recorder.text.lines import LONGEST, PART_BYTES
from cortex_jupyter.recorder.text.resume import first_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.source.source import SourceReader
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.text.lines import Lines
    from cortex_jupyter.recorder.text.parser import Parser

_log = logging.getLogger(__name__)

#: Files are listed this often while the source writes, seconds; the kubelet rotates every ten.
_EVERY_S: Final = 10.0
#: A source that has written less since the last look has not been rotated for its size.
_LEAST: Final = 64 << 10
#: So much of a rotated file's end is looked at.
_TAIL: Final = 64 << 10
#: The last look is repeated after these, seconds, where the node does not answer it.
_WAITS_S: Final = (0.5, 2.0, 5.0)
#: The part of a source that holds lines which a follow skipped.
PART: Final = 2
#: Times of two writers may be out of order by so much, ns, and a long line have begun so much before its last part.
_SLACK: Final = 1_000_000_000


class Audit:
    """Checks the rotations of one source.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        Its id.
    reader : SourceReader
        What follows it.
    taken : bool, optional
        A recorder before us has read some of it, and it is not known what that one has checked.
    """

    def __init__(
        self, context: Context, source: Source, sid: int, reader: SourceReader, *, taken: bool = False
    ) -> None:
        self._context, self._channel, self._files = context, context.channel, context.files(source)
        self._source, self._sid, self._reader = source, sid, reader
        self._parser, self._taken = context.parser, taken
        self._checked: set[str] = set()
        self._size = 0.0
        self._late = 0

    async def run(self) -> None:
        """Look from time to time, until cancelled; what fails is looked at again."""
        while True:
            await asyncio.sleep(_EVERY_S)
            size = self._reader.size
            if size - self._size < _LEAST:
                continue
            try:
                await self.look()
            except NotAllowed:
                self._size = size  # `last` says so
            except CortexError as error:
                _log.debug("its rotated files cannot be checked now: %s", error)
            else:
                self._size = size

    async def last(self) -> None:
        """Check what is left, once the source has been read to its end; what cannot be checked is said.

        Raises
        ------
        StoreError
            It is still to be done.
        """
        async with self._context.large:
            await self._compare()
        if self._reader.size < _LEAST and not self._taken:
            return
        for wait in (0, *_WAITS_S):
            await asyncio.sleep(wait)
            try:
                await self.look(ended=True)
            except NotAllowed:
                why = HINT
                break
            except ClusterError as error:
                why = error.message
            except NotFound as error:
                why = error.message
                break
            else:
                return
        if self._reader.size > _ROTATES:
            self._say("whether lines were skipped when its log was rotated cannot be checked", why)

    async def look(self, *, ended: bool = False) -> None:
        """Check the files that have been rotated since the last look.

        Parameters
        ----------
        ended : bool, optional
            The source has been read to its end: nothing of a rotated file is still to come.

        Raises
        ------
        NotAllowed, ClusterError, StoreError
        NotFound
            The node has nothing of the source any more.
        """
        await self._channel.flush()
        for name in await self._files.names():
            if name.removesuffix(".gz") in self._checked:
                continue
            try:
                checked = await self._check(name, ended=ended)
            except NotFound as error:
                raise ClusterError(f"it was renamed since it was listed: {error.message}") from error
            if checked:
                self._checked.add(name.removesuffix(".gz"))

    async def _compare(self) -> None:
        """Look for lines of the open file that the node left out, where it may have."""
        await self._channel.flush()
        log = await self._reader.skipped()
        if log is None:
            self._reader.mark()
        if log is None or not len(log):
            return
        recorded = await asyncio.to_thread(self._recorded, min(log.times), max(log.times))
        skipped = await asyncio.to_thread(_missing, log, recorded)
        if len(skipped):
            await self._record(skipped, "the node had left out, since they bear older times, were read again")

    async def _check(self, name: str, *, ended: bool) -> bool:
        """Check one file; False where the follow may still be in it."""
        tail = await asyncio.to_thread(_last, self._parser, await self._files.tail(name, _TAIL))
        if not len(tail):  # one long line
            tail = await asyncio.to_thread(self._parser.file, await self._files.read(name))
        if not len(tail):
            return True
        first, last = min(tail.times), max(tail.times)
        if not ended and self._channel.anchor(self._sid).last < last + _SLACK:
            return False
        # The anchor may be ahead of what is committed.
        await self._channel.flush()
        recorded = await asyncio.to_thread(self._recorded, first, last)
        if not recorded and await asyncio.to_thread(self._begins_after, last):
            return True  # from before recording began: the backfill's
        skipped = _missing(tail, recorded)
        if len(skipped) == len(tail):
            whole = await asyncio.to_thread(self._parser.file, await self._files.read(name))
            recorded = await asyncio.to_thread(self._recorded, min(whole.times), max(whole.times))
            skipped = await asyncio.to_thread(_missing, whole, recorded)
        if len(skipped):
            await self._record(skipped, "the follow had skipped at a rotation were read from the rotated file")
        return True

    async def _record(self, lines: Lines, why: str) -> None:
        if left := await self._context.left():
            lines = lines.pick([i for i, at in enumerate(lines.times) if not left[0] <= at <= left[1]])
        if not len(lines):
            return
        if not self._late:
            stored = await asyncio.to_thread(self._context.store.sources, self._context.lease.recording)
            source = replace(self._source, part=PART)
            self._late = next((sid for sid, (s, _) in stored.items() if s == source), 0) or await self._context.add(
                source
            )
        await self._channel.ready(self._late, lines)
        self._say(f"{len(lines)} lines that {why}")
        await self._channel.flush()

    def _say(self, what: str, hint: str = "") -> None:
        self._channel.note(notices.said(self._source, self._sid, "audit", what, hint))

    def _recorded(self, first: int, last: int) -> list[Line]:
        """Give the source's recorded lines about two times, its parts among them."""
        store, id_ = self._context.store, self._context.lease.recording
        ours = {sid for sid, (source, _) in store.sources(id_).items() if source.is_same_run(self._source)}
        low, high = first - _SLACK, last + _SLACK
        found: list[Line] = []
        for entry in store.batches(id_, low, high):
            batch = Batch.decode(entry.data)
            rows = zip(batch.sids, batch.times, batch.texts, strict=True)
            found += [(t, m) for s, t, m in rows if s in ours and low <= t <= high]
        return self._parser.rows(found)

    def _begins_after(self, moment: int) -> bool:
        """Tell whether the source's first recorded line came after a moment."""
        first = first_lines(self._context.store, self._context.lease.recording, self._sid)
        return not first or first[0][0] > moment


#: A log that has grown beyond this may well have been rotated; the kubelet's default is ten times as much.
_ROTATES: Final = 1 << 20


def _last(parser: Parser, data: bytes) -> Lines:
    r"""Parse the end of a file, without the lines it may begin in the middle of.

    A line of the log longer than 16 KiB is several records of the file. A line ends with a record that is tagged `F`,
    whichever stream that is of (`lines.parse_cri`).

    Examples
    --------
    >>> from cortex_jupyter.recorder.text.parser import PLAIN
    >>> _last(PLAIN, b"ut P b\n2023-11-14T22:13:20Z stdout F c\n2023-11-14T22:13:21Z stdout F whole\n").texts
    ['whole']
    """
    records = data[data.find(b"\n") + 1 :].split(b"\n")
    ends = (
        i for i, record in enumerate(records) if record.split(b" ", 3)[2:3] and record.split(b" ", 3)[2][:1] == b"F"
    )
    return parser.file(b"\n".join(records[next(ends, len(records)) + 1 :]))


def _missing(lines: Lines, recorded: list[Line]) -> Lines:
    """Return the lines of a file that are not recorded; equal ones are counted separately."""
    rows, left = lines.rows(), Counter(recorded)
    missing: list[int] = []
    for i, row in enumerate(rows):
        if left[row]:
            left[row] -= 1
        else:
            missing.append(i)
    if missing and missing[0] == 0:
        # A file may begin with the rest of a line whose first records are in the file before it.
        text, parts = next(_whole(rows))
        if text and any(len(whole) > PART_BYTES and whole.endswith(text) for whole, _ in _whole(recorded)):
            missing = [i for i in missing if i >= parts]
    return lines.pick(missing)


def _whole(rows: list[Line]) -> Iterator[tuple[str, int]]:
    """Yield the text of each line, and in how many rows it is recorded (`lines.LONGEST`)."""
    parts: list[str] = []
    for i, (time, text) in enumerate(rows):
        parts.append(text)
        # A row has at most four bytes a character, and is cut up to three bytes before its longest.
        full = len(text) >= LONGEST // 4 - 3 and len(text.encode()) >= LONGEST - 3
        if not (full and i + 1 < len(rows) and rows[i + 1][0] == time):
            yield "".join(parts), len(parts)
            parts = []
