"""Parse the bytes of a `timestamps=true` log into times and texts. This is the recorder's hot loop."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.model import STREAMS, UNBOUNDED, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCALE: Final = [10 ** (9 - n) for n in range(10)]
_NS: Final = 1_000_000_000
#: More bytes than a time has: RFC3339Nano with an offset has 35.
_STAMP: Final = 40
#: The runtime cuts a line after this many bytes of text (`max_container_log_line_size` of containerd's CRI plugin).
PART_BYTES: Final = 16 << 10
#: A line with more bytes of text than this is recorded in parts, so that a program that never ends its line cannot fill
#: the memory. The parts joined are the text as written.
LONGEST: Final = 256 * PART_BYTES
#: The kubelet ends a follow with this text if it finds at the end that the runtime has removed the container.
NOT_FOUND: Final = "rpc error: code = NotFound"
#: A time that a kubelet writes within a line (`RFC3339NanoFixed`).
_PART_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) ")


@dataclass(slots=True)
class Lines:
    r"""Parsed lines of one source.

    Parameters
    ----------
    times : list of int
        Times (ns since the Unix epoch).
    texts : list of str
        Texts as written; bytes that are not UTF-8 as `\xNN`.
    marks : list of tuple of (int, int)
        An item for each change of the whole second: (second in ns, position of the line).
    errors : list of str
        Texts of the kubelet without a time, which came in place of lines.
    streams : list of int
        Indexes in `model.STREAMS` if the streams are known; else empty.
    """

    times: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def rows(self) -> list[tuple[int, str]]:
        """Return (time, text) of each line, as alignment compares them."""
        return list(zip(self.times, self.texts, strict=True))

    def part(self, start: int, end: int | None = None) -> Lines:
        """Return a range of the lines."""
        return self.pick(range(len(self))[start:end])

    def pick(self, positions: Sequence[int]) -> Lines:
        """Return the lines at these positions."""
        streams = [self.streams[i] for i in positions] if self.streams else []
        times, texts = [self.times[i] for i in positions], [self.texts[i] for i in positions]
        return Lines(times, texts, streams=streams).marked()

    def marked(self) -> Lines:
        """Compute the marks from the times; return these lines."""
        seconds = [t - t % _NS for t in self.times]
        self.marks = [(s, i) for i, s in enumerate(seconds) if not i or s != seconds[i - 1]]
        return self


def parse(piece: bytes) -> Lines:
    r"""Split complete lines into times and texts.

    Parameters
    ----------
    piece : bytes
        Whole lines; the last one may lack its newline.

    Notes
    -----
    One plain loop over a chunk that is decoded once, with the second cached while the first 19 characters repeat;
    `docs/explanation/architecture.md`, "Parsing", compares it with other ways. `datetime.fromisoformat` would cut the
    nanoseconds. Go's RFC3339Nano trims trailing zeros, so the width varies. A first word that is no time marks a text
    of the kubelet within an answer with status 200.

    Examples
    --------
    >>> lines = parse(b"2023-11-14T22:13:20.5Z a b\n2023-11-14T22:13:20.000000007Z \nunable to retrieve logs\n")
    >>> lines.times, lines.texts, lines.errors
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
                if not 0 <= time <= UNBOUNDED:  # outside the range of stores and batches
                    raise ValueError(stamp)  # noqa: TRY301 - caught with what int() raises
                cached, base = stamp[:19] if stamp[-1] == "Z" else "", time - time % _NS
                out.marks.append((base, len(times)))
            elif len(stamp) == 20:  # no fraction
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


def is_removed(text: str) -> bool:
    """Return whether a text of the kubelet says that the node has removed the container, or its log.

    Sources: `GetContainerLogs` in kubernetes/pkg/kubelet/kuberuntime/kuberuntime_container.go, `ReadLogs` in
    staging/src/k8s.io/cri-client/pkg/logs/logs.go, and the answers of a kubelet while it removed a pod.

    Examples
    --------
    >>> is_removed("unable to retrieve container logs for containerd://0c293bea"), is_removed("too many open files")
    (True, False)
    """
    if text.startswith(("failed to try resolving symlinks in path ", "failed to open log file ")):
        return text.endswith("no such file or directory")
    return text.startswith(("unable to retrieve container logs for ", NOT_FOUND))


def reaches(chunk: bytes, time: int) -> bool:
    """Return whether the last whole line of a chunk has this time (ns) or a later one."""
    end = chunk.rfind(b"\n")
    last = parse(chunk[chunk.rfind(b"\n", 0, end) + 1 : end + 1]).times if end > 0 else []
    return bool(last) and last[-1] >= time


_CRI_STREAMS: Final = {b"stdout": STREAMS.index("stdout"), b"stderr": STREAMS.index("stderr")}


