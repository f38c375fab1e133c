"""What the containers wrote: the CRI files on the node's disk, held open through rotation and removal.

Read by a parser of its own: it must not share a mistake with what is tested.
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

    #: A time in ns and a text.
    Line = tuple[int, str]
    #: Pod, container, run.
    Key = tuple[str, str, int]


class Disk:
    """Holds every log file of the pods whose names begin with a prefix; a context manager.

    A hard link would change the file's attributes, whereupon a kubelet of 1.20 sends the whole file again to who follows
    it (`waitLogs` in pkg/kubelet/kuberuntime/logs/logs.go takes `fsnotify.Chmod` for a new file).
    """

    def __init__(self, root: Path, prefix: str) -> None:
        self._pods, self._prefix = root / "var/log/pods", prefix
        self._kept: dict[int, tuple[Key, BinaryIO]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for _, file in self._kept.values():
            file.close()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.keep()

    def keep(self) -> None:
        """Open what is new. A compressed file was opened when it was plain."""
        with self._lock:
            found: list[Path] = []
            with suppress(FileNotFoundError):  # a pod's folder went while it was read: the next look finds the others
                found.extend(
                    p for p in self._pods.glob(f"*_{self._prefix}*/*/*.log*") if p.suffix not in (".gz", ".tmp")
                )
            for path in sorted(found, key=lambda p: (p.parent, p.suffix == ".log", p.name)):
                with suppress(FileNotFoundError):  # renamed meanwhile: the next look finds it
                    if path.stat().st_ino in self._kept:
                        continue
                    file = path.open("rb")
                    if (inode := os.fstat(file.fileno()).st_ino) in self._kept:
                        file.close()
                        continue
                    pod = path.parent.parent.name.split("_")[1]
                    key = (pod, path.parent.name, int(path.name.split(".")[0]))
                    self._kept[inode] = (key, file)

    def records(self) -> int:
        """Count the records so far."""
        self.keep()
        return sum(_data(file).count(b"\n") for _, file in list(self._kept.values()))

    def rotated(self) -> int:
        """Count the files that a rotation left behind."""
        self.keep()
        return len(self._kept) - len({key for key, _ in self._kept.values()})

    def lines(self) -> dict[Key, list[Line]]:
        """Return every line of every run."""
        self.keep()
        data: dict[Key, bytes] = {}
        for key, file in self._kept.values():
            data[key] = data.get(key, b"") + _data(file)
        return {key: _lines(log) for key, log in data.items() if log}


def _data(file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _lines(log: bytes) -> list[Line]:
    """Join the parts of each line; its time is that of the first part. A last part that no `F` follows is a line."""
    found: list[Line] = []
    open_: dict[bytes, tuple[int, bytes]] = {}
    for record in log.split(b"\n")[:-1]:
        stamp, stream, tag, text = record.split(b" ", 3)
        at, before = open_.pop(stream, (0, b""))
        at = at or _ns(stamp)
        if tag == b"P":
            open_[stream] = (at, before + text)
        else:
            found.append((at, (before + text).decode()))
    return found + [(at, text.decode()) for at, text in open_.values()]


def _ns(stamp: bytes) -> int:
    second, _, fraction = stamp.rstrip(b"Z").partition(b".")
    return _second(second) * 10**9 + int(fraction.ljust(9, b"0"))


@lru_cache(1000)
def _second(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode() + "+00:00").timestamp())
