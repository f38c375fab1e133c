"""Writes recordings to a store as a recorder does, without a cluster."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
from cortex_jupyter.store import Anchor, Commit, Lease, RecorderInfo, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Opens an empty store of one kind.
NewStore = Callable[[], AbstractContextManager[Store]]
#: For tests of files or of SQLite itself.
on_sqlite = pytest.mark.parametrize("new_store", ["sqlite"], indirect=True)
CLUSTER = "https://cluster"
REF = TaskRef("default", "job", "train-1")


def source(number: int = 1, run: int = 0) -> Source:
    """Return the source of container `main` of pod `number`."""
    return Source(f"pod-{number}", f"uid-{number}", "main", f"containerd://{number}-{run}", run=run, node="n1")


def recorder(name: str = "me", pid: int | None = None, host: str | None = None) -> RecorderInfo:
    return RecorderInfo(name, CLUSTER, host or socket.gethostname(), os.getpid() if pid is None else pid, time.time())


class Hand:
    """Writes a recording as a recorder does, without a cluster."""

    def __init__(
        self, store: Store, ref: TaskRef = REF, uid: str = "u1", owner: str = "me", cluster: str = CLUSTER
    ) -> None:
        self.store, self.ref = store, ref
        self.id = store.open(cluster, ref, uid)
        store.beat(recorder(owner))
        lease = store.lease(self.id, owner)
        assert lease is not None
        self.lease: Lease = lease
        self.next = 1
        self.written: list[tuple[int, int, int, str]] = []

    def lines(self, lines: Sequence[tuple[int, int, str]]) -> Entry:
        """Commit one batch of (time, source id, text)."""
        times, sids, texts = ([line[i] for line in lines] for i in range(3))
        sources = {sid: {"pod": f"pod-{sid}", "container": "main"} for sid in sids}
        data = encode_batch(REF.key, self.next, times, sids, None, texts, sources)  # type: ignore[arg-type]
        entry = Entry(self.next, len(lines), "log", min(times), max(times), data)  # type: ignore[type-var]
        self.written += [(self.next + i, *line) for i, line in enumerate(lines)]
        self.store.commit(self.lease, Commit([entry]))
        self.next += len(lines)
        return entry

    def notice(self, event: str = "status", time: int = 0, message: str = "m", **update: object) -> Entry:
        """Commit one notice."""
        entry = notice(REF.key, self.next, time, event, message)
        self.store.commit(self.lease, Commit([entry], update=dict(update)))
        self.next += 1
        return entry

    def end(self, time: int = 0) -> Entry:
        """Commit the end of the task."""
        return self.notice("end", time, "Job complete exit 0", done=1, state="succeeded")

    def source(self, number: int = 1, anchor: Anchor | None = None) -> int:
        """Add a source."""
        sid = self.store.add_source(self.lease, source(number))
        if anchor is not None:
            self.store.commit(self.lease, Commit(anchors={sid: anchor}))
        return sid


async def until(test: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `test` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, f"the condition did not hold within {seconds:g} s"
        await asyncio.sleep(0.005)
