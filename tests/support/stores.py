"""What tests of a recording share, by their conftest: a store of each kind, and a recorder's hand to fill it.

What a store promises is tried on SQLite, Valkey and Redis; what is done with one on SQLite and Valkey, or in their place
on whatever `CORTEX_TEST_SERVER` names (`make test-redis`).
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

# What is tested is what happens, never how long it takes.
settings.register_profile("recording", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("recording")


#: What runs on Redis as well: the promises of a store, and no more than those, for each costs seconds.
PROMISES: Final = ("test_store", "test_compact", "test_retention", "test_trimming")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Return each test that takes a store one of each kind, unless it says which."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "new_store" in metafunc.fixturenames and not any(mark.args[0] == "new_store" for mark in marks):
        both = metafunc.module.__name__.rpartition(".")[2] in PROMISES
        metafunc.parametrize("new_store", ["sqlite", "valkey", *["redis"][:both]], indirect=True)


@pytest.fixture(scope="session")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return what gives the one server of a program."""
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
    """Return what gives an empty store: a file, or the one server's only database."""

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
    with new_store() as one:
        yield one


@pytest.fixture
def hand(store: Any) -> Hand:
    return Hand(store)
