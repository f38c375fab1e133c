from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.filled import new_store

from cortex_jupyter.notebook import runtime as runtime_module
from cortex_jupyter.notebook.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cortex_jupyter.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield the default store, in a temporary folder. No cluster can be reached."""
    store = new_store(tmp_path)
    monkeypatch.setenv("CORTEX_STORE", f"sqlite:///{tmp_path / 'recordings.sqlite'}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    yield store
    store.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    engine = Runtime()
    monkeypatch.setattr(runtime_module, "_current", engine)
    yield engine
    engine.close()
