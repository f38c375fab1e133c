"""Notice changes of any process, with one connection for all recordings that this process reads.

Each recording has a channel. `XREAD BLOCK` on its stream would be the alternative, but a waiting read holds a
connection: a hundred tasks need a hundred connections, which time out and ask again every 5 s (1 200 requests a
minute), or one that is interrupted whenever another task is opened. And no stream shows a change of state or a merge.
A subscription is one connection, which can be extended while it waits. For a hundred quiet tasks it costs 12 pings a
minute (`make bench ARGS=valkey`; with their readers' wishes 1 210 requests).

A message has no content; `reader.feed` reads what is new once for all readers. A message can be lost only with its
connection. Subscribers are called when there is a new connection: at once if the old one broke, after 10 s if it fell
silent.
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

#: Seconds until a new subscription is sent to the server; messages arrive at once.
_POLL_S: Final = 0.05
#: After this many silent seconds the server is pinged; after twice as many the connection is dead and replaced.
_SILENT_S: Final = 5.0
#: Seconds between attempts to connect.
_RECONNECT_S: Final = 0.2


class Changes:
    """Calls back after each message of a channel.

    One thread per store, alive only while there are subscribers. A broken connection is replaced, and all subscribers
    are called then, since they may have missed a change.
    """

    def __init__(self, client: valkey.Valkey) -> None:
        self._client = client
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stop.set()
        self._threads: list[threading.Thread] = []  # the one that watches, and others that are about to end

    def subscribe(self, callback: Callable[[], None], channel: str) -> Callable[[], None]:
        """Call `callback` from the watching thread once it watches, and after each message.

        Returns a function that ends it.
        """
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)
            if self._stop.is_set():
                self._stop = threading.Event()
                thread = threading.Thread(target=self._watch, args=(self._stop,), name="cortex-changes", daemon=True)
                self._threads = [thread, *(t for t in self._threads if t.is_alive())]
                thread.start()

        def end() -> None:
            with self._lock:
                if callback in (remaining := self._callbacks.get(channel, [])):
                    remaining.remove(callback)
                if not remaining:
                    self._callbacks.pop(channel, None)
                if not self._callbacks:
                    self._stop.set()

        return end

    def close(self) -> None:
        """End the thread and wait for it: its connection must not be closed while it listens."""
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
                stop.wait(_RECONNECT_S)  # a read meanwhile raises the store's own error

    def _listen(self, pubsub: Any, stop: threading.Event) -> None:
        subscribed: set[str] = set()
        heard_at, pinged = time.monotonic(), False
        while not stop.is_set():
            with self._lock:
                channels = set(self._callbacks)
            if not channels:  # the last subscription has ended, which also sets `stop`
                return
            if channels - subscribed:
                pubsub.subscribe(*channels - subscribed)
            if subscribed - channels:
                pubsub.unsubscribe(*subscribed - channels)
            subscribed = channels
            # The server confirms a subscription with a message too.
            if message := pubsub.get_message(timeout=_POLL_S):
                heard_at, pinged = time.monotonic(), False
                if message["type"] in ("message", "subscribe"):
                    self._call(message["channel"].decode())
            elif time.monotonic() - heard_at > 2 * _SILENT_S:
                raise NoConnection
            elif not pinged and time.monotonic() - heard_at > _SILENT_S:
                pinged = True
                pubsub.ping()

    def _call(self, channel: str) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.get(channel, ()))
        for callback in callbacks:
            with contextlib.suppress(RuntimeError):  # the loop of this subscriber has closed; others' have not
                callback()
