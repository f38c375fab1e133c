r"""A container's log file: written as containerd writes it, rotated as the kubelet rotates it.

A record is `<RFC3339Nano> <stdout|stderr> <P|F> <content>\n`. As containerd does
(`pkg/cri/io/logger.go`, `redirectLogs`): each record is stamped when it is read from the pipe, trailing
zeros of the fraction are dropped, a line of more than 16384 bytes is cut into P records and one F, and
a last line without newline is a P record that no F follows.

Rotation is that of `pkg/kubelet/logs/container_log_manager.go`: `0.log` becomes `0.log.<time>`, what was
rotated before is gzipped, and files beyond the allowed number are removed, the oldest first.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: containerd's `max_container_log_line_size`.
LINE_LIMIT = 16384
_SECOND = 10**9


class CriLog:
    """The log of one run of one container.

    Parameters
    ----------
    path : Path
        `.../CONTAINER/RESTART.log`; its folder is created.
    clock : callable
        Gives the function that reads the time in ns; asked again for every block, so that a fault can
        bend time while the container runs.

    Attributes
    ----------
    generation : int
        Number of rotations so far; a reader compares it to learn of one.
    ended : bool
        Whether the container has ended and all it wrote is in the file.
    """

    def __init__(self, path: Path, clock: Callable[[], Callable[[], int]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.generation = 0
        self.ended = False
        self._clock = clock
        self._rest = {b"stdout": b"", b"stderr": b""}
        self._second, self._prefix = -1, b""
        self._size = 0
        self._rotated = 0
        self._file = path.open("ab", buffering=0)
        self._followers: set[asyncio.Event] = set()

    @property
    def size(self) -> int:
        """Bytes in the current file."""
        return self._size

    # ------------------------------------------------------------ writing

    def feed(self, stream: bytes, data: bytes) -> None:
        """Append what a container has written; a line's last bytes wait until it is complete."""
        lines = (self._rest[stream] + data).split(b"\n")
        rest = lines.pop()
        records: list[bytes] = []
        read = self._clock()
        middle = b" %b F " % stream
        for line in lines:
            whole = line if len(line) <= LINE_LIMIT else self._cut(stream, line, records, read)
            records.append(b"%b%b%b\n" % (self._stamp(read()), middle, whole))
        self._rest[stream] = rest if len(rest) <= LINE_LIMIT else self._cut(stream, rest, records, read)
        self._write(b"".join(records))

    def end(self, stream: bytes) -> None:
        """Note that a stream is at its end."""
        if rest := self._rest[stream]:
            self._rest[stream] = b""
            self._write(b"%b %b P %b\n" % (self._stamp(self._clock()()), stream, rest))

    def close(self) -> None:
        """Note that the container has ended; followers come to their end."""
        self.ended = True
        self._file.close()
        self.wake()

    def _cut(self, stream: bytes, line: bytes, records: list[bytes], read: Callable[[], int]) -> bytes:
        while len(line) > LINE_LIMIT:
            records.append(b"%b %b P %b\n" % (self._stamp(read()), stream, line[:LINE_LIMIT]))
            line = line[LINE_LIMIT:]
        return line

    def _stamp(self, at: int) -> bytes:
        second, fraction = divmod(at, _SECOND)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%b%bZ" % (self._prefix, (b".%09d" % fraction).rstrip(b"0").rstrip(b"."))

    def _write(self, block: bytes) -> None:
        if block and not self._file.closed:
            self._file.write(block)
            self._size += len(block)
            self.wake()

    # ------------------------------------------------------------ following

    def follow(self) -> asyncio.Event:
        """Give an event that is set after every write, rotation and the end."""
        event = asyncio.Event()
        self._followers.add(event)
        return event

    def unfollow(self, event: asyncio.Event) -> None:
        """Give the event back."""
        self._followers.discard(event)

    def wake(self) -> None:
        """Let the followers look again."""
        for event in self._followers:
            event.set()

    # ------------------------------------------------------------ rotating

    async def rotate(self, keep: int = 5) -> Path:
        """Start a new file.

        Parameters
        ----------
        keep : int
            Files allowed in all, the new one included (`containerLogMaxFiles`).

        Returns
        -------
        Path
            Where the old file is now. Two rotations within a second would overwrite each other in the
            kubelet; here the second one takes the next second, so that nothing is lost by the fault itself.
        """
        self._rotated = max(int(time.time()), self._rotated + 1)
        rotated = self.path.with_name(f"{self.path.name}.{_day(self._rotated)}")
        older = sorted(self.path.parent.glob(f"{self.path.name}.*"))
        for excess in older[: max(0, len(older) - (keep - 2))]:
            excess.unlink()
        self.path.rename(rotated)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self._size = 0
        self.generation += 1
        self.wake()
        plain = [p for p in older if p.suffix != ".gz" and p.exists()]
        await asyncio.to_thread(_gzip_all, plain)
        return rotated


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d-%H%M%S")


def _gzip_all(paths: list[Path]) -> None:
    for path in paths:
        _gzip(path)


def _gzip(path: Path) -> None:
    part = path.with_name(path.name + ".tmp")
    with path.open("rb") as source, gzip.open(part, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    part.rename(path.with_name(path.name + ".gz"))
    path.unlink()
