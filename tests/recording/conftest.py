"""What the recording tests share: a store of each kind, and a recorder's hand to fill it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from recording.hand import Hand
from support.valkey import Server

from cortex_jupyter.recording.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from cortex_jupyter.recording.store import Store

# What is tested is what happens, never how long it takes.
settings.register_profile("recording", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("recording")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["sqlite", "valkey"])
def new_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], AbstractContextManager[Store]]:
    """Give what gives an empty store: a file, or the one server's only database."""

    @contextmanager
    def new() -> Iterator[Store]:
        if request.param == "sqlite":
            store = open_store(f"sqlite://{tmp_path_factory.mktemp('store')}/new/recordings.sqlite")
        else:
            server = request.getfixturevalue("valkey_server")
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
