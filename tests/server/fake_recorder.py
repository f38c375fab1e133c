"""A recorder that a test plays: it writes the recording of one task."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
from cortex_jupyter.store import Commit, RecorderInfo, Store

if TYPE_CHECKING:
    from collections.abc import Iterable

CLUSTER = "https://cluster.test"
#: 2023-11-14T22:13:20Z
T0 = 1_700_000_000_000_000_000

#: Time (ns), source id, text, and optionally the stream.
Line = tuple[int, int, str] | tuple[int, int, str, int]


class FakeRecorder:
    """The recorder of one task, played by a test. It sends heartbeats until it is closed."""

    def __init__(
        self, store: Store, name: str, namespace: str = "default", kind: str = "job", cluster: str = CLUSTER
    ) -> None:
        self.store, self.ref, self.cluster = store, TaskRef(namespace, kind, name), cluster
        self.id = store.open(cluster, self.ref, f"uid-{name}")
        self.owner = f"fake-recorder-of-{name}"
        self._over = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        lease = store.lease(self.id, self.owner)
        assert lease is not None
        self.lease = lease
        self.at = 0
        self.sources: dict[int, dict[str, Any]] = {}
        self.lines: list[tuple[int, int, int, str]] = []  # seq, time, sid, text

    def _beat(self) -> None:
        self.store.beat(RecorderInfo(self.owner, self.cluster, socket.gethostname(), os.getpid(), time.time()))

    def _live(self) -> None:
        while not self._over.wait(0.5):
            self._beat()

    def source(
        self, pod: str = "train-0", container: str = "main", kind: str = "main", run: int = 0, **fields: str
    ) -> int:
        source = Source(pod, f"uid-{pod}", container, f"id-{pod}-{container}-{run}", kind, run, "node-1")
        source = replace(source, **fields)  # type: ignore[arg-type]
        sid = self.store.add_source(self.lease, source)
        self.sources[sid] = source.public
        return sid

    def write(self, lines: Iterable[Line]) -> None:
        """Commit one batch."""
        rows = list(lines)
        times, sids, texts = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
        streams = [r[3] if len(r) == 4 else 0 for r in rows]
        sources = {sid: self.sources[sid] for sid in dict.fromkeys(sids)}
        data = encode_batch(self.ref.key, self.at + 1, times, sids, streams, texts, sources)
        self.lines += [(self.at + 1 + i, r[0], r[1], r[2]) for i, r in enumerate(rows)]
        self._commit(Entry(self.at + 1, len(rows), "log", min(times), max(times), data))

    def note(self, event: str, message: str, time_: int = T0, **fields: Any) -> None:
        """Commit one notice."""
        self._commit(notice(self.ref.key, self.at + 1, time_, event, message, **fields))

    def _commit(self, entry: Entry, **update: Any) -> None:
        self.store.commit(self.lease, Commit([entry], {}, update))
        self.at = entry.last

    def running(self, message: str = "Running") -> None:
        if not self.at:
            self.note("status", message, state="running")
        update = {"state": "running", "message": message, "reason": "Running", "caught_up": 1}
        self.store.commit(self.lease, Commit([], {}, update))

    def end(self, exit_code: int = 0) -> None:
        """Commit the end of the task."""
        state = "failed" if exit_code else "succeeded"
        message = f"Job failed exit {exit_code}" if exit_code else "Job complete exit 0"
        entry = notice(self.ref.key, self.at + 1, T0 + 10**12, "end", message, state=state, exit_code=exit_code)
        self._commit(entry, state=state, message=message, exit_code=exit_code, done=1, caught_up=1)

    @property
    def texts(self) -> list[str]:
        return [text for *_, text in self.lines]

    def close(self) -> None:
        """Stop being a recorder."""
        self._over.set()
        self._thread.join()
        self.store.leave(self.owner)
