"""Reads a CRI log as the kubelet does (`staging/src/k8s.io/cri-client/pkg/logs/logs.go`, `ReadLogs`).

These properties are kept on purpose, because they are why clients lose lines:

- Only the current file is read.
- A follow notices rotations only after it has first reached the end of the file. If the log is rotated while the
  follow is still sending older lines, the follow stays with the old file until the next rotation.
- When the container ends, the follow ends with the file that it has open.
- `tailLines` counts raw records, and is applied before the time filter.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO

    from cortex_jupyter.sandbox.crilog import CriLog
    from cortex_jupyter.sandbox.logoptions import LogOptions

_READ = 65536


def _tail_start(file: BinaryIO, records: int) -> int:
    """Return the offset of the first of the last `records` records (`findTailLineStartIndex`)."""
    end = file.seek(0, 2)
    if records == 0:
        return end
    position, count = end, 0
    while position > 0:
        start = max(0, position - _READ)
        file.seek(start)
        block = file.read(position - start)
        newline = len(block)
        while (newline := block.rfind(b"\n", 0, newline)) >= 0:
            # The newline at the very end closes the last record; no record starts after it.
            if start + newline + 1 < end:
                count += 1
                if count == records:
                    return start + newline + 1
        position = start
    return 0


class Formatter:
    """Converts records to the bytes of an answer.

    Parameters
    ----------
    options : LogOptions
        The query; uses its `timestamps`, `stream`, `limit`, `tail` and `follow`.
    since : int or None
        Time of the first line to send (ns since the Unix epoch).
    """

    def __init__(self, options: LogOptions, since: int | None) -> None:
        self._timestamps = options.timestamps
        self._stream = options.stream.encode()
        self._bytes_left = options.limit
        self._records_left = None if options.follow else options.tail
        self._since = b""
        if since is not None:
            second, fraction = divmod(since, 10**9)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}"
            self._since = text.rstrip("0").rstrip(".").encode()
        self._line_start = True
        self.done = self._records_left == 0

    def convert(self, block: bytes) -> bytes:
        """Convert whole records; set `done` when a limit is reached."""
        out: list[bytes] = []
        for record in block.split(b"\n")[:-1]:
            if self._records_left is not None:
                if self._records_left == 0:
                    self.done = True
                    break
                self._records_left -= 1
            fields = record.split(b" ", 3)
            if len(fields) < 4:  # the kubelet logs "Failed when parsing line" and goes on
                continue
            stamp, stream, tag, text = fields
            at_line_start, self._line_start = self._line_start, tag[:1] == b"F"
            # Without the Z, timestamps compare as text, with or without trailing zeros.
            if (self._since and stamp[:-1] < self._since) or (self._stream and stream != self._stream):
                continue
            if self._timestamps and at_line_start:
                out += (_fixed(stamp), b" ")
            out.append(text)
            if self._line_start:
                out.append(b"\n")
        return self._apply_limit(b"".join(out))

    def _apply_limit(self, data: bytes) -> bytes:
        if self._bytes_left is None:
            return data
        data = data[: self._bytes_left]
        self._bytes_left -= len(data)
        self.done = self.done or self._bytes_left == 0
        return data


def _fixed(stamp: bytes) -> bytes:
    """Return a timestamp with nine fractional digits (`RFC3339NanoFixed`)."""
    if len(stamp) == 30:  # it has nine digits
        return stamp
    bare = stamp[:-1]
    return (bare if b"." in bare else bare + b".").ljust(29, b"0") + b"Z"


async def read(
    log: CriLog, options: LogOptions, since: int | None, *, misses_rotation: Callable[[], bool] = lambda: False
) -> AsyncIterator[bytes]:
    """Yield the bytes of the answer in blocks.

    Parameters
    ----------
    log : CriLog
        The log of one run.
    options : LogOptions
        The query.
    since : int or None
        Time of the first line to send (ns since the Unix epoch), from `sinceTime` or `sinceSeconds`.
    misses_rotation : callable
        Called at each rotation; whether a `blind` fault makes the follow miss it.

    Yields
    ------
    bytes
        Up to a few tens of KiB; empty when a follow was woken and has nothing to send.
    """
    formatter = Formatter(options, since)
    file = log.path.open("rb")
    wake = log.follow()
    seen_generation: int | None = None
    rest = b""
    try:
        file.seek(0 if options.tail is None else _tail_start(file, options.tail))
        while not formatter.done:
            # Taken before the read, so that an end or a rotation during the read is handled in the next round.
            ended, generation = log.ended, log.generation
            wake.clear()
            data = file.read(_READ)
            if data:
                head, newline, tail = data.rpartition(b"\n")
                if newline:
                    yield formatter.convert(rest + head + newline)
                    rest = tail
                else:
                    rest += data
            elif not options.follow or ended:
                return
            elif seen_generation is None:
                seen_generation = generation
            elif seen_generation != generation:
                seen_generation = generation
                if not misses_rotation():
                    file.close()
                    file, rest = log.path.open("rb"), b""
            else:
                await wake.wait()
                yield b""
    finally:
        log.unfollow(wake)
        file.close()
