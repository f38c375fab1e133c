"""Build a commit from what arrived in one interval: merged by time, numbered, encoded once, with anchors."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from cortex_jupyter.model import Entry, encode_batch, notice
from cortex_jupyter.parsing.rhythm import Rhythm
from cortex_jupyter.recorder.text.lines import parse
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking
from cortex_jupyter.store import Anchor, Commit

if TYPE_CHECKING:
    from cortex_jupyter.model import Source
    from cortex_jupyter.recorder.text.lines import Lines

_SECOND: Final = 1_000_000_000
#: An anchor lies this far before the last line (ns), so that lines whose times are out of order lie after it.
_ANCHOR_DISTANCE: Final = 2 * _SECOND
#: Two lines were read as they came if they were written this far apart (ns), and one came at most this much later than the
#: other (ns). If lines waited on the node to be read, the older one is late by the time between them.
_APART: Final = _SECOND // 2
_AGREE: Final = _SECOND // 5
#: At most this many different texts of the kubelet become notices of one source.
_MAX_KUBELET_TEXTS: Final = 20


@dataclass(slots=True)
class RawLines:
    """Whole lines of one source, as they arrived; `at` is when (ns, by our clock), or 0 if that is not known."""

    sid: int
    data: bytes
    at: int = 0

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return len(self.data)


@dataclass(slots=True)
class ParsedLines:
    """Parsed lines of one source, from a rotated file."""

    sid: int
    lines: Lines

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return sum(map(len, self.lines.texts))


@dataclass(slots=True)
class PendingNotice:
    """A notice without its number; with an empty `event`, only a change of the recording's row.

    Parameters
    ----------
    event, message : str
    time : int
        Time in ns; 0 for now. A notice of a source never comes before the source's last line.
    sid : int
        The source that it is about; 0 for none.
    ended : bool
        Whether the source has been read to its end.
    unaudited : bool
        Whether the source has just ended, and is still to be audited.
    update : dict
        As `Commit.update`.
    fields : dict
        Further fields of the event.
    loss : str
        Of a gap: why lines are missing, as one of `recorder_metrics.LOSS_REASONS`. It is counted, not stored.
    """

    event: str = ""
    message: str = ""
    time: int = 0
    sid: int = 0
    ended: bool = False
    unaudited: bool = False
    update: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    loss: str = ""
    size: ClassVar[int] = 0


#: What the sources of a task hand to the writer.
Item = RawLines | ParsedLines | PendingNotice


class SourceProgress:
    """How far one source has been recorded: its anchor, kept up to date.

    Parameters
    ----------
    source : Source
    anchor : Anchor
        The anchor that was stored last.

    Attributes
    ----------
    clock_ahead : int or None
        How far the clock of the source's node is ahead of ours (ns), less the time that a line takes to us. None until two
        lines that were written some time apart agree about it: then they were read as they came.

    Notes
    -----
    `_marks` holds, for each second that was the latest when it came, the number of the line that reached it: the first
    line with a time not before that second. Marks before the anchor are dropped. After a clock was set back, the anchor's
    second lies before the dropped marks; then only the source's first line is a safe place.
    """

    def __init__(self, source: Source, anchor: Anchor) -> None:
        self.source = source
        self.public = source.public
        self.last = anchor.last
        self.ended, self.unaudited = anchor.ended, anchor.unaudited
        self.kubelet_texts: set[str] = set()
        self.recent: deque[tuple[int, str]] = deque(maxlen=8)
        self._latest_second = anchor.top
        # The marks between the anchor and the latest line are not stored; the anchor's place is early enough for all of
        # them.
        self._marks: deque[tuple[int, int]] = deque([(self._latest_second, anchor.seq)] if anchor.last else [])
        self._anchor_second = anchor.second
        # A number of 0 although there are lines: the clock was set back. It is early enough for any second.
        self._earliest_safe_second = anchor.second if anchor.seq else 0
        self.clock_ahead: int | None = None
        #: How far a line was ahead of our clock, at most, and its time.
        self._most_ahead = (0, 0)

    def advance(self, lines: Lines, numbers: list[int] | range) -> None:
        """Take in lines that got these numbers."""
        for second, position in lines.marks:
            if second > self._latest_second:
                self._latest_second = second
                self._marks.append((second, numbers[position]))
        self.last = lines.times[-1]
        self.recent.extend(zip(lines.times[-8:], lines.texts[-8:], strict=True))
        self._anchor_second = self.last - self.last % _SECOND - _ANCHOR_DISTANCE
        if self._anchor_second >= self._earliest_safe_second:
            self._earliest_safe_second = self._anchor_second
            while len(self._marks) > 1 and self._marks[0][0] < self._anchor_second:
                self._marks.popleft()

    def note_arrival(self, at: int) -> None:
        """Note that the latest line arrived now (ns, by our clock). One that comes late seems to be behind."""
        ahead = self.last - at
        most, time_ns = self._most_ahead
        if time_ns and abs(ahead - most) <= _AGREE and self.last - time_ns >= _APART:
            self.clock_ahead = max(ahead, most)
        if not time_ns or ahead > most:
            self._most_ahead = (ahead, self.last)

    def shift(self, first: int, by: int) -> None:
        """Add `by` to the numbers of the lines from `first` on."""
        self._marks = deque((second, n + by if n >= first else n) for second, n in self._marks)

    @property
    def anchor(self) -> Anchor:
        """Where to resume the source."""
        if not self._marks:
            return Anchor(ended=self.ended, unaudited=self.unaudited)  # no line yet
        seq = self._marks[0][1] if self._anchor_second >= self._earliest_safe_second else 0
        return Anchor(self._anchor_second, seq, self.last, self.ended, self._latest_second, self.unaudited)


class Batcher:
    """Builds commits from lines and notices, for one recording.

    Parameters
    ----------
    task : str
        The task's key.
    next_seq : int
        The number of the next record.
    masking : Masking, optional
    masked : dict, optional
        Number of masked secrets by kind; None if none of the recording's lines were to be masked.
    """

    def __init__(
        self, task: str, next_seq: int, masking: Masking = UNMASKED, masked: dict[str, int] | None = None
    ) -> None:
        self.task = task
        self.next_seq = next_seq
        self._masking = masking
        self._masked = Counter(masked or {})
        self._stored_masked = masked  # the counts that the recording's row holds
        self.progress: dict[int, SourceProgress] = {}
        #: How far the latest line was ahead of our clock when it arrived (ns): its node's clock is at least that far
        #: ahead.
        self.clock_ahead = 0
        #: When the main containers' lines came, and when the newest of them arrived (ns, by our clock).
        self.rhythm = Rhythm()
        self.heard_at = 0

    def build(self, items: list[Item]) -> Commit:
        """Return the commit of these items; notices keep their place between the lines."""
        commit = Commit()
        pieces: dict[int, list[RawLines]] = {}
        for item in items:
            if isinstance(item, RawLines):
                pieces.setdefault(item.sid, []).append(item)
                continue
            self._add_lines(commit, pieces)
            pieces = {}
            if isinstance(item, ParsedLines):
                self._add_batch(commit, {item.sid: item.lines})
            else:
                self._add_notice(commit, item)
        self._add_lines(commit, pieces)
        if self._masking.is_on and self._stored_masked != self._masked:
            # The sum, not the increment: a commit that is written twice counts once.
            self._stored_masked = commit.update["masked"] = dict(self._masked)
        return commit

    def shift(self, commit: Commit, by: int) -> None:
        """Add `by` to the numbers of a commit that was built and not written: another entry must come before it."""
        if not commit.entries:
            return
        first = commit.entries[0].seq
        for entry in commit.entries:
            doc = orjson.loads(entry.data)
            entry.data = orjson.dumps(doc | {"seq": doc["seq"] + by})
            entry.seq += by
        for sid, progress in self.progress.items():
            progress.shift(first, by)
            if sid in commit.anchors:
                commit.anchors[sid] = progress.anchor
        self.next_seq += by

    def _add_notice(self, commit: Commit, note: PendingNotice) -> None:
        commit.update |= note.update
        progress = self.progress.get(note.sid)
        if progress is not None and note.ended:
            progress.ended, progress.unaudited = True, note.unaudited
            progress.recent.clear()
            commit.anchors[note.sid] = progress.anchor
        if not note.event:
            return
        [message] = self._masking.texts([note.message], self._masked)
        if message != note.message and "message" in commit.update:
            [commit.update["message"]] = self._masking.texts([commit.update["message"]], Counter())
        time_ns = max(note.time or time.time_ns(), progress.last + 1 if progress and progress.last else 0)
        fields = note.fields | ({"source": progress.public} if progress else {})
        if progress is not None and note.ended and progress.clock_ahead is not None:
            fields["clock_ms"] = round(progress.clock_ahead / 1e6)
        self._add_entry(commit, notice(self.task, self.next_seq, time_ns, note.event, message, **fields))

    def _add_lines(self, commit: Commit, pieces: dict[int, list[RawLines]]) -> None:
        parsed = {sid: parse(b"".join(piece.data for piece in raw)) for sid, raw in pieces.items()}
        self._add_batch(commit, {sid: lines for sid, lines in parsed.items() if lines.times})
        for sid, lines in parsed.items():
            if lines.times and (at := pieces[sid][-1].at):
                self.progress[sid].note_arrival(at)
                if self.progress[sid].source.kind == "main":
                    self.rhythm.note(sid, lines.times[0], lines.times[-1], lines.texts[-1])
                    self.heard_at = at
        for sid, lines in parsed.items():
            for text in lines.errors:
                # A repeated attempt gets the same text again, or the one before that.
                if (
                    text not in self.progress[sid].kubelet_texts
                    and len(self.progress[sid].kubelet_texts) < _MAX_KUBELET_TEXTS
                ):
                    self.progress[sid].kubelet_texts.add(text)
                    self._add_notice(commit, PendingNotice("status", text, sid=sid, fields={"notice": "kubelet"}))

    def _add_batch(self, commit: Commit, parsed: dict[int, Lines]) -> None:
        first = self.next_seq
        if not parsed:
            return
        for lines in parsed.values():
            lines.texts = self._masking.texts(lines.texts, self._masked)
        if len(parsed) == 1:
            ((sid, lines),) = parsed.items()
            times, texts, sids = lines.times, lines.texts, [sid] * len(lines.times)
            self.progress[sid].advance(lines, range(first, first + len(times)))
        else:
            times, texts, sids = self._merge(parsed, first)
        sources = {sid: self.progress[sid].public for sid in parsed}
        # Only lines from files have a known stream, and they come alone.
        streams = lines.streams or None if len(parsed) == 1 else None
        data = encode_batch(self.task, first, times, sids, streams, texts, sources)
        self._add_entry(commit, Entry(first, len(times), "log", min(times), max(times), data))
        self.clock_ahead = max(times) - time.time_ns()
        commit.anchors |= {sid: self.progress[sid].anchor for sid in parsed}

    def _merge(self, parsed: dict[int, Lines], first: int) -> tuple[list[int], list[str], list[int]]:
        """Merge the lines of several sources in the order of reading, as in `store.scan.with_reading_time`."""
        rows: list[tuple[int, int, int]] = []
        for sid, lines in parsed.items():
            rows += zip(accumulate(lines.times, max), repeat(sid), range(len(lines.times)))
        rows.sort()
        numbers: dict[int, list[int]] = {sid: [0] * len(lines.times) for sid, lines in parsed.items()}
        for number, (_, sid, i) in enumerate(rows, first):
            numbers[sid][i] = number
        for sid, lines in parsed.items():
            self.progress[sid].advance(lines, numbers[sid])
        times = [parsed[sid].times[i] for _, sid, i in rows]
        texts = [parsed[sid].texts[i] for _, sid, i in rows]
        return times, texts, [sid for _, sid, _ in rows]

    def _add_entry(self, commit: Commit, entry: Entry) -> None:
        commit.entries.append(entry)
        self.next_seq = entry.last + 1
