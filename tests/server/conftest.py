"""A server for all tests of this folder, and recordings that tests write into its store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from server.running import Server, run_server
from server.tape import T0, Tape

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
def session_tape(store: Store) -> Iterator[Callable[[str], Tape]]:
    tapes: list[Tape] = []

    def make(prefix: str = "task") -> Tape:
        tapes.append(Tape(store, f"{prefix}-{uuid.uuid4().hex[:6]}"))
        return tapes[-1]

    yield make
    for tape in tapes:
        tape.close()


@pytest.fixture
def tape(session_tape: Callable[[str], Tape]) -> Tape:
    """A recording for one test."""
    return session_tape("task")


@pytest.fixture(scope="session")
def done(session_tape: Callable[[str], Tape]) -> Tape:
    """A completed task: two pods, three containers, 1 000 lines in 34 batches with overlapping times, and notices."""
    tape = session_tape("done")
    sids = [tape.source("train-0"), tape.source("train-1"), tape.source("train-0", "proxy", "sidecar")]
    tape.note("status", "Log not available yet: ContainerCreating", state="pending")
    for batch in range(34):
        rows = []
        for i in range(batch * 30, min(batch * 30 + 30, 1000)):
            word = ("INFO", "WARNING", "ERROR")[i % 3]
            time = T0 + i * 1_000_000_000 - (i % 5) * 700_000_000  # not monotone, as with two writers
            rows.append((time, sids[i % 3], f"{word} line {i:05d} loss={i / 1000}", 1 + i % 2))
        tape.write(rows)
        if batch == 10:
            tape.note("gap", "lines are missing", T0 + 320_000_000_000, reason="rotated", source=1)
    tape.end()
    return tape