def parse_cri(data: bytes) -> Lines:
    r"""Parse a container's log file (`TIME STREAM P|F TEXT` per record) into the lines that `pods/log` serves of it.

    Parameters
    ----------
    data : bytes
        Whole records. Parts (`P`) at the end that no `F` follows are left out.

    Notes
    -----
    The runtime cuts a line at 16 KiB into parts. The kubelet joins the parts in the order of the file, whichever stream
    they are of: it ends a line after an `F`, and stamps only the record that begins a line (`ReadLogs` and `isNewLine`
    in staging/src/k8s.io/cri-client/pkg/logs/logs.go). So text that stderr writes between two parts of a line of stdout
    ends that line.

    Examples
    --------
    >>> lines = parse_cri(
    ...     b"2023-11-14T22:13:20.5Z stdout P a\n"
    ...     b"2023-11-14T22:13:20.6Z stderr F oops\n"
    ...     b"2023-11-14T22:13:20.7Z stdout F b\n"
    ... )
    >>> lines.times, lines.texts, [STREAMS[n] for n in lines.streams]
    ([1700000000500000000, 1700000000700000000], ['aoops', 'b'], ['unknown', 'stdout'])
    """
    lines: list[bytes] = []
    streams: list[int] = []
    parts: list[bytes] = []  # the beginning of a line without its end
    stream = 0
    for record in data.split(b"\n"):
        stamp, _, rest = record.partition(b" ")
        name, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if name not in _CRI_STREAMS:
            continue
        if parts:
            parts.append(text)
            stream = stream if stream == _CRI_STREAMS[name] else 0
        else:
            parts, stream = [stamp + b" " + text], _CRI_STREAMS[name]
        if tag[:1] == b"P":
            continue
        if len(parts) == 1:
            lines += parts
            streams.append(stream)
        else:
            whole = _split_long(b"".join(parts))
            lines += whole
            streams += [stream] * len(whole)
        parts = []
    out = parse(b"\n".join(lines) + b"\n") if lines else Lines()
    out.streams = streams if len(out) == len(streams) else [0] * len(out)
    return out


class Splitter:
    """Cuts what `pods/log` sends into pieces of whole lines.

    Whole lines are returned at once; the writer joins pieces to batches. A line longer than `LONGEST` is returned in
    parts.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._cut = 0  # bytes of text that were returned of the line that has not ended

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the whole lines that are complete now, often none."""
        end = chunk.rfind(b"\n") + 1
        piece = b"".join([*self._rest, chunk[:end]]) if end else b""
        if end:
            if self._cut or _has_long(piece):
                first, *following = piece.split(b"\n")
                lines = _split_long(first, self._cut)
                for line in following:
                    lines += _split_long(line) if len(line) > PART_BYTES else [line]
                piece = b"\n".join(lines)
            self._rest, self._size, self._cut = [], 0, 0
        if tail := chunk[end:]:
            self._rest.append(tail)
            self._size += len(tail)
        if self._size > LONGEST + 2 * _STAMP:
            *parts, rest = _split_long(b"".join(self._rest), self._cut, more=_STAMP)
            self._rest, self._size = [rest], len(rest)
            self._cut += sum(len(part) - len(_head(part)) for part in parts)
            piece += b"".join(part + b"\n" for part in parts)
        return piece

    def rest(self) -> bytes:
        """Return the last line, without a newline, at the end of a stream."""
        piece = b"\n".join(_split_long(b"".join(self._rest), self._cut))
        self._rest, self._size, self._cut = [], 0, 0
        return piece


def _has_long(piece: bytes) -> bool:
    """Return whether a line is longer than the runtime writes in one record."""
    start = 0
    while len(piece) - start > PART_BYTES:
        if (start := piece.rfind(b"\n", start, start + PART_BYTES) + 1) == 0:
            return True
    return False


def _head(line: bytes) -> bytes:
    stamp, space, _ = line[:_STAMP].partition(b" ")
    return stamp + space if space else b""


def _split_long(line: bytes, cut: int = 0, more: int = 0) -> list[bytes]:
    """Split a line that is too long into lines of the same time.

    Where it is split depends on its text alone, not on how it arrived or who reads it. So it is recorded the same way
    each time; else alignment after a reconnect would not find it.

    A kubelet before 1.23.14, 1.24.8 and 1.25.4 writes a time before each part into which the runtime has cut a line
    (kubernetes#77603); these times are removed.

    Parameters
    ----------
    line : bytes
        The line without its newline.
    cut : int, optional
        How many bytes of its text came before.
    more : int, optional
        Bytes to leave at the end of a line that has not ended: they may be the beginning of such a time.
    """
    head = _head(line)
    at, start, texts = len(head) + (-cut % PART_BYTES if cut else PART_BYTES), len(head), []
    while at < len(line):
        # The parts of a line are written within moments, so a time of another day is text.
        if (time := _PART_TIME.match(line, at)) and line[at : at + 10] == head[:10]:
            texts.append(line[start:at])
            start = at = time.end()
        at += PART_BYTES
    text = b"".join([*texts, line[start:]])
    lines = []
    start = 0
    while len(text) - start > LONGEST + more:
        end = start + LONGEST
        # Do not split a UTF-8 character; its later bytes are 10xxxxxx.
        end -= next((b for b in range(4) if text[end - b] & 0xC0 != 0x80), 0)
        lines.append(head + text[start:end])
        start = end
    return [*lines, head + text[start:]]
