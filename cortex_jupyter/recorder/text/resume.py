"""Find where recorded lines end in a new stream, and whether they are the last ones of a log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.recorder.text.align import Aligner
from cortex_jupyter.recorder.text.lines import parse
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking
from cortex_jupyter.store.scan import Scan, read_notices
from cortex_jupyter.store.trimmed import trimmed_lines

if TYPE_CHECKING:
    from collections.abc import Collection

    from cortex_jupyter.model import Batch, Source
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.store import Anchor, Store


#: A line that `tailLines` counts as several has at least this many characters.
_PARTS: Final = 4096


class ResumeFilter:
    """Passes on only the lines that are not recorded yet.

    Parameters
    ----------
    recorded : list of (int, str)
        The result of `recorded_lines`; empty for a source that is read for the first time.
    masking : Masking, optional
    trimmed : tuple of (int, int, int), optional
        As for `Aligner`.

    Attributes
    ----------
    is_aligned : bool
        Whether the end of the recorded lines was found: from here on everything is new.
    unaligned : list of (int, str)
        If the stream does not overlap the recorded lines: the lines it began with. Lines are missing before them.
    """

    def __init__(
        self, recorded: list[Line], masking: Masking = UNMASKED, trimmed: tuple[int, int, int] | None = None
    ) -> None:
        self.recorded, self.trimmed = recorded, trimmed
        self._masking = masking
        self._aligner = Aligner(recorded, trimmed)
        self._pending: list[bytes] = []
        self.is_aligned = not recorded
        self.unaligned: list[Line] = []

    async def feed(self, piece: bytes) -> bytes:
        """Take whole lines; return the new ones."""
        if self.is_aligned:
            return piece
        # Comparing thousands of lines would stall the event loop.
        return await asyncio.to_thread(self._feed, piece)

    def _feed(self, piece: bytes) -> bytes:
        # A text of the kubelet has no time and no place in the file.
        lines = [line for line in piece.split(b"\n") if parse(line).times]
        self._pending += lines
        skip = self._aligner.feed(self._masking.rows(parse(b"\n".join(lines)).rows()))
        return b"" if skip is None else self._release(skip)

    async def end(self) -> bytes:
        """Decide at the end of the stream; return the new lines. A stream without lines decides nothing."""
        if self.is_aligned or not self._pending:
            return b""
        return await asyncio.to_thread(lambda: self._release(self._aligner.settle()))

    def _release(self, skip: int) -> bytes:
        self.is_aligned = True
        new, self._pending = self._pending[skip:], []
        data = b"\n".join(new) + b"\n" if new else b""
        if not self._aligner.overlaps:
            self.unaligned = self._masking.rows(parse(data).rows())
        return data


def recorded_lines(store: Store, recording: int, sid: int, anchor: Anchor) -> list[Line]:
    """Return a source's recorded lines from its anchor on that the API would repeat: those with a time not before it.

    The kubelet drops lines before `sinceTime` one by one, it does not seek (`logWriter.write` in
    staging/src/k8s.io/cri-client/pkg/logs/logs.go).
    """
    if not anchor.last:
        return []
    lines: list[Line] = []
    scan = Scan(store, recording, after=anchor.seq - 1, low=(anchor.second, 0))
    for part in scan.parts():
        if part.entry.event == "gap" and part.entry.seq == 1:
            lines += trimmed_lines(store, recording, sid, anchor)
        elif (batch := scan.batch(part)) is not None:
            lines += lines_of(batch, {sid})
    return lines


def first_lines(store: Store, recording: int, sid: int) -> list[Line]:
    """Return a source's first recorded lines: its lines in the first batch that holds any."""
    batches = Scan(store, recording).batches()
    return next((lines for batch in batches if (lines := lines_of(batch, {sid}))), [])


def recorded_start(store: Store, recording: int, source: Source) -> int:
    """Return when a run may have begun according to the notice of its start (ns); 0 if there is none."""
    for entry in read_notices(store, recording, store.index(recording)):
        notice = orjson.loads(entry.data)
        if notice.get("notice") in ("started", "created") and notice.get("source") == source.public:
            return int(notice.get("created") or notice["time"])
    return 0


def lines_of(batch: Batch, sids: Collection[int]) -> list[Line]:
    """Return the lines of some sources in a batch."""
    return [(t, m) for s, t, m in zip(batch.sids, batch.times, batch.texts, strict=True) if s in sids]


def ends_with(recorded: list[Line], probe: list[Line]) -> bool:
    """Return whether the last recorded lines are the last lines of the log.

    Parameters
    ----------
    recorded : list of (int, str)
        The last recorded lines, as many as are known.
    probe : list of (int, str)
        The lines that `tailLines` returned. The first may be the end of a longer line, with a time of its own: the tail
        counts the runtime's parts of a line (16 KiB in containerd). All of it may be parts of one long last line.
    """
    if not probe or not recorded:
        return not probe and not recorded
    if len(probe) == 1 and len(recorded[-1][1]) > len(probe[0][1]) >= _PARTS:
        return recorded[-1][1].endswith(probe[0][1])
    n = min(len(recorded), len(probe) - 1 if len(probe) > 1 else 1)
    return recorded[-n:] == probe[-n:]


def complete(recorded: list[Line], probe: list[Line]) -> bool:
    """Return whether the last recorded lines are the last ones of the log, and not equal lines further up.

    Parameters
    ----------
    recorded, probe : list of (int, str)
        As in `ends_with`. If all recorded lines have the same time, as from a coarse clock, they must be all lines of
        that time. If the log has one more of them before, they may be any of these lines.
    """
    if not ends_with(recorded, probe):
        return False
    n = len(recorded)
    return not (n and n < len(probe) and len({t for t, _ in probe[-n - 1 :]}) == 1)
