"""A TCP relay on loopback: the network between two processes, which can be cut, and lead elsewhere."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Relay:
    """Hands on what comes to `port`, to `target`; a context manager."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._up = True
        self._flows = threading.Event()
        self._flows.set()
        self._breaks: int | None = None
        #: Called with what is asked.
        self.hears: Callable[[bytes], object] | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        # A thread that waits in accept() is not woken by close().
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def hang(self) -> None:
        """Hand on nothing any more, and tell nobody: what comes is handed on after `mend`."""
        self._flows.clear()

    def break_next(self, *, answer: bool) -> None:
        """Break the connection on which the next answer comes, instead of it; or in the middle of the next request."""
        self._breaks = int(answer)

    def cut(self) -> None:
        """Break every connection, and let none through until `mend`."""
        self._flows.set()
        with self._lock:
            self._up = False
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self, target: int = 0) -> None:
        """Let connections through again, perhaps to another place."""
        self.target = target or self.target
        self._up = True
        self._flows.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                with self._lock:
                    try:
                        if not self._up:
                            raise ConnectionRefusedError
                        far = socket.create_connection(("127.0.0.1", self.target))
                    except OSError:
                        near.close()
                        continue
                    pair = {near, far}
                    self._open |= pair
                for answers, (one, other) in enumerate(((near, far), (far, near))):
                    threading.Thread(target=self._forward, args=(one, other, answers), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket, answers: int) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self._flows.wait()
                if self.hears is not None and not answers:
                    self.hears(data)
                if self._breaks == answers:
                    self._breaks = None
                    other.sendall(b"" if answers else data[: len(data) // 2])
                    break
                other.sendall(data)
        # The second of the two threads that notices closes both.
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            if one in self._open:
                self._open -= {one}
            one.close()
