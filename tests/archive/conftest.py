from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from frames.filled import Filled, new_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cortex_jupyter.recording.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def filled(store: Store) -> Filled:
    return Filled(store)
