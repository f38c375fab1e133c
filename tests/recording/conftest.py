"""What the recording tests share: a store, and a recorder's hand to fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from recording.hand import Hand

from cortex_jupyter.recording.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What is tested is what happens, never how long it takes.
settings.register_profile("recording", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("recording")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    one = SqliteStore(tmp_path / "store" / "recordings.sqlite")
    yield one
    one.close()


@pytest.fixture
def hand(store: SqliteStore) -> Hand:
    return Hand(store)
