"""From what arrived in one interval to what is committed: merged by time, numbered, encoded once, with its anchors."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from cortex_jupyter.model import Entry, encode_batch, notice
from cortex_jupyter.recorder.text.parser import PLAIN, Parser
from cortex_jupyter.store import Anchor, Commit

if TYPE_CHECKING:
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.text.lines import Lines

_SECOND: Final = 1_000_000_000
#: An anchor lies this far before the last line, so that lines whose times are out of order lie after it.
_BACK: Final = 2 * _SECOND
#: So many different texts of the kubelet are notices of one source.
_COMPLAINTS: Final = 20


@dataclass(slots=True)
class Piece:
    """Whole lines of one source, as they came."""

    sid: int
    data: bytes

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.data)


@dataclass(slots=True)
class Ready:
    """Lines that are parsed already: out of a rotated file."""

    sid: int
    lines: Lines

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(map(len, self.lines.texts))


@dataclass(slots=True)
class Note:
    """A notice to be, or with an empty `event` only a change of the recording's row.

    Parameters
    ----------
    event, message : str
    time : int
        ns; 0 for now. A notice of a source never comes before the source's last line.
    sid : int
        The source it is about, 0 for none.
    ended : bool
        The source has been read to its end.
    unaudited : bool
        It has just been, and is still to be audited.
    update : dict
        As `Commit.update`.
    fields : dict
        Further fields of the event.
    """

    event: str = ""
    message: str = ""
    time: int = 0
    sid: int = 0
    ended: bool = False
    unaudited: bool = False
    update: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    size: ClassVar[int] = 0


#: What a task's readers hand to the writer.
Item = Piece | Ready | Note


class Track:
    """Where one source is: its anchor, kept true line by line second by second.

    Parameters
    ----------
    source : Source
    anchor : Anchor
        Where it was left.

    Notes
    -----
    `_marks` holds, for each second that was the latest so far, the number of the line that reached it: the first
    line with a time not before that second. Marks before the anchor are dropped. After a clock was set back the
    anchor's second lies before what was dropped; then the source's first line is the only safe place.
    """

    def __init__(self, source: Source, anchor: Anchor) -> None:
        self.source = source
        self.public = source.public
        self.last = anchor.last
        self.ended, self.unaudited = anchor.ended, anchor.unaudited
        self.complaints: set[str] = set()
        self.recent: deque[tuple[int, str]] = deque(maxlen=8)
        self._top = anchor.top
        # The marks between the anchor and the latest line are not kept: its place is early enough for all of them.
        self._marks: deque[tuple[int, int]] = deque([(self._top, anchor.seq)] if anchor.last else [])
        self._second = anchor.second
        # A place of 0 with lines before it: the clock was set back. It is early enough for any second.
        self._floor = anchor.second if anchor.seq else 0

    def advance(self, lines: Lines, numbers: list[int] | range) -> None:
        """Take note of lines that got these numbers."""
        for second, position in lines.marks:
            if second > self._top:
                self._top = second
                self._marks.append((second, numbers[position]))
        self.last = lines.times[-1]
        self.recent.extend(zip(lines.times[-8:], lines.texts[-8:], strict=True))
        self._second = self.last - self.last % _SECOND - _BACK
        if self._second >= self._floor:
            self._floor = self._second
            while len(self._marks) > 1 and self._marks[0][0] < self._second:
                self._marks.popleft()

    def shift(self, first: int, by: int) -> None:
        """Give later numbers to the lines from `first` on."""
        self._marks = deque((second, n + by if n >= first else n) for second, n in self._marks)

    @property
    def anchor(self) -> Anchor:
        """Where to take the source up again."""
        if not self._marks:
            return Anchor(ended=self.ended, unaudited=self.unaudited)  # no line yet
        seq = self._marks[0][1] if self._second >= self._floor else 0
        return Anchor(self._second, seq, self.last, self.ended, self._top, self.unaudited)


class Batcher:
    """Makes commits out of pieces and notes, for one recording.

    Parameters
    ----------
    task : str
        The task's key.
    next_seq : int
        The number the next record gets.
    parser : Parser, optional
    masked : dict, optional
        How many secrets were masked so far, by kind; None where none of the recording's lines were to be.
    """

    def __init__(self, task: str, next_seq: int, parser: Parser = PLAIN, masked: dict[str, int] | None = None) -> None:
        self.task = task
        self.next_seq = next_seq
        self.parser = parser
        self._masked = Counter(masked or {})
        self._said = masked  # of what was masked, what the recording says
        self.tracks: dict[int, Track] = {}
        #: How far the latest line was ahead of our clock when it came, ns: its node is at least as far ahead.
        self.ahead = 0

    def build(self, items: list[Item]) -> Commit:
        """Give the commit of these items; notices stand where they stood between the lines."""
        commit = Commit()
        pieces: dict[int, list[bytes]] = {}
        for item in items:
            if isinstance(item, Piece):
                pieces.setdefault(item.sid, []).append(item.data)
                continue
            self._lines(commit, pieces)
            pieces = {}
            if isinstance(item, Ready):
                self._batch(commit, {item.sid: item.lines})
            else:
                self._note(commit, item)
        self._lines(commit, pieces)
        if self.parser.masked and self._said != self._masked:
            # The sum and not what is new: a commit that is written twice counts once.
            self._said = commit.update["masked"] = dict(self._masked)
        return commit

    def later(self, commit: Commit, by: int) -> None:
        """Give later numbers to a commit that was built and not written: something has to come before it."""
        if not commit.entries:
            return
        first = commit.entries[0].seq
        for entry in commit.entries:
            doc = orjson.loads(entry.data)
            entry.data = orjson.dumps(doc | {"seq": doc["seq"] + by})
            entry.seq += by
        for sid, track in self.tracks.items():
            track.shift(first, by)
            if sid in commit.anchors:
                commit.anchors[sid] = track.anchor
        self.next_seq += by

    def _note(self, commit: Commit, note: Note) -> None:
        commit.update |= note.update
        track = self.tracks.get(note.sid)
        if track is not None and note.ended:
            track.ended, track.unaudited = True, note.unaudited
            track.recent.clear()
            commit.anchors[note.sid] = track.anchor
        if not note.event:
            return
        message = self.parser.text(note.message, self._masked)
        if message != note.message and "message" in commit.update:
            commit.update["message"] = self.parser.text(commit.update["message"], Counter())
        at = max(note.time or time.time_ns(), track.last + 1 if track and track.last else 0)
        fields = note.fields | ({"source": track.public} if track else {})
        self._add(commit, notice(self.task, self.next_seq, at, note.event, message, **fields))

    def _lines(self, commit: Commit, pieces: dict[int, list[bytes]]) -> None:
        parsed = {sid: self.parser.lines(b"".join(data)) for sid, data in pieces.items()}
        self._batch(commit, {sid: lines for sid, lines in parsed.items() if lines.times})
        for sid, lines in parsed.items():
            for text in lines.errors:
                # An attempt that fails again says the same again, or the one before that.
                if text not in self.tracks[sid].complaints and len(self.tracks[sid].complaints) < _COMPLAINTS:
                    self.tracks[sid].complaints.add(text)
                    self._note(commit, Note("status", text, sid=sid, fields={"notice": "kubelet"}))

    def _batch(self, commit: Commit, parsed: dict[int, Lines]) -> None:
        first = self.next_seq
        if not parsed:
            return
        if len(parsed) == 1:
            ((sid, lines),) = parsed.items()
            times, texts, sids = lines.times, lines.texts, [sid] * len(lines.times)
            self.tracks[sid].advance(lines, range(first, first + len(times)))
        else:
            times, texts, sids = self._merged(parsed, first)
        for lines in parsed.values():
            for kinds in lines.masked.values():
                self._masked.update(kinds)
        sources = {sid: self.tracks[sid].public for sid in parsed}
        # Only lines out of files know their origin, and they come alone.
        streams = lines.streams or None if len(parsed) == 1 else None
        data = encode_batch(self.task, first, times, sids, streams, texts, sources)
        self._add(commit, Entry(first, len(times), "log", min(times), max(times), data))
        self.ahead = max(times) - time.time_ns()
        commit.anchors |= {sid: self.tracks[sid].anchor for sid in parsed}

    def _merged(self, parsed: dict[int, Lines], first: int) -> tuple[list[int], list[str], list[int]]:
        """Merge several sources by time, each kept in the order of its file."""
        rows: list[tuple[int, int, int]] = []
        for sid, lines in parsed.items():
            latest = 0
            for i, at in enumerate(lines.times):
                latest = max(latest, at)
                rows.append((latest, sid, i))
        rows.sort()
        numbers: dict[int, list[int]] = {sid: [0] * len(lines.times) for sid, lines in parsed.items()}
        for number, (_, sid, i) in enumerate(rows, first):
            numbers[sid][i] = number
        for sid, lines in parsed.items():
            self.tracks[sid].advance(lines, numbers[sid])
        times = [parsed[sid].times[i] for _, sid, i in rows]
        texts = [parsed[sid].texts[i] for _, sid, i in rows]
        return times, texts, [sid for _, sid, _ in rows]

    def _add(self, commit: Commit, entry: Entry) -> None:
        commit.entries.append(entry)
        self.next_seq = entry.last + 1
