"""A server for all tests of this folder, and recordings that tests write into its store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from server.fake_recorder import T0, FakeRecorder
from server.running import Server, run_server

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.store import Store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a cluster, which reads recordings."""
    with run_server(tmp_path_factory.mktemp("home"), "--CortexJupyter.heartbeat_s=0.2") as running:
        yield running


@pytest.fixture(scope="session")
def store(server: Server) -> Iterator[Store]:
    store = open_store(server.store_url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def session_recorder(store: Store) -> Iterator[Callable[[str], FakeRecorder]]:
    fake_recorders: list[FakeRecorder] = []

    def make(prefix: str = "task") -> FakeRecorder:
        fake_recorders.append(FakeRecorder(store, f"{prefix}-{uuid.uuid4().hex[:6]}"))
        return fake_recorders[-1]

    yield make
    for fake_recorder in fake_recorders:
        fake_recorder.close()


@pytest.fixture
def fake_recorder(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """Return a fake recorder of a new task for one test."""
    return session_recorder("task")


@pytest.fixture(scope="session")
def completed(session_recorder: Callable[[str], FakeRecorder]) -> FakeRecorder:
    """A completed task: two pods, three containers, 1 000 lines in 34 batches with overlapping times, and notices."""
    fake_recorder = session_recorder("done")
    sids = [
        fake_recorder.source("train-0"),
        fake_recorder.source("train-1"),
        fake_recorder.source("train-0", "proxy", "sidecar"),
    ]
    fake_recorder.note("status", "Log not available yet: ContainerCreating", state="pending")
    for batch in range(34):
        rows = []
        for i in range(batch * 30, min(batch * 30 + 30, 1000)):
            word = ("INFO", "WARNING", "ERROR")[i % 3]
            time = T0 + i * 1_000_000_000 - (i % 5) * 700_000_000  # not monotone, as with two writers
            rows.append((time, sids[i % 3], f"{word} line {i:05d} loss={i / 1000}", 1 + i % 2))
        fake_recorder.write(rows)
        if batch == 10:
            fake_recorder.note("gap", "lines are missing", T0 + 320_000_000_000, reason="rotated", source=1)
    fake_recorder.end()
    return fake_recorder
