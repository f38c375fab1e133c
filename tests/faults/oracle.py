"""The lines that containers wrote, read from the CRI files on the node's disk.

The files are held open, so that rotation and removal do not hide them. The parser here shares no code with the package
under test, so that the two cannot have the same bug.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from pathlib import Path

    #: Time (ns) and text.
    Line = tuple[int, str]
    #: Pod, container, run.
    Key = tuple[str, str, int]


class NodeLogs:
    """Holds open every log file of the pods with a name prefix; a context manager.

    It makes no hard links: they change a file's attributes, after which a kubelet of 1.20 sends the whole file to its
    followers again (`waitLogs` in pkg/kubelet/kuberuntime/logs/logs.go takes `fsnotify.Chmod` for a new file).
    """

    def __init__(self, root: Path, prefix: str) -> None:
        self._pods, self._prefix = root / "var/log/pods", prefix
        self._files: dict[int, tuple[Key, BinaryIO]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for _, file in self._files.values():
            file.close()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.open_new_files()

    def open_new_files(self) -> None:
        """Open new log files. A compressed file was already opened before its compression."""
        with self._lock:
            paths: list[Path] = []
            with suppress(FileNotFoundError):  # a pod's folder was removed meanwhile; the next call finds the others
                paths.extend(
                    p for p in self._pods.glob(f"*_{self._prefix}*/*/*.log*") if p.suffix not in (".gz", ".tmp")
                )
            for path in sorted(paths, key=lambda p: (p.parent, p.suffix == ".log", p.name)):
                with suppress(FileNotFoundError):  # renamed meanwhile; the next call finds it
                    if path.stat().st_ino in self._files:
                        continue
                    file = path.open("rb")
                    if (inode := os.fstat(file.fileno()).st_ino) in self._files:
                        file.close()
                        continue
                    pod = path.parent.parent.name.split("_")[1]
                    key = (pod, path.parent.name, int(path.name.split(".")[0]))
                    self._files[inode] = (key, file)

    def count_records(self) -> int:
        """Return the number of records so far."""
        self.open_new_files()
        return sum(_data(file).count(b"\n") for _, file in list(self._files.values()))

    def count_rotated_files(self) -> int:
        """Return the number of files that were rotated."""
        self.open_new_files()
        return len(self._files) - len({key for key, _ in self._files.values()})

    def lines(self) -> dict[Key, list[Line]]:
        """Return every line of every run."""
        self.open_new_files()
        data: dict[Key, bytes] = {}
        for key, file in self._files.values():
            data[key] = data.get(key, b"") + _data(file)
        return {key: _lines(log) for key, log in data.items() if log}


def _data(file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _lines(log: bytes) -> list[Line]:
    """Join the parts of each line, with the time of its first part; a final part without an `F` record is a line too."""
    lines: list[Line] = []
    incomplete: dict[bytes, tuple[int, bytes]] = {}
    for record in log.split(b"\n")[:-1]:
        stamp, stream, tag, text = record.split(b" ", 3)
        at, earlier = incomplete.pop(stream, (0, b""))
        at = at or _parse_time(stamp)
        if tag == b"P":
            incomplete[stream] = (at, earlier + text)
        else:
            lines.append((at, (earlier + text).decode()))
    return lines + [(at, text.decode()) for at, text in incomplete.values()]


def _parse_time(stamp: bytes) -> int:
    second, _, fraction = stamp.rstrip(b"Z").partition(b".")
    return _parse_second(second) * 10**9 + int(fraction.ljust(9, b"0"))


@lru_cache(1000)
def _parse_second(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode() + "+00:00").timestamp())
