"""Fixtures for tests of stores: a store of each kind, and a writer that fills it.

Tests of a store's guarantees run on SQLite, Valkey and Redis; all others run on SQLite and Valkey. `CORTEX_TEST_SERVER`
replaces Valkey by another server program (`make test-redis`).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings
from support.hand import Hand
from support.valkey import PROGRAM, Server

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from cortex_jupyter.store import Store

# Tests check results, not durations, so there is no deadline.
settings.register_profile("recording", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("recording")


#: Test modules of a store's guarantees, which also run on Redis; no others do, because each costs seconds.
GUARANTEE_TESTS: Final = ("test_store", "test_compact", "test_deletion", "test_retention", "test_trimming")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with `new_store` on each kind of store, unless the test parametrizes the kind."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "new_store" in metafunc.fixturenames and not any(mark.args[0] == "new_store" for mark in marks):
        on_redis = metafunc.module.__name__.rpartition(".")[2] in GUARANTEE_TESTS
        metafunc.parametrize("new_store", ["sqlite", "valkey", *["redis"][:on_redis]], indirect=True)


@pytest.fixture(scope="session")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return a function that returns the session's server of a program."""
    with ExitStack() as stack:
        yield cache(lambda program: stack.enter_context(Server(tmp_path_factory.mktemp("server"), program)))


@pytest.fixture
def valkey_server(server_of: Callable[[str], Server]) -> Server:
    return server_of(PROGRAM)


@pytest.fixture
def new_store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server_of: Callable[[str], Server],
) -> Callable[[], AbstractContextManager[Store]]:
    """Return a function that opens an empty store: a new file, or the session's server after FLUSHALL."""

    @contextmanager
    def new() -> Iterator[Store]:
        if request.param == "sqlite":
            store = open_store(f"sqlite://{tmp_path_factory.mktemp('store')}/new/recordings.sqlite")
        else:
            server = server_of("redis-server" if request.param == "redis" else PROGRAM)
            server.ask("FLUSHALL")
            store = open_store(server.url)
        try:
            yield store
        finally:
            store.close()

    return new


@pytest.fixture
def store(new_store: Callable[[], AbstractContextManager[Store]]) -> Iterator[Any]:
    with new_store() as opened:
        yield opened


@pytest.fixture
def hand(store: Any) -> Hand:
    return Hand(store)
