"""The seam between what is recorded and what a new stream brings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.text.align import Aligner
from cortex_jupyter.recorder.text.lines import parse
from cortex_jupyter.recorder.text.parser import PLAIN, Parser
from cortex_jupyter.store.trimmed import trimmed_lines

if TYPE_CHECKING:
    from cortex_jupyter.recorder.text.align import Line
    from cortex_jupyter.store import Anchor, Store


#: What `tailLines` takes for several lines, though it is one, has at least this many characters.
_PARTS: Final = 4096


class Resume:
    """Lets through only what is not recorded yet.

    Parameters
    ----------
    recorded : list of (int, str)
        What `recorded_lines` gives; empty for a source that is read for the first time.
    parser : Parser, optional
        Whose form they have.
    left : tuple of (int, int, int), optional
        As for `Aligner`.

    Attributes
    ----------
    decided : bool
        The seam is found: from here on everything is new.
    apart : list of (int, str)
        Where the stream does not overlap what is recorded, the lines it began with: others are missing before them.
    """

    def __init__(self, recorded: list[Line], parser: Parser = PLAIN, left: tuple[int, int, int] | None = None) -> None:
        self.recorded, self.left = recorded, left
        self._parser = parser
        self._aligner = Aligner(recorded, left)
        self._held: list[bytes] = []
        self.decided = not recorded
        self.apart: list[Line] = []

    async def feed(self, piece: bytes) -> bytes:
        """Take whole lines, give those that are new."""
        if self.decided:
            return piece
        # Comparing thousands of lines is not for the event loop.
        return await asyncio.to_thread(self._feed, piece)

    def _feed(self, piece: bytes) -> bytes:
        # A text of the kubelet has no time and no place in the file.
        lines = [line for line in piece.split(b"\n") if parse(line).times]
        self._held += lines
        skip = self._aligner.feed(self._parser.lines(b"\n".join(lines)).rows())
        return b"" if skip is None else self._release(skip)

    def end(self) -> bytes:
        """Decide at the end of the stream; one that brought no line says nothing about what is recorded."""
        if self.decided or not self._held:
            return b""
        return self._release(self._aligner.settle())

    def _release(self, skip: int) -> bytes:
        self.decided = True
        new, self._held = self._held[skip:], []
        data = b"\n".join(new) + b"\n" if new else b""
        if not self._aligner.overlap:
            self.apart = self._parser.lines(data).rows()
        return data


def recorded_lines(store: Store, recording: int, sid: int, anchor: Anchor) -> list[Line]:
    """Give a source's recorded lines from its anchor on, as the API would repeat them: each with a time not before it.

    The kubelet drops lines before `sinceTime` one by one, it does not seek
    (`logWriter.write` in staging/src/k8s.io/cri-client/pkg/logs/logs.go).
    """
    if not anchor.last:
        return []
    found: list[Line] = []
    at = max(anchor.seq - 1, 0)
    while entries := store.entries(recording, at, 4 << 20):
        for entry in entries:
            at = entry.last
            if entry.event == "gap" and entry.seq == 1:
                found += trimmed_lines(store, recording, sid, anchor)
            if entry.event != "log":
                continue
            batch = Batch.decode(entry.data)
            rows = zip(batch.seqs, batch.sids, batch.times, batch.texts, strict=True)
            found += [(t, m) for q, s, t, m in rows if s == sid and q >= anchor.seq and t >= anchor.second]
    return found


def first_lines(store: Store, recording: int, sid: int) -> list[Line]:
    """Give a source's first recorded lines: those of the first batch that holds any."""
    at = 0
    while entries := store.entries(recording, at, 1 << 20):
        for entry in entries:
            at = entry.last
            if entry.event == "log":
                batch = Batch.decode(entry.data)
                rows = zip(batch.sids, batch.times, batch.texts, strict=True)
                if found := [(t, m) for s, t, m in rows if s == sid]:
                    return found
    return []


def ends_with(recorded: list[Line], probe: list[Line]) -> bool:
    """Tell whether the last recorded lines are the last lines there are.

    Parameters
    ----------
    recorded : list of (int, str)
        The last recorded ones, as many as are at hand.
    probe : list of (int, str)
        What `tailLines` gave. Its first may be the end of a longer line, with a time of its own: the tail is counted in
        the runtime's parts of a line (16 KiB in containerd), of which a long last line may be all.
    """
    if not probe or not recorded:
        return not probe and not recorded
    if len(probe) == 1 and len(recorded[-1][1]) > len(probe[0][1]) >= _PARTS:
        return recorded[-1][1].endswith(probe[0][1])
    n = min(len(recorded), len(probe) - 1 if len(probe) > 1 else 1)
    return recorded[-n:] == probe[-n:]


def complete(recorded: list[Line], probe: list[Line]) -> bool:
    """Tell whether the last recorded lines are the last ones there are, and not the same ones further up.

    Parameters
    ----------
    recorded, probe : list of (int, str)
        As in `ends_with`. Where all recorded ones have one time, as from a coarse clock, they are all of that time,
        and if the log has one more of them before, then these may be any.
    """
    if not ends_with(recorded, probe):
        return False
    n = len(recorded)
    return not (n and n < len(probe) and len({t for t, _ in probe[-n - 1 :]}) == 1)
