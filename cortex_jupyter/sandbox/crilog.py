r"""A container's log file: written as containerd writes it, rotated as the kubelet rotates it.

A record is `<RFC3339Nano> <stdout|stderr> <P|F> <content>\n`. The format follows containerd
(`pkg/cri/io/logger.go`, `redirectLogs`): A record's time is when it is read from the pipe, without trailing zeros of
the fraction. A line of more than 16384 bytes is split into P records and one F record. A last line without a newline
is a P record without an F record after it.

Rotation follows `pkg/kubelet/logs/container_log_manager.go`: `0.log` becomes `0.log.<time>`, files that were rotated
earlier are gzipped, and files beyond the allowed number are removed, the oldest first.
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
        The file, `.../CONTAINER/RESTART.log`; its folder is created.
    clock : callable
        Returns the function that reads the time (ns since the Unix epoch). It is called for every block, so that a fault
        can change the time while the container runs.

    Attributes
    ----------
    generation : int
        Number of past rotations; a reader compares it to notice a rotation.
    ended : bool
        Whether the container has ended and all of its output is in the file.
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
        """Append a container's output; an incomplete line waits for its end."""
        lines = (self._rest[stream] + data).split(b"\n")
        rest = lines.pop()
        records: list[bytes] = []
        clock = self._clock()
        tag = b" %b F " % stream
        for line in lines:
            last_part = line if len(line) <= LINE_LIMIT else self._split_long(stream, line, records, clock)
            records.append(b"%b%b%b\n" % (self._format_time(clock()), tag, last_part))
        self._rest[stream] = rest if len(rest) <= LINE_LIMIT else self._split_long(stream, rest, records, clock)
        self._write(b"".join(records))

    def end_stream(self, stream: bytes) -> None:
        """Write the incomplete last line of a stream that has ended."""
        if rest := self._rest[stream]:
            self._rest[stream] = b""
            self._write(b"%b %b P %b\n" % (self._format_time(self._clock()()), stream, rest))

    def close(self) -> None:
        """Close the log of a container that has ended; follows end too."""
        self.ended = True
        self._file.close()
        self.wake()

    def _split_long(self, stream: bytes, line: bytes, records: list[bytes], clock: Callable[[], int]) -> bytes:
        while len(line) > LINE_LIMIT:
            records.append(b"%b %b P %b\n" % (self._format_time(clock()), stream, line[:LINE_LIMIT]))
            line = line[LINE_LIMIT:]
        return line

    def _format_time(self, at: int) -> bytes:
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
        """Return an event that is set after every write, every rotation, and the end."""
        event = asyncio.Event()
        self._followers.add(event)
        return event

    def unfollow(self, event: asyncio.Event) -> None:
        """Stop setting an event that `follow` returned."""
        self._followers.discard(event)

    def wake(self) -> None:
        """Set the events of all followers."""
        for event in self._followers:
            event.set()

    # ------------------------------------------------------------ rotating

    async def rotate(self, keep: int = 5) -> Path:
        """Rotate the log: rename the current file and start a new one.

        Parameters
        ----------
        keep : int
            Number of files to keep, including the new one (`containerLogMaxFiles`).

        Returns
        -------
        Path
            The old file's new path. In the kubelet, the second of two rotations within a second overwrites the first
            file; here it takes the name of the next second, so that injecting a rotation loses no lines.
        """
        self._rotated = max(int(time.time()), self._rotated + 1)
        rotated = self.path.with_name(f"{self.path.name}.{_timestamp(self._rotated)}")
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


def _timestamp(at: int) -> str:
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
