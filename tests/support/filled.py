"""Fills a store with a small recording, for tests of tables, notebook and CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cortex_jupyter.model import Entry, Source, TaskRef, encode_batch, notice
from cortex_jupyter.store import Commit
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.store import Lease, Store

T0 = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
SOURCES = (
    Source("train-1-aa", "uid-a", "main", "c1", "main", 0, "node-1"),
    Source("train-1-bb", "uid-b", "main", "c2", "main", 1, "node-2"),
    Source("train-1-aa", "uid-a", "prepare", "c3", "init", 0, "node-1"),
)
Line = tuple[int, int, str]  # source (from 1), ns after T0, text


class Filled:
    """A recording that a test fills, with its lease."""

    def __init__(self, store: Store, name: str = "train-1", namespace: str = "ml", cluster: str = "test") -> None:
        self.store = store
        self.ref = TaskRef(namespace, "job", name)
        self.id = store.open(cluster, self.ref, f"uid-{name}")
        lease = store.lease(self.id, "tests")
        assert lease is not None
        self.lease: Lease = lease
        self.sources = {store.add_source(lease, s): s for s in SOURCES}
        self.next = 1

    def add(self, source: Source) -> int:
        """Add a source; return its number."""
        sid = self.store.add_source(self.lease, source)
        self.sources[sid] = source
        return sid

    def lines(self, lines: list[Line], streams: list[int] | None = None) -> Filled:
        times, sids, texts = [T0 + t for _, t, _ in lines], [s for s, _, _ in lines], [m for _, _, m in lines]
        public = {s: self.sources[s].public for s in sids}
        data = encode_batch(self.ref.key, self.next, times, sids, streams, texts, public)
        return self._add(Entry(self.next, len(lines), "log", min(times), max(times), data))

    def notice(self, event: str, message: str, at: int = 0, **fields: Any) -> Filled:
        return self._add(notice(self.ref.key, self.next, T0 + at, event, message, **fields))

    def end(
        self, exit_code: int = 0, state: str = "succeeded", message: str = "Job complete exit 0", **fields: Any
    ) -> Filled:
        at = T0 + 10**12
        entry = notice(self.ref.key, self.next, at, "end", message, state=state, exit_code=exit_code, **fields)
        return self._add(entry, state=state, message=message, exit_code=exit_code, done=1, caught_up=1)

    def update(self, **update: Any) -> Filled:
        self.store.commit(self.lease, Commit([], {}, update))
        return self

    def _add(self, entry: Entry, **update: Any) -> Filled:
        self.store.commit(self.lease, Commit([entry], {}, update))
        self.next = entry.last + 1
        return self


def new_store(folder: Path) -> Store:
    return open_store(f"sqlite:///{folder / 'recordings.sqlite'}")
