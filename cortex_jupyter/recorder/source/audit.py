"""Check after each rotation that no line was skipped: every line of the rotated file's end must be recorded.

When a file is rotated, a follow that is at its end goes on with the new file at once. Lines that the program wrote to
the old file between the kubelet's last look and the runtime's switch are skipped without a sign (`ReadLogs` reopens on
the Create event: staging/src/k8s.io/cri-client/pkg/logs/logs.go). Only the rotated file has them. Its last lines are
read with a range request and compared with the recording. Missing lines are recorded as a part of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import ClusterError, CortexError, NotAllowed, NotFound
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source.bridge import NODES_PROXY_HINT
from cortex_jupyter.recorder.text.lines import LONGEST, PART_BYTES, Lines, parse_cri
from cortex_jupyter.recorder.text.resume import first_lines, lines_of
from cortex_jupyter.store.scan import Scan
from cortex_jupyter.store.trimmed import trimmed_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.source.context import Context
    from cortex_jupyter.recorder.source.source import SourceReader
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.recorder.text.masking import Masking

_log = logging.getLogger(__name__)

#: Files are listed this often while the source writes (seconds); the kubelet rotates every 10 s.
_EVERY_S: Final = 10.0
#: While reading is behind the log, its first line is noted this often (seconds): kubelets rotate a log no sooner.
_HEAD_S: Final = 3.0
#: A source that has written less than this since the last check (bytes) has not been rotated for its size.
_MIN_GROWTH: Final = 64 << 10
#: This much of a rotated file's end is checked (bytes).
_TAIL_BYTES: Final = 64 << 10
#: The last check is repeated after these waits (seconds) if the node does not answer.
_RETRY_WAITS_S: Final = (0.5, 2.0, 5.0)
#: The part of a source that holds the lines which a follow skipped.
SKIPPED_PART: Final = 2
#: Times of two writers may be out of order by this much (ns), and a long line may begin this much before its last part.
_SLACK: Final = 1_000_000_000


class Audit:
    """Checks the rotations of one source.

    Parameters
    ----------
    context : Context
    source : Source
    sid : int
        The source's id.
    reader : SourceReader
        Follows the source.
    is_takeover : bool, optional
        Whether an earlier recorder has read some of the source; it is not known what that one has checked.
    """

    def __init__(
        self, context: Context, source: Source, sid: int, reader: SourceReader, *, is_takeover: bool = False
    ) -> None:
        self._context, self._channel, self._files = context, context.channel, context.rotated_files(source)
        self._source, self._sid, self._reader = source, sid, reader
        self._masking, self._is_takeover = context.masking, is_takeover
        self._checked: set[str] = set()
        self._size = 0.0
        self._part_sid = 0
        self._heads: list[Line] = []  # the first lines of the files that were open; not yet known to be recorded

    async def run(self) -> None:
        """Check from time to time, until cancelled; a check that failed is repeated."""
        while True:
            is_behind = self._channel.limit.has_delayed(time.time_ns() - int(_EVERY_S * 1e9))
            await asyncio.sleep(_HEAD_S if is_behind else _EVERY_S)
            size = self._reader.size
            if size - self._size < _MIN_GROWTH and not is_behind:
                continue
            try:
                await self._note_head(is_behind=is_behind)
                with contextlib.suppress(NotAllowed):  # `check_rest` reports it
                    await self.check_rotated()
                await self._check_heads()
            except CortexError as error:
                _log.debug("its rotated files cannot be checked now: %s", error)
            else:
                self._size = size

    async def check_rest(self) -> None:
        """Check what is left once the source has been read to its end; report what cannot be checked.

        Raises
        ------
        StoreError
            The check must be repeated.
        """
        async with self._context.whole_log_lock:
            await self._check_open_file()
        if self._reader.size < _MIN_GROWTH and not self._is_takeover and not self._heads:
            return
        why = await self._check_rest_of_files()
        await self._check_heads(ended=True)
        if why and self._reader.size > _LIKELY_ROTATED:
            self._report("whether lines were skipped when its log was rotated cannot be checked", why)

    async def _check_rest_of_files(self) -> str:
        """Check all rotated files; return why that is impossible, "" if it is not."""
        why = ""
        for wait in (0, *_RETRY_WAITS_S):
            await asyncio.sleep(wait)
            try:
                await self.check_rotated(ended=True)
            except NotAllowed:
                return NODES_PROXY_HINT
            except ClusterError as error:
                why = error.message
            except NotFound as error:
                return error.message
            else:
                return ""
        return why

    async def _note_head(self, *, is_behind: bool) -> None:
        """Note the first line of the open file while the follow is behind.

        A follow that is far behind may skip whole files, and the node may remove them before they can be checked. Then
        their first lines are the proof.
        """
        line = await self._reader.first_line() if is_behind else Lines()
        for head in await asyncio.to_thread(self._masking.rows, line.rows()):
            if head not in self._heads:
                self._heads.append(head)

    async def _check_heads(self, *, ended: bool = False) -> None:
        """Write a gap for the files that the follow has passed and whose first line is not recorded."""
        if not self._heads:
            return
        await self._channel.flush()
        last = self._channel.anchor(self._sid).last
        passed = [head for head in self._heads if head[0] <= last - (0 if ended else _SLACK)]
        self._heads = [head for head in self._heads if head not in passed]
        missing = [head for head in passed if await asyncio.to_thread(self._is_missing, head)]
        if missing:
            until = min((head[0] for head in [*passed, *self._heads] if head[0] > missing[-1][0]), default=last)
            reason = "rotated away before they could be read, and removed from the node"
            self._channel.put_notice(
                notices.gap(
                    self._source,
                    self._sid,
                    missing[0][0],
                    min(until, last),
                    reason,
                    loss="rotated",
                    limit=self._channel.limit,
                )
            )
            await self._channel.flush()

    def _is_missing(self, head: Line) -> bool:
        """Return whether a line should be recorded and is not, and no gap says so yet."""
        at, store, id_ = head[0], self._context.store, self._context.lease.recording
        trimmed = trimmed_span(store, id_)
        if self._begins_after(at) or (trimmed and trimmed[0] <= at <= trimmed[1]):
            return False
        if any(int(gap.get("from") or 0) <= at <= int(gap.get("to") or 0) for gap in store.complete(id_).gaps):
            return False
        return len(_missing_lines(Lines([at], [head[1]]), self._recorded(at, at), self._masking)) > 0

    async def check_rotated(self, *, ended: bool = False) -> None:
        """Check the files that were rotated since the last check.

        Parameters
        ----------
        ended : bool, optional
            Whether the source has been read to its end: no more lines of a rotated file will arrive.

        Raises
        ------
        NotAllowed, ClusterError, StoreError
        """
        await self._channel.flush()
        for name in await self._files.names():
            if name.removesuffix(".gz") in self._checked:
                continue
            try:
                checked = await self._check_file(name, ended=ended)
            except NotFound as error:
                raise ClusterError(f"it was renamed since it was listed: {error.message}") from error
            if checked:
                self._checked.add(name.removesuffix(".gz"))

    async def _check_open_file(self) -> None:
        """Look for lines of the open file that the node may have left out."""
        await self._channel.flush()
        log = await self._reader.skipped_lines()
        if log is None:
            self._reader.mark_unchecked()
        if log is None or not len(log):
            return
        recorded = await asyncio.to_thread(self._recorded, min(log.times), max(log.times))
        skipped = await asyncio.to_thread(_missing_lines, log, recorded, self._masking)
        if len(skipped):
            await self._record(skipped, "the node had left out, since they bear older times, were read again")

    async def _check_file(self, name: str, *, ended: bool) -> bool:
        """Check one file; return False if the follow may still be reading it."""
        tail = await asyncio.to_thread(_parse_tail, await self._files.tail(name, _TAIL_BYTES))
        if not len(tail):  # one long line
            tail = await asyncio.to_thread(parse_cri, await self._files.read(name))
        if not len(tail):
            return True
        first, last = min(tail.times), max(tail.times)
        if not ended and self._channel.anchor(self._sid).last < last + _SLACK:
            return False
        # The anchor may be ahead of what is committed.
        await self._channel.flush()
        recorded = await asyncio.to_thread(self._recorded, first, last)
        if not recorded and await asyncio.to_thread(self._begins_after, last):
            return True  # older than the recording: left to the backfill
        skipped = await asyncio.to_thread(_missing_lines, tail, recorded, self._masking)
        if len(skipped) == len(tail):
            whole = await asyncio.to_thread(parse_cri, await self._files.read(name))
            recorded = await asyncio.to_thread(self._recorded, min(whole.times), max(whole.times))
            skipped = await asyncio.to_thread(_missing_lines, whole, recorded, self._masking)
        if len(skipped):
            await self._record(skipped, "the follow had skipped at a rotation were read from the rotated file")
        return True

    async def _record(self, lines: Lines, why: str) -> None:
        if trimmed := await self._context.trimmed():
            lines = lines.pick([i for i, at in enumerate(lines.times) if not trimmed[0] <= at <= trimmed[1]])
        if not len(lines):
            return
        if not self._part_sid:
            stored = await asyncio.to_thread(self._context.store.sources, self._context.lease.recording)
            source = replace(self._source, part=SKIPPED_PART)
            self._part_sid = next(
                (sid for sid, (s, _) in stored.items() if s == source), 0
            ) or await self._context.add_source(source)
        await self._channel.put_parsed(self._part_sid, lines)
        self._report(f"{len(lines)} lines that {why}")
        await self._channel.flush()

    def _report(self, text: str, hint: str = "") -> None:
        self._channel.put_notice(notices.status(self._source, self._sid, "audit", text, hint))

    def _recorded(self, first: int, last: int) -> list[Line]:
        """Return the source's recorded lines between two times (ns), with some slack; its parts are included."""
        store, id_ = self._context.store, self._context.lease.recording
        sids = {sid for sid, (source, _) in store.sources(id_).items() if source.is_same_run(self._source)}
        scan = Scan(store, id_).within(first - _SLACK, last + _SLACK)
        lines: list[Line] = []
        for row in store.index(id_):
            if (batch := scan.read_batch(row)) is not None:
                lines += lines_of(batch, sids)
        return self._masking.rows(lines)

    def _begins_after(self, moment: int) -> bool:
        """Return whether the source's first recorded line is newer than a time (ns)."""
        first = first_lines(self._context.store, self._context.lease.recording, self._sid)
        return not first or first[0][0] > moment


