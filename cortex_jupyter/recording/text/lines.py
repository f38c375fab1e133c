"""From the bytes of a `timestamps=true` log to times and texts. The recorder's hot loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.records import STREAMS, parse_rfc3339

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

_SCALE: Final = [10 ** (9 - n) for n in range(10)]
_NS: Final = 1_000_000_000
_END: Final = 1 << 63
#: RFC3339Nano with an offset is 35 long.
_STAMP: Final = 40
#: A line longer than this many bytes is recorded in parts, so that a program that never ends its line cannot fill
#: the memory. The parts join to the text as written.
LONGEST: Final = 4 << 20


@dataclass(slots=True)
class Lines:
    r"""Parsed lines of one source.

    Parameters
    ----------
    times : list of int
        ns since the epoch.
    texts : list of str
        As written; bytes that are not UTF-8 as `\xNN`.
    marks : list of tuple of (int, int)
        Whenever the whole second changes: (second in ns, position of the line).
    errors : list of str
        Texts of the kubelet that came in place of lines, without a time.
    streams : list of int
        Indexes in `records.STREAMS`, where the origin is known; else empty.
    masked : dict of int to Counter
        How many secrets were masked, by kind, in the lines at these positions.
    """

    times: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    masked: dict[int, Counter[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times)

    def rows(self) -> list[tuple[int, str]]:
        """Give (time, text) of each line, as alignment compares them."""
        return list(zip(self.times, self.texts, strict=True))

    def part(self, start: int, end: int | None = None) -> Lines:
        """Give some of the lines."""
        return self.pick(range(len(self))[start:end])

    def pick(self, positions: Sequence[int]) -> Lines:
        """Give the lines at these positions."""
        streams = [self.streams[i] for i in positions] if self.streams else []
        masked = {n: self.masked[i] for n, i in enumerate(positions) if i in self.masked} if self.masked else {}
        times, texts = [self.times[i] for i in positions], [self.texts[i] for i in positions]
        return Lines(times, texts, streams=streams, masked=masked).marked()

    def marked(self) -> Lines:
        """Find the marks again."""
        seconds = [t - t % _NS for t in self.times]
        self.marks = [(s, i) for i, s in enumerate(seconds) if not i or s != seconds[i - 1]]
        return self


def parse(piece: bytes) -> Lines:
    r"""Split complete lines into times and texts.

    Parameters
    ----------
    piece : bytes
        Whole lines; the last may lack its newline.

    Notes
    -----
    One plain loop over a chunk decoded once, with the second cached while the first 19 characters repeat: 0.44 us a
    line, and nothing in NumPy is faster once texts are needed (`research/performance.md` section 1.1).
    `datetime.fromisoformat` would cut the nanoseconds. Go's RFC3339Nano trims trailing zeros, so the width varies.
    A first word that is no time marks a text of the kubelet itself within a 200 (`research/tailers.md` section 4.4).

    Examples
    --------
    >>> found = parse(b"2023-11-14T22:13:20.5Z a b\n2023-11-14T22:13:20.000000007Z \nunable to retrieve logs\n")
    >>> found.times, found.texts, found.errors
    ([1700000000500000000, 1700000000000000007], ['a b', ''], ['unable to retrieve logs'])
    """
    out = Lines()
    times, texts = out.times, out.texts
    add_time, add_text = times.append, texts.append
    lines = piece.decode("utf-8", "backslashreplace").split("\n")
    if not lines[-1]:
        lines.pop()  # the piece ended with its newline
    cached, base = "", 0
    for line in lines:
        stamp, _, text = line.partition(" ")
        try:
            if stamp[:19] != cached or stamp[-1] != "Z":
                time = parse_rfc3339(stamp)
                if not 0 <= time < _END:  # more than stores and batches can count
                    raise ValueError(stamp)  # noqa: TRY301
                cached, base = stamp[:19] if stamp[-1] == "Z" else "", time - time % _NS
                out.marks.append((base, len(times)))
            elif len(stamp) == 20:  # noqa: PLR2004 - no fraction
                time = base
            else:
                fraction = stamp[20:-1]
                time = base + int(fraction) * _SCALE[len(fraction)]
        except (ValueError, IndexError):
            if line:
                out.errors.append(line)
            continue
        add_time(time)
        add_text(text)
    return out


def reaches(chunk: bytes, time: int) -> bool:
    """Tell whether the last whole line of a chunk was written at a time or after it."""
    end = chunk.rfind(b"\n")
    last = parse(chunk[chunk.rfind(b"\n", 0, end) + 1 : end + 1]).times if end > 0 else []
    return bool(last) and last[-1] >= time


_CRI_STREAMS: Final = {b"stdout": STREAMS.index("stdout"), b"stderr": STREAMS.index("stderr")}


def parse_cri(data: bytes) -> Lines:
    r"""Read a container's log file: `TIME STREAM P|F TEXT` per line, where `P` parts are joined to one line.

    The runtime cuts a line at 16 KiB into parts; its time is that of the first, as the kubelet serves it
    (staging/src/k8s.io/cri-client/pkg/logs/logs.go).

    Examples
    --------
    >>> found = parse_cri(b"2023-11-14T22:13:20.5Z stdout P a\n2023-11-14T22:13:20.6Z stdout F b\n")
    >>> found.times, found.texts, found.streams
    ([1700000000500000000], ['ab'], [1])
    """
    stamped: list[bytes] = []
    streams: list[int] = []
    open_: dict[bytes, tuple[bytes, list[bytes]]] = {}  # the two streams may have a line open at once
    for line in data.split(b"\n"):
        stamp, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if stream not in _CRI_STREAMS:
            continue
        first, parts = open_.pop(stream, (stamp, []))
        parts.append(text)
        if tag[:1] == b"P":
            open_[stream] = (first, parts)
            continue
        stamped.append(first + b" " + b"".join(parts))
        streams.append(_CRI_STREAMS[stream])
    out = parse(b"\n".join(stamped) + b"\n") if stamped else Lines()
    out.streams = streams if len(out) == len(streams) else [0] * len(out)
    return out


class Splitter:
    """Cuts a byte stream into pieces of whole lines.

    What is there is handed out at once; the writer joins pieces to batches. A line longer than `LONGEST` comes in parts.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk, give the whole lines there are now; often none."""
        end = chunk.rfind(b"\n") + 1
        piece = b"".join([*self._rest, chunk[:end]]) if end else b""
        if end and self._size + end > LONGEST:
            piece = b"\n".join(b"".join(_cut(line)) for line in piece.split(b"\n"))
        if end:
            self._rest, self._size = [], 0
        if tail := chunk[end:]:
            self._rest.append(tail)
            self._size += len(tail)
        if self._size > LONGEST:
            parts, rest = _cut(b"".join(self._rest))
            self._rest, self._size = [rest], len(rest)
            piece += parts
        return piece

    def rest(self) -> bytes:
        """Give the last line, which has no newline, at the end of a stream."""
        piece, self._rest, self._size = b"".join(self._rest), [], 0
        return piece


def _cut(line: bytes) -> tuple[bytes, bytes]:
    """Cut off parts as long as the line is too long; gives the parts, as lines, and what is left.

    Where it is cut depends on the line alone, not on how it arrived: it is recorded the same way each time it is read,
    or the seam after a reconnect would not be found.
    """
    stamp, space, _ = line[:_STAMP].partition(b" ")
    head = stamp + space if space else b""
    parts: list[bytes] = []
    while len(line) > LONGEST:
        # Not within a UTF-8 character, whose two or three later bytes are 10xxxxxx.
        back = next((b for b in range(4) if line[LONGEST - b] & 0xC0 != 0x80), 0)  # noqa: PLR2004
        parts.append(line[: LONGEST - back] + b"\n")
        line = head + line[LONGEST - back :]
    return b"".join(parts), line
