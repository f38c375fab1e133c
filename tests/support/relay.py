"""A TCP relay on loopback: a connection between two processes that a test can cut, stall or redirect."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Relay:
    """Relays connections from `port` to `target`; a context manager."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._accepts = True
        self._flowing = threading.Event()
        self._flowing.set()
        self._break_next: int | None = None
        #: Called with the bytes that clients send.
        self.on_request: Callable[[bytes], object] | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        # close() does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def hang(self) -> None:
        """Stall all connections without an error, until `restore`."""
        self._flowing.clear()

    def break_next(self, *, answer: bool) -> None:
        """Cut a connection: with `answer`, instead of its next answer; otherwise halfway through its next request."""
        self._break_next = int(answer)

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `restore`."""
        self._flowing.set()
        with self._lock:
            self._accepts = False
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def restore(self, target: int = 0) -> None:
        """Accept connections again, optionally to another target."""
        self.target = target or self.target
        self._accepts = True
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with self._lock:
                    try:
                        if not self._accepts:
                            raise ConnectionRefusedError
                        server = socket.create_connection(("127.0.0.1", self.target))
                    except OSError:
                        client.close()
                        continue
                    pair = {client, server}
                    self._open |= pair
                for is_answer, (source, sink) in enumerate(((client, server), (server, client))):
                    threading.Thread(target=self._forward, args=(source, sink, is_answer), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_answer: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                if self.on_request is not None and not is_answer:
                    self.on_request(data)
                if self._break_next == is_answer:
                    self._break_next = None
                    sink.sendall(b"" if is_answer else data[: len(data) // 2])
                    break
                sink.sendall(data)
        # Shut down both sockets; each of the two threads closes its own.
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            if source in self._open:
                self._open -= {source}
            source.close()