#: A log larger than this (bytes) may well have been rotated; the kubelet's default limit is ten times as much.
_LIKELY_ROTATED: Final = 1 << 20


def _parse_tail(data: bytes) -> Lines:
    r"""Parse the end of a file, without the line that it may begin in the middle of.

    A line of the log longer than 16 KiB is several records of the file. A line ends with a record tagged `F`, of
    whichever stream (`lines.parse_cri`).

    Examples
    --------
    >>> _parse_tail(b"ut P b\n2023-11-14T22:13:20Z stdout F c\n2023-11-14T22:13:21Z stdout F whole\n").texts
    ['whole']
    """
    records = data[data.find(b"\n") + 1 :].split(b"\n")
    ends = (
        i for i, record in enumerate(records) if record.split(b" ", 3)[2:3] and record.split(b" ", 3)[2][:1] == b"F"
    )
    return parse_cri(b"\n".join(records[next(ends, len(records)) + 1 :]))


def _missing_lines(lines: Lines, recorded: list[Line], masking: Masking) -> Lines:
    """Return the lines of a file that are not recorded; duplicates are counted separately."""
    rows, unmatched = masking.rows(lines.rows()), Counter(recorded)
    missing: list[int] = []
    for i, row in enumerate(rows):
        if unmatched[row]:
            unmatched[row] -= 1
        else:
            missing.append(i)
    if missing and missing[0] == 0:
        # A file may begin with the rest of a line whose first records are in the previous file.
        text, parts = next(_joined_lines(rows))
        if text and any(len(whole) > PART_BYTES and whole.endswith(text) for whole, _ in _joined_lines(recorded)):
            missing = [i for i in missing if i >= parts]
    return lines.pick(missing)


def _joined_lines(rows: list[Line]) -> Iterator[tuple[str, int]]:
    """Yield the text of each line, and the number of rows that hold it (see `lines.LONGEST`)."""
    parts: list[str] = []
    for i, (at, text) in enumerate(rows):
        parts.append(text)
        # A character has at most four bytes, and a row is cut up to three bytes before its longest length.
        full = len(text) >= LONGEST // 4 - 3 and len(text.encode()) >= LONGEST - 3
        if not (full and i + 1 < len(rows) and rows[i + 1][0] == at):
            yield "".join(parts), len(parts)
            parts = []
