"""Reads a CRI log as the kubelet does (`staging/src/k8s.io/cri-client/pkg/logs/logs.go`, `ReadLogs`).

What is kept faithful on purpose, because it is where clients lose lines: only the current file is read;
a follow learns of rotations only from when it was first at the end of the file, so that one which is
still busy with a backlog then stays with the old file until the next rotation; at the container's end it
ends with the file it is in; `tailLines` counts raw records and comes before the time filter.
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
    """Give the offset of the last `records` records (`findTailLineStartIndex`)."""
    end = file.seek(0, 2)
    if records == 0:
        return end
    position, found = end, 0
    while position > 0:
        start = max(0, position - _READ)
        file.seek(start)
        block = file.read(position - start)
        here = len(block)
        while (here := block.rfind(b"\n", 0, here)) >= 0:
            # The newline at the very end closes the last record, it does not begin one.
            if start + here + 1 < end:
                found += 1
                if found == records:
                    return start + here + 1
        position = start
    return 0


class Formatter:
    """Turns records into the bytes of an answer.

    Parameters
    ----------
    options : LogOptions
        `timestamps`, `stream`, `limit` and `tail` are used.
    since : int or None
        ns since the epoch.
    """

    def __init__(self, options: LogOptions, since: int | None) -> None:
        self._stamps = options.timestamps
        self._stream = options.stream.encode()
        self._left = options.limit
        self._records = None if options.follow else options.tail
        self._since = b""
        if since is not None:
            second, fraction = divmod(since, 10**9)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}"
            self._since = text.rstrip("0").rstrip(".").encode()
        self._line_start = True
        self.done = self._records == 0

    def convert(self, block: bytes) -> bytes:
        """Convert whole records; sets `done` when a limit is reached."""
        out: list[bytes] = []
        for record in block.split(b"\n")[:-1]:
            if self._records is not None:
                if self._records == 0:
                    self.done = True
                    break
                self._records -= 1
            fields = record.split(b" ", 3)
            if len(fields) < 4:  # noqa: PLR2004 - the kubelet logs "Failed when parsing line" and goes on
                continue
            stamp, stream, tag, text = fields
            starts, self._line_start = self._line_start, tag[:1] == b"F"
            # Without their Z two stamps compare as text, trailing zeros dropped or not.
            if (self._since and stamp[:-1] < self._since) or (self._stream and stream != self._stream):
                continue
            if self._stamps and starts:
                out += (_fixed(stamp), b" ")
            out.append(text)
            if self._line_start:
                out.append(b"\n")
        return self._limited(b"".join(out))

    def _limited(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        data = data[: self._left]
        self._left -= len(data)
        self.done = self.done or self._left == 0
        return data


def _fixed(stamp: bytes) -> bytes:
    """Write a time with nine digits (`RFC3339NanoFixed`)."""
    if len(stamp) == 30:  # noqa: PLR2004 - it has them
        return stamp
    bare = stamp[:-1]
    return (bare if b"." in bare else bare + b".").ljust(29, b"0") + b"Z"


async def read(
    log: CriLog, options: LogOptions, since: int | None, *, blind: Callable[[], bool] = lambda: False
) -> AsyncIterator[bytes]:
    """Give the answer's bytes, in blocks.

    Parameters
    ----------
    log : CriLog
        The run's log.
    options : LogOptions
        As asked.
    since : int or None
        ns since the epoch, `sinceSeconds` resolved already.
    blind : callable
        Whether to miss a rotation, asked at each.

    Yields
    ------
    bytes
        Up to a few tens of KiB; empty when something woke a follow up and there was nothing to send.
    """
    formatter = Formatter(options, since)
    file = log.path.open("rb")
    wake = log.follow()
    watching: int | None = None
    rest = b""
    try:
        file.seek(0 if options.tail is None else _tail_start(file, options.tail))
        while not formatter.done:
            # Before the read: what ends or rotates after this is seen in the next round.
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
            elif watching is None:
                watching = generation
            elif watching != generation:
                watching = generation
                if not blind():
                    file.close()
                    file, rest = log.path.open("rb"), b""
            else:
                await wake.wait()
                yield b""
    finally:
        log.unfollow(wake)
        file.close()
