"""Notice changes by anyone: one connection for all recordings that this process reads.

A channel for each recording and not `XREAD BLOCK` on its stream. A waiting read holds a connection: a hundred tasks are a
hundred connections, which time out and ask again (every 5 s: 1 200 requests a minute), or one that waits for all and has
to be broken off whenever another task is opened. And what changes may be the state alone, or what has been merged, which no
stream tells. A subscription is one connection, which is widened while it waits: for a hundred tasks at rest it costs
12 requests a minute, the pings (`make bench ARGS=valkey`; with the wishes of their readers 1 210).

A message bears nothing; what is new is read once for all readers (`reader.feed`). One that is lost is lost with its
connection, and whoever waits is called when there is a new one: broken, at once; silent, after 10 s.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from valkey.exceptions import ConnectionError as NoConnection
from valkey.exceptions import ValkeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    import valkey

#: How soon a new subscription is known to the server, seconds; a message comes at once.
_LOOK_S: Final = 0.05
#: Silent for so long, seconds, the server is asked; for twice as long, the connection is dead and made anew.
_SILENT_S: Final = 5.0
#: Between attempts to connect, seconds.
_AGAIN_S: Final = 0.2


class Changes:
    """Calls back after each message of a channel.

    One thread per store, alive only while somebody is subscribed. A connection that breaks is made anew; whoever is
    subscribed is then called, since anything may have been missed.
    """

    def __init__(self, client: valkey.Valkey) -> None:
        self._client = client
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stop.set()
        self._threads: list[threading.Thread] = []  # one that watches, others that are about to end

    def subscribe(self, callback: Callable[[], None], channel: str) -> Callable[[], None]:
        """Call `callback` from the watching thread once it watches, and after each message; gives what ends it."""
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)
            if self._stop.is_set():
                self._stop = threading.Event()
                thread = threading.Thread(target=self._watch, args=(self._stop,), name="cortex-changes", daemon=True)
                self._threads = [thread, *(t for t in self._threads if t.is_alive())]
                thread.start()

        def end() -> None:
            with self._lock:
                if callback in (left := self._callbacks.get(channel, [])):
                    left.remove(callback)
                if not left:
                    self._callbacks.pop(channel, None)
                if not self._callbacks:
                    self._stop.set()

        return end

    def close(self) -> None:
        """End, and wait for it: a connection must not be closed under who listens."""
        with self._lock:
            self._callbacks.clear()
            self._stop.set()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with self._client.pubsub() as pubsub:
                    self._listen(pubsub, stop)
            except (ValkeyError, OSError):
                stop.wait(_AGAIN_S)  # whoever reads meanwhile gets the store's own error

    def _listen(self, pubsub: Any, stop: threading.Event) -> None:
        known: set[str] = set()
        heard, asked = time.monotonic(), False
        while not stop.is_set():
            with self._lock:
                wanted = set(self._callbacks)
            if not wanted:  # whoever ends the last one ends us
                return
            if wanted - known:
                pubsub.subscribe(*wanted - known)
            if known - wanted:
                pubsub.unsubscribe(*known - wanted)
            known = wanted
            # That a subscription has begun is a message too.
            if message := pubsub.get_message(timeout=_LOOK_S):
                heard, asked = time.monotonic(), False
                if message["type"] in ("message", "subscribe"):
                    self._call(message["channel"].decode())
            elif time.monotonic() - heard > 2 * _SILENT_S:
                raise NoConnection
            elif not asked and time.monotonic() - heard > _SILENT_S:
                asked = True
                pubsub.ping()

    def _call(self, channel: str) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.get(channel, ()))
        for callback in callbacks:
            with contextlib.suppress(RuntimeError):  # its loop has closed; the others' have not
                callback()
